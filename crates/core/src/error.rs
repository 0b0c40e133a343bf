//! The one table of errors: a code says what kind of failure it is, for gRPC and HTTP alike; a reason says which one.
//!
//! Each service has an error enum of its own and turns it into a [`Fault`]. Nothing else decides a status.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// The kinds of failure, after the gRPC status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request itself is wrong; sending it again cannot help.
    InvalidArgument,
    /// Nobody, or nobody known, asks.
    Unauthenticated,
    /// The caller is known and may not.
    PermissionDenied,
    /// It does not exist, or the caller may not know that it does.
    NotFound,
    /// It exists already.
    AlreadyExists,
    /// The state of things does not allow it now.
    FailedPrecondition,
    /// Somebody else changed it meanwhile; read again and repeat.
    Aborted,
    /// A quota, a limit or the log is full.
    ResourceExhausted,
    /// The platform cannot do it now; repeat later.
    Unavailable,
    /// It took longer than the caller would wait.
    DeadlineExceeded,
    /// There is no such operation.
    Unimplemented,
    /// A defect; logged under the request's id.
    Internal,
}

impl Code {
    /// Every code, for tables and tests.
    pub const ALL: [Self; 12] = [
        Self::InvalidArgument,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::NotFound,
        Self::AlreadyExists,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::ResourceExhausted,
        Self::Unavailable,
        Self::DeadlineExceeded,
        Self::Unimplemented,
        Self::Internal,
    ];

    /// The number that gRPC gives it.
    pub const fn grpc(self) -> i32 {
        match self {
            Self::InvalidArgument => 3,
            Self::DeadlineExceeded => 4,
            Self::NotFound => 5,
            Self::AlreadyExists => 6,
            Self::PermissionDenied => 7,
            Self::ResourceExhausted => 8,
            Self::FailedPrecondition => 9,
            Self::Aborted => 10,
            Self::Unimplemented => 12,
            Self::Internal => 13,
            Self::Unavailable => 14,
            Self::Unauthenticated => 16,
        }
    }

    /// The code of a gRPC number. Those that Trunkline does not use count as [`Code::Internal`].
    pub fn from_grpc(number: i32) -> Self {
        Self::ALL
            .into_iter()
            .find(|code| code.grpc() == number)
            .unwrap_or(Self::Internal)
    }

    /// The name that gRPC gives it, as `code` of an HTTP error body.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// The HTTP status of this code with `reason`: a few reasons have a status of their own.
    pub fn http(self, reason: &str) -> u16 {
        match (self, reason) {
            (_, reason::LOG_FULL | reason::DISK_LOW) => 507,
            (_, reason::PAYLOAD_TOO_LARGE) => 413,
            (_, reason::UNSUPPORTED_MEDIA_TYPE) => 415,
            (_, reason::METHOD_NOT_ALLOWED) => 405,
            (Self::InvalidArgument, _) => 400,
            (Self::Unauthenticated, _) => 401,
            (Self::PermissionDenied, _) => 403,
            (Self::NotFound, _) => 404,
            (Self::AlreadyExists | Self::FailedPrecondition | Self::Aborted, _) => 409,
            (Self::ResourceExhausted, _) => 429,
            (Self::Internal, _) => 500,
            (Self::Unimplemented, _) => 501,
            (Self::Unavailable, _) => 503,
            (Self::DeadlineExceeded, _) => 504,
        }
    }
}

/// Stable reasons that more than one crate uses. A service names further ones of its own.
pub mod reason {
    /// No credentials came with the request.
    pub const CREDENTIALS_MISSING: &str = "CREDENTIALS_MISSING";
    /// The credentials are not valid, whatever the cause.
    pub const CREDENTIALS_INVALID: &str = "CREDENTIALS_INVALID";
    /// The rule of the operation does not hold for the caller.
    pub const NOT_AUTHORIZED: &str = "NOT_AUTHORIZED";
    /// There is no such entity, or the caller may not know of it.
    pub const NOT_FOUND: &str = "NOT_FOUND";
    /// A field of the request is wrong.
    pub const INVALID_FIELD: &str = "INVALID_FIELD";
    /// The log holds as much as it may, none of it committed by every required group.
    pub const LOG_FULL: &str = "LOG_FULL";
    /// The disk has less room left than the watermark.
    pub const DISK_LOW: &str = "DISK_LOW";
    /// The body is larger than the limit.
    pub const PAYLOAD_TOO_LARGE: &str = "PAYLOAD_TOO_LARGE";
    /// The content type is not one that the route takes.
    pub const UNSUPPORTED_MEDIA_TYPE: &str = "UNSUPPORTED_MEDIA_TYPE";
    /// The path exists, with other methods.
    pub const METHOD_NOT_ALLOWED: &str = "METHOD_NOT_ALLOWED";
    /// A revocation could not be confirmed on every node yet; repeat the call.
    pub const REVOCATION_PENDING: &str = "REVOCATION_PENDING";
    /// The platform is busy; repeat later.
    pub const OVERLOADED: &str = "OVERLOADED";
    /// A dependency of the platform does not answer.
    pub const DEPENDENCY_UNAVAILABLE: &str = "DEPENDENCY_UNAVAILABLE";
    /// A defect, logged under the request's id.
    pub const INTERNAL: &str = "INTERNAL";
}

/// One field of a request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field in proto names, such as `client.name`.
    pub field: String,
    /// What is wrong and what would be right.
    pub description: String,
}

/// A failure as it is told to a caller: never with internals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind of failure.
    pub code: Code,
    /// Which one it is, in a form that programs may rely on.
    pub reason: Cow<'static, str>,
    /// One sentence for people.
    pub message: String,
    /// The fields that are wrong, if that is the failure.
    pub fields: Vec<FieldViolation>,
    /// When a repetition may succeed.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// A failure without field violations.
    pub fn new(code: Code, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            fields: Vec::new(),
            retry_after: None,
        }
    }

    /// A request whose `field` is wrong.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        let violation = FieldViolation {
            field: field.into(),
            description: description.into(),
        };
        let message = format!("{}: {}", violation.field, violation.description);
        Self {
            fields: vec![violation],
            ..Self::new(Code::InvalidArgument, reason::INVALID_FIELD, message)
        }
    }

    /// A defect: the caller learns no more than that it is one.
    pub fn internal() -> Self {
        Self::new(Code::Internal, reason::INTERNAL, "internal error")
    }

    /// The HTTP status that it is told with.
    pub fn http(&self) -> u16 {
        self.code.http(&self.reason)
    }

    /// The same failure with a time after which to repeat.
    #[must_use]
    pub const fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_from_its_grpc_number() {
        for code in Code::ALL {
            assert_eq!(Code::from_grpc(code.grpc()), code);
        }
    }

    #[test]
    fn a_full_log_or_disk_is_insufficient_storage_over_http() {
        assert_eq!(Code::ResourceExhausted.http(reason::LOG_FULL), 507);
        assert_eq!(Code::ResourceExhausted.http(reason::DISK_LOW), 507);
        assert_eq!(Code::ResourceExhausted.http(reason::OVERLOADED), 429);
    }
}
