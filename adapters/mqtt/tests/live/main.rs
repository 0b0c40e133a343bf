//! The adapter on live connections: in-memory streams, the open gate, and the embedded bus in a folder of its own.

#![allow(
    clippy::unwrap_used,
    reason = "a test says that something does not hold by panicking"
)]

mod counts;
mod deliver;
mod exactly_once;
mod greedy;
mod handover;
mod hostile;
mod late;
mod life;
mod line;
mod listener;
mod nodes;
mod order;
mod rest;
mod retained;
mod sessions;
mod shared;
mod shared_kept;
mod shared_left;
mod shared_nodes;
mod shared_unheard;
mod slow;
mod standard;
mod standard_limits;
mod start;
mod strangers;
mod tls;
mod unheard;
mod websocket;
mod wills;
mod withheld;

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_bus::EmbeddedBus;
use trunkline_core::SystemClock;
use trunkline_gate::{Gate, OpenGate};
use trunkline_mqtt::{Adapter, Deps, Listener, Settings};
use trunkline_mqtt_wire::{
    Ack, Connect, Decoder, Limits, Packet, PacketId, Publish, QoS, ReasonCode, Subscribe, SubscribeFilter,
    SubscribeProperties, Unsubscribe, Utf8Bytes, Version,
};

use start::{deps, open_bus, run};

/// Time after which something that must happen has not happened.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes that a stream holds in each direction.
const STREAM_BYTES: usize = 16 * 1024;
/// QoS 1 messages that a test publishes without waiting.
const PUBLISH_AHEAD: usize = 100;
const BOTH: [Version; 2] = [Version::V3, Version::V5];

/// A node with the adapter alone.
struct Broker {
    adapter: Arc<Adapter>,
    bus: EmbeddedBus,
    metrics: trunkline_telemetry::Metrics,
    cancel: CancellationToken,
    connections: TaskTracker,
    router: JoinHandle<()>,
    stop_router: CancellationToken,
    folder: TempDir,
}

impl Broker {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::on(open_bus(&folder).await, folder)
    }

    /// A node on a bus that is open in `folder`.
    fn on(bus: EmbeddedBus, folder: TempDir) -> Self {
        Self::with(Settings::default(), bus, folder)
    }

    fn with(settings: Settings, bus: EmbeddedBus, folder: TempDir) -> Self {
        Self::of(|deps| Adapter::open(deps, settings), bus, folder)
    }

    /// A node behind a gate of its own.
    fn behind(gate: Arc<dyn Gate>, bus: EmbeddedBus, folder: TempDir) -> Self {
        Self::of(
            |deps| Adapter::open(Deps { gate, ..deps }, Settings::default()),
            bus,
            folder,
        )
    }

    fn of(open: impl FnOnce(Deps) -> Arc<Adapter>, bus: EmbeddedBus, folder: TempDir) -> Self {
        let metrics = trunkline_telemetry::Metrics::new();
        let adapter = open(deps(&bus, &metrics));
        let (stop_router, router) = run(&adapter);
        Self {
            adapter,
            bus,
            metrics,
            cancel: CancellationToken::new(),
            connections: TaskTracker::new(),
            router,
            stop_router,
            folder,
        }
    }

    /// A stream that the adapter serves.
    fn stream(&self) -> DuplexStream {
        self.stream_to(&self.adapter)
    }

    /// A stream that `adapter` serves, which ends with this node.
    fn stream_to(&self, adapter: &Arc<Adapter>) -> DuplexStream {
        let (near, far) = duplex(STREAM_BYTES);
        let (adapter, cancel) = (Arc::clone(adapter), self.cancel.clone());
        let peer = ([127, 0, 0, 1], 0).into();
        self.connections
            .spawn(async move { adapter.serve_stream(far, peer, cancel).await });
        near
    }

    /// Serves a listener on a socket of its own, and gives its address.
    async fn listen(&self, on: impl FnOnce(TcpListener) -> Listener) -> SocketAddr {
        let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let (adapter, cancel, listener) = (Arc::clone(&self.adapter), self.cancel.clone(), on(socket));
        self.connections
            .spawn(async move { adapter.serve(listener, cancel).await });
        address
    }

    /// A client that has connected under `name`.
    async fn client(&self, version: Version, name: &str) -> Client {
        self.client_with(version, connect(name)).await
    }

    async fn client_with(&self, version: Version, connect: Connect) -> Client {
        Client::connected(self.stream(), version, connect).await
    }

    /// Ends everything. Gives what it leaves behind.
    async fn stop(self) -> TempDir {
        end((self.cancel, self.connections), (self.stop_router, self.router)).await;
        self.bus.close().await;
        self.folder
    }
}

