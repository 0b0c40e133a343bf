//! Faults as gRPC statuses and back: code, reason, field violations and time of retry survive the way (google.rpc error details).

use std::borrow::Cow;

use http::HeaderMap;
use tonic::{Code as GrpcCode, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use trunkline_core::error::{Code, Fault, FieldViolation, reason};

/// The `domain` of every google.rpc.ErrorInfo that Trunkline sends.
pub const ERROR_DOMAIN: &str = "trunkline";

/// The status that tells `fault` to a caller.
pub fn from_fault(fault: Fault) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(fault.reason, ERROR_DOMAIN, std::collections::HashMap::new());
    for violation in fault.fields {
        details.add_bad_request_violation(violation.field, violation.description);
    }
    if let Some(wait) = fault.retry_after {
        details.set_retry_info(Some(wait));
    }
    Status::with_error_details(GrpcCode::from_i32(fault.code.grpc()), fault.message, details)
}

/// The fault that a status tells. A status from elsewhere has its code's name as reason.
pub fn to_fault(status: &Status) -> Fault {
    let code = Code::from_grpc(status.code() as i32);
    let details = status.get_error_details();
    let known = details.error_info().map(|info| info.reason.clone());
    let fields = details
        .bad_request()
        .map(|request| &request.field_violations[..])
        .unwrap_or_default();
    Fault {
        code,
        reason: known.map_or(Cow::Borrowed(code.name()), Cow::Owned),
        message: status.message().to_owned(),
        fields: fields
            .iter()
            .map(|violation| FieldViolation {
                field: violation.field.clone(),
                description: violation.description.clone(),
            })
            .collect(),
        retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
    }
}

/// The number of an answer's gRPC status; 0, which is OK, when it is not in the headers.
pub(crate) fn number_of(answer: &HeaderMap) -> i32 {
    let status = answer.get("grpc-status");
    status.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

/// The status of a defect: the caller learns the request's id, the log learns the cause.
pub fn internal(request_id: &str) -> Status {
    let message = format!("internal error; its cause is logged under request {request_id}");
    from_fault(Fault::new(Code::Internal, reason::INTERNAL, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_fault_survives_the_way_over_grpc() {
        let fault = Fault::invalid("client.name", "is 2,000 bytes; at most 1,024 are allowed")
            .retry_after(Duration::from_secs(3));
        assert_eq!(to_fault(&from_fault(fault.clone())), fault);
    }
}
