//! An HTTP client for tests: one request, one whole answer. It keeps connections, follows nothing and repeats nothing.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// How long an answer may take, its body included.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// A client of one server. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    headers: HeaderMap,
    connections: legacy::Client<HttpConnector, Full<Bytes>>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status, such as 200.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, empty when there is none.
    pub body: Bytes,
}

/// Every method panics, with what was asked, when there is no whole answer within 10 s or an argument is no header, path or JSON.
impl Client {
    /// A client of the server at `address`, such as `127.0.0.1:8080`.
    #[must_use]
    pub fn new(address: impl Display) -> Self {
        Self {
            base: format!("http://{address}"),
            headers: HeaderMap::new(),
            connections: legacy::Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// The same client, sending a header with every request.
    #[must_use]
    pub fn with_header(&self, name: &'static str, value: &str) -> Self {
        let mut client = self.clone();
        let value = HeaderValue::from_str(value).expect("tests write valid header values");
        client.headers.insert(HeaderName::from_static(name), value);
        client
    }

    /// The same client with this value of `Authorization`.
    #[must_use]
    pub fn with_authorization(&self, value: &str) -> Self {
        self.with_header("authorization", value)
    }

    /// The same client on behalf of a user.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        self.with_authorization(&format!("Bearer {token}"))
    }

    /// GET of a path, with its query.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, Bytes::new()).await
    }

    /// DELETE of a path.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None, Bytes::new()).await
    }

    /// POST of a JSON value.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some("application/json"), json(body))
            .await
    }

    /// PATCH with a JSON value.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, Some("application/json"), json(body))
            .await
    }

    /// Any method with any bytes; the path goes out as it is written here, encoded or not.
    pub async fn send(&self, method: Method, path: &str, content_type: Option<&str>, body: impl Into<Bytes>) -> Answer {
        let uri: Uri = format!("{}{path}", self.base).parse().expect("tests write valid paths");
        let asked = format!("{method} {uri}");
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let mut request = request
            .body(Full::new(body.into()))
            .expect("tests write valid content types");
        request.headers_mut().extend(self.headers.clone());
        self.exchange(&asked, request).await
    }

    async fn exchange(&self, asked: &str, request: Request<Full<Bytes>>) -> Answer {
        let exchange = async {
            let (head, body) = self
                .connections
                .request(request)
                .await
                .unwrap_or_else(|error| panic!("{asked} got no answer: {error:?}"))
                .into_parts();
            let body = body
                .collect()
                .await
                .unwrap_or_else(|error| panic!("the answer to {asked} broke off: {error:?}"));
            Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.to_bytes(),
            }
        };
        tokio::time::timeout(ANSWER_WAIT, exchange)
            .await
            .unwrap_or_else(|_| panic!("{asked} got no whole answer within {ANSWER_WAIT:?}"))
    }
}

impl Answer {
    /// The answer itself, if it has this status.
    ///
    /// # Panics
    /// If it has another, showing the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "the body says: {}", self.text());
        self
    }

    /// The body as text, damaged characters replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none, showing it.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!(
                "status {} with a body that is no JSON ({error}): {}",
                self.status,
                self.text()
            ),
        }
    }

    /// The text at a JSON pointer of the body, such as `/credentials/secret`.
    ///
    /// # Panics
    /// If there is none, showing the body.
    #[track_caller]
    #[must_use]
    pub fn text_at(&self, pointer: &str) -> String {
        let found = self.json().pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        found.unwrap_or_else(|| panic!("no text at {pointer} of status {}: {}", self.status, self.text()))
    }

    /// The value of a header; `None` when it is absent or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

fn json(body: &Value) -> Bytes {
    Bytes::from(body.to_string())
}