/// Ends the connections of an adapter and what it runs, and with it what could hide: something that does not end.
async fn end(connections: (CancellationToken, TaskTracker), run: (CancellationToken, JoinHandle<()>)) {
    let (cancel, connections) = connections;
    cancel.cancel();
    connections.close();
    tokio::time::timeout(PATIENCE, connections.wait())
        .await
        .expect("a connection does not end");
    let (cancel, run) = run;
    cancel.cancel();
    tokio::time::timeout(PATIENCE, run)
        .await
        .expect("the router does not end")
        .unwrap();
}

/// A client that says what it is told to.
struct Client<S = DuplexStream> {
    stream: S,
    version: Version,
    decoder: Decoder,
    input: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn new(stream: S, version: Version) -> Self {
        Self {
            stream,
            version,
            decoder: Decoder::client(version, Limits::STANDARD),
            input: BytesMut::new(),
        }
    }

    /// A client that was admitted.
    async fn connected(stream: S, version: Version, connect: Connect) -> Self {
        let mut client = Self::new(stream, version);
        client.send(&Packet::Connect(Box::new(connect))).await;
        match client.receive().await {
            Packet::ConnAck(connack) if connack.reason == ReasonCode::Success => client,
            other => panic!("expected a good CONNACK, got {other:?}"),
        }
    }

    async fn send(&mut self, packet: &Packet) {
        let bytes = encoded(packet, self.version);
        self.stream.write_all(&bytes).await.expect("the connection takes bytes");
    }

