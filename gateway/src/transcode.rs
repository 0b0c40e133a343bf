//! One HTTP request on its way: route, body, gRPC frame, call, answer. It knows no service.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::extract::Request;
use axum::response::Response;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{
    ALLOW, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, TE,
};
use http::{Method, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use prost::Message as _;
use prost_reflect::DynamicMessage;
use tonic::Status;
use tower::ServiceExt as _;
use trunkline_core::error::{Code, Fault, reason};
use trunkline_rpc::Transport;

use crate::Config;
use crate::codec::encode;
use crate::contract::{Body, Contract, Operation};
use crate::fault::{self, JSON, REQUEST_ID};
use crate::request::{self, Parts};
use crate::route::Match;

/// Bytes of the largest answer that is passed on.
const RESPONSE_BYTES_MAX: usize = 64 << 20;
/// Bytes before a gRPC message: whether it is compressed, and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
const FRAME_HEAD_BYTES: usize = 5;
/// Headers that go on to the service as they came.
const FORWARDED: [HeaderName; 3] = [
    AUTHORIZATION,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// The edge: contracts on one side, the way to the services on the other.
pub(crate) struct Edge {
    /// What is served.
    pub(crate) contract: Contract,
    /// The layered gRPC stack.
    pub(crate) transport: Transport,
    /// Limits of requests.
    pub(crate) config: Config,
}

/// Answers any request whose path no other router took.
pub(crate) async fn answer(edge: Arc<Edge>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    match edge.contract.table.find(&parts.method, path) {
        Match::Nothing => fault::not_found(&parts.method, path),
        Match::OtherMethods(allow) if parts.method == Method::OPTIONS => options(&allow),
        Match::OtherMethods(allow) => fault::method_not_allowed(&parts.method, &allow),
        Match::Route(route, captures) => {
            let operation = &edge.contract.operations[route];
            let body = match edge.body(operation, &parts.headers, body).await {
                Ok(body) => body,
                Err(refused) => return fault::response_of_edge(&refused),
            };
            let query = parts.uri.query().unwrap_or_default();
            let request = Parts {
                captures,
                query,
                body: &body,
            };
            match request::build(&edge.contract.schema, operation, request) {
                Ok(message) => edge.call(operation, &parts.headers, &message).await,
                Err(refused) => fault::response_of_edge(&refused),
            }
        }
    }
}

/// The answer to OPTIONS.
fn options(allow: &str) -> Response {
    let mut response = empty(StatusCode::NO_CONTENT);
    if let Ok(allow) = HeaderValue::from_str(allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// An answer without a body; it has the content type of all answers.
fn empty(code: StatusCode) -> Response {
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

impl Edge {
    /// Reads the body within its limit. Where it is ignored it is still read, so that the connection can go on.
    async fn body(&self, operation: &Operation, headers: &HeaderMap, body: HttpBody) -> Result<Bytes, Fault> {
        if operation.body != Body::Ignored && !is_json(headers) {
            let message = "the content type of the body must be application/json";
            return Err(Fault::new(
                Code::InvalidArgument,
                reason::UNSUPPORTED_MEDIA_TYPE,
                message,
            ));
        }
        let limit = self.config.body_bytes_max;
        let too_large = || {
            let message = format!("the body is larger than {limit} bytes");
            Fault::new(Code::InvalidArgument, reason::PAYLOAD_TOO_LARGE, message)
        };
        let declared = headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let incomplete = |message: &str| Fault::new(Code::InvalidArgument, "BODY_INCOMPLETE", message);
        let wait = Duration::from_millis(self.config.body_wait_ms);
        match tokio::time::timeout(wait, Limited::new(body, limit).collect()).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(incomplete("the body ended before its announced length")),
            Err(_) => Err(incomplete(&format!(
                "the body did not arrive within {} ms",
                wait.as_millis()
            ))),
        }
    }

    /// Calls the method behind `operation` and answers with what it answers.
    async fn call(&self, operation: &Operation, headers: &HeaderMap, message: &DynamicMessage) -> Response {
        let response = match self
            .transport
            .clone()
            .oneshot(grpc_request(operation, headers, message))
            .await
        {
            Ok(response) => response,
            Err(status) => return self.failure(operation, &status, &fault::request_id(&HeaderMap::new())),
        };
        let (head, body) = response.into_parts();
        let request_id = fault::request_id(&head.headers);
        let collected = match Limited::new(body, RESPONSE_BYTES_MAX).collect().await {
            Ok(collected) => collected,
            Err(error) => return self.failure(operation, &Status::unavailable(error.to_string()), &request_id),
        };
        let status = collected
            .trailers()
            .and_then(Status::from_header_map)
            .or_else(|| Status::from_header_map(&head.headers));
        match status {
            Some(status) if status.code() == tonic::Code::Ok => {
                self.success(operation, &collected.to_bytes(), &request_id)
            }
            Some(status) => self.failure(operation, &status, &request_id),
            None => self.failure(
                operation,
                &Status::internal("the answer has no gRPC status"),
                &request_id,
            ),
        }
    }

    fn failure(&self, operation: &Operation, status: &Status, request_id: &str) -> Response {
        let mut failure = fault::of_status(status, request_id);
        request::rename_violations(&self.contract.schema, operation, &mut failure);
        fault::response(&failure, request_id)
    }

    fn success(&self, operation: &Operation, frame: &[u8], request_id: &str) -> Response {
        let schema = &self.contract.schema;
        let output = schema.message(operation.output);
        let decoded = unframed(frame).and_then(|bytes| DynamicMessage::decode(output.descriptor.clone(), bytes).ok());
        let Some(message) = decoded else {
            return self.failure(
                operation,
                &Status::internal("the answer could not be decoded"),
                request_id,
            );
        };
        let mut response = empty(operation.success.code);
        if let Some(location) = location(operation, &message, output) {
            response.headers_mut().insert(LOCATION, location);
        }
        if let Ok(id) = HeaderValue::from_str(request_id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        if !operation.success.is_empty {
            let mut json = Vec::with_capacity(frame.len() * 2);
            encode::message(schema, operation.output, &message, &mut json);
            *response.body_mut() = HttpBody::from(json);
        }
        response
    }
}

/// Whether any content type of the request contains `application/json`; clients send the header twice.
fn is_json(headers: &HeaderMap) -> bool {
    let is_json = |value: &HeaderValue| {
        value
            .to_str()
            .is_ok_and(|text| text.to_ascii_lowercase().contains("application/json"))
    };
    headers.get_all(CONTENT_TYPE).iter().any(is_json)
}

fn grpc_request(
    operation: &Operation,
    headers: &HeaderMap,
    message: &DynamicMessage,
) -> http::Request<tonic::body::Body> {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(FRAME_HEAD_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(
        u32::try_from(length).expect("a request is no larger than the body and the path that it was read from"),
    );
    message.encode(&mut frame).expect("the buffer grows as needed");
    let mut request = http::Request::new(tonic::body::Body::new(Full::new(frame.freeze())));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = Uri::from(operation.grpc_path.clone());
    let forwarded = FORWARDED
        .into_iter()
        .filter_map(|name| headers.get(&name).map(|value| (name, value.clone())));
    request.headers_mut().extend(forwarded);
    request
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    request
}

/// The one message of a unary answer; `None` when there is not exactly one, uncompressed.
fn unframed(frame: &[u8]) -> Option<&[u8]> {
    let (head, message) = frame.split_first_chunk::<FRAME_HEAD_BYTES>()?;
    let [is_compressed, length @ ..] = *head;
    let is_whole = usize::try_from(u32::from_be_bytes(length)).is_ok_and(|length| length == message.len());
    (is_compressed == 0 && is_whole).then_some(message)
}

fn location(operation: &Operation, message: &DynamicMessage, output: &crate::schema::Message) -> Option<HeaderValue> {
    if operation.success.location.is_empty() {
        return None;
    }
    let mut location = String::new();
    for (text, field) in &operation.success.location {
        location.push_str(text);
        if let Some(position) = field {
            location.push_str(message.get_field(&output.fields[*position].descriptor).as_str()?);
        }
    }
    HeaderValue::from_str(&location).ok()
}
