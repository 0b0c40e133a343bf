//! The outcome of a use case as the answer to a call.

use std::error::Error as _;

use tonic::{Response, Status};
use trunkline_core::{Code, RequestId};
use trunkline_rpc::status;

use crate::error::Error;

/// Tells the outcome of the call `request_id`.
///
/// # Errors
/// The status of the outcome's error. A failure of our own is logged here, once; of a defect the caller learns the request's id alone.
pub fn answer<T>(request_id: RequestId, outcome: Result<T, Error>) -> Result<Response<T>, Status> {
    outcome.map(Response::new).map_err(|error| refuse(request_id, &error))
}

fn refuse(request_id: RequestId, error: &Error) -> Status {
    let fault = error.fault();
    if matches!(error, Error::Refused(_)) {
        return status::from_fault(fault);
    }
    let cause = error.source().map(tracing::field::display);
    if fault.code == Code::Internal {
        tracing::error!(request.id = %request_id, %error, cause, "a call failed");
        return status::internal(&request_id.to_string());
    }
    tracing::warn!(request.id = %request_id, %error, cause, "a call failed for now");
    status::from_fault(fault)
}
