//! Statements of the standards that concern one client alone and have no place among the others: see CONFORMANCE.md.

use super::*;

#[test]
fn connack_comes_before_anything_else() {
    for version in BOTH {
        let mut bench = Bench::new(version);
        assert!(matches!(
            bench.send(&Packet::Connect(Box::new(connect()))),
            Step::Admit(_)
        ));
        // What it sent behind CONNECT waits.
        assert!(!bench.machine.may_read());
        assert!(matches!(bench.send(&Packet::PingReq), Step::Wait));
        assert!(bench.out.is_empty());
        bench.admit(Ok(()));
        let connack = bench.connack();
        assert_eq!(connack.reason, ReasonCode::Success);
        // Nothing that the client did not ask for.
        assert_eq!(connack.properties.response_information, None);
        assert_eq!(connack.properties.authentication_method, None);
    }
}

#[test]
fn nothing_after_a_refused_connect_is_read() {
    for version in BOTH {
        let mut bench = Bench::new(version);
        bench.send(&Packet::Connect(Box::new(connect())));
        let step = bench.admit(Err(Refusal::BadCredentials));
        assert!(matches!(step, Step::Close(Cause::NotAdmitted)));
        assert!(bench.connack().reason.is_error());
        assert!(!bench.machine.may_read());
        assert!(matches!(bench.send(&publish(1)), Step::Wait));
        assert!(bench.out.is_empty());
    }
}

#[test]
fn words_that_make_a_packet_too_large_are_left_out() {
    let small = |bytes| {
        let mut connect = connect();
        connect.properties.maximum_packet_bytes = NonZeroU32::new(bytes);
        connect
    };
    let with_method = |mut connect: Connect| {
        connect.properties.authentication_method = Some(text("method"));
        Packet::Connect(Box::new(connect))
    };
    for (bytes, has_words) in [(1_000, true), (20, false)] {
        let mut bench = Bench::new(Version::V5);
        bench.send(&with_method(small(bytes)));
        let connack = bench.connack();
        assert_eq!(connack.reason, ReasonCode::BadAuthenticationMethod);
        assert_eq!(connack.properties.reason_string.is_some(), has_words);

        let mut bench = Bench::open_with_small(small(bytes));
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let message = Publish { qos, ..numbered(1) };
            bench.send(&Packet::Publish(message.clone()));
            bench.machine.deny(&message, &Denial::NotAuthorized, &mut bench.out);
            let (Some(Packet::PubAck(ack)) | Some(Packet::PubRec(ack))) = bench.received() else {
                panic!("expected an answer to the publish");
            };
            assert_eq!(ack.reason, ReasonCode::NotAuthorized);
            assert_eq!(ack.properties.reason_string.is_some(), has_words);
        }
        bench.send(&Packet::Auth(Box::<Auth>::default()));
        let Some(Packet::Disconnect(disconnect)) = bench.received() else {
            panic!("expected DISCONNECT");
        };
        assert_eq!(disconnect.reason, ReasonCode::BadAuthenticationMethod);
        assert_eq!(disconnect.properties.reason_string.is_some(), has_words);
    }
}

#[test]
fn other_packets_are_answered_while_the_window_is_full() {
    let mut connect = connect();
    connect.properties.receive_maximum = NonZeroU16::new(1);
    let mut bench = Bench::open_with(Version::V5, connect);
    assert_eq!(bench.deliver(QoS::AtLeastOnce), Delivered::Sent);
    assert!(matches!(bench.received(), Some(Packet::Publish(_))));
    assert_eq!(bench.deliver(QoS::AtLeastOnce), Delivered::WindowFull);
    bench.send(&Packet::PingReq);
    assert_eq!(bench.received(), Some(Packet::PingResp));
    bench.publish(7);
    bench.machine.appended(Ok(()), &mut bench.out);
    assert_eq!(bench.ack(), Some((7, ReasonCode::Success)));
    // Nor is a message at QoS 0 in the window.
    assert_eq!(bench.deliver(QoS::AtMostOnce), Delivered::Sent);
}

#[test]
fn what_was_repeated_after_its_puback_is_a_new_message() {
    for version in BOTH {
        let mut bench = Bench::open(version);
        for dup in [false, true] {
            let message = Publish { dup, ..numbered(3) };
            assert!(matches!(bench.send(&Packet::Publish(message)), Step::Publish(_)));
            bench.machine.awaiting(packet_id(3), QoS::AtLeastOnce);
            bench.machine.appended(Ok(()), &mut bench.out);
            assert_eq!(bench.ack(), Some((3, ReasonCode::Success)));
        }
    }
}

#[test]
fn pubrels_leave_in_the_order_of_pubrecs() {
    for version in BOTH {
        let mut bench = Bench::open(version);
        for _ in 0..3 {
            assert_eq!(bench.deliver(QoS::ExactlyOnce), Delivered::Sent);
            assert!(matches!(bench.received(), Some(Packet::Publish(_))));
        }
        let order = [2, 3, 1].map(packet_id);
        for id in order {
            bench.send(&Packet::PubRec(Ack::success(id)));
        }
        for id in order {
            assert_eq!(bench.received(), Some(Packet::PubRel(Ack::success(id))));
        }
    }
}

#[test]
fn a_message_that_was_sent_does_not_lapse_any_more() {
    let mut bench = Bench::new(Version::V5);
    bench.send(&Packet::Connect(Box::new(connect())));
    let sent = Sent {
        id: packet_id(9),
        awaits: Awaits::Received,
        source: Source::Log(1),
    };
    let kept = Kept {
        sent: vec![sent],
        last_id: 9,
        ..Kept::default()
    };
    let opened = Opened {
        is_present: true,
        kept: Some(Box::new(kept)),
    };
    bench.machine.admitted(Ok(opened), &mut bench.out);
    bench.connack();
    let lapsed = Offer {
        qos: QoS::ExactlyOnce,
        expires_at_ns: 1,
        ..offer()
    };
    assert_eq!(bench.machine.next_unsent(), Some(sent));
    assert!(bench.machine.resend(sent, &lapsed, 1_000_000_000, &mut bench.out));
    let Some(Packet::Publish(publish)) = bench.received() else {
        panic!("expected PUBLISH");
    };
    assert_eq!((publish.packet_id, publish.dup), (Some(packet_id(9)), true));
}

#[test]
fn a_message_that_lapsed_is_still_released() {
    let mut bench = Bench::open(Version::V5);
    let message = Publish {
        qos: QoS::ExactlyOnce,
        properties: Some(Box::new(PublishProperties {
            message_expiry_s: Some(0),
            ..PublishProperties::default()
        })),
        ..numbered(1)
    };
    assert!(matches!(bench.send(&Packet::Publish(message)), Step::Publish(_)));
    bench.machine.awaiting(packet_id(1), QoS::ExactlyOnce);
    bench.machine.appended(Ok(()), &mut bench.out);
    assert_eq!(bench.received(), Some(Packet::PubRec(Ack::success(packet_id(1)))));
    bench.send(&Packet::PubRel(Ack::success(packet_id(1))));
    assert_eq!(bench.received(), Some(Packet::PubComp(Ack::success(packet_id(1)))));
}
