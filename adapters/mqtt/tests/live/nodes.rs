//! Sessions on two nodes that share a bus: on NATS, each with a connection of its own.

use trunkline_bus::nats::{NatsBus, NatsConfig, Trimming, provision};
use trunkline_bus::state::Key;
use trunkline_testkit::{Nats, Proxy, throughout, until};
use uuid::Uuid;

use super::sessions::{lasting, open};
use super::*;

/// A node on NATS.
pub(super) struct Node {
    adapter: Arc<Adapter>,
    pub(super) bus: NatsBus,
    cancel: CancellationToken,
    connections: TaskTracker,
    run: JoinHandle<()>,
    stop: CancellationToken,
}

/// A server, and what is on it.
pub(super) struct Ground {
    nats: Nats,
    config: NatsConfig,
    id: Uuid,
}

impl Ground {
    pub(super) async fn start() -> Self {
        let nats = Nats::start();
        let config = NatsConfig {
            urls: vec![nats.url()],
            shards: Some(2),
            bytes_max: 1 << 30,
            ..NatsConfig::default()
        };
        let id = Uuid::now_v7();
        provision(&config, id, &SystemClock).await.unwrap();
        Self { nats, config, id }
    }

    /// A node whose running others know of.
    pub(super) async fn node(&self) -> Node {
        self.node_by(self.nats.url()).await
    }

    /// The same over a line of its own to the server.
    pub(super) async fn node_on_a_line(&self) -> (Node, Proxy) {
        let line = Proxy::before(self.nats.url().trim_start_matches("nats://")).await;
        let node = self.node_by(format!("nats://{}", line.address())).await;
        (node, line)
    }

    /// The server is away for long enough for all leases to lapse. When this returns `one` has been back for two seconds, and who is on `line`
    /// has not.
    pub(super) async fn be_away(&self, one: &Node, line: &Proxy) {
        self.nats.freeze();
        line.hold();
        let lapsed = trunkline_mqtt::limits::NODE_LEASE + Duration::from_secs(1);
        throughout(lapsed, async || self.nats.pid() > 0).await;
        self.nats.thaw();
        until(PATIENCE, async || one.sees_running(1).await).await;
        throughout(Duration::from_secs(2), async || one.sees_running(1).await).await;
    }

    async fn node_by(&self, url: String) -> Node {
        let config = NatsConfig {
            urls: vec![url],
            ..self.config.clone()
        };
        let bus = NatsBus::open(&config, self.id, Trimming::Elsewhere, Arc::new(SystemClock));
        let bus = bus.await.unwrap();
        let prefix = Key::volatile("mqtt.node");
        let others = bus.state.leases(&prefix).await.unwrap().len();
        let deps = Deps {
            gate: Arc::new(OpenGate::new(Vec::new())),
            log: bus.log.clone(),
            live: bus.live.clone(),
            state: bus.state.clone(),
            clock: Arc::new(SystemClock),
            metrics: trunkline_telemetry::Metrics::new(),
            tracer: Default::default(),
        };
        let adapter = Adapter::open(deps, Settings::default());
        let (stop, run) = run(&adapter);
        until(PATIENCE, async || {
            bus.state.leases(&prefix).await.unwrap().len() > others
        })
        .await;
        Node {
            adapter,
            bus,
            cancel: CancellationToken::new(),
            connections: TaskTracker::new(),
            run,
            stop,
        }
    }
}

impl Node {
    pub(super) fn stream(&self) -> DuplexStream {
        let (near, far) = duplex(STREAM_BYTES);
        let (adapter, cancel) = (Arc::clone(&self.adapter), self.cancel.clone());
        let peer = ([127, 0, 0, 1], 0).into();
        self.connections
            .spawn(async move { adapter.serve_stream(far, peer, cancel).await });
        near
    }

    /// A client that goes on with its session, and whether there was one.
    pub(super) async fn back(&self, name: &str) -> (Client, bool) {
        let (client, connack) = open(self.stream(), Version::V5, lasting(Version::V5, name)).await;
        assert_eq!(connack.reason, ReasonCode::Success);
        (client, connack.session_present)
    }

    pub(super) async fn publisher(&self) -> Client {
        Client::connected(self.stream(), Version::V5, connect("publisher")).await
    }

    /// Whether so many nodes count for running.
    pub(super) async fn sees_running(&self, count: usize) -> bool {
        let leases = self.bus.state.leases(&Key::volatile("mqtt.node")).await;
        leases.is_ok_and(|leases| leases.len() == count)
    }

