//! The steps of `trunkline doctor` on a platform that is well, of whichever shape.

/// Each of them, in the order in which a message comes by.
const STEPS: [&str; 11] = [
    "ports",
    "clock",
    "login",
    "registry",
    "publish MQTT",
    "log MQTT",
    "publish HTTP",
    "log HTTP",
    "writer",
    "reader",
    "clean-up",
];

/// Asserts that a doctor took each step with success, and no other.
#[track_caller]
pub(crate) fn each_is_taken(told: &str) {
    let taken: Vec<&str> = told.lines().filter_map(|line| line.trim().strip_prefix("✓ ")).collect();
    assert_eq!(taken.len(), STEPS.len(), "{told}");
    for (taken, step) in taken.iter().zip(STEPS) {
        assert!(taken.starts_with(step), "{step} in {told}");
    }
}
