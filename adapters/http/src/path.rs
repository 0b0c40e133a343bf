//! Topics in paths: levels between slashes, each percent-encoded by itself (RFC 3986 section 2.1).

use std::borrow::Cow;

use trunkline_core::Fault;

/// The topic that a path `/m/…` spells, decoded once. It is not yet known to be a valid one.
///
/// # Errors
/// A level that is not UTF-8, has a damaged escape or holds an encoded slash.
pub(crate) fn topic(path: &str) -> Result<String, Fault> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let mut topic = String::with_capacity(path.len());
    for (index, level) in path.split('/').enumerate() {
        let decoded = decode(level).map_err(|fault| {
            let place = index + 1;
            Fault::invalid("topic", format!("level {place} of the path {fault}"))
        })?;
        if index > 0 {
            topic.push('/');
        }
        topic.push_str(&decoded);
    }
    Ok(topic)
}

fn decode(level: &str) -> Result<Cow<'_, str>, &'static str> {
    if !level.contains('%') {
        return Ok(Cow::Borrowed(level));
    }
    let mut decoded = Vec::with_capacity(level.len());
    let mut bytes = level.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err("has a `%` without two hexadecimal digits behind it; write `%25` for the character itself");
        };
        decoded.push((high * 16 + low) as u8);
    }
    if decoded.contains(&b'/') {
        return Err("holds an encoded slash, which a topic cannot tell from a separator; leave it out");
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| "is not UTF-8 once its escapes are decoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_decoded_once() {
        for (path, decoded) in [
            ("/m/home/c/kitchen", "m/home/c/kitchen"),
            ("/m/home/c/kitchen/a%20b/%C3%BC", "m/home/c/kitchen/a b/ü"),
            ("/m/home/c/kitchen/%252F", "m/home/c/kitchen/%2F"),
            ("/m/home/c/kitchen/a+b", "m/home/c/kitchen/a+b"),
            ("/m/home/c/kitchen/", "m/home/c/kitchen/"),
            ("/m/home/c/kitchen/%2e%2E/.", "m/home/c/kitchen/../."),
        ] {
            assert_eq!(topic(path).as_deref(), Ok(decoded), "{path}");
        }
    }

    #[test]
    fn what_is_no_level_is_refused_by_its_place() {
        for (path, words) in [
            ("/m/home/c/kitchen/a%2Fb", "level 5 of the path holds an encoded slash"),
            ("/m/ho%2fme/c/kitchen", "level 2 of the path holds an encoded slash"),
            ("/m/home/c/kitchen/%", "level 5 of the path has a `%` without"),
            ("/m/home/c/kitchen/%4", "level 5 of the path has a `%` without"),
            ("/m/home/c/kitchen/%+1", "level 5 of the path has a `%` without"),
            ("/m/home/c/kitchen/%ff", "level 5 of the path is not UTF-8"),
            ("/m/home/c/kitchen/%c0%af", "level 5 of the path is not UTF-8"),
        ] {
            let message = topic(path).unwrap_err().message;
            assert!(message.contains(words), "{path}: {message}");
        }
    }
}
