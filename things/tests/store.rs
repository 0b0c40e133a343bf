//! The statements of this service on both databases.
#![allow(clippy::unwrap_used)]

use trunkline_core::attributes::{Metadata, Name, Tags};
use trunkline_core::{ClientId, CredentialId, DomainId, GroupId, Secret, Timestamp, UserId};
use trunkline_db::page::LIMIT_DEFAULT;
use trunkline_db::{Db, Error, Page, schema};
use trunkline_registry::store as registry;
use trunkline_registry::{Base, Direction, List, Order, Status, Visible};
use trunkline_testkit::{Postgres, free_dir};
use trunkline_things::MIGRATIONS;
use trunkline_things::client::{Client, Identity, NewClient};
use trunkline_things::store::{self, NewCredential, constraint};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_001);

/// Holds a claim against SQLite and then against Postgres, each empty.
async fn on_both(claim: impl AsyncFn(&Db)) {
    let folder = free_dir();
    let sqlite = open_sqlite(folder.path()).await;
    claim(&sqlite).await;
    sqlite.close().await;
    let database = Postgres::database().await;
    let postgres = Db::migrate_and_open(database.url(), &MIGRATIONS).await.unwrap();
    claim(&postgres).await;
    postgres.close().await;
}

async fn open_sqlite(folder: &std::path::Path) -> Db {
    let url = format!("sqlite:{}", folder.join("things.db").display());
    Db::open(&url, &MIGRATIONS).await.unwrap()
}

/// A client that has nothing but what it must have.
fn plain(domain_id: DomainId) -> Client {
    let new = NewClient {
        id: ClientId::new(),
        domain_id,
        name: None,
        tags: Tags::default(),
        identity: None,
        secret: Secret::generate(),
        metadata: None,
        private_metadata: None,
    };
    new.created(NOW)
}

fn named(domain_id: DomainId, name: &str) -> Client {
    let mut client = plain(domain_id);
    client.base.name = Some(Name::parse("name", name).unwrap());
    client
}

fn credential(digest: u8) -> NewCredential {
    NewCredential {
        id: CredentialId::new(),
        digest: [digest; 32],
        key_version: 1,
        not_before: NOW,
        not_after: None,
    }
}

async fn insert(db: &Db, client: &Client, credential: &NewCredential) -> Result<(), Error> {
    db.write(|tx| Box::pin(store::insert(tx, client, credential))).await
}

async fn insert_each(db: &Db, clients: &[Client]) {
    for (index, client) in clients.iter().enumerate() {
        insert(db, client, &credential(u8::try_from(index).unwrap()))
            .await
            .unwrap();
    }
}

fn all(domain_id: DomainId) -> List {
    List {
        domain_id,
        page: Page::default(),
        order: Order::Name,
        direction: Direction::Ascending,
        name_folded: None,
        status: None,
    }
}

async fn names(db: &Db, list: &List, visible: &Visible<ClientId>) -> Vec<String> {
    let (_, clients) = registry::list::<Client>(db, list, visible).await.unwrap();
    clients
        .iter()
        .map(|client| client.base.name.as_ref().map(ToString::to_string).unwrap_or_default())
        .collect()
}

