//! Durations as Go writes them: `1h30m0s`, `1.5s`, `300ms`, `-2µs`, `0s`.

/// Units with their length in nanoseconds, longest first; both spellings of the micro sign and `us` are read.
const UNITS: [(&str, i128); 8] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads a duration into nanoseconds; `None` when the text is not one or overflows Go's range (about 292 years).
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (nanoseconds, left) = term(rest)?;
        total = total.checked_add(nanoseconds)?;
        rest = left;
    }
    i64::try_from(if is_negative { -total } else { total }).ok()
}

/// Reads one number with its unit, such as `1.5h`, and gives what follows.
fn term(text: &str) -> Option<(i128, &str)> {
    const DIGITS_MAX: usize = 18;
    let number_bytes = text
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
        .count();
    let (number, rest) = text.split_at(number_bytes);
    let unit_bytes = rest
        .bytes()
        .take_while(|byte| !byte.is_ascii_digit() && *byte != b'.')
        .count();
    let (unit, rest) = rest.split_at(unit_bytes);
    let (_, length) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || whole.len() > DIGITS_MAX || fraction.contains('.') {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(DIGITS_MAX)];
    let digits = |text: &str| {
        if text.is_empty() {
            Some(0)
        } else {
            text.parse::<i128>().ok()
        }
    };
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    Some((digits(whole)? * length + digits(fraction)? * length / scale, rest))
}

/// Writes nanoseconds as Go does: below a second in the greatest unit that keeps a whole part, else in hours, minutes, seconds.
pub(crate) fn format(nanoseconds: i128) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let rest = nanoseconds.unsigned_abs();
    match rest {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{rest}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(rest, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(rest, 1_000_000)),
        _ => {
            let seconds = rest / 1_000_000_000;
            let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
            let last = decimal(rest % 60_000_000_000, 1_000_000_000);
            match (hours, minutes) {
                (0, 0) => format!("{sign}{last}s"),
                (0, _) => format!("{sign}{minutes}m{last}s"),
                (_, _) => format!("{sign}{hours}h{minutes}m{last}s"),
            }
        }
    }
}

/// `value / unit` without trailing zeros; `unit` is a power of ten.
fn decimal(value: u128, unit: u128) -> String {
    let width = unit.ilog10() as usize;
    let text = format!("{}.{:0width$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        let cases: [(i128, &str); 9] = [
            (0, "0s"),
            (5_400_000_000_000, "1h30m0s"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (300_000_000, "300ms"),
            (1_100, "1.1µs"),
            (-1, "-1ns"),
            (36_000_000_000_001, "10h0m0.000000001s"),
            (100_000_000_000, "1m40s"),
        ];
        for (nanoseconds, text) in cases {
            assert_eq!(format(nanoseconds), text);
            assert_eq!(parse(text).map(i128::from), Some(nanoseconds), "{text}");
        }
    }

    #[test]
    fn other_spellings_are_read_and_nonsense_is_not() {
        assert_eq!(parse("1.5h"), Some(5_400_000_000_000));
        assert_eq!(parse("2us.5ms"), Some(502_000));
        for nonsense in ["", "1", "-", "s", ".s", "1.2.3s", "1x", "1 s", "9999999999h", "é", "1é"] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }
}
