//! QoS 2, both ways.

use super::*;

fn exactly_once(id: u16) -> Packet {
    Packet::Publish(Publish {
        qos: QoS::ExactlyOnce,
        ..numbered(id)
    })
}

fn rel(id: u16) -> Packet {
    Packet::PubRel(Ack::success(packet_id(id)))
}

fn received(id: u16) -> Option<Packet> {
    Some(Packet::PubRec(Ack::success(packet_id(id))))
}

fn completed(id: u16) -> Option<Packet> {
    Some(Packet::PubComp(Ack::success(packet_id(id))))
}

/// Publishes as far as the log.
fn take(bench: &mut Bench, id: u16) {
    assert!(matches!(bench.send(&exactly_once(id)), Step::Publish(_)));
    bench.machine.awaiting(packet_id(id), QoS::ExactlyOnce);
}

/// Publishes as far as the PUBREC.
fn hold(bench: &mut Bench, id: u16) {
    take(bench, id);
    bench.machine.appended(Ok(()), &mut bench.out);
    assert_eq!(bench.received(), received(id));
}

/// A machine that has sent a message at this QoS, and the id of it.
fn with_delivery(version: Version, qos: QoS) -> (Bench, PacketId) {
    let mut bench = Bench::open(version);
    assert_eq!(bench.deliver(qos), Delivered::Sent);
    let Some(Packet::Publish(Publish {
        packet_id: Some(id), ..
    })) = bench.received()
    else {
        panic!("expected PUBLISH with an id");
    };
    (bench, id)
}

#[test]
fn answers_at_qos_1_and_2_leave_in_the_order_of_arrival() {
    for version in BOTH {
        let mut bench = Bench::open(version);
        take(&mut bench, 5);
        bench.publish(6);
        take(&mut bench, 4);
        for _ in 0..3 {
            bench.machine.appended(Ok(()), &mut bench.out);
        }
        assert_eq!(bench.received(), received(5));
        assert_eq!(bench.ack(), Some((6, ReasonCode::Success)));
        assert_eq!(bench.received(), received(4));
    }
}

#[test]
fn a_repeat_is_answered_and_not_published_until_the_id_is_released() {
    for version in BOTH {
        let mut bench = Bench::open(version);
        take(&mut bench, 1);
        assert!(
            matches!(bench.send(&exactly_once(1)), Step::Continue),
            "the first is at the log"
        );
        bench.machine.appended(Ok(()), &mut bench.out);
        assert_eq!(bench.received(), received(1));
        assert_eq!(bench.received(), None, "one PUBREC for both");
        assert!(matches!(bench.send(&exactly_once(1)), Step::Continue));
        assert_eq!(bench.received(), received(1));
        bench.send(&rel(1));
        assert_eq!(bench.received(), completed(1));
        assert!(matches!(bench.send(&exactly_once(1)), Step::Publish(_)));
    }
}

#[test]
fn a_message_that_is_repeated_without_end_ends_its_connection() {
    let mut bench = Bench::open(Version::V5);
    hold(&mut bench, 1);
    for _ in 0..crate::limits::REPEATS_MAX {
        assert!(matches!(bench.send(&exactly_once(1)), Step::Continue));
        assert_eq!(bench.received(), received(1));
    }
    assert!(matches!(bench.send(&exactly_once(1)), Step::Close(Cause::Malformed)));
    assert_eq!(bench.goodbye(), Some(ReasonCode::ProtocolError));
}

#[test]
fn what_was_refused_holds_no_id() {
    let mut bench = Bench::open(Version::V5);
    take(&mut bench, 1);
    bench.machine.appended(Err(&full()), &mut bench.out);
    let refused = Ack::with_reason(packet_id(1), ReasonCode::QuotaExceeded);
    let Some(Packet::PubRec(ack)) = bench.received() else {
        panic!("expected PUBREC");
    };
    assert_eq!((ack.packet_id, ack.reason), (refused.packet_id, refused.reason));
    assert!(matches!(bench.send(&exactly_once(1)), Step::Publish(_)));
}

#[test]
fn what_is_not_released_counts_towards_receive_maximum() {
    let mut bench = Bench::open(Version::V5);
    for id in 1..=RECEIVE_MAX {
        hold(&mut bench, id);
    }
    bench.send(&rel(1));
    assert_eq!(bench.received(), completed(1));
    bench.publish(1);
    assert!(matches!(
        bench.send(&publish(RECEIVE_MAX + 1)),
        Step::Close(Cause::OverLimit)
    ));
    assert_eq!(bench.goodbye(), Some(ReasonCode::ReceiveMaximumExceeded));
}

#[test]
fn a_release_of_nothing_is_said_to_be_one_on_mqtt_5() {
    for (version, reason) in [
        (Version::V3, ReasonCode::Success),
        (Version::V5, ReasonCode::PacketIdentifierNotFound),
    ] {
        let mut bench = Bench::open(version);
        bench.send(&rel(9));
        let expected = Ack::with_reason(packet_id(9), reason);
        assert_eq!(bench.received(), Some(Packet::PubComp(expected)));
    }
}

#[test]
fn a_release_before_its_pubrec_ends_the_connection() {
    let mut bench = Bench::open(Version::V5);
    take(&mut bench, 1);
    assert!(matches!(bench.send(&rel(1)), Step::Close(Cause::Malformed)));
    assert_eq!(bench.goodbye(), Some(ReasonCode::ProtocolError));
}

#[test]
fn a_delivery_takes_its_place_in_the_window_until_pubcomp() {
    for version in BOTH {
        let (mut bench, id) = with_delivery(version, QoS::ExactlyOnce);
        for _ in 1..WINDOW_MAX {
            bench.deliver(QoS::ExactlyOnce);
            bench.received();
        }
        // PUBREC may come again; each is answered.
        for _ in 0..2 {
            bench.send(&Packet::PubRec(Ack::success(id)));
            assert_eq!(bench.received(), Some(Packet::PubRel(Ack::success(id))));
            assert_eq!(bench.deliver(QoS::ExactlyOnce), Delivered::WindowFull);
        }
        bench.send(&Packet::PubComp(Ack::success(id)));
        assert_eq!(bench.deliver(QoS::ExactlyOnce), Delivered::Sent);
    }
}

#[test]
fn a_delivery_that_the_client_refuses_is_over() {
    let (mut bench, id) = with_delivery(Version::V5, QoS::ExactlyOnce);
    bench.send(&Packet::PubRec(Ack::with_reason(id, ReasonCode::QuotaExceeded)));
    assert_eq!(bench.received(), None);
    bench.send(&Packet::PubRec(Ack::success(id)));
    let gone = Ack::with_reason(id, ReasonCode::PacketIdentifierNotFound);
    assert_eq!(bench.received(), Some(Packet::PubRel(gone)));
}

#[test]
fn an_answer_of_the_wrong_kind_ends_the_connection() {
    for (qos, answer) in [
        (QoS::AtLeastOnce, Packet::PubRec as fn(Ack) -> Packet),
        (QoS::AtLeastOnce, Packet::PubComp),
        (QoS::ExactlyOnce, Packet::PubAck),
        (QoS::ExactlyOnce, Packet::PubComp),
    ] {
        for version in BOTH {
            let (mut bench, id) = with_delivery(version, qos);
            let step = bench.send(&answer(Ack::success(id)));
            assert!(matches!(step, Step::Close(Cause::Malformed)));
            assert!(bench.out.is_empty(), "nothing is said");
        }
    }
}
