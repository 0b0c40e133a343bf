//! Clients of MQTT 3.1, bridges, and what an operator lets be said.

use trunkline_mqtt_wire::{PacketType, Subscribe, SubscribeProperties};

use super::*;
use crate::config::Refusals;

fn subscribe(filter: &str) -> Packet {
    let filter = SubscribeFilter {
        filter: text(filter),
        ..SubscribeFilter::default()
    };
    Packet::Subscribe(Subscribe {
        packet_id: packet_id(1),
        filters: vec![filter],
        properties: SubscribeProperties::default(),
    })
}

#[test]
fn a_client_of_3_1_is_not_told_of_its_session() {
    for (is_3_1, is_told) in [(true, false), (false, true)] {
        let mut bench = Bench::new(Version::V3);
        let connect = Connect {
            is_3_1,
            clean_start: false,
            ..connect()
        };
        bench.send(&Packet::Connect(Box::new(connect)));
        let opened = Opened {
            is_present: true,
            kept: Some(Box::default()),
        };
        assert!(matches!(
            bench.machine.admitted(Ok(opened), &mut bench.out),
            Step::Continue
        ));
        assert_eq!(bench.connack().session_present, is_told);
    }
}

#[test]
fn nothing_comes_back_to_a_bridge_and_what_is_retained_stays_so() {
    for is_bridge in [true, false] {
        let mut bench = Bench::open_with(Version::V3, Connect { is_bridge, ..connect() });
        let Step::Subscribe(subscribe) = bench.send(&subscribe("a")) else {
            panic!("expected a SUBSCRIBE");
        };
        let filter = &subscribe.filters[0];
        assert_eq!((filter.no_local, filter.retain_as_published), (is_bridge, is_bridge));
    }
}

fn terse() -> Bench {
    let settings = Settings {
        refusals: Refusals::Terse,
        ..Settings::default()
    };
    let mut bench = Bench::new(Version::V5);
    bench.machine = Machine::new(settings, Duration::ZERO);
    bench.send(&Packet::Connect(Box::new(connect())));
    bench.admit(Ok(()));
    bench.connack();
    bench
}

#[test]
fn who_is_refused_tersely_does_not_learn_which_rule_it_broke() {
    // No filter; packet id 0; a filter and a topic that are too long; a second CONNECT; a PINGRESP; a packet that is too large.
    let long = encoded(&subscribe(&"a".repeat(2_000)));
    let too_long = Packet::Publish(Publish {
        topic: text(&"a".repeat(2_000)),
        ..Publish::default()
    });
    for (bytes, goodbye) in [
        (
            BytesMut::from(&b"\x82\x03\x00\x01\x00"[..]),
            Some(ReasonCode::MalformedPacket),
        ),
        (
            BytesMut::from(&b"\x82\x07\x00\x00\x00\x00\x01a\x00"[..]),
            Some(ReasonCode::MalformedPacket),
        ),
        (long, Some(ReasonCode::MalformedPacket)),
        (encoded(&too_long), Some(ReasonCode::ProtocolError)),
        (encoded(&Packet::Connect(Box::new(connect()))), None),
        (encoded(&Packet::PingResp), None),
        (
            BytesMut::from(&b"\x30\xFF\xFF\xFF\x7F"[..]),
            Some(ReasonCode::PacketTooLarge),
        ),
    ] {
        let mut bench = terse();
        let step = bench.machine.next(&mut bytes.clone(), Duration::ZERO, &mut bench.out);
        assert!(matches!(step, Step::Close(_)), "{bytes:?}");
        assert_eq!(bench.goodbye(), goodbye, "{bytes:?}");
    }
}

#[test]
fn a_terse_refusal_has_no_words() {
    let denied = |mut bench: Bench| {
        let Step::Publish(publish) = bench.send(&publish(1)) else {
            panic!("expected a PUBLISH");
        };
        bench.machine.deny(&publish, &Denial::NotAuthorized, &mut bench.out);
        match bench.received() {
            Some(Packet::PubAck(ack)) => ack,
            other => panic!("expected {}, got {other:?}", PacketType::PubAck),
        }
    };
    let (full, terse) = (denied(Bench::open(Version::V5)), denied(terse()));
    assert_eq!(
        (full.reason, terse.reason),
        (ReasonCode::NotAuthorized, ReasonCode::NotAuthorized)
    );
    assert!(full.properties.reason_string.is_some());
    assert_eq!(terse.properties.reason_string, None);
}

#[test]
fn a_message_that_is_dropped_uses_up_its_packet_id() {
    let mut bench = Bench::open_with(
        Version::V5,
        Connect {
            properties: trunkline_mqtt_wire::ConnectProperties {
                maximum_packet_bytes: NonZeroU32::new(40),
                ..Default::default()
            },
            ..connect()
        },
    );
    let qos = QoS::AtLeastOnce;
    let (lapsed, large) = (
        Offer {
            qos,
            expires_at_ns: 1,
            ..offer()
        },
        Offer {
            qos,
            payload: &[0; 100],
            ..offer()
        },
    );
    assert_eq!(bench.offer(lapsed), Delivered::Expired);
    assert_eq!(bench.offer(large), Delivered::TooLarge);
    assert_eq!(bench.deliver(qos), Delivered::Sent);
    let Some(Packet::Publish(publish)) = bench.received() else {
        panic!("expected a PUBLISH");
    };
    assert_eq!(publish.packet_id, Some(packet_id(3)));
}

fn encoded(packet: &Packet) -> BytesMut {
    let mut bytes = BytesMut::new();
    trunkline_mqtt_wire::encode(packet, Version::V5, &mut bytes).unwrap();
    bytes
}
