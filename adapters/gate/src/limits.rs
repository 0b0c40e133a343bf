//! Every limit of admission, by name.

use std::time::Duration;

/// Admitted credentials that are remembered on a node. Those in use are never forgotten, so the connections of a node
/// are a second bound; when it is full, those not in use go, and with the last of a domain what is known of the domain.
pub const PRINCIPALS_MAX: usize = 131_072;
/// Decisions that are remembered for one client beyond those that its subscriptions lived by when this was last looked at; then those in
/// use stay and the others go. So the subscriptions of its sessions are a second bound.
pub const GRANTS_PER_CLIENT_MAX: usize = 256;
/// Longest time that a denial is remembered.
pub const DENIAL_AGE_MAX: Duration = Duration::from_secs(1);
/// Times that a decision is made anew because a change arrived while it was being made.
pub const DECISION_ATTEMPTS_MAX: u32 = 4;
/// Time that an admission or a decision may take, with waiting for others of the same client. It is longer than any call that it makes.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(6);
/// Locks that admissions of equal credentials meet at, so that one call is made for them.
pub const ADMISSION_STRIPES: usize = 64;
