//! A revocation holds within a second of its 2xx, under load, for publishing, delivery and reading; and what is granted again works
//! again.
//!
//! Actors go on all the time: they publish over MQTT and HTTP, subscribe and read as fast as they are answered, and come back
//! when they are closed. Each counts what was granted and what was refused in the phase in which it asked.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ::http::Method;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;
use trunkline_mqtt_wire::{Ack, Packet, Publish, QoS, ReasonCode, Subscribe, SubscribeProperties, Version};
use trunkline_testkit::mqtt::{Client, connect_packet, publish_packet};
use trunkline_testkit::{http, until};
use trunkline_tests::{Device, Domain, World, scenarios};

use crate::wire::filter;

scenarios!(
    a_disconnect_holds_within_a_second,
    a_disabled_client_is_out_within_a_second,
    a_disabled_channel_is_closed_within_a_second,
    a_disabled_domain_is_closed_within_a_second,
    a_deleted_client_is_out_within_a_second,
    a_deleted_channel_is_gone_within_a_second,
);

/// From a revocation's 2xx to when it must hold.
const EFFECT_TIME_MAX: Duration = Duration::from_secs(1);
/// Every message.
const PAYLOAD: &str = r#"{"a":1}"#;
/// Messages that a publisher has on the way.
const WINDOW: usize = 16;
/// Grants, or refusals, that each actor must have had before the scenario goes on.
const SAMPLES: u64 = 20;
/// Silence after which a subscriber takes it that nothing is delivered, and asks again.
const SILENCE: Duration = Duration::from_millis(100);
/// How long a phase may take to show itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the scenario is. Requests between the revocation and the second after it belong to the first phase.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Granted,
    Revoked,
    GrantedAgain,
}

const PHASES: usize = 3;

/// What all actors share.
struct Stage {
    world: World,
    plant: Domain,
    channel: String,
    device: Device,
    bystander: Device,
    phase: AtomicUsize,
    is_over: AtomicBool,
    tallies: [Tally; 5],
}

/// What one actor was answered, by phase.
struct Tally {
    name: &'static str,
    granted: [AtomicU64; PHASES],
    refused: [AtomicU64; PHASES],
}

impl Tally {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            granted: Default::default(),
            refused: Default::default(),
        }
    }

    fn count(&self, phase: usize, is_granted: bool) {
        let counts = if is_granted { &self.granted } else { &self.refused };
        counts[phase].fetch_add(1, Ordering::SeqCst);
    }

    fn granted(&self, phase: Phase) -> u64 {
        self.granted[phase as usize].load(Ordering::SeqCst)
    }

    fn refused(&self, phase: Phase) -> u64 {
        self.refused[phase as usize].load(Ordering::SeqCst)
    }
}

const PUBLISHER: usize = 0;
const SUBSCRIBER: usize = 1;
const READER: usize = 2;
const HTTP: usize = 3;
const BYSTANDER: usize = 4;

impl Stage {
    async fn new(world: World) -> Arc<Self> {
        let plant = world.domain("plant").await;
        let (channel, device) = plant.channel_with_device("boiler").await;
        let bystander = plant.device("bystander").await;
        plant.connect(&channel, &bystander, &["publish"]).await;
        let names = ["publisher", "subscriber", "reader", "http", "bystander"];
        Arc::new(Self {
            world,
            plant,
            channel,
            device,
            bystander,
            phase: AtomicUsize::new(Phase::Granted as usize),
            is_over: AtomicBool::new(false),
            tallies: names.map(Tally::new),
        })
    }

