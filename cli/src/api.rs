//! The few calls of the HTTP API that the demo makes, typed.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use trunkline_core::Secret;

use crate::Error;
use crate::login::Login;
use crate::mqtt::Message;

/// How long one call may take.
const CALL_WAIT: Duration = Duration::from_secs(10);
/// How long a publish may take: longer than the platform itself waits for its log.
const PUBLISH_WAIT: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A platform, with the user's token once there is one.
pub(crate) struct Platform {
    base: String,
    token: Option<Secret>,
    connections: legacy::Client<HttpConnector, Full<Bytes>>,
}

/// An entity that was made.
#[derive(Deserialize)]
pub(crate) struct Entity {
    pub(crate) id: String,
}

/// A client that was made, with its secret, which is shown this once.
pub(crate) struct DeviceClient {
    pub(crate) id: String,
    pub(crate) secret: Secret,
}

/// What a process says of itself at its operator's listener.
#[derive(Deserialize)]
pub(crate) struct Health {
    /// Milliseconds since the Unix epoch on its clock.
    pub(crate) time_ms: u64,
    /// What its acknowledgements promise, if it gives any.
    pub(crate) tier: Option<String>,
    /// Its roles.
    #[serde(default)]
    pub(crate) roles: BTreeMap<String, Value>,
    /// What it depends on.
    #[serde(default)]
    pub(crate) checks: BTreeMap<String, Vec<Check>>,
}

/// How a dependency is.
#[derive(Deserialize)]
pub(crate) struct Check {
    /// Why it cannot be used, if it cannot.
    pub(crate) output: Option<String>,
}

/// A stored record.
#[derive(Deserialize)]
pub(crate) struct Record {
    pub(crate) name: Option<String>,
    pub(crate) unit: Option<String>,
    pub(crate) value: Option<f64>,
    /// Nanoseconds since the Unix epoch.
    pub(crate) time: i64,
}

impl Platform {
    /// The platform at `url`, such as `http://127.0.0.1:8080`. Nothing is sent yet.
    pub(crate) fn at(url: &str) -> Result<Self, Error> {
        let wrong = || Error::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let is_plain = uri.scheme_str() == Some("http") && uri.host().is_some() && uri.query().is_none();
        if !is_plain {
            return Err(wrong());
        }
        Ok(Self {
            base: url.trim_end_matches('/').to_owned(),
            token: None,
            connections: legacy::Client::builder(TokioExecutor::new()).build_http(),
        })
    }

