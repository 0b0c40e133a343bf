//! Subscribing, keeping alive, and the ends of a connection.

use super::*;

#[test]
fn every_filter_of_a_subscribe_has_its_answer() {
    let reasons = vec![
        ReasonCode::GrantedQos1,
        ReasonCode::NotAuthorized,
        ReasonCode::TopicFilterInvalid,
        ReasonCode::SharedSubscriptionsNotSupported,
    ];
    for version in BOTH {
        let mut bench = Bench::open(version);
        bench.machine.subscribed(packet_id(4), reasons.clone(), &mut bench.out);
        let Some(Packet::SubAck(suback)) = bench.received() else {
            panic!("expected SUBACK");
        };
        let refused = ReasonCode::UnspecifiedError;
        let expected = match version {
            Version::V3 => vec![ReasonCode::GrantedQos1, refused, refused, refused],
            Version::V5 => reasons.clone(),
        };
        assert_eq!((suback.packet_id.get(), suback.reasons), (4, expected));
    }
}

#[test]
fn an_unsubscribe_tells_what_was_there() {
    let mut bench = Bench::open(Version::V5);
    bench.machine.unsubscribed(packet_id(4), &[true, false], &mut bench.out);
    let Some(Packet::UnsubAck(unsuback)) = bench.received() else {
        panic!("expected UNSUBACK");
    };
    assert_eq!(
        unsuback.reasons,
        [ReasonCode::Success, ReasonCode::NoSubscriptionExisted]
    );
}

#[test]
fn silence_of_one_and_a_half_keep_alives_ends_the_connection() {
    for (version, goodbye) in [(Version::V3, None), (Version::V5, Some(ReasonCode::KeepAliveTimeout))] {
        let mut bench = Bench::open(version);
        bench.send_at(&Packet::PingReq, Duration::from_secs(10));
        assert_eq!(bench.received(), Some(Packet::PingResp));
        assert_eq!(bench.machine.deadline(), Some(Duration::from_secs(100)));
        assert!(matches!(
            bench.machine.tick(Duration::from_secs(99), &mut bench.out),
            Step::Continue
        ));
        let step = bench.machine.tick(Duration::from_secs(100), &mut bench.out);
        assert!(matches!(step, Step::Close(Cause::KeepAlive)));
        assert_eq!(bench.goodbye(), goodbye);
    }
}

#[test]
fn a_keep_alive_of_zero_never_ends() {
    let mut bench = Bench::open_with(
        Version::V5,
        Connect {
            keep_alive_s: 0,
            ..connect()
        },
    );
    assert_eq!(bench.machine.deadline(), None);
    assert!(matches!(
        bench.machine.tick(Duration::MAX, &mut bench.out),
        Step::Continue
    ));
}

#[test]
fn the_end_has_its_reason() {
    type End = fn(&mut Machine, &mut BytesMut) -> Step;
    let table: [(End, ReasonCode, Cause); 3] = [
        (Machine::taken_over, ReasonCode::SessionTakenOver, Cause::TakenOver),
        (Machine::revoked, ReasonCode::AdministrativeAction, Cause::Revoked),
        (Machine::drained, ReasonCode::ServerShuttingDown, Cause::Draining),
    ];
    for (end, reason, cause) in table {
        let mut bench = Bench::open(Version::V5);
        assert!(matches!(end(&mut bench.machine, &mut bench.out), Step::Close(other) if other == cause));
        assert_eq!(bench.goodbye(), Some(reason));
        assert!(matches!(bench.send(&Packet::PingReq), Step::Wait));
    }
}

#[test]
fn a_client_may_leave() {
    for version in BOTH {
        let mut bench = Bench::open(version);
        assert!(matches!(
            bench.send(&Packet::Disconnect(Box::default())),
            Step::Close(Cause::Left)
        ));
        assert!(bench.out.is_empty());
    }
}
