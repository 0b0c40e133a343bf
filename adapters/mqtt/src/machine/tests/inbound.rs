//! What a PUBLISH of a client is answered with, and when.

use super::*;

#[test]
fn pubacks_leave_in_the_order_of_arrival_and_only_after_the_log() {
    for version in BOTH {
        let mut bench = Bench::open(version);
        for id in [7, 3, 9] {
            bench.publish(id);
        }
        assert_eq!(bench.ack(), None);
        for id in [7, 3, 9] {
            bench.machine.appended(Ok(()), &mut bench.out);
            assert_eq!(bench.ack(), Some((id, ReasonCode::Success)));
        }
        assert_eq!(bench.ack(), None);
        assert!(!bench.machine.is_owing());
    }
}

#[test]
fn a_refusal_waits_for_the_pubacks_before_it() {
    let mut bench = Bench::open(Version::V5);
    bench.publish(1);
    bench.send(&publish(2));
    bench.machine.deny(&numbered(2), &Denial::NotAuthorized, &mut bench.out);
    assert_eq!(bench.ack(), None);
    bench.machine.appended(Ok(()), &mut bench.out);
    assert_eq!(bench.ack(), Some((1, ReasonCode::Success)));
    assert_eq!(bench.ack(), Some((2, ReasonCode::NotAuthorized)));
}

#[test]
fn a_denied_publish_has_its_reason_on_mqtt_5_and_closes_on_3_1_1() {
    let table = [
        (Denial::NotAuthorized, ReasonCode::NotAuthorized),
        (Denial::InvalidTopic(TopicError::Reserved), ReasonCode::TopicNameInvalid),
        (Denial::Unavailable, ReasonCode::ImplementationSpecificError),
    ];
    for (denial, reason) in table {
        let mut bench = Bench::open(Version::V5);
        bench.send(&publish(1));
        assert!(matches!(
            bench.machine.deny(&numbered(1), &denial, &mut bench.out),
            Step::Continue
        ));
        assert_eq!(bench.ack(), Some((1, reason)));
        for id in [0, 1] {
            let mut bench = Bench::open(Version::V3);
            bench.send(&publish(id));
            let step = bench.machine.deny(&numbered(id), &denial, &mut bench.out);
            assert!(matches!(step, Step::Close(Cause::PublishRefused)));
            assert!(bench.out.is_empty());
        }
    }
}

#[test]
fn a_denied_publish_at_qos_0_is_dropped_in_silence_on_mqtt_5() {
    let mut bench = Bench::open(Version::V5);
    bench.send(&publish(0));
    assert!(matches!(
        bench.machine.deny(&numbered(0), &Denial::NotAuthorized, &mut bench.out),
        Step::Continue
    ));
    assert!(bench.out.is_empty());
}

#[test]
fn a_full_log_is_a_quota_and_an_unknown_outcome_is_never_answered() {
    let mut bench = Bench::open(Version::V5);
    bench.publish(1);
    bench.machine.appended(Err(&full()), &mut bench.out);
    assert_eq!(bench.ack(), Some((1, ReasonCode::QuotaExceeded)));
    bench.publish(2);
    let step = bench.machine.appended(Err(&AppendError::Closed), &mut bench.out);
    assert!(matches!(step, Step::Close(Cause::Failed)));
    assert_eq!(bench.goodbye(), Some(ReasonCode::UnspecifiedError));

    let mut bench = Bench::open(Version::V5);
    bench.publish(1);
    let step = bench.machine.appended(Err(&AppendError::Unanswered), &mut bench.out);
    assert!(matches!(step, Step::Close(Cause::Busy)));
    assert_eq!(bench.goodbye(), Some(ReasonCode::ServerBusy));

    let mut bench = Bench::open(Version::V3);
    bench.publish(1);
    let step = bench.machine.appended(Err(&full()), &mut bench.out);
    assert!(matches!(step, Step::Close(Cause::PublishRefused)));
    assert!(bench.out.is_empty());
}

