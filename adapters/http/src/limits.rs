//! Every limit of the adapter, by name.

use std::time::Duration;

/// Requests that are worked on at once; those beyond get 503, so that the others finish in time.
pub const REQUESTS_MAX: usize = 1_024;
/// Bytes of bodies that are held at once, over all requests; what comes beyond gets 503.
pub const BODIES_BYTES_MAX: usize = 64 * 1_024 * 1_024;
/// Longest pause between two pieces of a body.
pub const BODY_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Longest time that a whole body may take.
pub const BODY_WAIT_MAX: Duration = Duration::from_secs(60);
/// Bytes of a content type.
pub const CONTENT_TYPE_BYTES_MAX: usize = 256;
/// Longest wait for room in the log's queue. After it the message was certainly not taken.
pub const ROOM_WAIT_MAX: Duration = Duration::from_secs(5);
/// Longest wait for the log's receipt. After it nobody knows whether the message was kept.
pub const RECEIPT_WAIT_MAX: Duration = Duration::from_secs(10);
/// When to repeat what was refused for a reason that does not say so itself.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
