//! The test broker as a program: what its command line makes of it.

#![allow(
    clippy::unwrap_used,
    reason = "a test says that something does not hold by panicking"
)]

use std::process::Stdio;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use trunkline_mqtt_wire::{
    Ack, ConnAck, Connect, Decoder, Limits, Packet, PacketId, Publish, QoS, ReasonCode, SubAck, Subscribe,
    SubscribeFilter, Utf8Bytes, Version, encode,
};

/// Time after which something that must happen has not happened.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than the product's largest message.
const LARGE_BYTES: usize = 900_000;

/// A running test broker, and a client of MQTT 5 that it has admitted.
struct Broker {
    connack: ConnAck,
    stream: TcpStream,
    decoder: Decoder,
    _process: Child,
}

impl Broker {
    async fn start(arguments: &[&str]) -> Self {
        let deps = std::env::current_exe().unwrap();
        let program = deps.ancestors().nth(2).unwrap().join("examples/broker");
        let mut process = Command::new(program)
            .args(["--port", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the broker is built with the tests");
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = tokio::time::timeout(PATIENCE, said.next_line()).await.unwrap();
        let ready = ready.unwrap().unwrap();
        let stream = TcpStream::connect(ready.strip_prefix("ready mqtt=").unwrap())
            .await
            .unwrap();
        let mut broker = Self {
            connack: ConnAck::default(),
            stream,
            decoder: Decoder::client(Version::V5, Limits::STANDARD),
            _process: process,
        };
        let connect = Connect {
            clean_start: true,
            client_id: text("client"),
            ..Connect::default()
        };
        let Packet::ConnAck(connack) = broker.answer(&Packet::Connect(Box::new(connect))).await else {
            panic!("no CONNACK");
        };
        broker.connack = *connack;
        broker
    }

    /// The next packet that comes once this one was sent.
    async fn answer(&mut self, packet: &Packet) -> Packet {
        let mut bytes = BytesMut::new();
        encode(packet, Version::V5, &mut bytes).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
        let mut input = BytesMut::new();
        let answer = async {
            loop {
                if let Some(packet) = self.decoder.decode(&mut input).unwrap() {
                    return packet;
                }
                assert_ne!(self.stream.read_buf(&mut input).await.unwrap(), 0, "closed");
            }
        };
        tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time")
    }

    async fn publish(&mut self, topic: &str, payload: Bytes) -> Ack {
        let publish = Publish {
            qos: QoS::AtLeastOnce,
            topic: text(topic),
            packet_id: Some(PacketId::MIN),
            payload,
            ..Publish::default()
        };
        match self.answer(&Packet::Publish(publish)).await {
            Packet::PubAck(ack) => ack,
            other => panic!("expected PUBACK, got {other:?}"),
        }
    }

    async fn subscribe(&mut self, filter: &str) -> SubAck {
        let filter = SubscribeFilter {
            filter: text(filter),
            ..SubscribeFilter::default()
        };
        let subscribe = Subscribe {
            packet_id: PacketId::MIN,
            filters: vec![filter],
            properties: Default::default(),
        };
        match self.answer(&Packet::Subscribe(subscribe)).await {
            Packet::SubAck(suback) => suback,
            other => panic!("expected SUBACK, got {other:?}"),
        }
    }
}

fn text(text: &str) -> Utf8Bytes {
    Utf8Bytes::try_from(text).unwrap()
}

#[tokio::test]
async fn the_test_broker_announces_no_limit_of_a_packet_and_gives_no_reasons() {
    let mut broker = Broker::start(&["--deny-subscribe", "closed"]).await;
    assert_eq!(broker.connack.properties.maximum_packet_bytes, None);
    let large = broker.publish("a", vec![7; LARGE_BYTES].into()).await;
    assert_eq!(
        large,
        Ack::with_reason(PacketId::MIN, ReasonCode::NoMatchingSubscribers)
    );
    assert_eq!(broker.subscribe("closed").await.reasons, [ReasonCode::NotAuthorized]);
    assert_eq!(broker.subscribe("open").await.reasons, [ReasonCode::Success]);
    let refused = broker.publish("$share/a/b", Bytes::new()).await;
    assert_eq!(refused, Ack::with_reason(PacketId::MIN, ReasonCode::NotAuthorized));
}

#[tokio::test]
async fn as_trunkline_the_test_broker_keeps_to_the_products_limits_and_gives_reasons() {
    let mut broker = Broker::start(&["--as-trunkline"]).await;
    let bytes_max = broker.connack.properties.maximum_packet_bytes;
    assert!(bytes_max.is_some_and(|bytes_max| (bytes_max.get() as usize) < LARGE_BYTES));
    let refused = broker.publish("$share/a/b", Bytes::new()).await;
    assert_eq!(refused.reason, ReasonCode::NotAuthorized);
    assert!(refused.properties.reason_string.is_some());
}

#[tokio::test]
async fn nobody_publishes_to_what_the_test_broker_keeps_for_itself() {
    let mut broker = Broker::start(&["--deny-publish", "closed"]).await;
    let none = Bytes::new;
    for kept in [
        "$share/a/b",
        "$SYS/broker/uptime",
        "$SYS/broker/connection/me",
        "closed",
    ] {
        assert_eq!(
            broker.publish(kept, none()).await.reason,
            ReasonCode::NotAuthorized,
            "{kept}"
        );
    }
    for open in ["$share", "$other/a", "$SYS/broker/connection/me/state", "closed/not"] {
        assert!(!broker.publish(open, none()).await.reason.is_error(), "{open}");
    }
}
