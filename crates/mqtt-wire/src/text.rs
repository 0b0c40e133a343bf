//! Strings and secrets as MQTT carries them: slices of the frame, checked once.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use bytestring::ByteString;

/// A UTF-8 string of at most 65,535 bytes without U+0000 ([MQTT-1.5.4-1], [MQTT-1.5.4-2]).
///
/// Cloning is cheap. One that was decoded is a slice of the frame it came in and keeps that frame alive:
/// what is held for long is better [`detached`](Self::detached).
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Utf8Bytes(ByteString);

/// Why some text is no MQTT string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It is not UTF-8; surrogates and overlong forms are not either.
    #[error("is not UTF-8 [MQTT-1.5.4-1]")]
    NotUtf8,
    /// It has a U+0000.
    #[error("contains U+0000 [MQTT-1.5.4-2]")]
    Nul,
    /// It is longer than a length prefix can say.
    #[error("is longer than 65,535 bytes")]
    TooLong,
}

impl Utf8Bytes {
    /// The empty string.
    #[must_use]
    pub const fn new() -> Self {
        Self(ByteString::new())
    }

    /// The text, without copying it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes, without copying them.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0.into_bytes()
    }

    /// A copy that no longer keeps the frame alive.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(ByteString::from(self.as_str()))
    }
}

impl TryFrom<Bytes> for Utf8Bytes {
    type Error = TextError;

    fn try_from(bytes: Bytes) -> Result<Self, TextError> {
        if bytes.len() > usize::from(u16::MAX) {
            return Err(TextError::TooLong);
        }
        if bytes.contains(&0) {
            return Err(TextError::Nul);
        }
        ByteString::try_from(bytes).map(Self).map_err(|_| TextError::NotUtf8)
    }
}

impl TryFrom<String> for Utf8Bytes {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        Self::try_from(Bytes::from(text))
    }
}

impl TryFrom<&str> for Utf8Bytes {
    type Error = TextError;

    fn try_from(text: &str) -> Result<Self, TextError> {
        Self::try_from(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl Deref for Utf8Bytes {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Utf8Bytes {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Utf8Bytes {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Utf8Bytes {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for Utf8Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self)
    }
}

impl fmt::Debug for Utf8Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

/// Bytes that no log may show: a password or authentication data. At most 65,535 of them can be encoded.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Bytes);

impl Secret {
    /// The bytes themselves, for the one who checks them.
    #[must_use]
    pub const fn reveal(&self) -> &Bytes {
        &self.0
    }
}

impl From<Bytes> for Secret {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}
