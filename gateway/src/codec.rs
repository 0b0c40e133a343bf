//! Trunkline's JSON: the form that the original's clients send and read, made from descriptors.
//!
//! Keys are proto names. Texts name enum values, 64-bit integers are numbers, times are RFC 3339 in UTC, durations are written as
//! Go does, bytes are base64, and free JSON passes through as it came.

pub(crate) mod decode;
pub(crate) mod duration;
pub(crate) mod encode;
pub(crate) mod raw;
pub(crate) mod scalar;

#[cfg(test)]
mod tests;
