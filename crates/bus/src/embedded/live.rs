//! `Live` in one process.

use async_trait::async_trait;
use bytes::Bytes;

use crate::feed::{Feed, FeedLimit, Source};
use crate::live::{LIVE_PAYLOAD_BYTES_MAX, Live, LiveError, News, check_subject};

/// How far a listener may fall behind.
const LIMIT: FeedLimit = FeedLimit {
    items: 4_096,
    bytes: 4 * 1024 * 1024,
};

/// Fan-out in memory.
pub struct EmbeddedLive(Source<News>);

impl EmbeddedLive {
    /// Nobody listens yet.
    pub const fn new() -> Self {
        Self(Source::new(LIMIT))
    }
}

impl Default for EmbeddedLive {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Live for EmbeddedLive {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), LiveError> {
        check_subject(subject)?;
        if payload.len() > LIVE_PAYLOAD_BYTES_MAX {
            return Err(LiveError::TooLarge(payload.len()));
        }
        let bytes = subject.len() + payload.len();
        let news = News {
            subject: subject.to_owned(),
            payload,
        };
        self.0.send(&news, bytes);
        Ok(())
    }

    async fn subscribe(&self, prefix: &str) -> Result<Feed<News>, LiveError> {
        check_subject(prefix)?;
        let prefix = prefix.to_owned();
        Ok(self.0.listen_to(move |news| {
            news.subject
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }))
    }
}
