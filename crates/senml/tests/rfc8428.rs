//! The examples of RFC 8428, section 5.1, against the records that the RFC resolves them to, and its rules one by one.
#![allow(clippy::unwrap_used)]

use trunkline_senml::{DecodeError, Entry, Field, Limits, Record, RecordError, Value, decode_json};

const RECEIVED_AT: i64 = 1_700_000_000_000_000_001;

fn entries(text: &str) -> Vec<Entry<'_>> {
    decode_json(text.as_bytes(), &Limits::default())
        .unwrap()
        .resolve(RECEIVED_AT)
        .collect()
}

fn records(text: &str) -> Vec<Record<'_>> {
    entries(text).into_iter().map(|entry| entry.record.unwrap()).collect()
}

fn errors(text: &str) -> Vec<Option<RecordError>> {
    entries(text).into_iter().map(|entry| entry.record.err()).collect()
}

fn decode_error(text: &str) -> DecodeError {
    decode_json(text.as_bytes(), &Limits::default()).unwrap_err()
}

fn number<'a>(name: &'a str, unit: &'a str, time: i64, value: f64) -> Record<'a> {
    Record {
        name: name.into(),
        unit: (!unit.is_empty()).then(|| unit.into()),
        time,
        value: Some(Value::Number(value)),
        sum: None,
        update_time: None,
    }
}

#[test]
fn a_single_data_point_resolves() {
    let text = r#"[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#;
    assert_eq!(
        records(text),
        [number("urn:dev:ow:10e2073a01080063", "Cel", RECEIVED_AT, 23.1)]
    );
}

#[test]
fn multiple_data_points_share_a_base_name() {
    let text = r#"[
        {"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},
        {"n":"current","u":"A","v":1.2}]"#;
    let expected = [
        number("urn:dev:ow:10e2073a01080063:voltage", "V", RECEIVED_AT, 120.1),
        number("urn:dev:ow:10e2073a01080063:current", "A", RECEIVED_AT, 1.2),
    ];
    assert_eq!(records(text), expected);
}

#[test]
fn multiple_measurements_resolve_to_the_times_of_the_rfc() {
    let text = r#"[
        {"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
        {"n":"current","t":-5,"v":1.2}, {"n":"current","t":-4,"v":1.3}, {"n":"current","t":-3,"v":1.4},
        {"n":"current","t":-2,"v":1.5}, {"n":"current","t":-1,"v":1.6}, {"n":"current","v":1.7}]"#;
    let current = "urn:dev:ow:10e2073a0108006:current";
    let expected = [
        number(
            "urn:dev:ow:10e2073a0108006:voltage",
            "V",
            1_276_020_076_001_000_000,
            120.1,
        ),
        number(current, "A", 1_276_020_071_001_000_000, 1.2),
        number(current, "A", 1_276_020_072_001_000_000, 1.3),
        number(current, "A", 1_276_020_073_001_000_000, 1.4),
        number(current, "A", 1_276_020_074_001_000_000, 1.5),
        number(current, "A", 1_276_020_075_001_000_000, 1.6),
        number(current, "A", 1_276_020_076_001_000_000, 1.7),
    ];
    assert_eq!(records(text), expected);
}

