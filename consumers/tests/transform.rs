//! What a payload becomes in the message store.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use trunkline_bus::log::{Incarnation, Shard};
use trunkline_bus::{EnvelopeError, StoredEntry};
use trunkline_consumers::transform;
use trunkline_core::{ChannelId, DomainId, MessageId};
use trunkline_proto::messages::v1::{Envelope, Protocol, Publisher, PublisherKind};
use trunkline_store::{LogPosition, StoredRecord};
use uuid::Uuid;

const RECEIVED_AT: i64 = 1_700_000_000_000_000_001;
const SENML: &str = "application/senml+json";

fn envelope(content_type: &str, payload: &[u8]) -> Envelope {
    let id = |id: Uuid| id.as_bytes().to_vec().into();
    Envelope {
        id: id(MessageId::new().uuid()),
        domain_id: id(DomainId::new().uuid()),
        channel_id: id(ChannelId::new().uuid()),
        subtopic: "a/b".to_owned(),
        publisher: Some(Publisher {
            kind: PublisherKind::Client.into(),
            id: id(Uuid::from_u128(7)),
            ..Publisher::default()
        }),
        device_id: id(Uuid::from_u128(8)),
        protocol: Protocol::Mqtt.into(),
        content_type: content_type.to_owned(),
        received_at: RECEIVED_AT,
        payload: payload.to_vec().into(),
        ..Envelope::default()
    }
}

fn entry(envelope: Envelope) -> StoredEntry {
    StoredEntry {
        shard: Shard(3),
        sequence: 9,
        incarnation: Incarnation(5),
        envelope: Arc::new(envelope),
    }
}

fn records(content_type: &str, payload: &[u8]) -> Vec<StoredRecord> {
    transform(&entry(envelope(content_type, payload))).unwrap()
}

fn only(content_type: &str, payload: &[u8]) -> StoredRecord {
    let [record] = records(content_type, payload).try_into().unwrap();
    record
}

fn assert_data(record: &StoredRecord, base64: &str) {
    assert_eq!(
        (record.data_value.as_deref(), record.payload.as_deref()),
        (Some(base64), None)
    );
    assert_eq!((record.time, record.pack_index), (RECEIVED_AT, 0));
}

#[test]
fn a_record_knows_the_message_that_it_came_in() {
    let envelope = envelope("text/plain", b"x");
    let record = &transform(&entry(envelope.clone())).unwrap()[0];
    let origin = &record.origin;
    assert_eq!(origin.message_id.as_bytes(), &envelope.id[..]);
    assert_eq!(origin.domain_id.as_bytes(), &envelope.domain_id[..]);
    assert_eq!(origin.channel_id.as_bytes(), &envelope.channel_id[..]);
    assert_eq!(origin.publisher_id, Uuid::from_u128(7));
    assert_eq!(origin.publisher_kind, trunkline_store::PublisherKind::Client);
    assert_eq!(origin.device_id, Some(Uuid::from_u128(8)));
    assert_eq!(origin.protocol, trunkline_store::Protocol::Mqtt);
    assert_eq!(
        (origin.subtopic.as_str(), origin.content_type.as_str()),
        ("a/b", "text/plain")
    );
    assert_eq!(
        (origin.log_shard, origin.log_position),
        (
            3,
            LogPosition {
                incarnation: 5,
                sequence: 9
            }
        )
    );
}

#[test]
fn a_text_with_nul_is_kept_as_its_json_wherever_it_is_stored() {
    let found = records(
        SENML,
        br#"[{"n":"a","vs":"x\u0000y"},{"n":"b","v":1},{"n":"c","v":1,"y\u0000_":1}]"#,
    );
    assert_eq!(found[0].payload.as_deref(), Some(r#"{"n":"a","vs":"x\u0000y"}"#));
    assert_eq!((found[0].string_value.as_deref(), found[0].time), (None, RECEIVED_AT));
    assert!(found[0].decode_error.as_deref().unwrap().contains("U+0000"));
    assert_eq!((found[1].value, found[1].decode_error.as_deref()), (Some(1.0), None));
    assert!(!found[2].decode_error.as_deref().unwrap().contains('\0'));
}

#[test]
fn a_pack_becomes_a_record_per_measurement() {
    let pack = br#"[{"bn":"urn:x:","n":"v","u":"V","t":1276020076.001,"v":120.1,"s":5,"ut":1.5},{"n":"on","vb":true}]"#;
    for content_type in [
        SENML,
        "Application/SenML+JSON; charset=utf-8",
        "",
        "application/json",
        "text/plain",
    ] {
        let found = records(content_type, pack);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].time, found[0].pack_index), (1_276_020_076_001_000_000, 0));
        assert_eq!(
            (found[0].name.as_deref(), found[0].unit.as_deref()),
            (Some("urn:x:v"), Some("V"))
        );
        assert_eq!(
            (found[0].value, found[0].sum, found[0].update_time),
            (Some(120.1), Some(5.0), Some(1_500_000_000))
        );
        assert_eq!(
            (found[1].time, found[1].pack_index, found[1].bool_value),
            (RECEIVED_AT, 1, Some(true))
        );
        assert!(
            found
                .iter()
                .all(|record| record.payload.is_none() && record.decode_error.is_none())
        );
    }
}

