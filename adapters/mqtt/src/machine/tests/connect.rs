//! What CONNECT is answered with.

use super::*;

#[test]
fn a_client_is_told_what_is_not_offered() {
    let mut bench = Bench::new(Version::V5);
    bench.send(&Packet::Connect(Box::new(Connect {
        client_id: Utf8Bytes::new(),
        keep_alive_s: u16::MAX,
        ..connect()
    })));
    bench.admit(Ok(()));
    let terms = bench.connack().properties;
    assert_eq!(terms.maximum_qos, None, "QoS 2 is said by absence");
    assert_ne!(terms.retain_available, Some(false));
    assert_eq!(terms.shared_subscription_available, None, "they are available");
    assert_ne!(terms.subscription_id_available, Some(false));
    assert_ne!(terms.wildcard_subscription_available, Some(false));
    assert_eq!(terms.session_expiry_s, None, "as the client asked");
    assert_eq!(terms.receive_maximum, NonZeroU16::new(RECEIVE_MAX));
    assert_eq!(terms.server_keep_alive_s, Some(crate::limits::KEEP_ALIVE_S_MAX));
    assert_eq!(terms.topic_alias_maximum, Some(crate::limits::TOPIC_ALIASES_MAX));
    assert_eq!(terms.assigned_client_id.as_ref(), Some(bench.machine.client_id()));
    assert!(!bench.machine.client_id().is_empty());
}

#[test]
fn a_session_lasts_as_long_as_its_client_says() {
    for (version, clean_start, asked_s, expiry_s) in [
        (Version::V3, true, None, 0),
        (Version::V3, false, None, u32::MAX),
        (Version::V5, false, None, 0),
        (Version::V5, true, Some(3_600), 3_600),
        (Version::V5, false, Some(u32::MAX), u32::MAX),
    ] {
        let mut connect = connect();
        connect.clean_start = clean_start;
        connect.properties.session_expiry_s = asked_s;
        let mut bench = Bench::open_with(version, connect);
        assert_eq!(
            bench.machine.expiry_s(),
            expiry_s,
            "{version:?} {clean_start} {asked_s:?}"
        );
        assert_eq!(bench.machine.is_clean_start(), clean_start);
        if asked_s.is_some() {
            let mut goodbye = Disconnect::default();
            goodbye.properties.session_expiry_s = Some(7);
            bench.send(&Packet::Disconnect(Box::new(goodbye)));
            assert_eq!(bench.machine.expiry_s(), 7);
        }
    }
}

#[test]
fn enhanced_authentication_is_not_offered() {
    let mut asking = connect();
    asking.properties.authentication_method = Some(text("SCRAM"));
    let mut bench = Bench::new(Version::V5);
    assert!(matches!(
        bench.send(&Packet::Connect(Box::new(asking))),
        Step::Close(Cause::Unsupported)
    ));
    assert_eq!(bench.connack().reason, ReasonCode::BadAuthenticationMethod);

    let mut bench = Bench::open(Version::V5);
    let mut auth = Auth {
        reason: ReasonCode::ReAuthenticate,
        ..Auth::default()
    };
    auth.properties.authentication_method = Some(text("SCRAM"));
    assert!(matches!(
        bench.send(&Packet::Auth(Box::new(auth))),
        Step::Close(Cause::Unsupported)
    ));
    assert_eq!(bench.goodbye(), Some(ReasonCode::BadAuthenticationMethod));
}

#[test]
fn a_refusal_keeps_wrong_credentials_and_missing_dependencies_apart() {
    let table = [
        (
            Refusal::BadCredentials,
            ReasonCode::BadUserNameOrPassword,
            ReasonCode::BadUserNameOrPassword,
        ),
        (Refusal::Disabled, ReasonCode::NotAuthorized, ReasonCode::NotAuthorized),
        (
            Refusal::Unavailable,
            ReasonCode::ServerUnavailable,
            ReasonCode::ServerUnavailable,
        ),
    ];
    for (refusal, v5, v3) in table {
        for (version, reason) in [(Version::V5, v5), (Version::V3, v3)] {
            let mut bench = Bench::new(version);
            bench.send(&Packet::Connect(Box::new(connect())));
            assert!(matches!(bench.admit(Err(refusal)), Step::Close(Cause::NotAdmitted)));
            assert_eq!(bench.connack().reason, reason, "{version:?} {refusal:?}");
        }
    }
}

#[test]
fn who_does_not_begin_with_connect_is_told_nothing() {
    for version in BOTH {
        let mut bench = Bench::new(version);
        assert!(matches!(bench.send(&Packet::PingReq), Step::Close(Cause::Malformed)));
        assert!(bench.out.is_empty());
    }
}

