//! What stands behind the edge: a transport that takes gRPC frames apart, shows what arrived, and answers as told.

use std::sync::{Arc, Mutex};

use axum::body::Body as HttpBody;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use serde_json::Value;
use tonic::Status;
use tonic::body::Body;
use tower::{ServiceExt as _, service_fn};
use trunkline_gateway::{Config, router};
use trunkline_rpc::Transport;

pub(crate) const DOMAIN: &str = "0193a0f0-0000-7000-8000-000000000001";
pub(crate) const CLIENT: &str = "0193a0f0-0000-7000-8000-000000000002";
pub(crate) const REQUEST_ID: &str = "0193a0f0-0000-7000-8000-0000000000ff";

/// A call as it arrived behind the edge.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) message: Bytes,
}

/// The edge before a platform that answers every call alike.
pub(crate) struct Platform {
    pub(crate) router: axum::Router,
    pub(crate) calls: Arc<Mutex<Vec<Call>>>,
}

impl Platform {
    pub(crate) fn answering(message: &impl Message) -> Self {
        Self::with(Ok(message.encode_to_vec()))
    }

    pub(crate) fn failing(status: Status) -> Self {
        Self::with(Err(status))
    }

    pub(crate) fn with(outcome: Result<Vec<u8>, Status>) -> Self {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = calls.clone();
        let transport = Transport::new(service_fn(move |request: Request<Body>| {
            let (seen, outcome) = (seen.clone(), outcome.clone());
            async move {
                let (head, body) = request.into_parts();
                let frame = body.collect().await.unwrap().to_bytes();
                let length = u32::from_be_bytes(frame[1..5].try_into().unwrap());
                assert_eq!((frame[0], length as usize), (0, frame.len() - 5));
                let call = Call {
                    path: head.uri.path().to_owned(),
                    headers: head.headers,
                    message: frame.slice(5..),
                };
                seen.lock().unwrap().push(call);
                Ok::<_, Status>(answer(outcome))
            }
        }));
        Self {
            router: router(&Config::default(), transport).unwrap(),
            calls,
        }
    }

    pub(crate) async fn send(&self, request: Request<HttpBody>) -> Answer {
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// The message that the last call carried.
    pub(crate) fn received<M: Message + Default>(&self) -> M {
        M::decode(
            self.calls
                .lock()
                .unwrap()
                .last()
                .expect("no call arrived")
                .message
                .clone(),
        )
        .unwrap()
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

/// A gRPC answer: a frame and trailers, or trailers alone.
fn answer(outcome: Result<Vec<u8>, Status>) -> Response<Body> {
    let mut response = match outcome {
        Ok(message) => {
            let mut frame = BytesMut::new();
            frame.put_u8(0);
            frame.put_u32(u32::try_from(message.len()).unwrap());
            frame.put_slice(&message);
            let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
            Response::new(Body::new(
                Full::new(frame.freeze()).with_trailers(async move { Some(Ok(trailers)) }),
            ))
        }
        Err(status) => status.into_http(),
    };
    response
        .headers_mut()
        .insert("x-request-id", REQUEST_ID.parse().unwrap());
    response
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

pub(crate) fn request(verb: &str, path: &str, body: impl Into<HttpBody>) -> Request<HttpBody> {
    Request::builder()
        .method(verb)
        .uri(path)
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

pub(crate) fn clients() -> String {
    format!("/{DOMAIN}/clients")
}

pub(crate) fn client() -> String {
    format!("/{DOMAIN}/clients/{CLIENT}")
}
