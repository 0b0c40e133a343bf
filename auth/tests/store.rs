//! The database of `auth`, on SQLite and on Postgres.

#![allow(clippy::unwrap_used)]

use trunkline_auth::domain::{Domain, Filter, NewRole, Order, RoleName};
use trunkline_auth::store::{MIGRATIONS, ObjectRow, RoleRow, Store};
use trunkline_auth::tree::Status;
use trunkline_auth::user::{Email, PlatformRole, User, Username};
use trunkline_bus::Route;
use trunkline_core::attributes::{Name, Tags};
use trunkline_core::{DomainId, RoleId, Timestamp, UserId};
use trunkline_db::{Db, Page, schema};
use trunkline_proto::guard::Entity;
use trunkline_testkit::{Postgres, free_dir};

const NOON: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// Runs a claim on both databases.
async fn on_both<F: AsyncFn(Store)>(claim: F) {
    let folder = free_dir();
    let sqlite = Db::open(
        &format!("sqlite:{}", folder.path().join("auth.db").display()),
        &MIGRATIONS,
    )
    .await
    .unwrap();
    claim(Store::new(sqlite.clone())).await;
    sqlite.close().await;
    let database = Postgres::database().await;
    let postgres = Db::migrate_and_open(database.url(), &MIGRATIONS).await.unwrap();
    claim(Store::new(postgres.clone())).await;
    postgres.close().await;
}

fn user(name: &str) -> User {
    User {
        id: UserId::new(),
        email: Email::parse("email", &format!("{name}@example.com")).unwrap(),
        username: Username::parse("username", name).unwrap(),
        first_name: Some("Ann".into()),
        last_name: None,
        tags: Tags::parse("tags", vec!["a".into()]).unwrap(),
        metadata: None,
        private_metadata: None,
        profile_picture: None,
        is_enabled: true,
        role: PlatformRole::User,
        verified_at: Some(NOON),
        created_at: NOON,
        updated_at: NOON,
        updated_by: None,
    }
}

fn domain(route: &str, creator: UserId) -> Domain {
    Domain {
        id: DomainId::new(),
        route: Route::parse(route).unwrap(),
        name: Name::parse("name", &format!("The {route} 100%")).unwrap(),
        tags: Tags::default(),
        metadata: None,
        status: Status::Enabled,
        created_by: creator,
        created_at: NOON,
        updated_at: NOON,
        updated_by: None,
    }
}

fn object(domain_id: DomainId, creator: UserId) -> ObjectRow {
    ObjectRow {
        domain_id,
        id: domain_id.uuid(),
        entity: Entity::Domain,
        parent: None,
        status: Status::Enabled,
        is_removed: false,
        created_by: creator,
    }
}

async fn insert_domain(store: &Store, domain: &Domain, member: UserId) -> Result<(), trunkline_db::Error> {
    let role = NewRole {
        name: RoleName::admin(),
        actions: vec!["read".into()],
        members: vec![member],
    };
    let row = RoleRow {
        domain_id: domain.id,
        id: RoleId::new(),
        entity_id: domain.id.uuid(),
        is_built_in: true,
        role: &role,
        created_by: member,
    };
    store.insert_domain(domain, &object(domain.id, member), &row).await
}

#[tokio::test]
async fn both_databases_have_the_same_schema() {
    let folder = free_dir();
    let sqlite = Db::open(
        &format!("sqlite:{}", folder.path().join("auth.db").display()),
        &MIGRATIONS,
    )
    .await
    .unwrap();
    let database = Postgres::database().await;
    let postgres = Db::migrate_and_open(database.url(), &MIGRATIONS).await.unwrap();
    assert_eq!(schema::compare(&sqlite, &postgres).await.unwrap(), Vec::<String>::new());
    postgres.close().await;
}

#[tokio::test]
async fn an_address_and_a_user_name_belong_to_one_user() {
    on_both(async |store| {
        let ann = user("ann");
        store.insert_user(&ann, "hash").await.unwrap();
        assert_eq!(store.login("ann").await.unwrap(), Some((ann.id, "hash".to_owned())));
        assert_eq!(
            store.login("ann@example.com").await.unwrap(),
            Some((ann.id, "hash".to_owned()))
        );
        let same_name = User {
            email: Email::parse("email", "other@example.com").unwrap(),
            ..user("ann")
        };
        assert!(
            store
                .insert_user(&same_name, "hash")
                .await
                .unwrap_err()
                .is_conflict("users_username_key")
        );
        let same_address = User {
            username: Username::parse("username", "other").unwrap(),
            ..user("ann")
        };
        assert!(
            store
                .insert_user(&same_address, "hash")
                .await
                .unwrap_err()
                .is_conflict("users_email_key")
        );
    })
    .await;
}

