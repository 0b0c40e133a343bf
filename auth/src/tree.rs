//! The object tree of one domain in memory: its objects, their parents and status, their roles, and who holds them.
//!
//! Pure: no I/O. The database is the truth; a change is applied here after it was committed there.

use std::collections::{HashMap, HashSet};

use trunkline_core::{RoleId, UserId};
use trunkline_proto::guard::Entity;
use uuid::Uuid;

/// Groups above each other in one domain (magistrala.md 1.1, "Group hierarchy"). Walks up the tree end here in any case.
pub const GROUP_DEPTH_MAX: usize = 20;

/// Whether an object works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It works.
    Enabled,
    /// It does not, until it is enabled.
    Disabled,
    /// A domain that only administrators of the platform reach.
    Frozen,
}

impl Status {
    /// The text that databases and events keep.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Frozen => "frozen",
        }
    }

    /// Reads what [`Status::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Enabled, Self::Disabled, Self::Frozen]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// One object of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its kind.
    pub entity: Entity,
    /// The group that it is in; `None` directly below the domain.
    pub parent: Option<Uuid>,
    /// Whether it works.
    pub status: Status,
    /// Its roles.
    pub roles: Vec<RoleId>,
}

/// One role: the actions that its members hold on its entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The object that it is a role of.
    pub entity_id: Uuid,
    /// The actions.
    pub actions: HashSet<String>,
    /// Who holds them.
    pub members: HashSet<UserId>,
}

/// One domain with everything in it.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Id of the domain, which is an object of its own tree.
    pub domain_id: Uuid,
    objects: HashMap<Uuid, Object>,
    roles: HashMap<RoleId, Role>,
    /// The role that a user has on an object; at most one, as the database says too.
    held: HashMap<UserId, HashMap<Uuid, RoleId>>,
}

impl Tree {
    /// A tree without objects.
    pub fn new(domain_id: Uuid) -> Self {
        Self {
            domain_id,
            objects: HashMap::new(),
            roles: HashMap::new(),
            held: HashMap::new(),
        }
    }

    /// The object with this id, if the domain has it.
    pub fn object(&self, id: Uuid) -> Option<&Object> {
        self.objects.get(&id)
    }

    /// Every object with its id, in no order.
    pub fn objects(&self) -> impl Iterator<Item = (Uuid, &Object)> {
        self.objects.iter().map(|(id, object)| (*id, object))
    }

    /// The domain's status; a domain that is not in its own tree does not work.
    pub fn status(&self) -> Status {
        self.objects
            .get(&self.domain_id)
            .map_or(Status::Disabled, |domain| domain.status)
    }

    /// Adds an object, or replaces its parent and status.
    pub fn put_object(&mut self, id: Uuid, entity: Entity, parent: Option<Uuid>, status: Status) {
        let object = self.objects.entry(id).or_insert_with(|| Object {
            entity,
            parent,
            status,
            roles: Vec::new(),
        });
        (object.parent, object.status) = (parent, status);
    }

    /// Takes an object away with its roles; what was in it is then directly below the domain.
    pub fn remove_object(&mut self, id: Uuid) {
        let Some(object) = self.objects.remove(&id) else { return };
        for role in object.roles {
            self.remove_role(role);
        }
        for child in self.objects.values_mut().filter(|child| child.parent == Some(id)) {
            child.parent = None;
        }
    }

    /// Adds a role. One of an object that the domain lacks is left out.
    pub fn put_role(&mut self, id: RoleId, role: Role) {
        let Some(object) = self.objects.get_mut(&role.entity_id) else {
            return;
        };
        if !object.roles.contains(&id) {
            object.roles.push(id);
        }
        for member in &role.members {
            self.held.entry(*member).or_default().insert(role.entity_id, id);
        }
        self.roles.insert(id, role);
    }

    /// Takes a role away.
    pub fn remove_role(&mut self, id: RoleId) {
        let Some(role) = self.roles.remove(&id) else { return };
        if let Some(object) = self.objects.get_mut(&role.entity_id) {
            object.roles.retain(|other| *other != id);
        }
        for member in role.members {
            if let Some(held) = self.held.get_mut(&member) {
                held.remove(&role.entity_id);
            }
        }
    }

    /// The role that `user` has on the object `id`.
    pub fn role_on(&self, user: UserId, id: Uuid) -> Option<(RoleId, &Role)> {
        let role = *self.held.get(&user)?.get(&id)?;
        self.roles.get(&role).map(|found| (role, found))
    }

    /// Every role that `user` has in the domain.
    pub fn roles_of(&self, user: UserId) -> impl Iterator<Item = (RoleId, &Role)> {
        let held = self.held.get(&user).into_iter().flat_map(HashMap::values);
        held.filter_map(|id| self.roles.get(id).map(|role| (*id, role)))
    }

    /// The groups that the object `id` is in, nearest first, at most [`GROUP_DEPTH_MAX`].
    pub fn groups_above(&self, id: Uuid) -> impl Iterator<Item = Uuid> {
        let mut next = self.objects.get(&id).and_then(|object| object.parent);
        std::iter::from_fn(move || {
            let group = next?;
            next = self.objects.get(&group).and_then(|object| object.parent);
            Some(group)
        })
        .take(GROUP_DEPTH_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_of_groups_does_not_hang_a_walk() {
        let mut tree = Tree::new(Uuid::now_v7());
        let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
        tree.put_object(one, Entity::Group, Some(two), Status::Enabled);
        tree.put_object(two, Entity::Group, Some(one), Status::Enabled);
        assert_eq!(tree.groups_above(one).count(), GROUP_DEPTH_MAX);
    }

    #[test]
    fn removing_an_object_takes_its_roles_from_their_members() {
        let (domain, user, role) = (Uuid::now_v7(), UserId::new(), RoleId::new());
        let mut tree = Tree::new(domain);
        tree.put_object(domain, Entity::Domain, None, Status::Enabled);
        tree.put_role(
            role,
            Role {
                entity_id: domain,
                actions: HashSet::new(),
                members: HashSet::from([user]),
            },
        );
        assert!(tree.role_on(user, domain).is_some());
        tree.remove_object(domain);
        assert_eq!(tree.roles_of(user).count(), 0);
    }
}
