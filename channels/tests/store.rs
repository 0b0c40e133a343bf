//! The statements of this service on both databases.
#![allow(clippy::unwrap_used)]

use trunkline_bus::{Ref, Route};
use trunkline_channels::MIGRATIONS;
use trunkline_channels::channel::{Channel, NewChannel};
use trunkline_channels::connection::{Connections, ENDS_MAX, Kind};
use trunkline_channels::store::{self, Reachable, Revocation, constraint};
use trunkline_core::attributes::{Metadata, Name, Tags};
use trunkline_core::{ChannelId, ClientId, DomainId, GroupId, Timestamp, UserId};
use trunkline_db::{Db, Error, Page, schema};
use trunkline_registry::store as registry;
use trunkline_registry::{Base, Direction, List, Order, Status, Visible};
use trunkline_testkit::{Postgres, free_dir};

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
    let url = format!("sqlite:{}", folder.join("channels.db").display());
    Db::open(&url, &MIGRATIONS).await.unwrap()
}

/// A channel that has nothing but what it must have.
fn plain(domain_id: DomainId) -> Channel {
    let new = NewChannel {
        id: ChannelId::new(),
        domain_id,
        route: None,
        name: None,
        tags: Tags::default(),
        metadata: None,
    };
    new.created(UserId::new(), NOW)
}

fn routed(domain_id: DomainId, route: &str) -> Channel {
    let mut channel = plain(domain_id);
    channel.route = Route::parse(route);
    channel.base.name = Name::parse("name", route).ok();
    channel
}

async fn insert(db: &Db, channel: &Channel) -> Result<(), Error> {
    db.write(|tx| Box::pin(registry::insert(tx, channel))).await
}

async fn inserted<const N: usize>(db: &Db, channels: [Channel; N]) -> [Channel; N] {
    for channel in &channels {
        insert(db, channel).await.unwrap();
    }
    channels
}

/// Connects all of them, and tells how many of the channels that changed.
async fn connect(db: &Db, connections: &Connections) -> usize {
    let connected = db.write::<_, Error>(|tx| {
        Box::pin(async {
            let mut changed = 0;
            for (id, _) in store::present(tx, connections).await? {
                changed += usize::from(store::connect(tx, connections, id, NOW).await?);
            }
            Ok(changed)
        })
    });
    connected.await.unwrap()
}

async fn disconnect(db: &Db, connections: &Connections) -> usize {
    let disconnected = db.write::<_, Error>(|tx| {
        Box::pin(async {
            let mut changed = 0;
            for (id, _) in store::present(tx, connections).await? {
                changed += usize::from(store::disconnect(tx, connections, id).await?);
            }
            Ok(changed)
        })
    });
    disconnected.await.unwrap()
}

fn one(channel: &Channel, client_id: ClientId, kind: Kind) -> Connections {
    Connections::new(channel.base.domain_id, &[channel.base.id], &[client_id], &[kind]).unwrap()
}

