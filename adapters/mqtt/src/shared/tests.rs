//! The records of groups beside those of sessions, in the state of one process.

use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use trunkline_bus::EmbeddedBus;
use trunkline_bus::state::{Expect, Key};
use trunkline_core::{ClientId, Secret};
use trunkline_gate::{Action, Credentials, Gate as _, OpenGate, Permit};
use trunkline_mqtt_wire::{PacketId, QoS, Utf8Bytes};
use trunkline_testkit::{throughout, until};

use super::record::Record;
use super::*;
use crate::limits::{SHARED_HELD_MAX, SHARED_KEPT_MAX};
use crate::machine::{Awaits, Sent, Source};
use crate::session::{Content, Owned, Stored, Wish};
use crate::start::{deps, open_bus, run};
use crate::subscription::{Options, Subscriber, Subscription};
use crate::{Adapter, Settings};

const PATIENCE: Duration = Duration::from_secs(20);

/// A node.
struct Scene {
    adapter: Arc<Adapter>,
    bus: EmbeddedBus,
    run: JoinHandle<()>,
    stop: CancellationToken,
    _folder: TempDir,
}

impl Scene {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus = open_bus(&folder).await;
        let deps = deps(&bus, &trunkline_telemetry::Metrics::new());
        let adapter = Adapter::open(deps, Settings::default());
        let (stop, run) = run(&adapter);
        Self {
            adapter,
            bus,
            run,
            stop,
            _folder: folder,
        }
    }

    /// A new session that lasts.
    async fn session(&self) -> Owned {
        let wish = Wish {
            client_id: ClientId::new(),
            mqtt_client_id: &Utf8Bytes::default(),
            has_new_id: true,
            session_id: SessionId::new(),
            is_clean_start: true,
            expiry_s: 3_600,
            head: 0,
            will: None,
        };
        self.adapter.sessions.claim(&wish).await.unwrap().owned.unwrap().0
    }

    async fn join(&self, key: &GroupKey, kept: Option<KeptMember>) -> Ticket {
        let joined = self.adapter.shared.join(key.clone(), SessionId::new(), kept);
        joined.await.unwrap()
    }

    /// Has a member dealt two messages. Gives their places.
    async fn deal(&self, group: &Group, member: SessionId) -> [u64; 2] {
        until(PATIENCE, async || {
            let inner = group.lock();
            inner.dealer.is_on() && !inner.dealer.is_waiting()
        })
        .await;
        let first = self.record(&group.key).await.unwrap().next;
        let sequences = [first, first + 1];
        for sequence in sequences {
            let mut inner = group.lock();
            inner.dealer.enter(member);
            inner
                .dealer
                .put(Arc::new(Message::new(Default::default(), Some(sequence))));
            assert!(matches!(inner.dealer.deal(|_, _| true), dealer::Deal::To(..)));
        }
        sequences
    }

    /// Has something else than a record of a session under its key. Gives the change.
    async fn spoil(&self, session: &Key) -> u64 {
        let found = self.bus.state.get(session).await.unwrap();
        let expect = found.map_or(Expect::Absent, |found| Expect::Revision(found.revision));
        let written = self.bus.state.compare_and_swap(session, expect, "?".into());
        written.await.unwrap()
    }

    /// What `State` says of a group.
    async fn record(&self, key: &GroupKey) -> Option<Record> {
        let found = self.bus.state.get(&record::key_of(key)).await.unwrap();
        found.map(|found| Record::decode(&found.value).unwrap())
    }

    async fn stop(self) {
        self.stop.cancel();
        self.run.await.unwrap();
        self.bus.close().await;
    }
}

fn group_key() -> GroupKey {
    GroupKey {
        place: (DomainId::new(), ChannelId::new()),
        name: "group".into(),
        filter: "a".into(),
        pattern: "a".into(),
        is_free: false,
    }
}

fn stored(filter: &str, group: Option<u64>) -> Stored {
    Stored {
        filter: filter.into(),
        options: Options {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            id: None,
        },
        since: 0,
        unsent: None,
        group,
    }
}