    fn phase(&self) -> usize {
        self.phase.load(Ordering::SeqCst)
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::SeqCst)
    }

    fn topic(&self) -> String {
        self.plant.topic(&self.channel)
    }

    /// A connection, if the device is admitted. Each has an id of its own, so that none takes another's session.
    async fn log_in(&self, version: Version, device: &Device) -> Option<Client> {
        let connect = connect_packet("", &device.id, &device.secret);
        let (client, answer) = Client::connect(self.world.addresses.mqtt, version, connect).await;
        (answer.reason == ReasonCode::Success).then_some(client)
    }

    /// Publishes below the channel to a level that tells the phase, so that the store can be asked for it.
    async fn publish(self: Arc<Self>, version: Version, device: Device, tally: usize) {
        let tally = &self.tallies[tally];
        while self.goes_on() {
            let phase = self.phase();
            match self.log_in(version, &device).await {
                Some(client) => self.publish_until_closed(client, tally).await,
                None => tally.count(phase, false),
            }
        }
    }

    async fn publish_until_closed(&self, mut client: Client, tally: &Tally) {
        let mut unanswered = VecDeque::new();
        let mut ids = (1..=u16::MAX).cycle();
        'open: while self.goes_on() {
            while unanswered.len() < WINDOW {
                let phase = self.phase();
                let topic = format!("{}/{phase}", self.topic());
                let id: u16 = ids.next().unwrap();
                let publish = Publish {
                    packet_id: NonZeroU16::new(id),
                    ..publish_packet(&topic, QoS::AtLeastOnce, PAYLOAD)
                };
                // What QoS 0 came to is told by the store alone, and by the subscriber.
                let unanswerable = publish_packet(&topic, QoS::AtMostOnce, PAYLOAD);
                if id.is_multiple_of(4) && !client.try_send(&Packet::Publish(unanswerable)).await {
                    break 'open;
                }
                unanswered.push_back(phase);
                if !client.try_send(&Packet::Publish(publish)).await {
                    break 'open;
                }
            }
            match client.next().await {
                Some(Packet::PubAck(ack)) => {
                    let phase = unanswered.pop_front().unwrap();
                    tally.count(phase, ack.reason == ReasonCode::Success);
                }
                Some(_) => {}
                None => break,
            }
        }
        if self.goes_on() {
            unanswered.into_iter().for_each(|phase| tally.count(phase, false));
        }
    }

    async fn subscribe(self: Arc<Self>) {
        let tally = &self.tallies[SUBSCRIBER];
        while self.goes_on() {
            let phase = self.phase();
            match self.log_in(Version::V5, &self.device).await {
                Some(client) => self.receive_until_closed(client, tally).await,
                None => tally.count(phase, false),
            }
        }
    }

    async fn receive_until_closed(&self, mut client: Client, tally: &Tally) {
        let subscribe = Packet::Subscribe(Subscribe {
            packet_id: NonZeroU16::MIN,
            filters: vec![filter(&format!("{}/#", self.topic()))],
            properties: SubscribeProperties::default(),
        });
        let mut is_open = client.try_send(&subscribe).await;
        while is_open && self.goes_on() {
            match timeout(SILENCE, client.next()).await {
                Ok(Some(Packet::Publish(publish))) => {
                    tally.count(self.phase(), true);
                    if let Some(id) = publish.packet_id {
                        is_open = client.try_send(&Packet::PubAck(Ack::success(id))).await;
                    }
                }
                Ok(Some(Packet::SubAck(answer))) if answer.reasons[0].is_error() => tally.count(self.phase(), false),
                Ok(Some(_)) => {}
                Ok(None) => is_open = false,
                Err(_) => {
                    tally.count(self.phase(), false);
                    is_open = client.try_send(&subscribe).await;
                }
            }
        }
    }

    fn as_device(&self) -> http::Client {
        let secret = format!("Client {}", self.device.secret);
        self.world.anonymous().with_authorization(&secret)
    }

    async fn read(self: Arc<Self>) {
        let (client, tally) = (self.as_device(), &self.tallies[READER]);
        let path = format!("/{}/channels/{}/messages?limit=1", self.plant.id, self.channel);
        while self.goes_on() {
            let phase = self.phase();
            let answer = client.get(&path).await;
            assert!(
                [200, 401, 403, 404].contains(&answer.status),
                "{}: {}",
                answer.status,
                answer.text()
            );
            tally.count(phase, answer.status == 200);
        }
    }

    async fn publish_by_http(self: Arc<Self>) {
        let (client, tally) = (self.as_device(), &self.tallies[HTTP]);
        while self.goes_on() {
            let phase = self.phase();
            let path = format!("/{}/{phase}", self.topic());
            let answer = client.send(Method::POST, &path, None, PAYLOAD).await;
            assert!(
                [202, 401, 403].contains(&answer.status),
                "{}: {}",
                answer.status,
                answer.text()
            );
            tally.count(phase, answer.status == 202);
        }
    }

    fn start(self: &Arc<Self>) -> JoinSet<()> {
        let mut actors = JoinSet::new();
        actors.spawn(Arc::clone(self).publish(Version::V3, self.device.clone(), PUBLISHER));
        actors.spawn(Arc::clone(self).publish(Version::V5, self.bystander.clone(), BYSTANDER));
        actors.spawn(Arc::clone(self).subscribe());
        actors.spawn(Arc::clone(self).read());
        actors.spawn(Arc::clone(self).publish_by_http());
        actors
    }

    /// Waits until each of these actors has had enough answers of one kind in a phase.
    async fn show(&self, actors: &[usize], samples: impl Fn(&Tally) -> u64) {
        until(PATIENCE, async || {
            actors.iter().all(|actor| samples(&self.tallies[*actor]) >= SAMPLES)
        })
        .await;
    }
}

/// Whom a revocation concerns.
enum Concerned {
    TheDevice,
    Everybody,
}

