//! Sessions that were to be over with connections that could not leave them.

use std::time::Duration;

use trunkline_bus::EmbeddedBus;
use trunkline_core::{ClientId, Secret, SessionId};
use trunkline_gate::{Action, Credentials};
use trunkline_mqtt_wire::{Utf8Bytes, Will, WillProperties};
use trunkline_testkit::until;

use super::*;
use crate::session::{Owned, Wish};
use crate::start::{deps, open_bus, run};
use crate::will::Testament;
use crate::{Adapter, Settings};

const PATIENCE: Duration = Duration::from_secs(20);

struct Scene {
    adapter: Arc<Adapter>,
    bus: EmbeddedBus,
    client_id: ClientId,
    will: Arc<Testament>,
}

impl Scene {
    /// A client with a will that is due `delay_s` after its connection.
    async fn new(bus: EmbeddedBus, delay_s: u32) -> Self {
        let adapter = Adapter::open(deps(&bus, &trunkline_telemetry::Metrics::new()), Settings::default());
        let wills = &adapter.sessions.wills;
        let anybody = Credentials::of_client("", Secret::new(String::new()));
        let session = wills.gate.connect(anybody).await.unwrap();
        let permit = wills.gate.may(&session, Action::Publish, "will").await.unwrap();
        let will = Will {
            topic: Utf8Bytes::try_from("will").unwrap(),
            properties: WillProperties {
                will_delay_s: Some(delay_s),
                ..WillProperties::default()
            },
            ..Will::default()
        };
        let will = Testament::new(&will, &session, &permit, wills).unwrap();
        Self {
            client_id: session.client_id(),
            will: Arc::new(will),
            adapter,
            bus,
        }
    }

    /// Its session, which lasts for an hour.
    async fn claim(&self) -> Owned {
        let wish = Wish {
            client_id: self.client_id,
            mqtt_client_id: &Utf8Bytes::default(),
            has_new_id: false,
            session_id: SessionId::new(),
            is_clean_start: false,
            expiry_s: 3_600,
            head: 0,
            will: Some(&self.will),
        };
        self.adapter.sessions.claim(&wish).await.unwrap().owned.unwrap().0
    }

    /// What is left of a session, if anything is.
    async fn record(&self, member: &KeptMember) -> Option<Record> {
        let found = self.bus.state.get(&member.key).await.unwrap()?;
        Some(Record::decode(&found.value).unwrap())
    }

    /// How many messages there are.
    async fn published(&self) -> u64 {
        let shard = trunkline_bus::log::Shard(0);
        self.bus.log.latest(shard).await.unwrap()
    }
}

fn ended(owned: &Owned, owes_will: bool) -> Ended {
    Ended {
        member: owned.member(),
        epoch: owned.epoch(),
        is_over: true,
        owes_will,
    }
}

#[tokio::test]
async fn a_session_that_was_to_be_over_goes_at_once_and_its_will_is_published_before_if_it_is_owed() {
    // What a goodbye took back and is due may have been published before that was known.
    for (delay_s, owes_will, wills) in [
        (0, true, 1..=1),
        (3_600, true, 1..=1),
        (3_600, false, 0..=0),
        (0, false, 0..=1),
    ] {
        for is_looked_after_before in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let scene = Scene::new(open_bus(&folder).await, delay_s).await;
            let (stop, running) = run(&scene.adapter);
            let owned = scene.claim().await;
            let ended = ended(&owned, owes_will);
            let sessions = &scene.adapter.sessions;
            let has_no_owner = async || {
                scene
                    .record(&ended.member)
                    .await
                    .is_none_or(|record| record.owner.is_none())
            };
            // Its connection says nothing of it.
            if is_looked_after_before {
                drop(owned);
                until(PATIENCE, has_no_owner).await;
                assert!(sessions.conclude(&ended).await.1);
            } else {
                let (concluded, ()) = tokio::join!(sessions.conclude(&ended), async { drop(owned) });
                assert!(concluded.1);
            }
            until(PATIENCE, async || scene.record(&ended.member).await.is_none()).await;
            assert!(wills.contains(&scene.published().await), "{delay_s} {owes_will}");
            stop.cancel();
            running.await.unwrap();
            scene.bus.close().await;
        }
    }
}

#[tokio::test]
async fn a_session_that_was_to_be_over_stays_when_its_client_has_had_it_since() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new(open_bus(&folder).await, 0).await;
    let owned = scene.claim().await;
    let ended = ended(&owned, true);
    let key = ended.member.key.clone();
    drop(owned);
    // Its will is published, and it is put back.
    scene.adapter.sessions.attend(&key).await.unwrap();
    assert_eq!(scene.published().await, 1);
    // Its client has it again, and could not leave it either.
    drop(scene.claim().await);
    scene.adapter.sessions.attend(&key).await.unwrap();
    assert!(!scene.adapter.sessions.conclude(&ended).await.1);
    assert!(scene.record(&ended.member).await.is_some());
    scene.bus.close().await;
}
