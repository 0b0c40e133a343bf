//! What the disk can do at all.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How long the disk is probed.
const PROBE_TIME: Duration = Duration::from_secs(1);
/// Bytes of each write: a page with the header of its frame, as a write-ahead log has them.
const PROBE_BYTES: usize = 4_096 + 24;
/// Writes after which the probe begins at the start of its file again.
const PROBE_WRITES: u64 = 256;

/// Writes that are synced one by one, per second.
///
/// They go over bytes that the file has already, as those of a write-ahead log do that is used again, and so spare the disk the work of
/// making a file longer. On a busy machine the probe may be held up, and is then no floor.
///
/// # Errors
/// When the folder cannot be written.
pub fn raw_syncs_per_second(folder: &Path) -> Result<f64> {
    let path = folder.join("raw-syncs");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    for _ in 0..PROBE_WRITES {
        file.write_all(&[0; PROBE_BYTES])?;
    }
    file.sync_all()?;
    let (started, mut syncs) = (Instant::now(), 0);
    while started.elapsed() < PROBE_TIME {
        file.write_all_at(&[7; PROBE_BYTES], syncs % PROBE_WRITES * PROBE_BYTES as u64)?;
        file.sync_data()?;
        syncs += 1;
    }
    let rate = syncs as f64 / started.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(rate)
}

/// The kind of file system that a folder is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem(String);

impl FileSystem {
    /// That of a folder.
    ///
    /// # Errors
    /// When the folder is not there or the system does not tell what is mounted.
    pub fn of(folder: &Path) -> Result<Self> {
        let folder = folder
            .canonicalize()
            .with_context(|| format!("{} is not there", folder.display()))?;
        let mounts = fs::read_to_string("/proc/self/mounts").context("what is mounted is not told")?;
        let innermost = mounts
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ').skip(1);
                Some((words.next()?, words.next()?))
            })
            .filter(|(place, _)| folder.starts_with(place))
            .max_by_key(|(place, _)| place.len());
        let (_, kind) = innermost.context("the folder is on nothing that is mounted")?;
        Ok(Self(kind.to_owned()))
    }

    /// Whether what is synced there survives a power cut, as far as the kind tells.
    #[must_use]
    pub fn keeps_synced(&self) -> bool {
        !matches!(self.0.as_str(), "tmpfs" | "ramfs" | "devtmpfs")
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
