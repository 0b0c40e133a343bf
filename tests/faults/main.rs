//! What the platform promises, held to when it is killed, full, or on a disk that fails. The ledger is the judge.

#![allow(clippy::unwrap_used, missing_docs)]
