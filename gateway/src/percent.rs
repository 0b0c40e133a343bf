//! Percent-encoding of paths and queries (RFC 3986 section 2.1; queries also as forms write them, blanks as `+`).

use std::borrow::Cow;

/// Decodes one segment of a path; `None` when it is not UTF-8 or an escape is cut short.
pub(crate) fn decode_segment(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    decode(text).map(Cow::Owned)
}

/// Decodes a key or a value of a query; `None` as for segments.
pub(crate) fn decode_query(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    decode(&text.replace('+', " ")).map(Cow::Owned)
}

fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            decoded.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_decode_and_damaged_ones_do_not() {
        assert_eq!(decode_segment("a%2Fb+c").as_deref(), Some("a/b+c"));
        assert_eq!(decode_query("a%2Bb+c").as_deref(), Some("a+b c"));
        for damaged in ["%", "%2", "%zz", "%ff", "%+1"] {
            assert_eq!(decode_segment(damaged), None, "{damaged}");
        }
    }
}
