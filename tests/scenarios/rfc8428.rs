//! The examples of RFC 8428, section 5.1, and the records that the RFC resolves them to.

use serde_json::{Value, json};

/// A time as the RFC resolves it.
#[derive(Clone, Copy)]
pub(crate) enum At {
    /// Nanoseconds since the Unix epoch.
    Absolute(i64),
    /// Seconds from the reception.
    Received(i64),
}

/// One resolved record: name, unit, time, and the field that holds its value.
pub(crate) type Resolved = (&'static str, Option<&'static str>, At, &'static str, Value);

/// A pack and what it resolves to.
pub(crate) type Example = (&'static str, Vec<Resolved>);

const DEVICE: &str = "urn:dev:ow:10e2073a01080063";
const VOLTAGE: &str = "urn:dev:ow:10e2073a01080063:voltage";
const CURRENT: &str = "urn:dev:ow:10e2073a01080063:current";
const NOW: At = At::Received(0);

/// All examples.
pub(crate) fn examples() -> Vec<Example> {
    [data_points(), series(), types(), collections()].concat()
}

fn number(name: &'static str, unit: &'static str, at: At, value: f64) -> Resolved {
    (name, Some(unit), at, "value", json!(value))
}

fn unitless(name: &'static str, field: &'static str, value: Value) -> Resolved {
    (name, None, NOW, field, value)
}

/// A time of so many seconds after another.
const fn after(seconds: i64, base_ns: i64) -> At {
    At::Absolute(base_ns + seconds * 1_000_000_000)
}

fn data_points() -> Vec<Example> {
    let burst = |seconds| after(seconds, 1_276_020_076_001_000_000);
    let current = "urn:dev:ow:10e2073a0108006:current";
    vec![
        (
            r#"[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#,
            vec![number(DEVICE, "Cel", NOW, 23.1)],
        ),
        (
            r#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},{"n":"current","u":"A","v":1.2}]"#,
            vec![number(VOLTAGE, "V", NOW, 120.1), number(CURRENT, "A", NOW, 1.2)],
        ),
        (
            r#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","t":-10,"v":120.1}]"#,
            vec![number(VOLTAGE, "V", At::Received(-10), 120.1)],
        ),
        (
            r#"[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
                {"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3},{"n":"current","t":-3,"v":1.4},
                {"n":"current","t":-2,"v":1.5},{"n":"current","t":-1,"v":1.6},{"n":"current","v":1.7}]"#,
            vec![
                number("urn:dev:ow:10e2073a0108006:voltage", "V", burst(0), 120.1),
                number(current, "A", burst(-5), 1.2),
                number(current, "A", burst(-4), 1.3),
                number(current, "A", burst(-3), 1.4),
                number(current, "A", burst(-2), 1.5),
                number(current, "A", burst(-1), 1.6),
                number(current, "A", burst(0), 1.7),
            ],
        ),
    ]
}

fn series() -> Vec<Example> {
    let at = |seconds| after(seconds, 1_320_067_464_000_000_000);
    vec![
        (
            r#"[{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},{"u":"lon","v":24.30621},
                {"u":"lat","v":60.07965},{"t":60,"v":20.3},{"u":"lon","t":60,"v":24.30622},{"u":"%EL","t":150,"v":98}]"#,
            vec![
                number(DEVICE, "%RH", at(0), 20.0),
                number(DEVICE, "lon", at(0), 24.30621),
                number(DEVICE, "lat", at(0), 60.07965),
                number(DEVICE, "%RH", at(60), 20.3),
                number(DEVICE, "lon", at(60), 24.30622),
                number(DEVICE, "%EL", at(150), 98.0),
            ],
        ),
        // The same as its resolved form has it.
        (
            r#"[{"n":"urn:dev:ow:10e2073a01080063","u":"lon","t":1.320067464e+09,"v":24.30621},
                {"n":"urn:dev:ow:10e2073a01080063","u":"lat","t":1.320067524e+09,"v":60.07965}]"#,
            vec![
                number(DEVICE, "lon", at(0), 24.30621),
                number(DEVICE, "lat", at(60), 60.07965),
            ],
        ),
    ]
}

fn types() -> Vec<Example> {
    vec![(
        r#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},{"n":"label","vs":"Machine Room"},
            {"n":"open","vb":false},{"n":"nfc-reader","vd":"aGkgCg"}]"#,
        vec![
            number("urn:dev:ow:10e2073a01080063:temp", "Cel", NOW, 23.1),
            unitless(
                "urn:dev:ow:10e2073a01080063:label",
                "string_value",
                json!("Machine Room"),
            ),
            unitless("urn:dev:ow:10e2073a01080063:open", "bool_value", json!(false)),
            unitless("urn:dev:ow:10e2073a01080063:nfc-reader", "data_value", json!("aGkgCg")),
        ],
    )]
}

fn collections() -> Vec<Example> {
    let at = At::Absolute(1_320_078_429_000_000_000);
    vec![(
        r#"[{"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":25.2},{"n":"humidity","u":"%RH","v":30},
            {"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3},{"n":"humidity","u":"%RH","v":67}]"#,
        vec![
            number("2001:db8::2/temperature", "Cel", at, 25.2),
            number("2001:db8::2/humidity", "%RH", at, 30.0),
            number("2001:db8::1/temperature", "Cel", at, 12.3),
            number("2001:db8::1/humidity", "%RH", at, 67.0),
        ],
    )]
}
