//! `Live` on core subjects of NATS.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;

use super::connect::{ANSWER_WAIT_MAX, Connection};
use super::feeder;
use super::names::Names;
use crate::feed::{Feed, FeedLimit};
use crate::live::{LIVE_PAYLOAD_BYTES_MAX, Live, LiveError, News, check_subject};

/// How far a listener may fall behind.
const LIMIT: FeedLimit = FeedLimit {
    items: 4_096,
    bytes: 4 * 1024 * 1024,
};

/// Fan-out by a server.
pub(super) struct NatsLive {
    pub(super) connection: Connection,
    pub(super) names: Arc<Names>,
}

#[async_trait]
impl Live for NatsLive {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), LiveError> {
        check_subject(subject)?;
        if payload.len() > LIVE_PAYLOAD_BYTES_MAX {
            return Err(LiveError::TooLarge(payload.len()));
        }
        if !self.connection.link.borrow().is_up {
            return Err(LiveError::Unavailable);
        }
        let sent = self
            .connection
            .client
            .publish(self.names.live_subject(subject), payload);
        in_time(ANSWER_WAIT_MAX, sent).await
    }

    async fn subscribe(&self, prefix: &str) -> Result<Feed<News>, LiveError> {
        check_subject(prefix)?;
        let client = &self.connection.client;
        let heard = in_time(ANSWER_WAIT_MAX, client.subscribe(self.names.live_subjects(prefix))).await?;
        in_time(ANSWER_WAIT_MAX, self.connection.settled()).await?;
        let names = self.names.clone();
        let news = heard.filter_map(move |message| {
            let subject = names.live_subject_of(&message.subject).map(str::to_owned);
            let news = subject.map(|subject| {
                (
                    News {
                        subject,
                        payload: message.payload,
                    },
                    message.length,
                )
            });
            std::future::ready(news)
        });
        Ok(feeder::feed(LIMIT, Box::pin(news), self.connection.link.clone()))
    }
}

async fn in_time<T, E>(limit: Duration, future: impl Future<Output = Result<T, E>>) -> Result<T, LiveError> {
    match tokio::time::timeout(limit, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) | Err(_) => Err(LiveError::Unavailable),
    }
}
