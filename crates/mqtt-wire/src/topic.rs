//! The rules of topic names and filters (section 4.7), on text that is already a valid MQTT string.

/// Why some text is no topic name or no topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It has no character.
    #[error("is empty [MQTT-4.7.3-1]")]
    Empty,
    /// It has a U+0000.
    #[error("contains U+0000 [MQTT-4.7.3-2]")]
    Nul,
    /// It has more than 65,535 bytes.
    #[error("is longer than 65,535 bytes [MQTT-4.7.3-3]")]
    TooLong,
    /// A name with `+` or `#`.
    #[error("contains a wildcard [MQTT-3.3.2-2]")]
    Wildcard,
    /// `#` that is not the whole last level.
    #[error("has a # that is not the whole last level [MQTT-4.7.1-1]")]
    MultiLevelWildcard,
    /// `+` that is not a whole level.
    #[error("has a + that is not a whole level [MQTT-4.7.1-2]")]
    SingleLevelWildcard,
    /// `$share/` without group, with a wildcard in it, or without filter.
    #[error("is a malformed shared subscription [MQTT-4.8.2-1]")]
    Shared,
}

/// Whether this may be published to.
///
/// # Errors
/// Empty, too long, with U+0000 or with a wildcard.
pub fn valid_name(name: &str) -> Result<(), TopicError> {
    valid_text(name)?;
    match survey(name).0 {
        true => Err(TopicError::Wildcard),
        false => Ok(()),
    }
}

/// Whether this may be subscribed to, in any version; `$share/` is an ordinary level here, see [`shared`].
///
/// # Errors
/// Empty, too long, with U+0000 or with a misplaced wildcard.
pub fn valid_filter(filter: &str) -> Result<(), TopicError> {
    valid_text(filter)?;
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level.len() > 1 || levels.peek().is_some()) {
            return Err(TopicError::MultiLevelWildcard);
        }
        if level.contains('+') && level.len() > 1 {
            return Err(TopicError::SingleLevelWildcard);
        }
    }
    Ok(())
}

/// The group and the filter of `$share/<group>/<filter>`; `None` where this is no shared subscription.
///
/// # Errors
/// It begins with `$share/` and the group is empty or has a wildcard, or the filter is missing or invalid.
pub fn shared(filter: &str) -> Result<Option<(&str, &str)>, TopicError> {
    let Some(rest) = filter.strip_prefix("$share/") else {
        return Ok(None);
    };
    let (group, inner) = rest.split_once('/').ok_or(TopicError::Shared)?;
    if group.is_empty() || inner.is_empty() || group.contains(['+', '#']) {
        return Err(TopicError::Shared);
    }
    valid_filter(inner)?;
    Ok(Some((group, inner)))
}

/// Whether a valid filter (without `$share/`) matches a valid name. A wildcard in the first level never matches a
/// name that begins with `$` ([MQTT-4.7.2-1]).
#[must_use]
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = name.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        match names.next() {
            Some(_) if level == "+" => {}
            Some(other) if level == other => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

/// How many levels a name or filter has.
#[must_use]
pub fn levels(topic: &str) -> u32 {
    survey(topic).1
}

/// Whether there is a wildcard, and how many levels there are. Without a branch per byte: every PUBLISH pays for this.
pub(crate) fn survey(topic: &str) -> (bool, u32) {
    let mut wildcards = 0;
    let mut separators = 0;
    for byte in topic.as_bytes() {
        wildcards += u32::from(*byte == b'+') + u32::from(*byte == b'#');
        separators += u32::from(*byte == b'/');
    }
    (wildcards > 0, separators + 1)
}

fn valid_text(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    if topic.len() > usize::from(u16::MAX) {
        return Err(TopicError::TooLong);
    }
    match topic.as_bytes().contains(&0) {
        true => Err(TopicError::Nul),
        false => Ok(()),
    }
}
