//! Programs of other makers that tests run against the platform. `cargo xtask test` brings them and says where they are.

use std::path::PathBuf;

/// The path of a tool: `mosquitto_pub`, `mosquitto_sub`, `openapi_validator`, or `mosquitto_tests`, a folder of scripts.
///
/// # Panics
///
/// If `TRUNKLINE_TEST_<TOOL>` does not say where it is, which is so outside of `cargo xtask test`.
#[must_use]
#[track_caller]
pub fn tool(name: &str) -> PathBuf {
    PathBuf::from(variable(&format!("TRUNKLINE_TEST_{}", name.to_uppercase())))
}

/// The value of a variable that `cargo xtask test` sets.
#[track_caller]
pub(crate) fn variable(name: &str) -> String {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => value,
        Ok(_) | Err(_) => panic!("{name} is not set; run `cargo xtask test`, which brings what tests need and sets it"),
    }
}
