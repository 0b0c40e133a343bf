//! Copying the write-ahead log into the file beside the owner, so that appends need not wait for it.

use std::io;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use super::store::{self, Error};

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

/// A copy that panicked may have synced nothing: whoever asks panics, too.
fn outcome(copying: JoinHandle<Result<(), Error>>) -> Result<(), Error> {
    copying.join().unwrap_or_else(|panic| resume_unwind(panic))
}
