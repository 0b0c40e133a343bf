//! The JSON form, case by case, over a message that has every kind.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use proptest::prelude::*;
use prost_reflect::DynamicMessage;
use trunkline_core::error::Fault;

use super::decode::{Decoder, parse};
use super::encode;
use crate::fixture;
use crate::options::Options;
use crate::schema::{MessageId, Schema};

const SOURCE: &str = r#"
    message Kinds {
      option (trunkline.http.v1.legacy_keys) = "permissions";
      string id = 1;
      string text = 2;
      optional string note = 3;
      optional string parent_group_id = 4;
      bool truth = 5;
      int32 small = 6;
      int64 big = 7;
      uint32 count = 8;
      uint64 total = 9;
      optional double value = 10;
      bytes data = 11;
      Level level = 12;
      google.protobuf.Timestamp at = 13;
      google.protobuf.Duration wait = 14;
      google.protobuf.FieldMask mask = 15;
      trunkline.http.v1.Json metadata = 16;
      repeated string tags = 17;
      repeated Level levels = 18;
      Kinds inner = 19;
      repeated Kinds list = 20;
      string secret = 21 [(trunkline.http.v1.input_only) = true];
      string made_by = 22 [(trunkline.http.v1.output_only) = true];
    }
    enum Level {
      LEVEL_UNSPECIFIED = 0 [(trunkline.http.v1.name) = ""];
      LEVEL_LOW = 1 [(trunkline.http.v1.name) = "low"];
      LEVEL_HIGH = 2 [(trunkline.http.v1.name) = "High"];
    }
"#;

/// Made once: property tests read thousands of texts.
static KINDS: LazyLock<(Schema, MessageId)> = LazyLock::new(|| {
    let pool = fixture::pool(SOURCE);
    let mut schema = Schema::default();
    let descriptor = pool.get_message_by_name("trunkline.fixture.v1.Kinds").unwrap();
    let id = schema.add(&descriptor, &Options::find(&pool).unwrap()).unwrap();
    (schema, id)
});

fn read(json: &str) -> Result<DynamicMessage, Fault> {
    let (schema, id) = &*KINDS;
    let raw = parse(json.as_bytes())?;
    Decoder::new(schema)
        .message(*id, raw.get(), &|_| true)
        .map(|decoded| decoded.message)
}

fn write(message: &DynamicMessage) -> String {
    let (schema, id) = &*KINDS;
    let mut out = Vec::new();
    encode::message(schema, *id, message, &mut out);
    String::from_utf8(out).unwrap()
}

/// What is always written, with nothing in it.
const EMPTY: &str = concat!(
    r#"{"id":"","text":"","truth":false,"small":0,"big":0,"count":0,"total":0,"data":"","tags":[],"levels":[],"list":[],"#,
    r#""made_by":""}"#
);

#[test]
fn an_empty_message_writes_what_has_no_presence_and_its_lists() {
    assert_eq!(write(&read("{}").unwrap()), EMPTY);
}

