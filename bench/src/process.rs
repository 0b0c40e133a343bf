//! What the kernel tells about a process: memory and time on the processor.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Clock ticks of `/proc`: fixed to 100 a second in what Linux shows to programs.
const TICKS_PER_SECOND: u64 = 100;
/// Fields of `/proc/<pid>/stat`, counted from the one after the program's name: the parent, and the user time, after which come the
/// system time and both times of children that have ended.
const PARENT_FIELD: usize = 1;
const USER_TIME_FIELD: usize = 11;

/// Memory that a process holds, in bytes.
///
/// # Errors
/// When there is no such process.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmRSS:")
}

/// The most memory that a process has held at any time of its life, in bytes.
///
/// # Errors
/// When there is no such process.
pub fn peak_resident_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, name: &str) -> Result<u64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("there is no process {pid}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(1024 * kib.with_context(|| format!("the memory of process {pid} is not told"))?)
}

/// Processor time, user and system, that a process has had; to 10 ms.
///
/// # Errors
/// When there is no such process.
pub fn processor_time(pid: u32) -> Result<Duration> {
    Ok(Stat::read(pid)?.own)
}

/// The same of a process with its children, those that have ended included.
///
/// # Errors
/// When there is no such process.
pub fn family_processor_time(pid: u32) -> Result<Duration> {
    let parent = Stat::read(pid)?;
    let mut time = parent.own + parent.ended_children;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        // A process that ends meanwhile is no error.
        let stat = name.to_str().and_then(|name| Stat::read(name.parse().ok()?).ok());
        time += stat
            .filter(|stat| stat.parent == pid)
            .map_or(Duration::ZERO, |stat| stat.own);
    }
    Ok(time)
}

/// The process that started a process.
///
/// # Errors
/// When there is no such process.
pub fn parent(pid: u32) -> Result<u32> {
    Ok(Stat::read(pid)?.parent)
}

/// What `/proc/<pid>/stat` tells.
struct Stat {
    parent: u32,
    own: Duration,
    ended_children: Duration,
}

impl Stat {
    fn read(pid: u32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        let stat = stat.with_context(|| format!("there is no process {pid}"))?;
        // The name may contain blanks and parentheses; the last parenthesis ends it.
        let (_, fields) = stat.rsplit_once(')').context("the process has no name")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let number = |at: usize| -> u64 { fields.get(at).and_then(|field| field.parse().ok()).unwrap_or(0) };
        let time = |user: usize| Duration::from_millis((number(user) + number(user + 1)) * 1000 / TICKS_PER_SECOND);
        Ok(Self {
            parent: number(PARENT_FIELD) as u32,
            own: time(USER_TIME_FIELD),
            ended_children: time(USER_TIME_FIELD + 2),
        })
    }
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
        drop(held);
        assert!(
            peak_resident_bytes(pid).unwrap() > before.1 + 16 * 1024 * 1024,
            "it is not forgotten"
        );
        assert!(processor_time(u32::MAX).is_err());
    }

    #[test]
    fn the_time_of_a_child_counts_for_its_family_while_it_lives_and_after() {
        let pid = std::process::id();
        let before = family_processor_time(pid).unwrap();
        let mut child = std::process::Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .unwrap();
        assert_eq!(parent(child.id()).unwrap(), pid);
        let wanted = Duration::from_millis(100);
        while processor_time(child.id()).unwrap() < wanted {}
        assert!(family_processor_time(pid).unwrap() >= before + wanted);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(family_processor_time(pid).unwrap() >= before + wanted);
    }
}
