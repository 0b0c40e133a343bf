//! `Live`: fan-out of what need not last (revisions, takeovers). Who does not listen now never hears of it.

use async_trait::async_trait;
use bytes::Bytes;

use crate::feed::Feed;

/// Largest payload of one piece of news, in bytes.
pub const LIVE_PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// One piece of news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// What it was published under: tokens joined by `.`.
    pub subject: String,
    /// Its content.
    pub payload: Bytes,
}

/// Why `Live` could not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    /// A subject is tokens of letters, digits, `_` and `-`, joined by `.`.
    #[error("`{0}` is not a subject: tokens of letters, digits, `_` and `-`, joined by `.`")]
    Subject(String),
    /// The payload is over [`LIVE_PAYLOAD_BYTES_MAX`].
    #[error("the payload has {0} bytes and may have {LIVE_PAYLOAD_BYTES_MAX}")]
    TooLarge(usize),
    /// The backend does not answer.
    #[error("live fan-out is unavailable")]
    Unavailable,
}

/// Fan-out of ephemera by subject.
#[async_trait]
pub trait Live: Send + Sync + 'static {
    /// Gives `payload` to whoever listens now. Returns without waiting for them.
    ///
    /// # Errors
    /// A wrong subject, too large a payload, a backend that does not answer.
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), LiveError>;

    /// Listens to `prefix` and every subject below it, by whole tokens. Once this returns, nothing published later is missed;
    /// a listener that falls behind is told how many it lost.
    ///
    /// # Errors
    /// A wrong subject, a backend that does not answer.
    async fn subscribe(&self, prefix: &str) -> Result<Feed<News>, LiveError>;
}

/// Checks a subject or prefix.
///
/// # Errors
/// [`LiveError::Subject`].
pub fn check_subject(subject: &str) -> Result<(), LiveError> {
    let is_token = |token: &str| {
        !token.is_empty()
            && token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    if subject.split('.').all(is_token) {
        Ok(())
    } else {
        Err(LiveError::Subject(subject.chars().take(64).collect()))
    }
}