#[test]
fn what_a_publish_may_not_have_ends_the_connection() {
    let large = Publish {
        payload: vec![0; Settings::default().payload_bytes_max + 1].into(),
        ..message()
    };
    let table = [(large, ReasonCode::PacketTooLarge, true)];
    for (publish, reason, is_in_v3) in table {
        let mut bench = Bench::open(Version::V5);
        assert!(matches!(bench.send(&Packet::Publish(publish.clone())), Step::Close(_)));
        assert_eq!(bench.goodbye(), Some(reason));
        if is_in_v3 {
            let mut bench = Bench::open(Version::V3);
            assert!(matches!(bench.send(&Packet::Publish(publish)), Step::Close(_)));
            assert!(bench.out.is_empty());
        }
    }
}

#[test]
fn a_payload_that_is_not_the_text_it_claims_to_be_is_refused() {
    let mut bench = Bench::open(Version::V5);
    let publish = Publish {
        qos: QoS::AtLeastOnce,
        packet_id: PacketId::new(5),
        payload: Bytes::from_static(b"\xff"),
        properties: Some(Box::new(PublishProperties {
            payload_is_utf8: Some(true),
            ..PublishProperties::default()
        })),
        ..message()
    };
    assert!(matches!(bench.send(&Packet::Publish(publish)), Step::Continue));
    assert_eq!(bench.ack(), Some((5, ReasonCode::PayloadFormatInvalid)));
}

#[test]
fn more_than_receive_maximum_ends_an_mqtt_5_client_and_holds_back_a_3_1_1_client() {
    for version in BOTH {
        let mut bench = Bench::open(version);
        for id in 1..=RECEIVE_MAX {
            assert!(bench.machine.may_read());
            bench.publish(id);
        }
        match version {
            Version::V3 => assert!(!bench.machine.may_read()),
            Version::V5 => {
                assert!(matches!(
                    bench.send(&publish(RECEIVE_MAX + 1)),
                    Step::Close(Cause::OverLimit)
                ));
                assert_eq!(bench.goodbye(), Some(ReasonCode::ReceiveMaximumExceeded));
            }
        }
    }
}

#[test]
fn words_are_left_out_where_the_client_does_not_want_them() {
    for wants_words in [true, false] {
        let mut connect = connect();
        connect.properties.request_problem_information = Some(wants_words);
        let mut bench = Bench::open_with(Version::V5, connect);
        bench.send(&publish(1));
        bench.machine.deny(&numbered(1), &Denial::NotAuthorized, &mut bench.out);
        let Some(Packet::PubAck(ack)) = bench.received() else {
            panic!("expected PUBACK");
        };
        assert_eq!(ack.properties.reason_string.is_some(), wants_words);
    }
}

#[test]
fn a_denied_publish_of_3_1_1_is_acknowledged_where_that_was_chosen() {
    let settings = Settings {
        denied_publish: crate::DeniedPublish::Acknowledge,
        ..Settings::default()
    };
    let mut bench = Bench::open(Version::V3);
    bench.machine.settings = settings;
    bench.publish(1);
    for id in [2, 0] {
        bench.send(&publish(id));
        let step = bench
            .machine
            .deny(&numbered(id), &Denial::NotAuthorized, &mut bench.out);
        assert!(matches!(step, Step::Continue));
    }
    assert_eq!(bench.ack(), None, "in its turn");
    bench.machine.appended(Ok(()), &mut bench.out);
    assert_eq!(bench.ack(), Some((1, ReasonCode::Success)));
    assert_eq!(bench.ack(), Some((2, ReasonCode::Success)));
    // What is not known to be denied, and what the log refuses, is never acknowledged.
    bench.send(&publish(3));
    let step = bench.machine.deny(&numbered(3), &Denial::Unavailable, &mut bench.out);
    assert!(matches!(step, Step::Close(Cause::PublishRefused)));

    let mut bench = Bench::open(Version::V3);
    bench.machine.settings = settings;
    bench.publish(1);
    let step = bench.machine.appended(Err(&full()), &mut bench.out);
    assert!(matches!(step, Step::Close(Cause::PublishRefused)));

    let mut bench = Bench::open(Version::V5);
    bench.machine.settings = settings;
    bench.send(&publish(1));
    bench.machine.deny(&numbered(1), &Denial::NotAuthorized, &mut bench.out);
    assert_eq!(
        bench.ack(),
        Some((1, ReasonCode::NotAuthorized)),
        "MQTT 5 has a word for it"
    );
}
