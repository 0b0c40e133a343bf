//! The evaluator against the rules of magistrala.md 1.3, and against itself: lists must agree with checks.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::tree::Role;

/// A domain with a group in a group, a client in each of the three places, and one user with one role.
struct World {
    tree: Tree,
    user: UserId,
    outer: Uuid,
    inner: Uuid,
    clients: [Uuid; 3],
}

fn world(holder: impl Fn(&World) -> Uuid, actions: &[&str]) -> World {
    let mut tree = Tree::new(Uuid::now_v7());
    let [outer, inner, at_root, in_outer, in_inner] = std::array::from_fn(|_| Uuid::now_v7());
    tree.put_object(tree.domain_id, Entity::Domain, None, Status::Enabled);
    tree.put_object(outer, Entity::Group, None, Status::Enabled);
    tree.put_object(inner, Entity::Group, Some(outer), Status::Enabled);
    for (client, parent) in [(at_root, None), (in_outer, Some(outer)), (in_inner, Some(inner))] {
        tree.put_object(client, Entity::Client, parent, Status::Enabled);
    }
    let mut world = World {
        tree,
        user: UserId::new(),
        outer,
        inner,
        clients: [at_root, in_outer, in_inner],
    };
    let role = Role {
        entity_id: holder(&world),
        actions: actions.iter().map(ToString::to_string).collect(),
        members: HashSet::from([world.user]),
    };
    world.tree.put_role(RoleId::new(), role);
    world
}

fn ask(world: &World, entity: Entity, action: &str, object: Uuid) -> Result<Grant, Denial> {
    let subject = Subject {
        user: world.user,
        platform_admin: false,
    };
    decide(&world.tree, subject, Ask { entity, action, object }).answer
}

fn readable(world: &World) -> [bool; 3] {
    world
        .clients
        .map(|client| ask(world, Entity::Client, "read", client).is_ok())
}

#[test]
fn a_group_role_covers_only_the_clients_directly_in_it() {
    assert_eq!(
        readable(&world(|world| world.outer, &["client_read"])),
        [false, true, false]
    );
}

#[test]
fn a_subgroup_action_covers_the_clients_of_all_groups_below_it() {
    assert_eq!(
        readable(&world(|world| world.outer, &["subgroup_client_read"])),
        [false, false, true]
    );
}

#[test]
fn a_domain_role_covers_every_client() {
    assert_eq!(
        readable(&world(|world| world.tree.domain_id, &["client_read"])),
        [true, true, true]
    );
}

#[test]
fn who_holds_nothing_may_not_know_and_who_holds_something_may_not_do_more() {
    let world = world(|world| world.clients[0], &["update"]);
    assert_eq!(
        ask(&world, Entity::Client, "delete", world.clients[0]),
        Err(Denial::NotHeld)
    );
    assert_eq!(
        ask(&world, Entity::Client, "delete", world.clients[1]),
        Err(Denial::Unknown)
    );
    assert_eq!(
        ask(&world, Entity::Channel, "read", world.clients[0]),
        Err(Denial::Unknown),
        "of another kind"
    );
    assert!(ask(&world, Entity::Domain, "membership", world.tree.domain_id).is_ok());
    assert_eq!(
        ask(&world, Entity::Domain, "read", world.tree.domain_id),
        Err(Denial::NotHeld)
    );
}

#[test]
fn a_disabled_domain_is_open_to_its_administrators_alone() {
    let mut member = world(|world| world.tree.domain_id, &["client_read"]);
    let mut admin = world(|world| world.tree.domain_id, DOMAIN_OWN);
    for world in [&mut member, &mut admin] {
        world
            .tree
            .put_object(world.tree.domain_id, Entity::Domain, None, Status::Disabled);
    }
    assert_eq!(
        ask(&member, Entity::Client, "read", member.clients[0]),
        Err(Denial::DomainDisabled)
    );
    assert!(ask(&admin, Entity::Domain, "enable", admin.tree.domain_id).is_ok());
    admin
        .tree
        .put_object(admin.tree.domain_id, Entity::Domain, None, Status::Frozen);
    assert_eq!(
        ask(&admin, Entity::Domain, "enable", admin.tree.domain_id),
        Err(Denial::DomainFrozen)
    );
}

