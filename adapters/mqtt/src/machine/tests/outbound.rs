//! What a client gets: its window, its limits, what is left of a message.

use super::*;

#[test]
fn the_window_is_the_smaller_receive_maximum_and_opens_with_each_puback() {
    for (receive_maximum, window) in [
        (None, WINDOW_MAX),
        (NonZeroU16::new(2), 2),
        (NonZeroU16::new(u16::MAX), WINDOW_MAX),
    ] {
        let mut connect = connect();
        connect.properties.receive_maximum = receive_maximum;
        let mut bench = Bench::open_with(Version::V5, connect);
        for _ in 0..window {
            assert_eq!(bench.deliver(QoS::AtLeastOnce), Delivered::Sent);
        }
        assert_eq!(bench.deliver(QoS::AtLeastOnce), Delivered::WindowFull);
        assert_eq!(bench.deliver(QoS::AtMostOnce), Delivered::Sent);
        let Some(Packet::Publish(first)) = bench.received() else {
            panic!("expected PUBLISH");
        };
        bench.send(&Packet::PubAck(Ack::success(first.packet_id.unwrap())));
        assert_eq!(bench.deliver(QoS::AtLeastOnce), Delivered::Sent);
        assert_eq!(bench.deliver(QoS::AtLeastOnce), Delivered::WindowFull);
    }
}

#[test]
fn packet_ids_in_use_are_not_used_again() {
    let mut connect = connect();
    connect.properties.receive_maximum = NonZeroU16::new(2);
    let mut bench = Bench::open_with(Version::V5, connect);
    bench.deliver(QoS::AtLeastOnce);
    let Some(Packet::Publish(kept)) = bench.received() else {
        panic!("expected PUBLISH");
    };
    for _ in 0..=u16::MAX {
        bench.deliver(QoS::AtLeastOnce);
        let Some(Packet::Publish(next)) = bench.received() else {
            panic!("expected PUBLISH");
        };
        assert_ne!(next.packet_id, kept.packet_id);
        bench.send(&Packet::PubAck(Ack::success(next.packet_id.unwrap())));
    }
}

#[test]
fn a_message_too_large_for_the_client_is_skipped() {
    let mut connect = connect();
    connect.properties.maximum_packet_bytes = NonZeroU32::new(64);
    let mut bench = Bench::open_with_small(connect);
    let payload = vec![0; 64];
    let large = Offer {
        payload: &payload,
        ..offer()
    };
    assert_eq!(bench.offer(large), Delivered::TooLarge);
    assert_eq!(bench.offer(offer()), Delivered::Sent);
}

#[test]
fn an_expired_message_is_not_delivered_and_the_time_waited_is_deducted() {
    let mut bench = Bench::open(Version::V5);
    let at = |expires_at_ns| Offer {
        expires_at_ns,
        ..offer()
    };
    assert_eq!(bench.offer(at(1_000_000_000)), Delivered::Expired);
    assert_eq!(bench.offer(at(3_500_000_000)), Delivered::Sent);
    let Some(Packet::Publish(publish)) = bench.received() else {
        panic!("expected PUBLISH");
    };
    assert_eq!(publish.properties.unwrap().message_expiry_s, Some(3));
}
