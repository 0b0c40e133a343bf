//! Calls of the platform's HTTP API: JSON in, JSON out, a refusal is an error with the platform's own words.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// How long an answer may take, its body included.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// One user's way to one server. Clones share its connections.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    address: SocketAddr,
    authorization: Option<String>,
    connections: legacy::Client<HttpConnector, Full<Bytes>>,
}

impl Caller {
    /// Nobody, calling the server at `address`.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            authorization: None,
            connections: legacy::Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// The same with this value of `Authorization`.
    pub(crate) fn with_authorization(&self, authorization: String) -> Self {
        Self {
            authorization: Some(authorization),
            ..self.clone()
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        let body = self.call(Method::GET, path, None).await?;
        serde_json::from_slice(&body).with_context(|| format!("GET {path} did not give JSON"))
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.call(Method::POST, path, Some(body)).await?;
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer).with_context(|| format!("POST {path} did not give JSON"))
    }

    /// The body of a successful answer.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes> {
        let asked = format!("{method} http://{}{path}", self.address);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let exchange = async {
            let answer = self.connections.request(request.body(Full::new(bytes))?).await?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await?.to_bytes();
            if !head.status.is_success() {
                bail!("{}: {}", head.status, String::from_utf8_lossy(&body));
            }
            Ok(body)
        };
        tokio::time::timeout(ANSWER_WAIT, exchange)
            .await
            .with_context(|| format!("no answer within {ANSWER_WAIT:?}"))
            .and_then(|outcome| outcome)
            .with_context(|| format!("{asked} failed"))
    }
}

/// The text at a JSON pointer of an answer.
pub(crate) fn text_at(answer: &Value, pointer: &str) -> Result<String> {
    let text = answer.pointer(pointer).and_then(Value::as_str);
    Ok(text
        .with_context(|| format!("`{pointer}` is not in {answer}"))?
        .to_owned())
}