#[test]
fn a_series_of_one_sensor_needs_no_name_of_its_own() {
    let text = r#"[
        {"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},
        {"u":"lon","v":24.30621}, {"u":"lat","v":60.07965},
        {"t":60,"v":20.3}, {"u":"lon","t":60,"v":24.30622}, {"u":"lat","t":60,"v":60.07965},
        {"t":120,"v":20.7}, {"u":"lon","t":120,"v":24.30623}, {"u":"lat","t":120,"v":60.07966},
        {"u":"%EL","t":150,"v":98}, {"t":180,"v":21.2}, {"u":"lon","t":180,"v":24.30628}]"#;
    let name = "urn:dev:ow:10e2073a01080063";
    let at = |seconds: i64| (1_320_067_464 + seconds) * 1_000_000_000;
    let expected = [
        number(name, "%RH", at(0), 20.0),
        number(name, "lon", at(0), 24.30621),
        number(name, "lat", at(0), 60.07965),
        number(name, "%RH", at(60), 20.3),
        number(name, "lon", at(60), 24.30622),
        number(name, "lat", at(60), 60.07965),
        number(name, "%RH", at(120), 20.7),
        number(name, "lon", at(120), 24.30623),
        number(name, "lat", at(120), 60.07966),
        number(name, "%EL", at(150), 98.0),
        number(name, "%RH", at(180), 21.2),
        number(name, "lon", at(180), 24.30628),
    ];
    assert_eq!(records(text), expected);
}

#[test]
fn values_of_every_type_resolve() {
    let text = r#"[
        {"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},
        {"n":"label","vs":"Machine \"Room\""}, {"n":"open","vb":false}, {"n":"nfc-reader","vd":"aGkgCg"}]"#;
    let values: Vec<_> = records(text).into_iter().map(|record| record.value.unwrap()).collect();
    let expected = [
        Value::Number(23.1),
        Value::Text("Machine \"Room\"".into()),
        Value::Bool(false),
        Value::Data("aGkgCg".into()),
    ];
    assert_eq!(values, expected);
}

#[test]
fn a_collection_of_resources_keeps_its_units() {
    let text = r#"[
        {"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":27.2},
        {"n":"humidity","u":"%RH","v":80}]"#;
    let expected = [
        number("2001:db8::2/temperature", "Cel", 1_320_078_429_000_000_000, 27.2),
        number("2001:db8::2/humidity", "%RH", 1_320_078_429_000_000_000, 80.0),
    ];
    assert_eq!(records(text), expected);
}

#[test]
fn times_below_two_to_the_28_are_relative_to_the_reception() {
    let text = r#"[{"n":"a","v":1},{"n":"a","t":-10.5,"v":1},{"n":"a","t":268435455.999999999,"v":1},{"n":"a","t":268435456,"v":1}]"#;
    let times: Vec<_> = records(text).into_iter().map(|record| record.time).collect();
    let expected = [
        RECEIVED_AT,
        RECEIVED_AT - 10_500_000_000,
        RECEIVED_AT + 268_435_455_999_999_999,
        268_435_456_000_000_000,
    ];
    assert_eq!(times, expected);
}

#[test]
fn base_fields_recur_and_then_replace() {
    let text = r#"[{"bn":"a","bu":"A","bt":300000000,"v":1},{"v":2},{"bn":"b","bu":"B","bt":400000000,"v":3},{"v":4}]"#;
    let expected = [
        number("a", "A", 300_000_000_000_000_000, 1.0),
        number("a", "A", 300_000_000_000_000_000, 2.0),
        number("b", "B", 400_000_000_000_000_000, 3.0),
        number("b", "B", 400_000_000_000_000_000, 4.0),
    ];
    assert_eq!(records(text), expected);
}

#[test]
fn base_value_and_base_sum_are_added_and_a_missing_part_is_zero() {
    let text = r#"[{"bn":"a","bv":10,"bs":100,"v":1,"s":5},{"s":7},{"vs":"x"},{"v":-1}]"#;
    let pairs: Vec<_> = records(text)
        .into_iter()
        .map(|record| (record.value.unwrap(), record.sum))
        .collect();
    let expected = [
        (Value::Number(11.0), Some(105.0)),
        (Value::Number(10.0), Some(107.0)),
        (Value::Text("x".into()), Some(100.0)),
        (Value::Number(9.0), Some(100.0)),
    ];
    assert_eq!(pairs, expected);
}