#[tokio::test]
async fn a_group_waits_for_nobody_whose_session_says_that_it_is_not_in_it() {
    let scene = Scene::start().await;
    let keys = [(); 4].map(|()| group_key());
    let id = |key: &GroupKey| Some(record::id_of(&record::key_of(key)));
    let other = id(&group_key());
    let subscriptions = [
        stored("$share/group/a", id(&keys[0])),
        // As earlier versions wrote it.
        stored("$share/group/a", None),
        stored("$share/group/b", other),
        stored("a", None),
    ];
    let mut sessions = Vec::new();
    for (key, subscription) in keys.iter().zip(subscriptions) {
        let owned = scene.session().await;
        let ticket = scene.join(key, Some(owned.member())).await;
        drop(ticket);
        until(PATIENCE, async || scene.record(key).await.unwrap().nodes.is_empty()).await;
        let content = Content {
            expiry_s: 3_600,
            subscriptions: vec![subscription],
            ..Content::default()
        };
        sessions.push((owned, content));
    }
    let waiting = async || {
        scene.adapter.shared.sweep().await.unwrap();
        let mut waiting = Vec::new();
        for key in &keys {
            waiting.push(scene.record(key).await.is_some());
        }
        waiting
    };
    assert_eq!(waiting().await, [true; 4], "they have connections");
    for (owned, content) in &mut sessions {
        scene.adapter.sessions.leave(owned, content).await.unwrap();
    }
    assert_eq!(waiting().await, [true, true, false, false]);
    drop(sessions);
    scene.stop().await;
}

#[tokio::test]
async fn a_group_waits_for_a_session_that_this_node_cannot_read() {
    let scene = Scene::start().await;
    let key = group_key();
    let kept = KeptMember {
        key: Key::durable("later.version"),
        session_id: SessionId::new(),
    };
    scene.spoil(&kept.key).await;
    drop(scene.join(&key, Some(kept)).await);
    until(PATIENCE, async || scene.record(&key).await.unwrap().nodes.is_empty()).await;
    scene.adapter.shared.sweep().await.unwrap();
    assert!(scene.record(&key).await.is_some());
    scene.stop().await;
}

#[tokio::test]
async fn who_joins_a_group_that_this_node_cannot_read_is_refused_at_once() {
    let scene = Scene::start().await;
    let key = group_key();
    let state_key = record::key_of(&key);
    let written = scene.bus.state.compare_and_swap(&state_key, Expect::Absent, "?".into());
    let revision = written.await.unwrap();
    let join = || scene.adapter.shared.join(key.clone(), SessionId::new(), None);
    assert_eq!(join().await.err(), Some(NotJoined::Groups));
    scene.bus.state.delete(&state_key, revision).await.unwrap();
    assert!(join().await.is_ok());
    scene.stop().await;
}

#[tokio::test]
async fn two_spellings_of_a_filter_are_two_groups() {
    let gate = OpenGate::new(Vec::new());
    let anybody = Credentials::of_client("", Secret::new(String::new()));
    let session = gate.connect(anybody).await.unwrap();
    let permit = gate.may(&session, Action::Subscribe, "a").await.unwrap();
    let group = |channel: &str| {
        let permit = Permit {
            subtopic_at: channel.len(),
            ..permit.clone()
        };
        GroupKey::new("group", &format!("{channel}#"), &permit)
    };
    let (by_id, by_name) = (group("m/d/c/1/"), group("m/d/c/name/"));
    assert_eq!((&by_id.place, &by_id.pattern), (&by_name.place, &by_name.pattern));
    assert_ne!(by_id, by_name);
    assert_ne!(record::key_of(&by_id), record::key_of(&by_name));
}