    /// The next packet; `None` once the connection is closed.
    async fn next(&mut self) -> Option<Packet> {
        let next = async {
            loop {
                if let Some(packet) = self.decoder.decode(&mut self.input).unwrap() {
                    return Some(packet);
                }
                match self.stream.read_buf(&mut self.input).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, next)
            .await
            .expect("nothing is received in time")
    }

    async fn receive(&mut self) -> Packet {
        self.next().await.expect("the connection is open")
    }

    async fn message(&mut self) -> Publish {
        match self.receive().await {
            Packet::Publish(publish) => publish,
            other => panic!("expected PUBLISH, got {other:?}"),
        }
    }

    /// The next message, acknowledged if it wants to be.
    async fn take(&mut self) -> Publish {
        let publish = self.message().await;
        match publish.packet_id {
            Some(id) if publish.qos == QoS::ExactlyOnce => {
                self.send(&Packet::PubRec(Ack::success(id))).await;
                assert_eq!(self.receive().await, Packet::PubRel(Ack::success(id)));
                self.send(&Packet::PubComp(Ack::success(id))).await;
            }
            Some(id) => self.send(&Packet::PubAck(Ack::success(id))).await,
            None => {}
        }
        publish
    }

    async fn publish(&mut self, topic: &str, payload: impl Into<Bytes>, qos: QoS) -> Option<ReasonCode> {
        let packet_id = (qos != QoS::AtMostOnce).then_some(PacketId::MIN);
        let message = Publish {
            qos,
            topic: text(topic),
            packet_id,
            payload: payload.into(),
            ..Publish::default()
        };
        self.send(&Packet::Publish(message)).await;
        packet_id?;
        match self.receive().await {
            Packet::PubAck(ack) if qos == QoS::AtLeastOnce => Some(ack.reason),
            Packet::PubRec(ack) if qos == QoS::ExactlyOnce => {
                if !ack.reason.is_error() {
                    self.send(&Packet::PubRel(Ack::success(ack.packet_id))).await;
                    assert_eq!(self.receive().await, Packet::PubComp(Ack::success(ack.packet_id)));
                }
                Some(ack.reason)
            }
            other => panic!("expected the answer to a publish, got {other:?}"),
        }
    }

    /// Publishes messages of half a kibibyte to `a/b` that carry these numbers, some of them ahead of their PUBACKs.
    async fn publish_numbers(&mut self, numbers: Range<u32>, qos: QoS) {
        let mut unacknowledged = 0;
        for number in numbers {
            let mut payload = format!("{number};").into_bytes();
            payload.resize(512, b'.');
            let message = Publish {
                qos,
                topic: text("a/b"),
                packet_id: PacketId::new(u16::try_from(number % 60_000 + 1).unwrap())
                    .filter(|_| qos != QoS::AtMostOnce),
                payload: payload.into(),
                ..Publish::default()
            };
            unacknowledged += usize::from(message.packet_id.is_some());
            self.send(&Packet::Publish(message)).await;
            if unacknowledged >= PUBLISH_AHEAD {
                self.receive().await;
                unacknowledged -= 1;
            }
        }
        for _ in 0..unacknowledged {
            self.receive().await;
        }
        self.is_quiet().await;
    }

    async fn subscribe(&mut self, filter: &str, qos: QoS) -> ReasonCode {
        let filter = SubscribeFilter {
            filter: text(filter),
            qos,
            ..SubscribeFilter::default()
        };
        self.subscribe_to(vec![filter]).await[0]
    }

    async fn subscribe_to(&mut self, filters: Vec<SubscribeFilter>) -> Vec<ReasonCode> {
        let packet = Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            filters,
            properties: SubscribeProperties::default(),
        });
        self.send(&packet).await;
        match self.receive().await {
            Packet::SubAck(suback) => suback.reasons,
            other => panic!("expected SUBACK, got {other:?}"),
        }
    }

    async fn unsubscribe(&mut self, filter: &str) -> ReasonCode {
        let unsubscribe = Unsubscribe {
            packet_id: PacketId::MIN,
            filters: vec![text(filter)],
            properties: Default::default(),
        };
        self.send(&Packet::Unsubscribe(unsubscribe)).await;
        match self.receive().await {
            // 3.1.1 has none.
            Packet::UnsubAck(answer) => answer.reasons.first().copied().unwrap_or(ReasonCode::Success),
            other => panic!("expected UNSUBACK, got {other:?}"),
        }
    }

    /// Nothing but the answer to a ping comes: whatever was to come has come before.
    async fn is_quiet(&mut self) {
        self.send(&Packet::PingReq).await;
        assert_eq!(self.receive().await, Packet::PingResp);
    }

    /// The reason that the connection is closed with; `None` where none is given.
    async fn goodbye(&mut self) -> Option<ReasonCode> {
        match self.next().await {
            None => None,
            Some(Packet::Disconnect(disconnect)) => {
                assert_eq!(self.next().await, None);
                Some(disconnect.reason)
            }
            other => panic!("expected the end, got {other:?}"),
        }
    }
}

fn connect(name: &str) -> Connect {
    Connect {
        clean_start: true,
        keep_alive_s: 60,
        client_id: text(name),
        ..Connect::default()
    }
}

fn encoded(packet: &Packet, version: Version) -> Bytes {
    let mut bytes = BytesMut::new();
    trunkline_mqtt_wire::encode(packet, version, &mut bytes).unwrap();
    bytes.freeze()
}

fn text(text: &str) -> Utf8Bytes {
    Utf8Bytes::try_from(text).unwrap()
}

/// The number that [`Client::publish_numbers`] gave a message.
fn number_of(message: &Publish) -> u32 {
    let digits: Vec<u8> = message.payload.iter().copied().take_while(u8::is_ascii_digit).collect();
    String::from_utf8(digits).unwrap().parse().unwrap()
}