#[tokio::test]
async fn both_databases_have_one_schema() {
    let (folder, database) = (free_dir(), Postgres::database().await);
    let sqlite = open_sqlite(folder.path()).await;
    let postgres = Db::migrate_and_open(database.url(), &MIGRATIONS).await.unwrap();
    assert_eq!(schema::compare(&sqlite, &postgres).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_client_reads_back_as_it_was_stored_and_changed() {
    on_both(async |db| {
        let mut client = Client {
            base: Base {
                parent_group_id: Some(GroupId::new()),
                tags: Tags::parse("tags", vec!["cold".into(), "\"7\"".into()]).unwrap(),
                metadata: Some(Metadata::parse("metadata", br#" {"a": 1.50} "#).unwrap()),
                ..named(DomainId::new(), "Kühlraum 7").base
            },
            identity: Some(Identity::parse("identity", "SN-1").unwrap()),
            private_metadata: Some(Metadata::parse("metadata", b"{}").unwrap()),
        };
        insert(db, &client, &credential(1)).await.unwrap();
        let read = registry::get::<Client>(db, client.base.domain_id, client.base.id)
            .await
            .unwrap();
        assert_eq!(read.as_ref(), Some(&client));

        client.base = Base {
            name: None,
            metadata: None,
            status: Status::Disabled,
            updated_at: NOW.plus_seconds(1),
            updated_by: Some(UserId::new()),
            revision: 2,
            ..client.base
        };
        db.write::<_, Error>(|tx| Box::pin(registry::update(tx, &client)))
            .await
            .unwrap();
        assert_eq!(
            registry::get::<Client>(db, client.base.domain_id, client.base.id)
                .await
                .unwrap(),
            Some(client)
        );
    })
    .await;
}

#[tokio::test]
async fn a_client_is_not_found_in_another_domain() {
    on_both(async |db| {
        let client = plain(DomainId::new());
        insert(db, &client, &credential(1)).await.unwrap();
        assert_eq!(
            registry::get::<Client>(db, DomainId::new(), client.base.id)
                .await
                .unwrap(),
            None
        );
        assert_eq!(
            store::domain_of(db, client.base.id).await.unwrap(),
            Some(client.base.domain_id)
        );
        assert_eq!(store::domain_of(db, ClientId::new()).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn an_id_in_use_is_a_conflict_in_every_domain() {
    on_both(async |db| {
        let client = plain(DomainId::new());
        insert(db, &client, &credential(1)).await.unwrap();
        let same = insert(db, &client, &credential(2)).await.unwrap_err();
        assert!(
            same.is_conflict(constraint::ID) || same.is_conflict(constraint::ID_ANYWHERE),
            "{same:?}"
        );
        let mut elsewhere = client;
        elsewhere.base.domain_id = DomainId::new();
        let error = insert(db, &elsewhere, &credential(3)).await.unwrap_err();
        assert!(error.is_conflict(constraint::ID_ANYWHERE), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_secret_in_use_in_the_domain_is_a_conflict_that_leaves_no_client() {
    on_both(async |db| {
        let (first, second) = (plain(DomainId::new()), plain(DomainId::new()));
        insert(db, &first, &credential(1)).await.unwrap();
        let third = plain(first.base.domain_id);
        let error = insert(db, &third, &credential(1)).await.unwrap_err();
        assert!(error.is_conflict(constraint::SECRET), "{error:?}");
        assert_eq!(
            registry::get::<Client>(db, third.base.domain_id, third.base.id)
                .await
                .unwrap(),
            None
        );
        insert(db, &second, &credential(1)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn of_two_creations_at_once_with_one_secret_exactly_one_wins() {
    on_both(async |db| {
        let domain_id = DomainId::new();
        let (one, other) = (plain(domain_id), plain(domain_id));
        let (one_credential, other_credential) = (credential(1), credential(1));
        let outcomes = tokio::join!(insert(db, &one, &one_credential), insert(db, &other, &other_credential));
        match outcomes {
            (Ok(()), Err(error)) | (Err(error), Ok(())) => assert!(error.is_conflict(constraint::SECRET), "{error:?}"),
            other => panic!("{other:?}"),
        }
        let (total, _) = registry::list::<Client>(db, &all(domain_id), &Visible::All)
            .await
            .unwrap();
        assert_eq!(total.count, 1);
    })
    .await;
}

#[tokio::test]
async fn a_credential_is_found_by_its_digest_in_its_domain() {
    on_both(async |db| {
        let client = plain(DomainId::new());
        let stored = NewCredential {
            not_after: Some(NOW.plus_seconds(9)),
            ..credential(1)
        };
        insert(db, &client, &stored).await.unwrap();
        let found = store::credential(db, client.base.domain_id, &[1; 32])
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (found.id, found.client_id, found.last_used),
            (stored.id, client.base.id, None)
        );
        assert_eq!((found.not_before, found.not_after), (NOW, Some(NOW.plus_seconds(9))));
        assert_eq!(
            store::credential(db, client.base.domain_id, &[2; 32]).await.unwrap(),
            None
        );
        assert_eq!(store::credential(db, DomainId::new(), &[1; 32]).await.unwrap(), None);

        store::mark_used(db, client.base.domain_id, stored.id, NOW)
            .await
            .unwrap();
        let found = store::credential(db, client.base.domain_id, &[1; 32])
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.last_used, Some(NOW));
    })
    .await;
}

#[tokio::test]
async fn a_client_marked_as_deleted_is_hidden_everywhere_until_it_is_removed_with_its_credentials() {
    on_both(async |db| {
        let (client, user) = (plain(DomainId::new()), UserId::new());
        let (domain_id, id) = (client.base.domain_id, client.base.id);
        insert(db, &client, &credential(1)).await.unwrap();
        let remove = || db.write::<_, Error>(|tx| Box::pin(registry::remove::<Client>(tx, domain_id, id)));
        assert_eq!(remove().await.unwrap(), None, "a client that is not marked stays");

        assert!(
            registry::mark_deleted::<Client>(db, domain_id, id, user, NOW)
                .await
                .unwrap()
        );
        assert!(
            registry::mark_deleted::<Client>(db, domain_id, id, user, NOW)
                .await
                .unwrap(),
            "marking again goes on"
        );
        assert_eq!(registry::get::<Client>(db, domain_id, id).await.unwrap(), None);
        assert_eq!(store::domain_of(db, id).await.unwrap(), None);
        assert_eq!(store::credential(db, domain_id, &[1; 32]).await.unwrap(), None);
        assert_eq!(
            registry::list::<Client>(db, &all(domain_id), &Visible::All)
                .await
                .unwrap()
                .0
                .count,
            0
        );
        assert_eq!(
            registry::marked_deleted::<Client>(db, 10).await.unwrap(),
            [(domain_id, id)]
        );

        let removed = remove().await.unwrap().unwrap();
        assert_eq!((removed.removed_by, removed.revision), (Some(user), 1));
        assert_eq!(remove().await.unwrap(), None);
        assert!(
            !registry::mark_deleted::<Client>(db, domain_id, id, user, NOW)
                .await
                .unwrap()
        );
        insert(db, &plain(domain_id), &credential(1))
            .await
            .expect("the secret is free again");
    })
    .await;
}

#[tokio::test]
async fn a_list_is_cut_by_what_the_caller_may_see() {
    on_both(async |db| {
        let (domain_id, group) = (DomainId::new(), GroupId::new());
        let mut grouped = named(domain_id, "a");
        grouped.base.parent_group_id = Some(group);
        let granted = named(domain_id, "b");
        insert_each(
            db,
            &[
                grouped,
                granted.clone(),
                named(domain_id, "c"),
                named(DomainId::new(), "d"),
            ],
        )
        .await;
        let list = all(domain_id);
        assert_eq!(names(db, &list, &Visible::All).await, ["a", "b", "c"]);
        let some = Visible::some(vec![group], vec![granted.base.id]).unwrap();
        assert_eq!(names(db, &list, &some).await, ["a", "b"]);
        let none = Visible::some(Vec::new(), Vec::new()).unwrap();
        assert_eq!(names(db, &list, &none).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_name_is_searched_without_regard_to_case_and_with_wildcards_as_data() {
    on_both(async |db| {
        let domain_id = DomainId::new();
        let clients = ["Ärger 100%", "ärger", "a_b", "axb", "!"].map(|name| named(domain_id, name));
        insert_each(db, &clients).await;
        for (text, found) in [
            ("äRGER", vec!["ärger", "Ärger 100%"]),
            ("%", vec!["Ärger 100%"]),
            ("_", vec!["a_b"]),
            ("!", vec!["!"]),
        ] {
            let list = List {
                name_folded: Some(text.to_lowercase()),
                ..all(domain_id)
            };
            assert_eq!(names(db, &list, &Visible::All).await, found, "{text}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_list_has_one_order_on_both_databases() {
    on_both(async |db| {
        let domain_id = DomainId::new();
        let mut clients = ["b", "B2", "a-c", "ab", "é"]
            .map(|name| named(domain_id, name))
            .to_vec();
        clients.push(plain(domain_id));
        for (index, client) in clients.iter_mut().enumerate() {
            client.base.updated_at = NOW.plus_seconds(-i64::try_from(index).unwrap());
        }
        insert_each(db, &clients).await;
        let mut list = all(domain_id);
        assert_eq!(names(db, &list, &Visible::All).await, ["", "a-c", "ab", "b", "B2", "é"]);
        list.direction = Direction::Descending;
        assert_eq!(names(db, &list, &Visible::All).await, ["é", "B2", "b", "ab", "a-c", ""]);
        list.order = Order::UpdatedAt;
        assert_eq!(names(db, &list, &Visible::All).await, ["b", "B2", "a-c", "ab", "é", ""]);
    })
    .await;
}

#[tokio::test]
async fn a_page_says_how_many_clients_there_are_of_the_status_asked_for() {
    on_both(async |db| {
        let domain_id = DomainId::new();
        let mut clients: Vec<Client> = (0..25).map(|_| plain(domain_id)).collect();
        clients
            .iter_mut()
            .take(4)
            .for_each(|client| client.base.status = Status::Disabled);
        insert_each(db, &clients).await;
        let list = List {
            status: Some(Status::Enabled),
            page: Page::parse(Some(15), None).unwrap(),
            ..all(domain_id)
        };
        let (total, page) = registry::list::<Client>(db, &list, &Visible::All).await.unwrap();
        assert_eq!((total.count, page.len()), (21, 6));
        let list = List {
            page: Page::default(),
            ..list
        };
        let (_, page) = registry::list::<Client>(db, &list, &Visible::All).await.unwrap();
        assert_eq!(page.len() as u64, LIMIT_DEFAULT);
    })
    .await;
}
