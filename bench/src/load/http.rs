//! A publisher over HTTP/1.1: one task, one connection at a time, one request at a time.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::publisher::{Message, Publisher, RECONNECT_PAUSE};
use super::{ANSWER_WAIT, Counts, Outcome};
use crate::ledger::Answer;

/// How long a connection may take to be made.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// Publishes until the plan is fulfilled, `stop`, or a failure that the plan does not bear.
pub(crate) async fn run(mut publisher: Publisher, stop: CancellationToken) -> Outcome {
    let mut unanswered = None;
    loop {
        let ended = connection(&mut publisher, &mut unanswered, &stop).await;
        publisher.closed();
        let failure = match ended {
            Ok(()) => return publisher.end(None),
            Err(failure) => failure,
        };
        Counts::add(&publisher.counts.broken);
        if stop.is_cancelled() || !publisher.plan.is_persistent || publisher.is_over() && unanswered.is_none() {
            return publisher.end(Some(format!("{failure:#}")));
        }
        let pause = tokio::time::sleep(RECONNECT_PAUSE);
        let _ = stop.run_until_cancelled(pause).await;
    }
}

async fn connection(
    publisher: &mut Publisher,
    unanswered: &mut Option<Message>,
    stop: &CancellationToken,
) -> Result<()> {
    let address = publisher.target.http;
    let stream = timeout(CONNECT_WAIT, TcpStream::connect(address))
        .await
        .context("no connection")??;
    stream.set_nodelay(true)?;
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the connection, and at the latest when this is left.
    let _driver = AbortOnDropHandle::new(tokio::spawn(driver));
    Counts::add(&publisher.counts.connected);
    loop {
        if stop.is_cancelled() {
            publisher.stop();
        }
        let (message, payload) = match *unanswered {
            Some(message) => (message, publisher.repeat(&message)),
            None => match publisher.take() {
                Some(next) => next,
                None if publisher.is_over() => return Ok(()),
                None => {
                    let _ = stop.run_until_cancelled(sleep_until(publisher.next_look())).await;
                    continue;
                }
            },
        };
        *unanswered = Some(message);
        let answered = timeout(ANSWER_WAIT, ask(&mut sender, publisher, payload)).await;
        let (status, body) = answered.with_context(|| format!("no answer within {ANSWER_WAIT:?}"))??;
        *unanswered = None;
        publisher.answered(&message, &answer(status, &body));
    }
}

async fn ask(
    sender: &mut SendRequest<Full<Bytes>>,
    publisher: &Publisher,
    payload: Vec<u8>,
) -> Result<(StatusCode, Bytes)> {
    let target = &publisher.target;
    let request = Request::post(format!("/{}", target.topic))
        .header(HOST, target.http.to_string())
        .header(AUTHORIZATION, format!("Client {}", target.password))
        .header(CONTENT_TYPE, "application/senml+json")
        .body(Full::new(Bytes::from(payload)))?;
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    Ok((status, answer.into_body().collect().await?.to_bytes()))
}

/// What an answer means. That something is wrong here and now, as 500, 503 and 504 say, leaves it open.
fn answer(status: StatusCode, body: &[u8]) -> Answer {
    let said = || serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    if status.is_success() {
        return match said()["tier"].as_str() {
            Some(tier) => Answer::Kept(tier.to_owned()),
            None => Answer::Unclear(format!("{}-without-tier", status.as_u16())),
        };
    }
    let reason = status.as_u16().to_string();
    if status.is_client_error() || status == StatusCode::INSUFFICIENT_STORAGE {
        return Answer::Refused(reason);
    }
    Answer::Unclear(reason)
}