    /// The URL without a slash at its end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Logs in; the calls from then on are the user's.
    pub(crate) async fn log_in(&mut self, login: &Login) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Token {
            access_token: String,
        }
        let login = json!({ "username": login.email, "password": login.password.expose() });
        let token: Token = self.post("log you in", "/users/tokens/issue", &login).await?;
        self.token = Some(Secret::new(token.access_token));
        Ok(())
    }

    pub(crate) async fn create_domain(&self, name: &str, route: &str) -> Result<Entity, Error> {
        let domain = json!({ "name": name, "route": route });
        self.post("make a domain", "/domains", &domain).await
    }

    /// The user's domain of this name, the first if there are several.
    pub(crate) async fn find_domain(&self, name: &str) -> Result<Option<Entity>, Error> {
        #[derive(Deserialize)]
        struct Page {
            domains: Vec<Entity>,
        }
        let path = format!("/domains?limit=1&name={name}");
        let answer = self.call("list domains", Method::GET, &path, None).await?;
        Ok(self.decode::<Page>(&answer)?.domains.into_iter().next())
    }

    /// Deletes an entity, such as `/{domain}/clients/{id}`.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), Error> {
        self.call("delete what was made", Method::DELETE, path, None)
            .await
            .map(drop)
    }

    /// What a process says of itself and of what it depends on, well or not.
    pub(crate) async fn health(&self) -> Result<Health, Error> {
        let request = Request::builder().uri(format!("{}/health", self.base));
        let request = request.body(Full::default()).map_err(|cause| self.strange(&cause))?;
        let (_, answer) = self.exchange_in_time(request, CALL_WAIT).await?;
        self.decode(&answer)
    }

    /// Publishes `message` as a device does and tells how long the acknowledgement took.
    ///
    /// # Errors
    /// [`Error::NotKept`] when the client was admitted and the log did not take the message.
    pub(crate) async fn publish(&self, message: &Message<'_>) -> Result<Duration, Error> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/{}", self.base, message.topic))
            .header(AUTHORIZATION, format!("Client {}", message.secret.expose()))
            .header(CONTENT_TYPE, message.content_type)
            .body(Full::from(message.payload))
            .map_err(|cause| self.strange(&cause))?;
        let started = Instant::now();
        let (status, answer) = self.exchange_in_time(request, PUBLISH_WAIT).await?;
        match status {
            StatusCode::ACCEPTED => Ok(started.elapsed()),
            StatusCode::GATEWAY_TIMEOUT | StatusCode::INSUFFICIENT_STORAGE => Err(Error::NotKept {
                url: self.base.clone(),
                message: self.failure(status, &answer)?,
            }),
            _ => Err(Error::NotTaken {
                url: self.base.clone(),
                message: self.failure(status, &answer)?,
            }),
        }
    }

    pub(crate) async fn create_channel(&self, domain_id: &str, name: &str, route: &str) -> Result<Entity, Error> {
        let channel = json!({ "name": name, "route": route });
        self.post("make a channel", format_args!("/{domain_id}/channels"), &channel)
            .await
    }

    pub(crate) async fn create_client(&self, domain_id: &str, name: &str) -> Result<DeviceClient, Error> {
        #[derive(Deserialize)]
        struct Created {
            id: String,
            credentials: Credentials,
        }
        #[derive(Deserialize)]
        struct Credentials {
            secret: String,
        }
        let client = json!({ "name": name });
        let created: Created = self
            .post("make a client", format_args!("/{domain_id}/clients"), &client)
            .await?;
        Ok(DeviceClient {
            id: created.id,
            secret: Secret::new(created.credentials.secret),
        })
    }

    /// Connects a client to a channel, to publish and to subscribe.
    pub(crate) async fn connect(&self, domain_id: &str, channel_id: &str, client_id: &str) -> Result<(), Error> {
        let connection = json!({
            "channel_ids": [channel_id],
            "client_ids": [client_id],
            "types": ["Publish", "Subscribe"],
        });
        let path = format!("/{domain_id}/channels/connect");
        self.call("connect them", Method::POST, &path, Some(&connection))
            .await
            .map(drop)
    }

    /// The latest records of a channel, latest first.
    pub(crate) async fn records(&self, domain_id: &str, channel_id: &str) -> Result<Vec<Record>, Error> {
        #[derive(Deserialize)]
        struct Page {
            messages: Vec<Record>,
        }
        let path = format!("/{domain_id}/channels/{channel_id}/messages");
        let answer = self.call("read the channel", Method::GET, &path, None).await?;
        Ok(self.decode::<Page>(&answer)?.messages)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        step: &'static str,
        path: impl Display,
        body: &Value,
    ) -> Result<T, Error> {
        let answer = self.call(step, Method::POST, &path.to_string(), Some(body)).await?;
        self.decode(&answer)
    }

    /// Makes one call and gives the body of its success.
    async fn call(&self, step: &'static str, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes, Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let mut bytes = Bytes::new();
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json");
            bytes = Bytes::from(body.to_string());
        }
        let request = request.body(Full::new(bytes)).map_err(|cause| self.strange(&cause))?;
        let (status, answer) = self.exchange_in_time(request, CALL_WAIT).await?;
        if status.is_success() {
            return Ok(answer);
        }
        match self.failure(status, &answer)? {
            _ if self.token.is_none() && status == StatusCode::UNAUTHORIZED => Err(Error::Login),
            message => Err(Error::Refused { step, message }),
        }
    }

    /// What the platform says about a call that failed.
    fn failure(&self, status: StatusCode, answer: &[u8]) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Failure {
            message: String,
        }
        let told = serde_json::from_slice::<Failure>(answer);
        told.map(|failure| failure.message)
            .map_err(|_| self.strange(&format!("status {status} without an explanation")))
    }

    async fn exchange_in_time(
        &self,
        request: Request<Full<Bytes>>,
        wait: Duration,
    ) -> Result<(StatusCode, Bytes), Error> {
        tokio::time::timeout(wait, self.exchange(request))
            .await
            .map_err(|_| self.strange(&format!("no answer within {} s", wait.as_secs())))?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Error> {
        let response = self.connections.request(request).await.map_err(|error| {
            if error.is_connect() {
                let url = self.base.clone();
                return Error::NoPlatform { url };
            }
            self.strange(&"the connection broke")
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|cause| self.strange(&cause))?;
        Ok((status, body.to_bytes()))
    }

    fn decode<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(answer).map_err(|_| self.strange(&"its JSON is of another form"))
    }

    fn strange(&self, cause: &impl ToString) -> Error {
        Error::NotAPlatform {
            url: self.base.clone(),
            cause: cause.to_string(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_http_url_is_one_of_a_platform() {
        assert_eq!(
            Platform::at("http://127.0.0.1:8080/").unwrap().base(),
            "http://127.0.0.1:8080"
        );
        for url in [
            "127.0.0.1:8080",
            "https://127.0.0.1",
            "http://",
            "http://h/?a=b",
            "mqtt://h",
            "",
        ] {
            assert!(matches!(Platform::at(url), Err(Error::Url { .. })), "{url}");
        }
    }
}
