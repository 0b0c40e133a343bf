//! The contracts' traits: decode, call the use case, encode. Whatever fails is told by [`status`].

mod auth;
mod domains;
mod roles;
mod users;

use tonic::{Request, Status};
use trunkline_core::error::Code;
use trunkline_core::{Fault, RequestId};
use trunkline_rpc::caller;
use trunkline_rpc::status::{from_fault, internal};

use crate::error::Error;

/// The status of an error. A defect is logged here, once, under the request's id, and told by the id alone.
pub(crate) fn status(error: &Error, request_id: RequestId) -> Status {
    let fault = error.fault();
    if fault.code != Code::Internal {
        return from_fault(fault);
    }
    tracing::error!(request.id = %request_id, error = %chain(error), "a call failed");
    internal(&request_id.to_string())
}

/// An error with its causes in one line.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// Turns the error of one request into its status.
fn failed<T>(request: &Request<T>) -> impl Fn(Error) -> Status + use<T> {
    let request_id = caller::request_id(request.extensions());
    move |error| status(&error, request_id)
}

/// Turns a refused field into its status.
fn refused(fault: Fault) -> Status {
    from_fault(fault)
}