/// Plays `revoke` under load, and `restore` where there is one.
async fn play(world: World, concerned: Concerned, revoke: impl AsyncFn(&Stage), restore: Option<impl AsyncFn(&Stage)>) {
    let stage = Stage::new(world).await;
    let mut actors = stage.start();
    let everybody = [PUBLISHER, SUBSCRIBER, READER, HTTP, BYSTANDER];
    let revoked = match concerned {
        Concerned::TheDevice => &everybody[..BYSTANDER],
        Concerned::Everybody => &everybody[..],
    };
    stage.show(&everybody, |tally| tally.granted(Phase::Granted)).await;
    revoke(&stage).await;
    let answered = Instant::now();
    until(PATIENCE, async || answered.elapsed() >= EFFECT_TIME_MAX).await;
    stage.phase.store(Phase::Revoked as usize, Ordering::SeqCst);
    stage.show(revoked, |tally| tally.refused(Phase::Revoked)).await;
    if let Concerned::TheDevice = concerned {
        stage.show(&[BYSTANDER], |tally| tally.granted(Phase::Revoked)).await;
    }
    if let Some(restore) = &restore {
        stage.phase.store(Phase::GrantedAgain as usize, Ordering::SeqCst);
        // Each asks in order: whoever was answered in this phase has nothing of the one before on its way any more.
        stage.show(revoked, |tally| tally.refused(Phase::GrantedAgain)).await;
        restore(&stage).await;
        stage.show(&everybody, |tally| tally.granted(Phase::GrantedAgain)).await;
    }
    stage.is_over.store(true, Ordering::SeqCst);
    while let Some(ended) = actors.join_next().await {
        ended.unwrap();
    }
    for actor in revoked {
        let tally = &stage.tallies[*actor];
        assert_eq!(
            tally.granted(Phase::Revoked),
            0,
            "the {} was granted what was revoked",
            tally.name
        );
    }
    if let Concerned::TheDevice = concerned {
        let refused: u64 = [Phase::Granted, Phase::Revoked, Phase::GrantedAgain]
            .map(|phase| stage.tallies[BYSTANDER].refused(phase))
            .iter()
            .sum();
        assert_eq!(refused, 0, "the bystander was refused");
    }
    if restore.is_some() {
        nothing_of_the_device_is_stored(&stage).await;
    }
    let stage = Arc::into_inner(stage).unwrap();
    stage.world.stop().await;
}

/// Whatever the device was told: the store has nothing that it published once the revocation had to hold.
async fn nothing_of_the_device_is_stored(stage: &Stage) {
    let found = async |phase: Phase| {
        let query = format!("&publisher={}&subtopic={}", stage.device.id, phase as usize);
        stage.plant.records(&stage.channel, &query).await.len()
    };
    until(PATIENCE, async || found(Phase::GrantedAgain).await > 0).await;
    assert_eq!(found(Phase::Revoked).await, 0);
}

/// What is not restored.
const NEVER: Option<fn(&Stage) -> std::future::Ready<()>> = None;

async fn a_disconnect_holds_within_a_second(world: World) {
    let types = ["publish", "subscribe"];
    let revoke = async |stage: &Stage| stage.plant.disconnect(&stage.channel, &stage.device, &types).await;
    let restore = async |stage: &Stage| stage.plant.connect(&stage.channel, &stage.device, &types).await;
    play(world, Concerned::TheDevice, revoke, Some(restore)).await;
}

/// POST of an action on something of the domain.
async fn act(stage: &Stage, path: &str, action: &str) {
    stage
        .plant
        .owner
        .post(&format!("{path}/{action}"), &json!({}))
        .await
        .expect(200);
}

fn client_of(stage: &Stage) -> String {
    format!("/{}/clients/{}", stage.plant.id, stage.device.id)
}

fn channel_of(stage: &Stage) -> String {
    format!("/{}/channels/{}", stage.plant.id, stage.channel)
}

fn domain_of(stage: &Stage) -> String {
    format!("/domains/{}", stage.plant.id)
}

async fn a_disabled_client_is_out_within_a_second(world: World) {
    let revoke = async |stage: &Stage| act(stage, &client_of(stage), "disable").await;
    let restore = async |stage: &Stage| act(stage, &client_of(stage), "enable").await;
    play(world, Concerned::TheDevice, revoke, Some(restore)).await;
}

async fn a_disabled_channel_is_closed_within_a_second(world: World) {
    let revoke = async |stage: &Stage| act(stage, &channel_of(stage), "disable").await;
    let restore = async |stage: &Stage| act(stage, &channel_of(stage), "enable").await;
    play(world, Concerned::Everybody, revoke, Some(restore)).await;
}

async fn a_disabled_domain_is_closed_within_a_second(world: World) {
    let revoke = async |stage: &Stage| act(stage, &domain_of(stage), "disable").await;
    let restore = async |stage: &Stage| act(stage, &domain_of(stage), "enable").await;
    play(world, Concerned::Everybody, revoke, Some(restore)).await;
}

async fn a_deleted_client_is_out_within_a_second(world: World) {
    let revoke = async |stage: &Stage| {
        stage.plant.owner.delete(&client_of(stage)).await.expect(204);
    };
    play(world, Concerned::TheDevice, revoke, NEVER).await;
}

async fn a_deleted_channel_is_gone_within_a_second(world: World) {
    let revoke = async |stage: &Stage| {
        stage.plant.owner.delete(&channel_of(stage)).await.expect(204);
    };
    play(world, Concerned::Everybody, revoke, NEVER).await;
}
