//! What the machine must do, claim by claim; bytes in, bytes out, no socket.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use trunkline_bus::TopicError;
use trunkline_bus::log::{AppendError, Quota};
use trunkline_gate::{Denial, Refusal};
use trunkline_mqtt_wire::{
    Ack, Auth, ConnAck, Connect, Decoder, Disconnect, Limits, Packet, PacketId, Publish, PublishProperties, QoS,
    ReasonCode, SharedProperties, SubscribeFilter, Unsubscribe, Utf8Bytes, Version, Will,
};

use super::{Awaits, Cause, Delivered, Kept, Machine, Offer, Opened, Sent, Settings, Source, Step};
use crate::limits::{RECEIVE_MAX, WINDOW_MAX};

mod alias;
mod connect;
mod dialects;
mod inbound;
mod kept;
mod life;
mod outbound;
mod property;
mod qos2;
mod standard;

const BOTH: [Version; 2] = [Version::V3, Version::V5];

/// A machine with a client in front of it.
struct Bench {
    machine: Machine,
    version: Version,
    client: Decoder,
    out: BytesMut,
}

impl Bench {
    /// For a client that takes so little that even CONNACK does not fit.
    fn open_with_small(connect: Connect) -> Self {
        let mut bench = Self::new(Version::V5);
        bench.send(&Packet::Connect(Box::new(connect)));
        bench.admit(Ok(()));
        bench.out.clear();
        bench
    }

    fn new(version: Version) -> Self {
        Self {
            machine: Machine::new(Settings::default(), Duration::ZERO),
            version,
            client: Decoder::client(version, Limits::STANDARD),
            out: BytesMut::new(),
        }
    }

    fn open(version: Version) -> Self {
        Self::open_with(version, connect())
    }

    fn open_with(version: Version, connect: Connect) -> Self {
        let mut bench = Self::new(version);
        assert!(matches!(
            bench.send(&Packet::Connect(Box::new(connect))),
            Step::Admit(_)
        ));
        assert!(matches!(bench.admit(Ok(())), Step::Continue));
        assert_eq!(bench.connack().reason, ReasonCode::Success);
        bench
    }

    fn send(&mut self, packet: &Packet) -> Step {
        self.send_at(packet, Duration::ZERO)
    }

    fn send_at(&mut self, packet: &Packet, now: Duration) -> Step {
        let mut input = BytesMut::new();
        trunkline_mqtt_wire::encode(packet, self.version, &mut input).unwrap();
        self.machine.next(&mut input, now, &mut self.out)
    }

    fn admit(&mut self, answer: Result<(), Refusal>) -> Step {
        self.machine.admitted(answer.map(|()| Opened::default()), &mut self.out)
    }

    /// A publish as far as the log: the client's message is allowed and taken.
    fn publish(&mut self, id: u16) {
        assert!(matches!(self.send(&publish(id)), Step::Publish(_)));
        self.machine.awaiting(packet_id(id), QoS::AtLeastOnce);
    }

    fn received(&mut self) -> Option<Packet> {
        self.client.decode(&mut self.out).unwrap()
    }

    fn connack(&mut self) -> ConnAck {
        match self.received() {
            Some(Packet::ConnAck(connack)) => *connack,
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }

    fn ack(&mut self) -> Option<(u16, ReasonCode)> {
        match self.received() {
            Some(Packet::PubAck(ack)) => Some((ack.packet_id.get(), ack.reason)),
            None => None,
            other => panic!("expected PUBACK, got {other:?}"),
        }
    }

    /// The reason of the DISCONNECT that the client got, if it got one.
    fn goodbye(&mut self) -> Option<ReasonCode> {
        match self.received() {
            Some(Packet::Disconnect(disconnect)) => Some(disconnect.reason),
            None => None,
            other => panic!("expected DISCONNECT, got {other:?}"),
        }
    }

    fn deliver(&mut self, qos: QoS) -> Delivered {
        self.offer(Offer { qos, ..offer() })
    }

    fn offer(&mut self, offer: Offer<'_>) -> Delivered {
        let shared = SharedProperties::default();
        let offer = Offer {
            shared: &shared,
            ..offer
        };
        self.machine.deliver(&offer, 1_000_000_000, &mut self.out)
    }
}

static SHARED: std::sync::LazyLock<SharedProperties> = std::sync::LazyLock::new(SharedProperties::default);

fn offer() -> Offer<'static> {
    Offer {
        topic: "m/d/c/c",
        qos: QoS::AtMostOnce,
        retain: false,
        expires_at_ns: 0,
        subscription_ids: &[],
        shared: &SHARED,
        payload: b"21.5",
        source: Source::Log(1),
    }
}

fn connect() -> Connect {
    Connect {
        clean_start: true,
        keep_alive_s: 60,
        client_id: text("sensor"),
        user_name: Some(text("client")),
        password: Some(Bytes::from_static(b"secret").into()),
        ..Connect::default()
    }
}

fn publish(id: u16) -> Packet {
    Packet::Publish(numbered(id))
}

/// A message at QoS 1, or at QoS 0 for the id 0.
fn numbered(id: u16) -> Publish {
    Publish {
        qos: if id == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce },
        packet_id: PacketId::new(id),
        ..message()
    }
}

fn message() -> Publish {
    Publish {
        topic: text("m/d/c/c"),
        payload: Bytes::from_static(b"21.5"),
        ..Publish::default()
    }
}

fn text(text: &str) -> Utf8Bytes {
    Utf8Bytes::try_from(text).unwrap()
}

fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

fn full() -> AppendError {
    AppendError::Full {
        quota: Quota::Total,
        retry_after: Duration::from_secs(1),
    }
}

fn subscribe() -> trunkline_mqtt_wire::Subscribe {
    trunkline_mqtt_wire::Subscribe {
        packet_id: packet_id(1),
        filters: vec![SubscribeFilter {
            filter: text("m/d/c/c/#"),
            ..SubscribeFilter::default()
        }],
        properties: Default::default(),
    }
}