#[tokio::test]
async fn a_domain_comes_with_its_object_and_role_or_not_at_all() {
    on_both(async |store| {
        let ann = UserId::new();
        let first = domain("plant", ann);
        insert_domain(&store, &first, ann).await.unwrap();
        let (objects, roles) = store.tree(first.id).await.unwrap();
        assert_eq!(objects, [object(first.id, ann)]);
        assert_eq!(
            (roles.len(), &roles[0].members[..], &roles[0].actions[..]),
            (1, &[ann][..], &["read".to_owned()][..])
        );
        let second = domain("plant", ann);
        assert!(
            insert_domain(&store, &second, ann)
                .await
                .unwrap_err()
                .is_conflict("domains_route_key")
        );
        assert_eq!(store.object(second.id.uuid()).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_user_has_one_role_on_an_entity() {
    on_both(async |store| {
        let ann = UserId::new();
        let plant = domain("plant", ann);
        insert_domain(&store, &plant, ann).await.unwrap();
        let role = NewRole {
            name: RoleName::parse("n", "ops").unwrap(),
            actions: vec![],
            members: vec![ann],
        };
        let row = RoleRow {
            domain_id: plant.id,
            id: RoleId::new(),
            entity_id: plant.id.uuid(),
            is_built_in: false,
            role: &role,
            created_by: ann,
        };
        assert!(
            store
                .insert_role(&row, NOON)
                .await
                .unwrap_err()
                .is_conflict("role_members_pkey")
        );
        let (_, roles) = store.tree(plant.id).await.unwrap();
        assert_eq!(roles.len(), 1, "the refused role leaves nothing behind");
    })
    .await;
}

#[tokio::test]
async fn a_removed_object_keeps_its_id() {
    on_both(async |store| {
        let ann = UserId::new();
        let plant = domain("plant", ann);
        insert_domain(&store, &plant, ann).await.unwrap();
        store.remove_object(plant.id, plant.id.uuid()).await.unwrap();
        let (objects, roles) = store.tree(plant.id).await.unwrap();
        assert!(objects.is_empty() && roles.is_empty());
        assert!(store.object(plant.id.uuid()).await.unwrap().unwrap().is_removed);
    })
    .await;
}

#[tokio::test]
async fn a_list_is_cut_to_the_member_and_searches_text_as_it_stands() {
    on_both(async |store| {
        let (ann, bob) = (UserId::new(), UserId::new());
        for (route, member) in [("plant", ann), ("office", ann), ("other", bob)] {
            insert_domain(&store, &domain(route, member), member).await.unwrap();
        }
        let filter = |member, name: Option<&str>| Filter {
            member,
            name: name.map(str::to_owned),
            status: Some(Status::Enabled),
            order: Order::Name,
            is_ascending: true,
        };
        let routes = async |filter: Filter| -> Vec<String> {
            let (total, found) = store.domains(&filter, Page::default()).await.unwrap();
            assert_eq!(total.count, found.len() as u64);
            found.into_iter().map(|domain| domain.route.to_string()).collect()
        };
        assert_eq!(routes(filter(Some(ann), None)).await, ["office", "plant"]);
        assert_eq!(routes(filter(None, Some("0%"))).await, ["office", "other", "plant"]);
        assert_eq!(routes(filter(None, Some("_"))).await, Vec::<String>::new());
        assert_eq!(routes(filter(None, Some("plan"))).await, ["plant"]);
    })
    .await;
}

#[tokio::test]
async fn a_list_shows_what_a_check_would_let_the_member_see() {
    on_both(async |store| {
        let (ann, now) = (UserId::new(), NOON);
        let admin_actions: Vec<String> = trunkline_auth::actions::DOMAIN_OWN
            .iter()
            .map(ToString::to_string)
            .collect();
        let mut ids = Vec::new();
        for (route, actions) in [
            ("admin", admin_actions),
            ("member", vec!["read".to_owned()]),
            ("nothing", vec![]),
        ] {
            let domain = domain(route, ann);
            let role = NewRole {
                name: RoleName::admin(),
                actions,
                members: vec![ann],
            };
            let row = RoleRow {
                domain_id: domain.id,
                id: RoleId::new(),
                entity_id: domain.id.uuid(),
                is_built_in: true,
                role: &role,
                created_by: ann,
            };
            store
                .insert_domain(&domain, &object(domain.id, ann), &row)
                .await
                .unwrap();
            ids.push(domain.id);
        }
        let seen = async || -> Vec<String> {
            let filter = Filter {
                member: Some(ann),
                name: None,
                status: None,
                order: Order::Name,
                is_ascending: true,
            };
            let (_, found) = store.domains(&filter, Page::default()).await.unwrap();
            found.into_iter().map(|domain| domain.route.to_string()).collect()
        };
        assert_eq!(seen().await, ["admin", "member"]);
        for id in &ids {
            store.set_domain_status(*id, Status::Disabled, now, ann).await.unwrap();
        }
        assert_eq!(seen().await, ["admin"]);
        store.set_domain_status(ids[0], Status::Frozen, now, ann).await.unwrap();
        assert_eq!(seen().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn the_last_enabled_administrator_stays_enabled() {
    on_both(async |store| {
        let admin = |name| User {
            role: PlatformRole::Admin,
            ..user(name)
        };
        let (ann, bob) = (admin("ann"), admin("bob"));
        store.insert_user(&ann, "hash").await.unwrap();
        store.insert_user(&bob, "hash").await.unwrap();
        let (one, other) = tokio::join!(
            store.set_user_status(ann.id, false, NOON, bob.id),
            store.set_user_status(bob.id, false, NOON, ann.id)
        );
        one.unwrap();
        other.unwrap();
        let enabled = async |id| store.user(id).await.unwrap().unwrap().is_enabled;
        assert!(enabled(ann.id).await || enabled(bob.id).await);
    })
    .await;
}