#[test]
fn a_malformed_connect_is_not_answered() {
    for level in [4, 5] {
        let mut bench = Bench::new(Version::V5);
        // The reserved flag is set.
        let mut input = BytesMut::from(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', level, 3, 0, 60, 0, 0, 0][..]);
        let step = bench.machine.next(&mut input, Duration::ZERO, &mut bench.out);
        assert!(matches!(step, Step::Close(Cause::Malformed)));
        assert!(bench.out.is_empty());
    }
}

#[test]
fn an_unknown_protocol_level_is_answered_in_the_nearest_version() {
    for (level, version, reason) in [
        (3, Version::V3, ReasonCode::UnsupportedProtocolVersion),
        (9, Version::V5, ReasonCode::UnsupportedProtocolVersion),
    ] {
        let mut bench = Bench::new(version);
        let mut input = BytesMut::from(&[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 60, 0, 0][..]);
        let step = bench.machine.next(&mut input, Duration::ZERO, &mut bench.out);
        assert!(matches!(step, Step::Close(Cause::Malformed)));
        assert_eq!(bench.connack().reason, reason);
    }
}

#[test]
fn a_second_connect_ends_the_connection() {
    for (version, goodbye) in [(Version::V3, None), (Version::V5, Some(ReasonCode::ProtocolError))] {
        let mut bench = Bench::open(version);
        assert!(matches!(
            bench.send(&Packet::Connect(Box::new(connect()))),
            Step::Close(Cause::Malformed)
        ));
        assert_eq!(bench.goodbye(), goodbye);
    }
}

fn with_will(will: Will) -> Connect {
    Connect {
        will: Some(Will {
            topic: text("m/d/c/c"),
            ..will
        }),
        ..connect()
    }
}

#[test]
fn a_will_that_is_denied_refuses_the_connect() {
    for (version, denial, reason) in [
        (Version::V5, Denial::NotAuthorized, ReasonCode::NotAuthorized),
        (
            Version::V5,
            Denial::InvalidTopic(TopicError::Reserved),
            ReasonCode::TopicNameInvalid,
        ),
        (Version::V5, Denial::Unavailable, ReasonCode::ServerUnavailable),
        (Version::V3, Denial::NotAuthorized, ReasonCode::NotAuthorized),
        (Version::V3, Denial::Unavailable, ReasonCode::ServerUnavailable),
    ] {
        let mut bench = Bench::new(version);
        bench.send(&Packet::Connect(Box::new(with_will(Will::default()))));
        assert!(bench.machine.take_will().is_some());
        let step = bench.machine.will_denied(&denial, &mut bench.out);
        assert!(matches!(step, Step::Close(Cause::NotAdmitted)));
        assert_eq!(bench.connack().reason, reason);
    }
}

#[test]
fn a_will_that_is_not_the_text_it_claims_to_be_refuses_the_connect() {
    let mut will = Will {
        payload: Bytes::from_static(b"\xff"),
        ..Will::default()
    };
    will.properties.payload_is_utf8 = Some(true);
    let mut bench = Bench::new(Version::V5);
    let step = bench.send(&Packet::Connect(Box::new(with_will(will))));
    assert!(matches!(step, Step::Close(Cause::OverLimit)));
    assert_eq!(bench.connack().reason, ReasonCode::PayloadFormatInvalid);
}

#[test]
fn only_a_goodbye_that_says_so_takes_the_will_back() {
    for (reason, is_owed) in [
        (ReasonCode::Success, false),
        (ReasonCode::DisconnectWithWill, true),
        (ReasonCode::UnspecifiedError, true),
    ] {
        let mut bench = Bench::new(Version::V5);
        bench.send(&Packet::Connect(Box::new(with_will(Will::default()))));
        assert!(!bench.machine.owes_will());
        bench.machine.take_will();
        bench.admit(Ok(()));
        assert!(bench.machine.owes_will());
        let goodbye = Disconnect {
            reason,
            ..Disconnect::default()
        };
        bench.send(&Packet::Disconnect(Box::new(goodbye)));
        assert_eq!(bench.machine.owes_will(), is_owed, "{reason}");
    }
}

#[test]
fn who_has_no_session_expiry_cannot_ask_for_one_when_leaving() {
    for (asked_s, answer) in [(None, Some(ReasonCode::ProtocolError)), (Some(60), None)] {
        let mut connect = connect();
        connect.properties.session_expiry_s = asked_s;
        let mut bench = Bench::open_with(Version::V5, connect);
        let mut goodbye = Disconnect::default();
        goodbye.properties.session_expiry_s = Some(1);
        bench.send(&Packet::Disconnect(Box::new(goodbye)));
        assert_eq!(bench.goodbye(), answer);
    }
}
