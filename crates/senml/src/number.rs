//! Numbers of JSON as exact times and as doubles.
//!
//! Times are summed in attoseconds (10^-18 s) as 128-bit integers: nineteen integer digits and eighteen fraction digits fit, so that
//! base time plus time is exact for any text that a device would send. What lies beyond the last digit is cut toward minus infinity.

use serde_json::value::RawValue;

/// Fraction digits that are kept of a number of seconds.
const FRACTION_DIGITS: i64 = 18;

/// Attoseconds in a nanosecond.
const ATTOS_PER_NANO: i128 = 1_000_000_000;

/// An amount of seconds in attoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Seconds(i128);

impl Seconds {
    /// A whole number of seconds.
    pub(crate) const fn from_whole(seconds: i64) -> Seconds {
        Seconds(seconds as i128 * 10_i128.pow(FRACTION_DIGITS as u32))
    }

    /// The seconds that a JSON number stands for; `None` beyond about 1.7e20 s either way. The text must follow JSON's grammar.
    pub(crate) fn parse(text: &str) -> Option<Seconds> {
        let (is_negative, magnitude) = match text.strip_prefix('-') {
            Some(magnitude) => (true, magnitude),
            None => (false, text),
        };
        let (mantissa, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let kept = (whole.len() as i64)
            .saturating_add(parse_exponent(exponent))
            .saturating_add(FRACTION_DIGITS);

        let mut attoseconds: i128 = 0;
        let mut is_cut = false;
        let mut digits: i64 = 0;
        for digit in whole
            .bytes()
            .chain(fraction.bytes())
            .map(|byte| i128::from(byte - b'0'))
        {
            if digits < kept {
                attoseconds = attoseconds.checked_mul(10)?.checked_add(digit)?;
            } else {
                is_cut |= digit != 0;
            }
            digits += 1;
        }
        if attoseconds != 0 && kept > digits {
            let zeros = u32::try_from(kept - digits).ok()?;
            attoseconds = attoseconds.checked_mul(10_i128.checked_pow(zeros)?)?;
        }
        Some(Seconds(if is_negative {
            -attoseconds - i128::from(is_cut)
        } else {
            attoseconds
        }))
    }

    /// The exact sum; `None` out of range.
    pub(crate) fn checked_add(self, other: Seconds) -> Option<Seconds> {
        self.0.checked_add(other.0).map(Seconds)
    }

    /// Whole nanoseconds, cut toward minus infinity; `None` beyond 64 bits.
    pub(crate) fn nanoseconds(self) -> Option<i64> {
        i64::try_from(self.0.div_euclid(ATTOS_PER_NANO)).ok()
    }
}

/// The exponent of a JSON number; one that does not fit is as good as infinite.
fn parse_exponent(text: &str) -> i64 {
    let limit = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    text.parse::<i64>().unwrap_or(limit)
}

/// The text of a JSON number, or `None` when the value is of another type.
pub(crate) fn number_text(value: &RawValue) -> Option<&str> {
    let text = value.get();
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        .then_some(text)
}

/// The nearest double of a JSON number; `None` when it is too large for one.
pub(crate) fn parse_double(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nanoseconds(text: &str) -> Option<i64> {
        Seconds::parse(text).and_then(Seconds::nanoseconds)
    }

    #[test]
    fn a_time_is_taken_exactly_from_its_decimal_text() {
        assert_eq!(nanoseconds("1.276020076001e+09"), Some(1_276_020_076_001_000_000));
        assert_eq!(nanoseconds("1276020076.123456789"), Some(1_276_020_076_123_456_789));
        assert_eq!(nanoseconds("127602007612345678.9e-8"), Some(1_276_020_076_123_456_789));
        assert_eq!(
            nanoseconds("0.0000000000000000000000000000000000000000012E50"),
            Some(120_000_000_000_000_000)
        );
        assert_eq!(nanoseconds("-0"), Some(0));
        assert_eq!(nanoseconds("0e999999999999999999999999"), Some(0));
    }

    #[test]
    fn digits_beyond_the_nanosecond_are_cut_toward_minus_infinity() {
        assert_eq!(nanoseconds("1.9999999999"), Some(1_999_999_999));
        assert_eq!(nanoseconds("-1.0000000001"), Some(-1_000_000_001));
        assert_eq!(nanoseconds("-1e-400"), Some(-1));
        assert_eq!(nanoseconds("1e-99999999999999999999999"), Some(0));
    }

    #[test]
    fn a_time_too_large_for_the_clock_is_refused() {
        assert_eq!(nanoseconds("1e400"), None);
        assert_eq!(nanoseconds("1e99999999999999999999999"), None);
        assert_eq!(nanoseconds("9223372036.854775808"), None);
        assert_eq!(nanoseconds("9223372036.854775807"), Some(i64::MAX));
        assert_eq!(nanoseconds(&"9".repeat(60)), None);
    }

    proptest! {
        #[test]
        fn any_nanosecond_survives_being_written_in_any_notation(nanos: i64, point in 1_usize..20) {
            let digits = format!("{:020}", nanos.unsigned_abs());
            let (whole, fraction) = digits.split_at(point);
            let exponent = 11 - point as i64;
            let sign = if nanos < 0 { "-" } else { "" };
            prop_assert_eq!(nanoseconds(&format!("{sign}{whole}.{fraction}e{exponent}")), Some(nanos));
        }

        #[test]
        fn a_sum_is_exact(left in -4_000_000_000_000_000_000_i64..4_000_000_000_000_000_000, right in -4_000_000_000_000_000_000_i64..4_000_000_000_000_000_000) {
            let text = |nanos: i64| format!("{}{}e-9", if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
            let sum = Seconds::parse(&text(left)).unwrap().checked_add(Seconds::parse(&text(right)).unwrap());
            prop_assert_eq!(sum.and_then(Seconds::nanoseconds), Some(left + right));
        }
    }
}