#[tokio::test]
async fn who_is_one_too_many_is_refused_alone() {
    let scene = Scene::start().await;
    let key = group_key();
    let first = scene.session().await;
    let ticket = scene.join(&key, Some(first.member())).await;
    let state_key = record::key_of(&key);
    let found = scene.bus.state.get(&state_key).await.unwrap().unwrap();
    let mut record = Record::decode(&found.value).unwrap();
    while record.kept.len() < SHARED_KEPT_MAX {
        record.kept.insert(KeptMember {
            key: Key::durable(format!("away.{}", record.kept.len())),
            session_id: SessionId::new(),
        });
    }
    let sequence = record.next + 3;
    let full = scene
        .bus
        .state
        .compare_and_swap(&state_key, Expect::Revision(found.revision), record.encode());
    full.await.unwrap();
    let last = scene.session().await;
    let settling = [sequence];
    let join = |kept| scene.adapter.shared.join(key.clone(), SessionId::new(), kept);
    let (refused, joined, ()) = tokio::join!(join(Some(last.member())), join(None), ticket.group().settle(&settling));
    assert_eq!(refused.err(), Some(NotJoined::Groups));
    assert!(joined.is_ok());
    assert!(scene.record(&key).await.unwrap().is_past(sequence));
    drop((ticket, joined, first, last));
    scene.stop().await;
}

#[tokio::test]
async fn a_node_whose_members_have_as_much_as_they_may_does_not_ask_for_the_turn() {
    let gate = OpenGate::new(Vec::new());
    let anybody = Credentials::of_client("", Secret::new(String::new()));
    let session = gate.connect(anybody).await.unwrap();
    let permit = gate.may(&session, Action::Subscribe, "a").await.unwrap();
    let group = Arc::new(Group::new(group_key(), Arc::default()));
    let subscriber = Arc::new(Subscriber::new(session.id()));
    let options = stored("a", None).options;
    let subscription = Subscription::shared("$share/group/a", &permit, options, Arc::clone(&group));
    let ticket = group.admit(subscriber.key).unwrap();
    group.enter(&subscriber, &Arc::new(subscription));
    subscriber.room.tell(1, 0);
    let mut inner = group.lock();
    inner.dealer.start(1, &Default::default(), &Default::default());
    inner.dealer.reaches(0, false);
    for sequence in 1..=SHARED_HELD_MAX as u64 {
        assert!(inner.has_room(), "{sequence}");
        let message = Message::new(Default::default(), Some(sequence));
        inner.dealer.put(Arc::new(message));
        assert!(matches!(inner.dealer.deal(|_, _| true), dealer::Deal::To(..)));
    }
    assert!(!inner.has_room());
    inner.dealer.done(7);
    assert!(inner.has_room());
    drop(inner);
    drop(ticket);
}

#[tokio::test]
async fn what_a_session_has_of_another_log_is_not_taken_for_what_this_one_has_in_its_place() {
    /// Where the record of a session that is taken says which log its places are of.
    const INCARNATION_AT: usize = 1 + 16 + 1 + 16 + 1 + 8 + 1;
    let scene = Scene::start().await;
    let state_key = record::key_of(&group_key());
    for is_of_this_log in [true, false] {
        let mut owned = scene.session().await;
        let member = owned.member();
        let mut content = Content {
            expiry_s: 3_600,
            ..Content::default()
        };
        content.kept.sent = vec![Sent {
            id: PacketId::MIN,
            awaits: Awaits::Received,
            source: Source::Shared {
                group: record::id_of(&state_key),
                sequence: 7,
            },
        }];
        scene.adapter.sessions.save(&mut owned, &content).await.unwrap();
        let found = scene.bus.state.get(&member.key).await.unwrap().unwrap();
        let mut value = found.value.to_vec();
        let incarnation = &mut value[INCARNATION_AT..INCARNATION_AT + 8];
        assert_eq!(incarnation, scene.bus.log.incarnation().0.to_be_bytes());
        if !is_of_this_log {
            incarnation[0] ^= 1;
        }
        let expect = Expect::Revision(found.revision);
        let written = scene.bus.state.compare_and_swap(&member.key, expect, value.into());
        written.await.unwrap();
        let mut record = Record::new(scene.bus.log.incarnation(), 5);
        record.kept.insert(member);
        record.nodes.push(record::NodeShare {
            node: trunkline_core::NodeId::new(),
            writes: 1,
            has_room: true,
            held: Default::default(),
        });
        scene.adapter.shared.bury(&state_key, &mut record).await.unwrap();
        assert!(record.nodes.is_empty());
        assert_eq!(record.is_past(7), is_of_this_log);
    }
    scene.stop().await;
}

