//! Writing the ledger: events are gathered in memory, written and synced by a thread of its own.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{Answer, Producer};
use crate::Hash;

/// How long an event waits at most before it is on its way to the disk.
const SYNC_INTERVAL: Duration = Duration::from_millis(500);
/// Bytes of events that wake the writer early.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of events that may wait; a generator that outruns the disk so far stops instead of forgetting.
const BUFFER_BYTES_MAX: usize = 512 * 1024 * 1024;

/// A ledger that is being written. Shared by all producers of a run.
pub struct Ledger {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<std::io::Result<()>>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    producers: u32,
    is_closing: bool,
}

impl Ledger {
    /// A new ledger of the run `run`.
    ///
    /// # Errors
    /// When the file exists or cannot be made.
    pub fn create(path: &Path, run: &str) -> Result<Arc<Self>> {
        let mut file =
            File::create_new(path).with_context(|| format!("the ledger {} cannot be made", path.display()))?;
        writeln!(file, "run {run}")?;
        file.sync_all()?;
        let shared = Arc::new(Shared::default());
        let of_writer = shared.clone();
        let writer = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || write(&of_writer, file))?;
        Ok(Arc::new(Self {
            shared,
            writer: Mutex::new(Some(writer)),
        }))
    }

    /// Enters a producer and returns its number. The number that it comes with is not looked at.
    #[must_use]
    pub fn producer(&self, producer: &Producer) -> u32 {
        let mut state = self.shared.lock();
        let id = state.producers;
        state.producers += 1;
        let Producer {
            protocol,
            qos,
            place,
            publisher,
            ..
        } = producer;
        let (domain, channel) = (&place.domain, &place.channel);
        state.line(format_args!(
            "producer {id} {protocol} {qos} {domain} {channel} {publisher}"
        ));
        id
    }

    /// A message is about to be sent for the first time.
    pub fn sent(&self, producer: u32, sequence: u64, at_ns: u64, hash: &Hash) {
        self.enter(format_args!("sent {producer} {sequence} {at_ns} {}", Hex(hash)));
    }

    /// A message without an answer is about to be sent once more.
    pub fn again(&self, producer: u32, sequence: u64, at_ns: u64) {
        self.enter(format_args!("again {producer} {sequence} {at_ns}"));
    }

    /// An answer was received.
    pub fn answered(&self, producer: u32, sequence: u64, at_ns: u64, answer: &Answer) {
        let (kind, word) = match answer {
            Answer::Kept(tier) => ("kept", tier),
            Answer::Refused(reason) => ("refused", reason),
            Answer::Unclear(reason) => ("unclear", reason),
        };
        self.enter(format_args!("{kind} {producer} {sequence} {at_ns} {word}"));
    }

    /// The connection of a producer is over: what it sent over it and has no answer is not waited for any more.
    pub fn closed(&self, producer: u32, at_ns: u64) {
        self.enter(format_args!("closed {producer} {at_ns}"));
    }

    /// Writes and syncs what is left. Nothing may be entered afterwards.
    ///
    /// # Errors
    /// When anything of the ledger could not be written or synced.
    pub fn close(&self) -> Result<()> {
        self.shared.lock().is_closing = true;
        self.shared.wake.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        match writer.map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome.context("the ledger cannot be written"),
            Some(Err(_)) => bail!("the ledger's writer panicked"),
            None => bail!("the ledger was closed twice"),
        }
    }

    fn enter(&self, line: std::fmt::Arguments<'_>) {
        let mut state = self.shared.lock();
        state.line(line);
        let bytes = state.lines.len();
        drop(state);
        assert!(
            bytes < BUFFER_BYTES_MAX,
            "the ledger's disk is slower than its generator"
        );
        if bytes >= BUFFER_BYTES {
            self.shared.wake.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A `Vec` takes whatever is written to it.
        let _ = writeln!(self.lines, "{line}");
    }
}

fn write(shared: &Shared, mut file: File) -> std::io::Result<()> {
    loop {
        let state = shared.lock();
        let is_idle = |state: &mut State| state.lines.len() < BUFFER_BYTES && !state.is_closing;
        let (mut state, _) = shared
            .wake
            .wait_timeout_while(state, SYNC_INTERVAL, is_idle)
            .unwrap_or_else(PoisonError::into_inner);
        let (lines, is_closing) = (std::mem::take(&mut state.lines), state.is_closing);
        drop(state);
        if !lines.is_empty() {
            file.write_all(&lines)?;
            file.sync_data()?;
        }
        if is_closing {
            return Ok(());
        }
    }
}

/// A hash in hexadecimal digits.
struct Hex<'a>(&'a Hash);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}