/// How a client finds a channel by its id: with a publish and with a subscribe connection.
async fn reach(db: &Db, channel: &Channel, client_id: ClientId) -> [bool; 2] {
    let mut found = [false; 2];
    for (found, kind) in found.iter_mut().zip([Kind::Publish, Kind::Subscribe]) {
        let reached = store::reach(db, channel.base.domain_id, Ref::Id(channel.base.id), client_id, kind).await;
        *found = reached.unwrap().is_some();
    }
    found
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

async fn names(db: &Db, list: &List, visible: &Visible<ChannelId>) -> Vec<String> {
    let (_, channels) = registry::list::<Channel>(db, list, visible).await.unwrap();
    channels
        .iter()
        .map(|channel| channel.base.name.as_ref().map(ToString::to_string).unwrap_or_default())
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
async fn a_channel_reads_back_as_it_was_stored_and_changed() {
    on_both(async |db| {
        let mut channel = routed(DomainId::new(), "Kitchen-2");
        channel.base.parent_group_id = Some(GroupId::new());
        channel.base.tags = Tags::parse("tags", vec!["cold".into()]).unwrap();
        channel.base.metadata = Some(Metadata::parse("metadata", br#" {"a": 1.50} "#).unwrap());
        insert(db, &channel).await.unwrap();
        assert_eq!(
            registry::get::<Channel>(db, channel.base.domain_id, channel.base.id)
                .await
                .unwrap()
                .as_ref(),
            Some(&channel)
        );
        assert_eq!(
            registry::get::<Channel>(db, DomainId::new(), channel.base.id)
                .await
                .unwrap(),
            None
        );

        channel.base = Base {
            name: None,
            status: Status::Disabled,
            updated_at: NOW.plus_seconds(1),
            updated_by: Some(UserId::new()),
            revision: 2,
            ..channel.base
        };
        db.write::<_, Error>(|tx| Box::pin(registry::update(tx, &channel)))
            .await
            .unwrap();
        assert_eq!(
            registry::get::<Channel>(db, channel.base.domain_id, channel.base.id)
                .await
                .unwrap(),
            Some(channel)
        );
    })
    .await;
}

#[tokio::test]
async fn an_id_or_route_in_use_is_a_conflict() {
    on_both(async |db| {
        let [channel] = inserted(db, [routed(DomainId::new(), "kitchen")]).await;
        let error = insert(db, &routed(channel.base.domain_id, "kitchen"))
            .await
            .unwrap_err();
        assert!(error.is_conflict(constraint::ROUTE), "{error:?}");
        let mut elsewhere = channel.clone();
        elsewhere.base.domain_id = DomainId::new();
        let error = insert(db, &elsewhere).await.unwrap_err();
        assert!(error.is_conflict(constraint::ID_ANYWHERE), "{error:?}");
        insert(db, &routed(channel.base.domain_id, "Kitchen"))
            .await
            .expect("routes differ by case, as topics do");
        insert(db, &routed(DomainId::new(), "kitchen"))
            .await
            .expect("another domain has routes of its own");
        inserted(db, [plain(channel.base.domain_id), plain(channel.base.domain_id)]).await;
    })
    .await;
}

#[tokio::test]
async fn of_two_creations_at_once_with_one_route_exactly_one_wins() {
    on_both(async |db| {
        let domain_id = DomainId::new();
        let (one, other) = (routed(domain_id, "kitchen"), routed(domain_id, "kitchen"));
        match tokio::join!(insert(db, &one), insert(db, &other)) {
            (Ok(()), Err(error)) | (Err(error), Ok(())) => assert!(error.is_conflict(constraint::ROUTE), "{error:?}"),
            outcomes => panic!("{outcomes:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_reaches_its_channel_in_its_own_way_by_id_and_route() {
    on_both(async |db| {
        let [kitchen, cellar] = inserted(
            db,
            [routed(DomainId::new(), "kitchen"), routed(DomainId::new(), "kitchen")],
        )
        .await;
        let (kettle, toaster) = (ClientId::new(), ClientId::new());
        assert_eq!(connect(db, &one(&kitchen, kettle, Kind::Publish)).await, 1);
        assert_eq!(reach(db, &kitchen, kettle).await, [true, false]);
        assert_eq!(reach(db, &kitchen, toaster).await, [false, false]);
        assert_eq!(reach(db, &cellar, kettle).await, [false, false]);

        let route = Ref::Route(kitchen.route.unwrap());
        let by_route = async |domain_id| store::reach(db, domain_id, route, kettle, Kind::Publish).await.unwrap();
        let reachable = Reachable {
            id: kitchen.base.id,
            route: kitchen.route,
        };
        assert_eq!(by_route(kitchen.base.domain_id).await, Some(reachable));
        assert_eq!(
            by_route(cellar.base.domain_id).await,
            None,
            "equal routes of two domains never meet"
        );
    })
    .await;
}

#[tokio::test]
async fn connecting_and_disconnecting_again_changes_nothing() {
    on_both(async |db| {
        let [channel] = inserted(db, [plain(DomainId::new())]).await;
        let client = ClientId::new();
        let both = Connections::new(
            channel.base.domain_id,
            &[channel.base.id],
            &[client],
            &[Kind::Publish, Kind::Subscribe],
        )
        .unwrap();
        assert_eq!(
            [
                connect(db, &one(&channel, client, Kind::Publish)).await,
                connect(db, &both).await
            ],
            [1, 1]
        );
        assert_eq!(connect(db, &both).await, 0);
        assert_eq!(disconnect(db, &one(&channel, client, Kind::Publish)).await, 1);
        assert_eq!(reach(db, &channel, client).await, [false, true]);
        assert_eq!([disconnect(db, &both).await, disconnect(db, &both).await], [1, 0]);
        assert_eq!(reach(db, &channel, client).await, [false, false]);
    })
    .await;
}

#[tokio::test]
async fn a_hundred_clients_connect_to_a_hundred_channels_in_one_transaction() {
    on_both(async |db| {
        let domain_id = DomainId::new();
        let channels: Vec<Channel> = (0..ENDS_MAX).map(|_| plain(domain_id)).collect();
        for channel in &channels {
            insert(db, channel).await.unwrap();
        }
        let ids: Vec<ChannelId> = channels.iter().map(|channel| channel.base.id).collect();
        let clients: Vec<ClientId> = (0..ENDS_MAX).map(|_| ClientId::new()).collect();
        let kinds = [Kind::Publish, Kind::Subscribe];
        let connections = Connections::new(domain_id, &ids, &clients, &kinds).unwrap();
        assert_eq!(connect(db, &connections).await, ENDS_MAX);
        assert_eq!(reach(db, &channels[99], clients[99]).await, [true, true]);
        assert_eq!(disconnect(db, &connections).await, ENDS_MAX);
        assert_eq!(reach(db, &channels[99], clients[99]).await, [false, false]);
    })
    .await;
}

#[tokio::test]
async fn only_channels_of_the_domain_that_are_there_are_present() {
    on_both(async |db| {
        let [here, gone, elsewhere] = {
            let domain_id = DomainId::new();
            inserted(db, [plain(domain_id), plain(domain_id), plain(DomainId::new())]).await
        };
        registry::mark_deleted::<Channel>(db, gone.base.domain_id, gone.base.id, UserId::new(), NOW)
            .await
            .unwrap();
        let ids = [here.base.id, gone.base.id, elsewhere.base.id, ChannelId::new()];
        let asked = Connections::new(here.base.domain_id, &ids, &[ClientId::new()], &[Kind::Publish]).unwrap();
        let present = db
            .write::<_, Error>(|tx| Box::pin(store::present(tx, &asked)))
            .await
            .unwrap();
        assert_eq!(present, [(here.base.id, 1)]);
    })
    .await;
}

#[tokio::test]
async fn a_channel_marked_as_deleted_is_hidden_everywhere_until_it_is_removed_with_its_connections() {
    on_both(async |db| {
        let [channel] = inserted(db, [routed(DomainId::new(), "kitchen")]).await;
        let (domain_id, id, user, client) = (channel.base.domain_id, channel.base.id, UserId::new(), ClientId::new());
        connect(db, &one(&channel, client, Kind::Publish)).await;
        let remove = || db.write::<_, Error>(|tx| Box::pin(registry::remove::<Channel>(tx, domain_id, id)));
        assert_eq!(remove().await.unwrap(), None, "a channel that is not marked stays");

        assert!(
            registry::mark_deleted::<Channel>(db, domain_id, id, user, NOW)
                .await
                .unwrap()
        );
        assert_eq!(registry::get::<Channel>(db, domain_id, id).await.unwrap(), None);
        assert_eq!(reach(db, &channel, client).await, [false, false]);
        let by_route = store::reach(db, domain_id, Ref::Route(channel.route.unwrap()), client, Kind::Publish).await;
        assert_eq!(by_route.unwrap(), None);
        assert_eq!(
            registry::list::<Channel>(db, &all(domain_id), &Visible::All)
                .await
                .unwrap()
                .0
                .count,
            0
        );
        assert_eq!(
            registry::marked_deleted::<Channel>(db, 10).await.unwrap(),
            [(domain_id, id)]
        );

        let removed = remove().await.unwrap().unwrap();
        assert_eq!((removed.removed_by, removed.revision), (Some(user), 1));
        assert!(
            !registry::mark_deleted::<Channel>(db, domain_id, id, user, NOW)
                .await
                .unwrap()
        );
        insert(db, &channel).await.expect("id and route are free again");
        assert_eq!(
            reach(db, &channel, client).await,
            [false, false],
            "its connections went with it"
        );
    })
    .await;
}

#[tokio::test]
async fn a_list_is_cut_by_what_the_caller_may_see_and_what_he_asks_for() {
    on_both(async |db| {
        let (domain_id, group) = (DomainId::new(), GroupId::new());
        let mut grouped = routed(domain_id, "attic");
        grouped.base.parent_group_id = Some(group);
        let mut disabled = routed(domain_id, "cellar");
        disabled.base.status = Status::Disabled;
        let others = [
            grouped,
            disabled,
            routed(domain_id, "Kitchen"),
            routed(DomainId::new(), "shed"),
        ];
        let [_, cellar, ..] = inserted(db, others).await;
        let list = all(domain_id);
        assert_eq!(names(db, &list, &Visible::All).await, ["attic", "cellar", "Kitchen"]);
        let some = Visible::some(vec![group], vec![cellar.base.id]).unwrap();
        assert_eq!(names(db, &list, &some).await, ["attic", "cellar"]);
        let enabled = List {
            status: Some(Status::Enabled),
            ..list.clone()
        };
        assert_eq!(names(db, &enabled, &some).await, ["attic"]);
        let searched = List {
            name_folded: Some("itch".into()),
            ..list
        };
        assert_eq!(names(db, &searched, &Visible::All).await, ["Kitchen"]);
    })
    .await;
}

#[tokio::test]
async fn a_revocation_stays_until_it_is_removed() {
    on_both(async |db| {
        let touched = vec![ClientId::new().uuid(), ChannelId::new().uuid()];
        let stored = Revocation {
            domain_id: DomainId::new(),
            id: ClientId::new().uuid(),
            touched,
        };
        db.write::<_, Error>(|tx| Box::pin(store::insert_revocation(tx, &stored, NOW)))
            .await
            .unwrap();
        assert_eq!(
            store::revocations(db, NOW, 10).await.unwrap(),
            [],
            "it is not older than itself"
        );
        let overdue = store::revocations(db, NOW.plus_seconds(1), 10).await.unwrap();
        assert_eq!(overdue, std::slice::from_ref(&stored));
        store::remove_revocation(db, &stored).await.unwrap();
        assert_eq!(store::revocations(db, NOW.plus_seconds(1), 10).await.unwrap(), []);
    })
    .await;
}