    pub(super) async fn stop(self) {
        end((self.cancel, self.connections), (self.stop, self.run)).await;
        self.bus.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_moves_is_left_where_it_was_and_goes_on_without_repetition() {
    let ground = Ground::start().await;
    let (one, other) = (ground.node().await, ground.node().await);
    let (mut first, _) = one.back("client").await;
    first.subscribe("a", QoS::AtLeastOnce).await;
    let mut publisher = other.publisher().await;
    publisher.publish("a", "0;", QoS::AtLeastOnce).await;
    assert_eq!(number_of(&first.take().await), 0);
    first.is_quiet().await;
    let (mut second, is_present) = other.back("client").await;
    assert!(is_present);
    assert_eq!(first.goodbye().await, Some(ReasonCode::SessionTakenOver));
    publisher.publish("a", "1;", QoS::ExactlyOnce).await;
    // It was asked to leave before it was taken: the acknowledgement of the first message is in the record.
    assert_eq!(number_of(&second.take().await), 1);
    second.is_quiet().await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_without_a_record_is_taken_over_from_another_node_too() {
    let ground = Ground::start().await;
    let (one, other) = (ground.node().await, ground.node().await);
    // A node hears of others from soon after it runs.
    until(PATIENCE, async || {
        let mut first = Client::connected(one.stream(), Version::V5, connect("client")).await;
        let mut second = Client::connected(other.stream(), Version::V5, connect("client")).await;
        second.is_quiet().await;
        first.send(&Packet::PingReq).await;
        matches!(first.next().await, Some(Packet::Disconnect(goodbye)) if goodbye.reason == ReasonCode::SessionTakenOver)
    })
    .await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_not_told_ends_the_connection_when_its_next_write_is_refused() {
    let ground = Ground::start().await;
    let (one, other) = (ground.node().await, ground.node().await);
    let (mut first, _) = one.back("client").await;
    // Another node has it: the record says so, and nobody told.
    let prefix = Key::durable("mqtt.session");
    let (key, found) = other.bus.state.list(&prefix).await.unwrap().remove(0);
    let mut value = found.value.to_vec();
    // One epoch further: format, session, owner.
    value[1 + 16 + 1 + 16] += 1;
    let expect = trunkline_bus::state::Expect::Revision(found.revision);
    other
        .bus
        .state
        .compare_and_swap(&key, expect, value.into())
        .await
        .unwrap();
    let subscribe = Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        filters: vec![SubscribeFilter {
            filter: text("a"),
            ..SubscribeFilter::default()
        }],
        properties: SubscribeProperties::default(),
    });
    first.send(&subscribe).await;
    assert_eq!(first.goodbye().await, Some(ReasonCode::SessionTakenOver));
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_session_sent_at_qos_2_on_one_node_is_known_on_another() {
    let ground = Ground::start().await;
    let (one, other) = (ground.node().await, ground.node().await);
    let publish = |dup| {
        Packet::Publish(Publish {
            dup,
            qos: QoS::ExactlyOnce,
            topic: text("a"),
            packet_id: Some(PacketId::MIN),
            payload: "one".into(),
            ..Publish::default()
        })
    };
    for (node, dup) in [(&one, false), (&other, true), (&one, true)] {
        let (mut client, _) = node.back("client").await;
        client.send(&publish(dup)).await;
        assert_eq!(client.receive().await, Packet::PubRec(Ack::success(PacketId::MIN)));
        client.vanish().await;
    }
    let (mut subscriber, _) = other.back("subscriber").await;
    subscriber.subscribe("a", QoS::ExactlyOnce).await;
    let (mut client, _) = other.back("client").await;
    client.send(&Packet::PubRel(Ack::success(PacketId::MIN))).await;
    assert_eq!(client.receive().await, Packet::PubComp(Ack::success(PacketId::MIN)));
    assert_eq!(
        client.publish("a", "two", QoS::ExactlyOnce).await,
        Some(ReasonCode::Success)
    );
    assert_eq!(subscriber.take().await.payload, "two");
    let mut logged = Vec::new();
    for shard in (0..other.bus.log.shards()).map(trunkline_bus::log::Shard) {
        let page = other.bus.log.read(shard, 1, Default::default()).await.unwrap();
        logged.extend(page.entries.iter().map(|entry| entry.envelope.payload.clone()));
    }
    assert_eq!(logged, ["one", "two"]);
    drop(ground.nats);
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_drains_answers_what_it_owes_and_another_has_its_sessions_at_once() {
    let ground = Ground::start().await;
    let (one, other) = (ground.node().await, ground.node().await);
    let (mut client, _) = one.back("client").await;
    client.subscribe("a", QoS::AtLeastOnce).await;
    let publish = |qos, id| {
        Packet::Publish(Publish {
            qos,
            topic: text("b"),
            packet_id: PacketId::new(id),
            ..Publish::default()
        })
    };
    client.send(&publish(QoS::ExactlyOnce, 1)).await;
    assert_eq!(client.receive().await, Packet::PubRec(Ack::success(PacketId::MIN)));
    // Each answer waits for the log or for the record of the session, which are away until the node drains.
    ground.nats.freeze();
    client.send(&publish(QoS::AtLeastOnce, 2)).await;
    client.send(&Packet::PubRel(Ack::success(PacketId::MIN))).await;
    let subscribe = Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        filters: vec![SubscribeFilter {
            filter: text("c"),
            ..SubscribeFilter::default()
        }],
        properties: SubscribeProperties::default(),
    });
    client.send(&subscribe).await;
    client.is_quiet().await;
    one.cancel.cancel();
    ground.nats.thaw();
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(client.receive().await);
    }
    assert!(
        matches!(&answers[..], [Packet::PubAck(_), Packet::PubComp(_), Packet::SubAck(_)]),
        "{answers:?}"
    );
    assert_eq!(client.goodbye().await, Some(ReasonCode::ServerShuttingDown));
    let left = tokio::time::Instant::now();
    let (mut client, is_present) = other.back("client").await;
    assert!(is_present);
    assert!(
        left.elapsed() < trunkline_mqtt::limits::NODE_LEASE,
        "the session waited for a lease to lapse"
    );
    other.publisher().await.publish("c", "kept", QoS::AtLeastOnce).await;
    assert_eq!(client.take().await.payload, "kept");
    one.stop().await;
    other.stop().await;
}

/// A CONNECT of `name` with a will to `will` that says so.
fn mortal(name: &str) -> Connect {
    let will = trunkline_mqtt_wire::Will {
        qos: QoS::AtLeastOnce,
        topic: text("will"),
        payload: Bytes::copy_from_slice(name.as_bytes()),
        ..Default::default()
    };
    Connect {
        will: Some(will),
        ..connect(name)
    }
}

impl Node {
    async fn mortal(&self, connect: Connect) -> Client {
        Client::connected(self.stream(), Version::V5, connect).await
    }