#[test]
fn a_record_may_have_only_a_sum() {
    let found = records(r#"[{"n":"a","s":3.5,"ut":60}]"#);
    assert_eq!(
        (found[0].value.clone(), found[0].sum, found[0].update_time),
        (None, Some(3.5), Some(60_000_000_000))
    );
}

#[test]
fn a_record_of_base_fields_alone_measures_nothing_and_keeps_its_place() {
    let found = entries(r#"[{"bn":"a","bv":5},{"v":1}]"#);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].index, 1);
    assert_eq!(found[0].record.clone().unwrap(), number("a", "", RECEIVED_AT, 6.0));
}

#[test]
fn one_bad_record_does_not_spoil_its_pack() {
    let text = r#"[{"n":"a","v":1},{"n":"a"},{"n":"a","v":"x"},{"n":"a","v":1,"vb":true},{"v":1},{"n":"a b","v":1},
        {"n":"_a","v":1},{"n":"a","v":1,"v":2},{"n":"a","vd":"*"},{"n":"a","v":1e400},{"n":"a","t":1e300,"v":1},{"n":"a","v":2}]"#;
    let expected = [
        None,
        Some(RecordError::NoValue),
        Some(RecordError::WrongType(Field::Value)),
        Some(RecordError::SeveralValues),
        Some(RecordError::NameEmpty),
        Some(RecordError::NameCharacter),
        Some(RecordError::NameCharacter),
        Some(RecordError::Duplicate(Field::Value)),
        Some(RecordError::DataNotBase64),
        Some(RecordError::NumberOutOfRange(Field::Value)),
        Some(RecordError::TimeOutOfRange),
        None,
    ];
    assert_eq!(errors(text), expected);
}

#[test]
fn a_failed_record_still_gives_its_base_fields() {
    let found = entries(r#"[{"bn":"a","bu":"V","v":"x"},{"v":1}]"#);
    assert_eq!(found[1].record.clone().unwrap(), number("a", "V", RECEIVED_AT, 1.0));
}

#[test]
fn a_broken_base_field_breaks_those_that_depend_on_it_until_it_is_given_anew() {
    let text = r#"[{"n":"a","bt":"x","v":1},{"n":"a","v":1},{"n":"a","bt":5,"v":1},
        {"n":"a","bu":7,"u":"V","v":1},{"n":"a","v":1},{"n":"a","u":"V","v":1}]"#;
    let expected = [
        Some(RecordError::WrongType(Field::BaseTime)),
        Some(RecordError::BrokenBase(Field::BaseTime)),
        None,
        None,
        Some(RecordError::BrokenBase(Field::BaseUnit)),
        None,
    ];
    assert_eq!(errors(text), expected);
}

#[test]
fn a_label_that_must_be_understood_flags_its_record() {
    let text = r#"[{"n":"a","v":1,"x_":{"deep":[1]}},{"n":"a","v":1,"x":null}]"#;
    assert_eq!(errors(text), [Some(RecordError::MustUnderstand("x_".to_owned())), None]);
}

#[test]
fn a_base_label_that_must_be_understood_flags_the_pack_from_there() {
    let text = r#"[{"n":"a","v":1},{"n":"a","v":1,"bx_":1},{"n":"a","v":1}]"#;
    let flagged = Some(RecordError::BaseMustUnderstand("bx_".to_owned()));
    assert_eq!(errors(text), [None, flagged.clone(), flagged]);
}

#[test]
fn versions_up_to_ten_are_read_and_others_refuse_the_pack() {
    assert_eq!(records(r#"[{"bver":1,"n":"a","v":1}]"#).len(), 1);
    assert_eq!(records(r#"[{"bver":10,"n":"a","v":1}]"#).len(), 1);
    for version in ["11", "0", "-1", "2.5", "null"] {
        let text = format!(r#"[{{"n":"a","v":1}},{{"bver":{version},"n":"a","v":1}}]"#);
        assert_eq!(decode_error(&text), DecodeError::UnknownVersion(version.to_owned()));
    }
    assert_eq!(
        decode_error(r#"[{"bver":5,"n":"a","v":1},{"bver":6,"v":1}]"#),
        DecodeError::MixedVersions
    );
}

#[test]
fn integers_beyond_two_to_the_53_are_read_as_the_nearest_double() {
    let found =
        records(r#"[{"n":"a","v":9007199254740993},{"n":"a","v":1.7976931348623157e308},{"n":"a","v":5e-324}]"#);
    let values: Vec<_> = found.into_iter().map(|record| record.value.unwrap()).collect();
    assert_eq!(values, [9_007_199_254_740_992.0, f64::MAX, 5e-324].map(Value::Number));
}

#[test]
fn a_sum_of_values_beyond_the_doubles_is_an_error() {
    assert_eq!(
        errors(r#"[{"n":"a","bv":1.7e308,"v":1.7e308}]"#),
        [Some(RecordError::NumberOutOfRange(Field::Value))]
    );
}

#[test]
fn what_is_no_array_of_objects_is_no_pack() {
    assert!(matches!(decode_error("{}"), DecodeError::NotAnArray(_)));
    assert!(matches!(decode_error("[{}"), DecodeError::NotAnArray(_)));
    assert!(matches!(decode_error("[{}] x"), DecodeError::NotAnArray(_)));
    assert!(matches!(decode_error(r#"[{"v":NaN}]"#), DecodeError::NotAnArray(_)));
    assert_eq!(decode_error("[]"), DecodeError::Empty);
    assert_eq!(decode_error("[{},1]"), DecodeError::NotARecord(1));
    assert_eq!(
        decode_json(b"[\xff]", &Limits::default()).unwrap_err(),
        DecodeError::NotUtf8
    );
}

#[test]
fn packs_beyond_the_limits_are_refused() {
    let limits = Limits {
        records_max: 2,
        depth_max: 3,
        ..Limits::default()
    };
    let decode = |text: &str| decode_json(text.as_bytes(), &limits).map(|_| ());
    assert_eq!(decode("[{},{}]"), Ok(()));
    assert_eq!(decode("[{},{},{}]"), Err(DecodeError::TooManyRecords(2)));
    assert_eq!(decode(r#"[{"x":["[[[[\"[["]}]"#), Ok(()));
    assert_eq!(decode(r#"[{"x":[[]]}]"#), Err(DecodeError::TooDeep(3)));
    let deep = "[".repeat(900_000);
    assert_eq!(decode(&deep), Err(DecodeError::TooDeep(3)));
}

#[test]
fn a_long_base_name_is_not_multiplied() {
    let text = format!(
        r#"[{{"bn":"{}","v":1}},{{"v":2}},{{"bn":"a","v":3}}]"#,
        "a".repeat(1025)
    );
    let expected = [
        Some(RecordError::NameTooLong(1024)),
        Some(RecordError::BrokenBase(Field::BaseName)),
        None,
    ];
    assert_eq!(errors(&text), expected);
}

#[test]
fn a_long_label_is_not_multiplied() {
    for kind in ["b", "x"] {
        let label = format!("{kind}{}_", "ü".repeat(1_000));
        let found = errors(&format!(r#"[{{"{label}":1}},{{"n":"a","v":1}}]"#));
        let kept: String = label.chars().take(64).collect();
        let expected = match kind {
            "b" => [
                Some(RecordError::BaseMustUnderstand(kept.clone())),
                Some(RecordError::BaseMustUnderstand(kept)),
            ],
            _ => [Some(RecordError::MustUnderstand(kept)), None],
        };
        assert_eq!(found, expected);
    }
}

#[test]
fn labels_and_strings_may_be_escaped() {
    let found = records(r#"[{"\u006e":"\u0061","v\u0073":"\u00fc"}]"#);
    assert_eq!(
        (found[0].name.as_ref(), found[0].value.clone()),
        ("a", Some(Value::Text("ü".into())))
    );
}