#[test]
fn text_and_data_values_are_kept_as_they_were_written() {
    let found = records(SENML, br#"[{"n":"a","vs":"\u00fc"},{"n":"b","vd":"-_8"}]"#);
    assert_eq!(found[0].string_value.as_deref(), Some("ü"));
    assert_eq!(found[1].data_value.as_deref(), Some("-_8"));
}

#[test]
fn a_bad_record_is_kept_with_its_reason_beside_the_good_ones() {
    let found = records("", br#"[{"n":"a","v":1},{"n":"a","v":1,"x_":2},{"n":"a","v":3}]"#);
    assert_eq!(
        found.iter().map(|record| record.value).collect::<Vec<_>>(),
        [Some(1.0), None, Some(3.0)]
    );
    assert_eq!(found[1].payload.as_deref(), Some(r#"{"n":"a","v":1,"x_":2}"#));
    assert_eq!(
        found[1].decode_error.as_deref(),
        Some("the label x_ must be understood and is not")
    );
    assert_eq!((found[1].time, found[1].pack_index), (RECEIVED_AT, 1));
}

#[test]
fn a_json_object_is_kept_as_it_was_written() {
    let payload = b" {\"a\" : 1.10, \"b\":[\"\\u00fc\"]}\n";
    for content_type in ["", "application/json", "text/plain"] {
        let record = only(content_type, payload);
        assert_eq!(record.payload.as_deref(), Some("{\"a\" : 1.10, \"b\":[\"\\u00fc\"]}"));
        assert_eq!(
            (record.data_value, record.decode_error, record.time),
            (None, None, RECEIVED_AT)
        );
    }
}

#[test]
fn anything_else_is_kept_in_base64() {
    assert_data(&only("", b"\x00\xff"), "AP8=");
    assert_data(&only("", b""), "");
    assert_data(&only("", b"21.5"), "MjEuNQ==");
    assert_data(&only("", b"{\"a\":"), "eyJhIjo=");
    assert_data(&only("", b"{} {}"), "e30ge30=");
    assert_data(&only("", b"[1,2]"), "WzEsMl0=");
    assert_data(&only("", br#"[{"a":1}]"#), "W3siYSI6MX1d");
    assert!(records("", b"[1,2]").iter().all(|record| record.decode_error.is_none()));
}

#[test]
fn what_is_not_what_it_was_said_to_be_says_so() {
    let not_a_pack = only(SENML, b"21.5");
    assert_data(&not_a_pack, "MjEuNQ==");
    assert!(
        not_a_pack
            .decode_error
            .unwrap()
            .starts_with("the text is not a JSON array")
    );

    let object = only(SENML, br#"{"n":"a","v":1}"#);
    assert_eq!(object.payload.as_deref(), Some(r#"{"n":"a","v":1}"#));
    assert!(object.decode_error.is_some());

    let no_measurement = only(SENML, br#"[{"bn":"a"}]"#);
    assert_data(&no_measurement, "W3siYm4iOiJhIn1d");
    assert_eq!(
        no_measurement.decode_error.as_deref(),
        Some("the pack has no measurements")
    );

    let unknown_version = only(SENML, br#"[{"bver":11,"n":"a","v":1}]"#);
    assert_eq!(
        unknown_version.decode_error.as_deref(),
        Some("version 11 of the pack is not known")
    );

    let cbor = only("application/senml+cbor", b"\x80");
    assert_data(&cbor, "gA==");
    assert!(cbor.decode_error.is_some());

    let not_json = only("application/json", b"{");
    assert_data(&not_json, "ew==");
    assert_eq!(not_json.decode_error.as_deref(), Some("the payload is not JSON"));
}

#[test]
fn an_object_nested_too_deep_for_readers_is_kept_in_base64() {
    let nested = |levels: usize| format!("{}{}", r#"{"a":"#.repeat(levels - 1) + "{}", "}".repeat(levels - 1));
    assert!(only("", nested(32).as_bytes()).payload.is_some());
    assert!(only("", nested(33).as_bytes()).data_value.is_some());
}

#[test]
fn a_pack_is_not_multiplied_by_a_label_that_is_not_understood() {
    let pack = format!(r#"[{{"b{}_":1}}{}]"#, "x".repeat(180_000), r#",{"v":1}"#.repeat(1_000));
    let bytes: usize = records(SENML, pack.as_bytes())
        .iter()
        .map(StoredRecord::text_bytes)
        .sum();
    assert!(bytes < 2 * pack.len(), "{bytes}");
    assert!(only("", pack.as_bytes()).decode_error.is_none());
}

#[test]
fn an_envelope_of_a_later_version_is_stored() {
    let mut envelope = envelope("", b"x");
    envelope.protocol = 99;
    envelope.publisher = None;
    let record = &transform(&entry(envelope)).unwrap()[0];
    assert_eq!(record.origin.protocol, trunkline_store::Protocol::Unknown);
    assert_eq!(record.origin.publisher_kind, trunkline_store::PublisherKind::Unknown);
    assert_eq!(record.origin.publisher_id, Uuid::nil());
}

#[test]
fn an_envelope_without_its_ids_is_refused() {
    let envelope = Envelope {
        channel_id: bytes::Bytes::new(),
        ..envelope("", b"x")
    };
    assert_eq!(
        transform(&entry(envelope)),
        Err(EnvelopeError::Id { field: "channel_id" })
    );
}

proptest! {
    #[test]
    fn any_payload_is_stored_and_always_alike(payload in prop::collection::vec(any::<u8>(), 0..100), content_type in prop::sample::select(vec![SENML, "application/json", ""])) {
        let entry = entry(envelope(content_type, &payload));
        let found = transform(&entry).unwrap();
        prop_assert!(!found.is_empty());
        prop_assert_eq!(found, transform(&entry).unwrap());
    }

    #[test]
    fn every_record_of_a_message_has_its_own_key(payload in r#"\[(\{("n":"a",)?("t":[0-9]{1,9},)?"v":[0-9]{1,3}\},){0,5}\{"n":"b","v":1\}\]"#) {
        let found = records("", payload.as_bytes());
        let mut indexes: Vec<_> = found.iter().map(|record| record.pack_index).collect();
        indexes.dedup();
        prop_assert_eq!(indexes.len(), found.len());
    }
}
