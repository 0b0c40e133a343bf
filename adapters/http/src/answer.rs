//! Answers: 202 with where the message is kept, and failures in the form that every HTTP failure of the platform has.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use serde::Serialize;
use trunkline_bus::log::Appended;
use trunkline_core::error::{Code, Fault, FieldViolation, reason};
use trunkline_core::{MessageId, RequestId};

/// Header with the request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Serialize)]
struct Accepted {
    message_id: MessageId,
    sequence: u64,
    tier: &'static str,
}

/// `message` and `error` are texts, because older tools read those two and print both.
#[derive(Serialize)]
struct Refused<'a> {
    message: &'a str,
    error: String,
    code: &'static str,
    reason: &'a str,
    request_id: RequestId,
    fields: Vec<Violation<'a>>,
}

#[derive(Serialize)]
struct Violation<'a> {
    field: &'a str,
    description: &'a str,
}

/// The answer to a message that the log holds.
pub(crate) fn accepted(message_id: MessageId, place: Appended, request_id: RequestId) -> Response {
    let body = Accepted {
        message_id,
        sequence: place.sequence,
        tier: place.tier.as_str(),
    };
    json(StatusCode::ACCEPTED, &body, request_id)
}

/// The answer that tells `fault`.
pub(crate) fn refused(fault: &Fault, request_id: RequestId) -> Response {
    let fields = fault.fields.iter();
    let body = Refused {
        message: &fault.message,
        error: fault.reason.to_lowercase().replace('_', " "),
        code: fault.code.name(),
        reason: &fault.reason,
        request_id,
        fields: fields
            .map(|FieldViolation { field, description }| Violation { field, description })
            .collect(),
    };
    let status = StatusCode::from_u16(fault.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, &body, request_id);
    let headers = response.headers_mut();
    if let Some(wait) = fault.retry_after {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    if status == StatusCode::UNAUTHORIZED {
        // Of the schemes taken here only this one is registered, so that any client understands the challenge.
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"trunkline\""));
    }
    response
}

/// The answer to any method but POST. The router writes `Allow`.
pub(crate) async fn method_not_allowed(request: Request) -> Response {
    let message = match *request.method() {
        Method::GET => "messages are published here, by POST; they are read at /{domain}/channels/{channel}/messages",
        _ => "messages are published here, by POST",
    };
    let fault = Fault::new(Code::Unimplemented, reason::METHOD_NOT_ALLOWED, message);
    refused(&fault, RequestId::new())
}

fn json(status: StatusCode, body: &impl Serialize, request_id: RequestId) -> Response {
    let bytes = serde_json::to_vec(body).expect("texts and numbers always serialize into memory");
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let id = HeaderValue::from_str(&request_id.to_string()).expect("a UUID is visible ASCII");
    headers.insert(REQUEST_ID, id);
    response
}
/// More at once than the adapter works on.
pub(crate) fn overloaded() -> Fault {
    let message = "too many messages at once; repeat later";
    Fault::new(Code::Unavailable, reason::OVERLOADED, message)
}
