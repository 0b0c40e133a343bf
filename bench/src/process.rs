//! What the kernel tells about a process: memory and time on the processor.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Clock ticks of `/proc`: fixed to 100 a second in what Linux shows to programs.
const TICKS_PER_SECOND: u64 = 100;
/// Fields of `/proc/<pid>/stat` after the program's name that come before the user time.
const FIELDS_BEFORE_USER_TIME: usize = 11;

/// Memory that a process holds, in bytes.
///
/// # Errors
/// When there is no such process.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("there is no process {pid}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(1024 * kib.with_context(|| format!("the memory of process {pid} is not told"))?)
}

/// Processor time, user and system, that a process has had; to 10 ms.
///
/// # Errors
/// When there is no such process.
pub fn processor_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("there is no process {pid}"))?;
    // The name may contain blanks and parentheses; the last parenthesis ends it.
    let (_, fields) = stat.rsplit_once(')').context("the process has no name")?;
    let times = fields.split_whitespace().skip(FIELDS_BEFORE_USER_TIME).take(2);
    let ticks: u64 = times.filter_map(|time| time.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_and_holds_memory_shows_both() {
        let pid = std::process::id();
        let before = (processor_time(pid).unwrap(), resident_bytes(pid).unwrap());
        let held = vec![1_u8; 32 * 1024 * 1024];
        while processor_time(pid).unwrap() < before.0 + Duration::from_millis(30) {
            std::hint::black_box(&held);
        }
        assert!(resident_bytes(pid).unwrap() > before.1 + 16 * 1024 * 1024);
        assert!(processor_time(u32::MAX).is_err());
    }
}