    /// A client that subscribed to wills.
    async fn heir(&self) -> Client {
        let mut heir = Client::connected(self.stream(), Version::V5, connect("heir")).await;
        heir.subscribe("will", QoS::AtLeastOnce).await;
        heir
    }

    /// Ends as a process that is killed: nothing is said to anybody, and its lease lapses.
    pub(super) async fn crash(self) {
        self.bus.close().await;
        end((self.cancel, self.connections), (self.stop, self.run)).await;
    }

    async fn kept(&self) -> usize {
        self.bus.state.list(&Key::durable("mqtt.session")).await.unwrap().len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wills_of_a_node_that_is_killed_are_published_by_another_and_those_of_the_living_are_not() {
    let ground = Ground::start().await;
    let (one, other, third) = (ground.node().await, ground.node().await, ground.node().await);
    let mut heir = other.heir().await;
    let _dead = one.mortal(mortal("dead")).await;
    let mut alive = third.mortal(mortal("alive")).await;
    let mut here = other.mortal(mortal("here")).await;
    one.crash().await;
    assert_eq!(heir.take().await.payload, "dead");
    until(PATIENCE, async || other.kept().await == 2).await;
    heir.is_quiet().await;
    alive.is_quiet().await;
    here.is_quiet().await;
    third.stop().await;
    assert_eq!(heir.take().await.payload, "alive");
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_that_waits_is_published_by_another_node_when_its_own_has_stopped() {
    let ground = Ground::start().await;
    let (one, other) = (ground.node().await, ground.node().await);
    let mut heir = other.heir().await;
    let mut connect = mortal("late");
    connect.properties.session_expiry_s = Some(100);
    connect.will.as_mut().unwrap().properties.will_delay_s = Some(2);
    one.mortal(connect).await.vanish().await;
    one.stop().await;
    heir.is_quiet().await;
    assert_eq!(heir.take().await.payload, "late");
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_taken_for_dead_who_is_back_later_than_others_when_shared_state_was_away() {
    let ground = Ground::start().await;
    let one = ground.node().await;
    let (other, line) = ground.node_on_a_line().await;
    let mut clients = Vec::new();
    for (node, name) in [(&one, "first"), (&other, "second")] {
        clients.push(node.mortal(mortal(name)).await);
    }
    ground.be_away(&one, &line).await;
    assert_eq!(one.kept().await, 2);
    line.heal();
    until(PATIENCE, async || one.sees_running(2).await).await;
    let steady = trunkline_mqtt::limits::NODE_STEADY_TIME + Duration::from_secs(2);
    throughout(steady, async || one.kept().await == 2).await;
    for client in &mut clients {
        client.is_quiet().await;
    }
    one.stop().await;
    other.stop().await;
}