#[test]
fn a_disabled_channel_carries_no_messages_even_for_administrators() {
    let mut world = world(|world| world.tree.domain_id, &["channel_subscribe", "channel_read"]);
    let channel = Uuid::now_v7();
    world.tree.put_object(channel, Entity::Channel, None, Status::Disabled);
    assert_eq!(
        ask(&world, Entity::Channel, "subscribe", channel),
        Err(Denial::ObjectDisabled)
    );
    assert!(ask(&world, Entity::Channel, "read", channel).is_ok());
    let subject = Subject {
        user: UserId::new(),
        platform_admin: true,
    };
    let question = Ask {
        entity: Entity::Channel,
        action: "subscribe",
        object: channel,
    };
    assert_eq!(
        decide(&world.tree, subject, question).answer,
        Err(Denial::ObjectDisabled)
    );
}

#[test]
fn a_disabled_domain_carries_no_messages_and_who_disabled_it_can_take_that_back() {
    let mut world = world(
        |world| world.tree.domain_id,
        &["disable", "enable", "channel_subscribe"],
    );
    let channel = Uuid::now_v7();
    world.tree.put_object(channel, Entity::Channel, None, Status::Enabled);
    world
        .tree
        .put_object(world.tree.domain_id, Entity::Domain, None, Status::Disabled);
    assert!(ask(&world, Entity::Domain, "disable", world.tree.domain_id).is_ok());
    assert!(ask(&world, Entity::Domain, "enable", world.tree.domain_id).is_ok());
    let question = Ask {
        entity: Entity::Channel,
        action: "subscribe",
        object: channel,
    };
    let admin = Subject {
        user: UserId::new(),
        platform_admin: true,
    };
    assert_eq!(decide(&world.tree, admin, question).answer, Err(Denial::DomainDisabled));
}

#[test]
fn a_trace_says_what_was_looked_at_and_ends_with_what_decided() {
    let world = world(|world| world.tree.domain_id, &["client_read"]);
    let subject = Subject {
        user: world.user,
        platform_admin: false,
    };
    let question = Ask {
        entity: Entity::Client,
        action: "read",
        object: world.clients[2],
    };
    let decision = decide(&world.tree, subject, question);
    let last = decision.trace.last().unwrap();
    assert_eq!((last.holder, last.is_held), (world.tree.domain_id, true));
    assert!(
        decision
            .trace
            .iter()
            .any(|step| step.holder == world.inner && !step.is_held)
    );
}

proptest! {
    /// Whatever roles a user has, the list of clients is those that a check lets through.
    #[test]
    fn an_expansion_agrees_with_every_check(
        parents in prop::collection::vec(prop::option::of(0usize..6), 6),
        client_parents in prop::collection::vec(prop::option::of(0usize..6), 1..8),
        grants in prop::collection::vec((0usize..15, 0usize..6), 0..6),
    ) {
        let names = ["read", "client_read", "subgroup_client_read", "update", "client_update", "membership"];
        let mut tree = Tree::new(Uuid::now_v7());
        tree.put_object(tree.domain_id, Entity::Domain, None, Status::Enabled);
        let groups: Vec<_> = (0..6).map(|_| Uuid::now_v7()).collect();
        for (index, parent) in parents.iter().enumerate() {
            // Only groups made before may be parents, so that the tree has no circles.
            let parent = parent.filter(|parent| *parent < index).map(|parent| groups[parent]);
            tree.put_object(groups[index], Entity::Group, parent, Status::Enabled);
        }
        let clients: Vec<_> = client_parents.iter().map(|parent| (Uuid::now_v7(), parent.map(|parent| groups[parent]))).collect();
        for (client, parent) in &clients {
            tree.put_object(*client, Entity::Client, *parent, Status::Enabled);
        }
        let holders: Vec<_> = std::iter::once(tree.domain_id).chain(groups).chain(clients.iter().map(|(id, _)| *id)).collect();
        let user = UserId::new();
        for (holder, action) in grants {
            let entity_id = holders[holder % holders.len()];
            if tree.role_on(user, entity_id).is_none() {
                let actions = HashSet::from([names[action].to_owned()]);
                tree.put_role(RoleId::new(), Role { entity_id, actions, members: HashSet::from([user]) });
            }
        }
        let subject = Subject { user, platform_admin: false };
        let expansion = expand(&tree, subject, Entity::Client, "read");
        for (client, parent) in clients {
            let listed = expansion.all || expansion.objects.contains(&client)
                || parent.is_some_and(|parent| expansion.groups.contains(&parent));
            let question = Ask { entity: Entity::Client, action: "read", object: client };
            prop_assert_eq!(listed, decide(&tree, subject, question).answer.is_ok());
        }
    }
}
