//! Failures as HTTP answers: a status of the one table, and a JSON body that is never empty.

use axum::response::Response;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use serde::Serialize;
use tonic::Status;
use tonic_types::StatusExt as _;
use trunkline_core::RequestId;
use trunkline_core::error::{Code, Fault, FieldViolation, reason};

/// Header and metadata key of the request's id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Content type of every answer.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The body of a failure. `message` and `error` are texts, because older tools read those two and print both.
#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
    error: &'a str,
    code: &'a str,
    reason: &'a str,
    request_id: &'a str,
    fields: Vec<Violation<'a>>,
}

#[derive(Serialize)]
struct Violation<'a> {
    field: &'a str,
    description: &'a str,
}

/// The answer that tells `fault`, under the id of the request that failed.
pub(crate) fn response(fault: &Fault, request_id: &str) -> Response {
    let fields = fault
        .fields
        .iter()
        .map(|FieldViolation { field, description }| Violation { field, description })
        .collect();
    let body = Body {
        message: if fault.message.is_empty() {
            fault.code.name()
        } else {
            &fault.message
        },
        error: &fault.reason.to_lowercase().replace('_', " "),
        code: fault.code.name(),
        reason: &fault.reason,
        request_id,
        fields,
    };
    let body = serde_json::to_vec(&body).expect("texts always serialize into memory");
    let mut response = Response::new(axum::body::Body::from(Bytes::from(body)));
    let status = StatusCode::from_u16(fault.code.http(&fault.reason)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(wait) = fault.retry_after {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The answer to a request that no service has seen: it gets its id here.
pub(crate) fn response_of_edge(fault: &Fault) -> Response {
    response(fault, &RequestId::new().to_string())
}

/// The answer to a path without a route.
pub(crate) fn not_found(method: &Method, path: &str) -> Response {
    const PATH_CHARS_SHOWN: usize = 256;
    let path: String = path.chars().take(PATH_CHARS_SHOWN).collect();
    let message = format!("there is no route {method} {path}; paths name a domain by its UUID");
    response_of_edge(&Fault::new(Code::NotFound, "ROUTE_NOT_FOUND", message))
}

/// The answer to a path that exists with other methods, which `allow` lists as the header of that name does.
pub(crate) fn method_not_allowed(method: &Method, allow: &str) -> Response {
    let message = format!("{method} is not possible here; {allow} are");
    let mut response = response_of_edge(&Fault::new(Code::Unimplemented, reason::METHOD_NOT_ALLOWED, message));
    if let Ok(allow) = HeaderValue::from_str(allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// The same where another router knows the methods and writes `Allow`.
pub(crate) fn method_not_allowed_elsewhere(method: &Method) -> Response {
    let message = format!("{method} is not possible here; the header Allow lists what is");
    response_of_edge(&Fault::new(Code::Unimplemented, reason::METHOD_NOT_ALLOWED, message))
}

/// The failure that a gRPC status tells. A status without a reason comes from a library: what it says of a defect or of the way
/// to a service stays in the log.
pub(crate) fn of_status(status: &Status, request_id: &str) -> Fault {
    let fault = trunkline_rpc::status::to_fault(status);
    let is_ours = status.get_details_error_info().is_some();
    if is_ours || !matches!(fault.code, Code::Internal | Code::Unavailable) {
        return fault;
    }
    if fault.code == Code::Unavailable {
        tracing::warn!(request.id = %request_id, cause = status.message(), "a service does not answer");
        let message = "the service behind this route does not answer; repeat later";
        return Fault::new(Code::Unavailable, reason::DEPENDENCY_UNAVAILABLE, message);
    }
    tracing::error!(request.id = %request_id, rpc.code = ?status.code(), cause = status.message(), "a call failed without a reason");
    let message = format!("internal error; its cause is logged under request {request_id}");
    Fault::new(Code::Internal, reason::INTERNAL, message)
}

/// The request's id as the services gave it; a new one when none of them saw the request.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    given.map_or_else(|| RequestId::new().to_string(), str::to_owned)
}
