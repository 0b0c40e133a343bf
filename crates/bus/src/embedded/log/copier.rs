//! Copying the write-ahead log into the file beside the owner, so that appends need not wait for it.

use std::io;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use super::failure::Failure;
use super::owner::Owner;
use super::store::{self, Error, is_disk_full, lacks_means};

/// Bytes of the write-ahead log after which it is copied into the file.
pub(super) const CHECKPOINT_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of the write-ahead log at which appends wait for the copy.
const WAL_BYTES_MAX: u64 = 4 * CHECKPOINT_BYTES;

/// Starts a thread for each copy, and has at most one at a time.
pub(super) struct Copier {
    path: PathBuf,
    copying: Option<JoinHandle<Result<(), Error>>>,
}

/// How a copy stands.
pub(super) enum Progress {
    /// There is none.
    None,
    /// It is being made.
    Running,
    /// It was made, of all that the write-ahead log held when it began; or it failed.
    Ended(Result<(), Error>),
}

impl Copier {
    /// Will copy the write-ahead log of the file at `path`, which its owner has open.
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, copying: None }
    }

    /// Starts a copy.
    pub(super) fn start(&mut self) -> io::Result<()> {
        let path = self.path.clone();
        let thread = thread::Builder::new().name("log-copy".to_owned());
        self.copying = Some(thread.spawn(move || store::copy(&path))?);
        Ok(())
    }

    /// Tells of the last copy, and once only how it ended.
    pub(super) fn look(&mut self) -> Progress {
        match self.copying.take_if(|copying| copying.is_finished()) {
            Some(copying) => Progress::Ended(outcome(copying)),
            None if self.copying.is_some() => Progress::Running,
            None => Progress::None,
        }
    }

    /// Waits for the copy that is being made.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        self.copying.take().map_or(Ok(()), outcome)
    }
}

impl Owner {
    /// Has the write-ahead log copied into the file when it has grown; a disk without room for that puts it off, and so does an open
    /// transaction.
    pub(super) fn checkpoint(&mut self) -> Result<(), Failure> {
        if self.store.is_in_transaction() {
            return Ok(());
        }
        let outcome = match self.copier.look() {
            Progress::Running if self.wal_bytes < WAL_BYTES_MAX => return Ok(()),
            // The disk is slower than publishers are: they wait.
            Progress::Running => self.copier.end(),
            Progress::None if self.wal_bytes < CHECKPOINT_BYTES => return Ok(()),
            Progress::None if self.copier.start().is_ok() => return Ok(()),
            // Without a thread for it, all of it is copied here.
            Progress::None => Ok(()),
            Progress::Ended(outcome) => outcome,
        };
        // A copy that could not begin, for want of a descriptor or of memory, says nothing of the disk: all of it is copied here.
        let outcome = match outcome {
            Err(cause) if lacks_means(&cause) => Ok(()),
            outcome => outcome,
        };
        // What was committed since the copy began is little. Once that is copied too, the write-ahead log begins anew.
        match outcome.and_then(|()| self.store.checkpoint()) {
            Ok(true) => self.wal_bytes = 0,
            // A reader is in the way. Trying after each commit would cost a sync each.
            Ok(false) => self.wal_bytes = CHECKPOINT_BYTES / 2,
            Err(cause) if is_disk_full(&cause) => self.shared.set_disk_low(true),
            Err(cause) => return Err(cause.into()),
        }
        Ok(())
    }
}

/// A copy that panicked may have synced nothing: whoever asks panics, too.
fn outcome(copying: JoinHandle<Result<(), Error>>) -> Result<(), Error> {
    copying.join().unwrap_or_else(|panic| resume_unwind(panic))
}