#[test]
fn every_kind_reads_and_writes_back() {
    let json = concat!(
        r#"{"id":"7","text":"a\"b","note":"","parent_group_id":"8","truth":true,"small":-5,"big":-9223372036854775808,"count":4294967295,"#,
        r#""total":18446744073709551615,"value":23.1,"data":"AP8=","level":"High","at":"2026-11-22T10:00:00.000001Z","#,
        r#""wait":"1h30m0s","mask":"name,tags","metadata":{"a": [1e400,"x"]},"tags":["a",""],"levels":["low","High"],"#,
    );
    let written = format!(r#"{json}"inner":{EMPTY},"list":[{EMPTY}],"made_by":""}}"#);
    let sent = format!(r#"{json}"inner":{{}},"list":[{{}}],"secret":"s3cret","made_by":"me"}}"#);
    assert_eq!(write(&read(&sent).unwrap()), written);
}

#[test]
fn what_counts_as_not_given_is_not_set() {
    for json in [
        r#"{"at":"0001-01-01T00:00:00Z"}"#,
        r#"{"at":""}"#,
        r#"{"at":null,"tags":null,"inner":null,"metadata":null,"level":null,"total":null}"#,
        r#"{"level":""}"#,
        r#"{"parent_group_id":"","id":""}"#,
        r#"{"permissions":["read"]}"#,
        r#"{"made_by":{"any":"thing"}}"#,
        " {\n}\t",
    ] {
        assert_eq!(write(&read(json).unwrap()), EMPTY, "{json}");
    }
}

#[test]
fn enum_texts_are_read_without_regard_to_case_and_times_with_any_offset() {
    let message = read(r#"{"level":"hIGH","at":"2026-11-22T12:00:00+02:00"}"#).unwrap();
    let written = write(&message);
    assert!(
        written.contains(r#""level":"High","at":"2026-11-22T10:00:00Z""#),
        "{written}"
    );
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    let deep = format!(r#"{{"metadata":{}1{}}}"#, r#"{"a":"#.repeat(40), "}".repeat(40));
    let cases = [
        (r#"{"nmae":1}"#, "nmae: unknown field"),
        (
            r#"{"inner":{"list":[{},{"nmae":1}]}}"#,
            "inner.list[1].nmae: unknown field",
        ),
        (r#"{"inner":[]}"#, "inner: must be an object"),
        (r#"{"text":1}"#, "text: must be a text"),
        (r#"{"text":"a","text":"b"}"#, "text: is given twice"),
        (r#"{"truth":"true"}"#, "truth: must be true or false"),
        (r#"{"big":"1"}"#, "big: must be a whole number of 64 bits"),
        (
            r#"{"total":-1}"#,
            "total: must be a whole number, not negative, of 64 bits",
        ),
        (
            r#"{"total":1.0}"#,
            "total: must be a whole number, not negative, of 64 bits",
        ),
        (
            r#"{"count":4294967296}"#,
            "count: must be a whole number from 0 to 4294967295",
        ),
        (r#"{"value":1e999}"#, "value: must be a number"),
        (r#"{"data":"*"}"#, "data: must be base64 with padding"),
        (r#"{"level":"medium"}"#, "level: must be one of low, High"),
        (r#"{"levels":["low","x"]}"#, "levels[1]: must be one of low, High"),
        (r#"{"levels":[""]}"#, "levels[0]: must not be empty"),
        (r#"{"tags":"a"}"#, "tags: must be a list"),
        (r#"{"tags":["a",null]}"#, "tags[1]: must be a text"),
        (
            r#"{"at":"yesterday"}"#,
            "at: must be a time as in RFC 3339, such as 2026-11-22T10:00:00Z",
        ),
        (r#"{"wait":"1 hour"}"#, "wait: must be a duration such as 1h30m0s"),
        (
            r#"{"metadata":[1]}"#,
            "metadata: must be a JSON object, at most 32 levels deep",
        ),
        (
            r#"{"metadata":"x"}"#,
            "metadata: must be a JSON object, at most 32 levels deep",
        ),
        ("[]", "the body must be an object"),
        ("null", "the body must be an object"),
        (&deep, "the body is nested more than 32 levels deep"),
    ];
    for (json, message) in cases {
        assert_eq!(read(json).unwrap_err().message, message, "{json}");
    }
    for damaged in [
        "",
        "{",
        "{}{}",
        "{'a':1}",
        "{\"text\":\"\u{1}\"}",
        r#"{"text":"\ud800"}"#,
    ] {
        let refused = read(damaged).unwrap_err();
        assert_eq!(refused.code, trunkline_core::Code::InvalidArgument, "{damaged}");
    }
}

#[test]
fn damaged_free_json_and_numbers_that_json_lacks_do_not_damage_the_answer() {
    let mut message = read(r#"{"metadata":{},"value":1}"#).unwrap();
    let json = message
        .get_field_by_name_mut("metadata")
        .unwrap()
        .as_message_mut()
        .unwrap();
    json.set_field_by_name("text", prost_reflect::Value::Bytes(b"{\"a\":".to_vec().into()));
    message.set_field_by_name("value", prost_reflect::Value::F64(f64::NAN));
    let written = write(&message);
    assert!(
        written.contains(r#""value":null"#) && written.contains(r#""metadata":null"#),
        "{written}"
    );
}

/// JSON that is near to what the message takes.
fn near_json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| serde_json::to_string(&number).unwrap()),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just(r#""High""#.to_owned()),
        Just("true".to_owned()),
    ];
    scalar.prop_recursive(4, 32, 4, |inner| {
        let key = prop_oneof![
            Just("text"),
            Just("at"),
            Just("wait"),
            Just("inner"),
            Just("list"),
            Just("tags"),
            Just("level"),
            Just("levels"),
            Just("metadata"),
            Just("total"),
            Just("value"),
            Just("data"),
            Just("mask"),
            Just("odd"),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|elements| format!("[{}]", elements.join(","))),
            prop::collection::vec((key, inner), 0..6).prop_map(|members| {
                let members: Vec<String> = members
                    .into_iter()
                    .map(|(key, value)| format!("{key:?}:{value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_json_is_read_or_refused_and_what_is_read_writes_json(json in near_json()) {
            if let Ok(message) = read(&json) {
            let written = write(&message);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&written).is_ok(), "{}", written);
            prop_assert_eq!(write(&read(&written).unwrap()), written);
        }
    }

    #[test]
    fn a_number_reads_back_to_its_last_bit(number in any::<f64>()) {
        prop_assume!(number.is_finite());
        let message = read(&format!(r#"{{"value":{}}}"#, serde_json::to_string(&number).unwrap())).unwrap();
        prop_assert_eq!(message.get_field_by_name("value").unwrap().as_f64().map(f64::to_bits), Some(number.to_bits()));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (schema, id) = &*KINDS;
        if let Ok(raw) = parse(&bytes) {
            let _ = Decoder::new(schema).message(*id, raw.get(), &|_| true);
        }
    }
}
