//! Properties of resolving that hold for any input.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use trunkline_senml::{Limits, Value, decode_json};

fn member() -> impl Strategy<Value = String> {
    let label = prop::sample::select(vec![
        "bn", "bt", "bu", "bv", "bs", "bver", "n", "u", "v", "vs", "vb", "vd", "s", "t", "ut", "x", "x_", "bx_",
    ]);
    let value = prop_oneof![
        any::<f64>()
            .prop_filter("JSON has finite numbers only", |number| number.is_finite())
            .prop_map(|n| format!("{n:e}")),
        any::<i64>().prop_map(|number| number.to_string()),
        "[a-z0-9:/]{0,8}".prop_map(|text| format!("\"{text}\"")),
        Just("true".to_owned()),
        Just("null".to_owned()),
        Just("[{\"a\":1}]".to_owned()),
    ];
    (label, value).prop_map(|(label, value)| format!("\"{label}\":{value}"))
}

fn pack() -> impl Strategy<Value = String> {
    let record = prop::collection::vec(member(), 0..6).prop_map(|members| format!("{{{}}}", members.join(",")));
    prop::collection::vec(record, 0..6).prop_map(|records| format!("[{}]", records.join(",")))
}

proptest! {
    #[test]
    fn decoding_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), received_at: i64) {
        if let Ok(pack) = decode_json(&bytes, &Limits::default()) {
            pack.resolve(received_at).for_each(drop);
        }
    }

    #[test]
    fn resolving_any_pack_never_panics_and_keeps_the_order(text in pack(), received_at: i64) {
        if let Ok(pack) = decode_json(text.as_bytes(), &Limits::default()) {
            let indexes: Vec<_> = pack.resolve(received_at).map(|entry| entry.index).collect();
            prop_assert!(indexes.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn what_resolves_is_whole(text in pack(), received_at: i64) {
        let Ok(pack) = decode_json(text.as_bytes(), &Limits::default()) else { return Ok(()) };
        for record in pack.resolve(received_at).filter_map(|entry| entry.record.ok()) {
            prop_assert!(!record.name.is_empty());
            prop_assert!(record.value.is_some() || record.sum.is_some());
            prop_assert!(record.sum.is_none_or(f64::is_finite));
            prop_assert!(!matches!(record.value, Some(Value::Number(number)) if !number.is_finite()));
        }
    }

    #[test]
    fn splitting_a_value_into_base_and_rest_does_not_change_a_time(base in 268_435_456_i64..4_000_000_000, nanos in 0_i64..1_000_000_000, offset in -1_000_i64..1_000) {
        let text = format!(r#"[{{"bn":"a","bt":{base}.{nanos:09},"t":{offset},"v":1}}]"#);
        let pack = decode_json(text.as_bytes(), &Limits::default()).unwrap();
        let time = pack.resolve(0).next().unwrap().record.unwrap().time;
        prop_assert_eq!(time, (base + offset) * 1_000_000_000 + nanos);
    }
}
