//! The trace context of W3C: which trace a piece of work belongs to, and what caused it, in the 55 characters of a `traceparent`.

use std::fmt;

use super::random;

/// Characters of a `traceparent` of version 00: `00-<trace id>-<parent id>-<flags>`.
const LENGTH: usize = 55;
/// The version that no `traceparent` may have.
const VERSION_FORBIDDEN: u128 = 0xff;
/// The flag that says that the sender records the trace.
const SAMPLED: u128 = 1;

/// A place in a trace. It is never all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    pub(crate) is_sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`; `None` for one that is not valid. Later versions are read as far as this one goes, as the standard asks for.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (head, rest) = bytes.split_at_checked(LENGTH)?;
        let version = hexadecimal(&head[..2])?;
        let is_whole = rest.is_empty() || (version > 0 && rest[0] == b'-');
        let is_divided = [2, 35, 52].iter().all(|place| head[*place] == b'-');
        if version == VERSION_FORBIDDEN || !is_whole || !is_divided {
            return None;
        }
        let trace_id = hexadecimal(&head[3..35])?;
        let span_id = u64::try_from(hexadecimal(&head[36..52])?).ok()?;
        let flags = hexadecimal(&head[53..])?;
        (trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            is_sampled: flags & SAMPLED != 0,
        })
    }

    /// A new place, recorded, in the trace of `parent` or in one of its own.
    pub(crate) fn new_below(parent: Option<&Self>) -> Self {
        let new_trace = || (u128::from(random::next()) << 64 | u128::from(random::next())).max(1);
        Self {
            trace_id: parent.map_or_else(new_trace, |parent| parent.trace_id),
            span_id: random::next().max(1),
            is_sampled: true,
        }
    }

    /// Whether whoever gave it records the trace.
    pub const fn is_sampled(&self) -> bool {
        self.is_sampled
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.is_sampled);
        write!(formatter, "00-{:032x}-{:016x}-{flags:02x}", self.trace_id, self.span_id)
    }
}

/// At most 32 hexadecimal digits, lower case alone as the standard demands.
fn hexadecimal(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_and_written_as_it_was() {
        let context = TraceContext::parse(VALID).unwrap();
        assert_eq!(context.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(context.span_id, 0xb7ad_6b71_6920_3331);
        assert!(context.is_sampled());
        assert_eq!(context.to_string(), VALID);
    }

    #[test]
    fn of_the_flags_the_last_one_counts_alone() {
        let sampled = |flags: &str| {
            let text = VALID.replace("-01", flags);
            TraceContext::parse(&text).unwrap().is_sampled()
        };
        assert!(sampled("-ff") && sampled("-03"));
        assert!(!sampled("-00") && !sampled("-02"));
    }

    #[test]
    fn a_later_version_is_read_as_far_as_this_one_goes() {
        for text in [
            VALID.replacen("00", "cc", 1),
            VALID.replacen("00", "01", 1) + "-what-the-future-brings",
        ] {
            assert!(TraceContext::parse(&text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_not_valid_is_none() {
        let zero_trace = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        let zero_span = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", "0".repeat(16));
        for text in [
            "",
            "00",
            &VALID[..54],
            &format!("{VALID} "),
            &format!("{VALID}-00"),
            &VALID.replacen("00", "ff", 1),
            &(VALID.replacen("00", "01", 1) + "0"),
            &VALID.to_uppercase(),
            &VALID.replace('-', "_"),
            &VALID.replace("b7ad", "g7ad"),
            &VALID.replace("b7ad", "+7ad"),
            &VALID.replace("-01", "-é"),
            &zero_trace,
            &zero_span,
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }
}
