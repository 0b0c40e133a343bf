//! Questions to JetStream's API and publishes that wait for their acknowledgement, with one kind of error.

use std::fmt;

use async_nats::jetstream::response::Response;
use async_nats::{HeaderMap, Message, RequestError, RequestErrorKind};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::connect::{ANSWER_WAIT_MAX, Connection};

/// JetStream's numbers of the errors that are told apart.
pub(super) mod code {
    pub(in super::super) const MESSAGE_NOT_FOUND: u64 = 10037;
    pub(in super::super) const STREAM_NOT_FOUND: u64 = 10059;
    pub(in super::super) const WRONG_LAST_SEQUENCE: u64 = 10071;
    pub(in super::super) const NOT_ENABLED: [u64; 2] = [10039, 10076];
    /// The server, the account or the stream has no room.
    pub(in super::super) const NO_ROOM: [u64; 5] = [10002, 10023, 10028, 10047, 10077];
}

/// Why a question was not answered as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ApiError {
    /// Nobody answers to this subject: no JetStream, or no such stream.
    Nobody,
    /// No answer in time, or no sense in it.
    Unanswered(String),
    /// JetStream refuses, with its number and words.
    Refused { code: u64, text: String },
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => formatter.write_str("JetStream does not answer"),
            Self::Unanswered(cause) => formatter.write_str(cause),
            Self::Refused { code, text } => write!(formatter, "{text} ({code})"),
        }
    }
}

/// What JetStream says of a publish that it took.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Ack {
    pub(super) seq: u64,
    #[serde(default)]
    pub(super) duplicate: bool,
}

/// What JetStream says of a publish: one of the two.
#[derive(Deserialize)]
struct AckOrError {
    #[serde(flatten)]
    ack: Option<Ack>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Reads JetStream's answer to a publish.
pub(super) fn read_ack(payload: &[u8]) -> Result<Ack, ApiError> {
    let answer: AckOrError =
        serde_json::from_slice(payload).map_err(|error| ApiError::Unanswered(error.to_string()))?;
    match (answer.error, answer.ack) {
        (Some(refusal), _) => Err(ApiError::Refused {
            code: refusal.err_code,
            text: refusal.description,
        }),
        (None, Some(ack)) => Ok(ack),
        (None, None) => Err(ApiError::Unanswered("an acknowledgement without a sequence".to_owned())),
    }
}

impl Connection {
    /// Asks `$JS.API.<subject>`.
    pub(super) async fn ask<A: DeserializeOwned>(
        &self,
        subject: String,
        question: &(impl Serialize + ?Sized),
    ) -> Result<A, ApiError> {
        let question = serde_json::to_vec(question).map_err(|error| ApiError::Unanswered(error.to_string()))?;
        let asked = self.client.request(format!("$JS.API.{subject}"), question.into());
        let answer = self.answered(asked).await?;
        match serde_json::from_slice(&answer.payload) {
            Ok(Response::Ok(answer)) => Ok(answer),
            Ok(Response::Err { error }) => Err(ApiError::Refused {
                code: error.error_code().0,
                text: error.to_string(),
            }),
            Err(error) => Err(ApiError::Unanswered(error.to_string())),
        }
    }

    /// Publishes to a stream and waits until it is stored.
    pub(super) async fn store(&self, subject: String, headers: HeaderMap, payload: Bytes) -> Result<Ack, ApiError> {
        let asked = self.client.request_with_headers(subject, headers, payload);
        read_ack(&self.answered(asked).await?.payload)
    }

    async fn answered(&self, asked: impl Future<Output = Result<Message, RequestError>>) -> Result<Message, ApiError> {
        // The client's own limit begins when there is room to send, and a server that hangs leaves none.
        match tokio::time::timeout(ANSWER_WAIT_MAX, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Err(ApiError::Nobody),
            Ok(Err(error)) => Err(ApiError::Unanswered(self.explained(&error))),
            Err(_) => Err(ApiError::Unanswered(self.explained(&"no answer in time"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_a_sequence_or_a_refusal() {
        let ack = read_ack(br#"{"stream":"x","seq":7,"duplicate":true}"#).unwrap();
        assert_eq!((ack.seq, ack.duplicate), (7, true));
        let refusal = read_ack(br#"{"error":{"code":400,"err_code":10077,"description":"full"},"stream":"x","seq":0}"#);
        assert!(
            matches!(refusal, Err(ApiError::Refused { code: 10077, .. })),
            "{refusal:?}"
        );
        assert!(read_ack(b"{}").is_err());
    }
}