#[tokio::test]
async fn what_a_session_has_is_not_given_back_though_its_connection_could_not_leave_it() {
    let scene = Scene::start().await;
    let key = group_key();
    let mut owned = scene.session().await;
    let (member, kept) = (SessionId::new(), owned.member());
    let ticket = scene.adapter.shared.join(key.clone(), member, Some(kept.clone()));
    let ticket = ticket.await.unwrap();
    let _other = scene.join(&key, None).await;
    let group = Arc::clone(ticket.group());
    let [first, second] = scene.deal(&group, member).await;
    let sent = Sent {
        id: PacketId::MIN,
        awaits: Awaits::Received,
        source: Source::Shared {
            group: group.id(),
            sequence: first,
        },
    };
    let mut content = Content {
        expiry_s: 3_600,
        ..Content::default()
    };
    content.kept.sent = vec![sent];
    let ended = Ended {
        member: kept,
        epoch: owned.epoch(),
        is_over: false,
        owes_will: false,
    };
    // While it is looked at, what the connection wrote last may be on its way.
    scene.adapter.shared.give_back_later(vec![ticket], ended);
    scene.adapter.sessions.save(&mut owned, &content).await.unwrap();
    drop(owned);
    until(PATIENCE, async || group.lock().dealer.held().is_empty()).await;
    assert_eq!(group.lock().dealer.returned(), [second].into());
    scene.stop().await;
}

#[tokio::test]
async fn what_a_connection_had_is_given_to_nobody_while_its_session_is_not_understood() {
    let scene = Scene::start().await;
    let key = group_key();
    let owned = scene.session().await;
    let (member, kept) = (SessionId::new(), owned.member());
    let ticket = scene.adapter.shared.join(key.clone(), member, Some(kept.clone()));
    let ticket = ticket.await.unwrap();
    let _other = scene.join(&key, None).await;
    let group = Arc::clone(ticket.group());
    let sequences = scene.deal(&group, member).await;
    let revision = scene.spoil(&kept.key).await;
    let ended = Ended {
        member: kept.clone(),
        epoch: owned.epoch(),
        is_over: false,
        owes_will: false,
    };
    scene.adapter.shared.give_back_later(vec![ticket], ended);
    drop(owned);
    throughout(Duration::from_millis(500), async || {
        group.lock().dealer.held() == sequences.into()
    })
    .await;
    scene.bus.state.delete(&kept.key, revision).await.unwrap();
    until(PATIENCE, async || group.lock().dealer.returned() == sequences.into()).await;
    scene.stop().await;
}

#[tokio::test]
async fn what_a_lost_node_had_is_given_to_nobody_while_a_session_that_may_have_it_is_not_understood() {
    let scene = Scene::start().await;
    let state_key = record::key_of(&group_key());
    let kept = KeptMember {
        key: Key::durable("later.version"),
        session_id: SessionId::new(),
    };
    let revision = scene.spoil(&kept.key).await;
    let lost = trunkline_core::NodeId::new();
    let mut record = Record {
        turn: Some(lost),
        kept: [kept.clone()].into(),
        ..Record::new(scene.bus.log.incarnation(), 9)
    };
    for (node, held) in [(lost, [3, 7]), (trunkline_core::NodeId::new(), [4, 8])] {
        record.nodes.push(record::NodeShare {
            node,
            writes: 1,
            has_room: true,
            held: held.into(),
        });
    }
    for _ in 0..2 {
        scene.adapter.shared.bury(&state_key, &mut record).await.unwrap();
        assert_eq!((record.turn, record.returned.len(), record.nodes.len()), (None, 0, 1));
        assert!([3, 4, 7, 8].iter().all(|sequence| !record.is_past(*sequence)));
        assert_eq!(Record::decode(&record.encode()).as_ref(), Some(&record));
    }
    scene.bus.state.delete(&kept.key, revision).await.unwrap();
    scene.adapter.shared.bury(&state_key, &mut record).await.unwrap();
    assert_eq!((record.nodes.len(), record.returned), (0, [3, 4, 7, 8].into()));
    scene.stop().await;
}
