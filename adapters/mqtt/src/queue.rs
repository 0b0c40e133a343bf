//! What waits to be given to somebody, in memory and in the log: a bounded queue that leaves what the log keeps there while it is full, to
//! be read when there is room again. Each message comes once, wherever the router is.

use std::collections::VecDeque;

use crate::limits::{QUEUE_BYTES_MAX, QUEUE_ENTRIES_KEPT, QUEUE_ENTRIES_MAX};

/// A queue and the part of the log that is behind it.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// With the bytes that each counts as.
    items: VecDeque<(T, usize)>,
    bytes: usize,
    behind: Option<Behind>,
    /// What the log keeps up to this place was read from there, or given before.
    read_to: u64,
}

/// A part of the log that is still to be read. While there is one, nothing that the log keeps is put into the queue.
#[derive(Debug, Clone, Copy)]
struct Behind {
    /// The first place.
    from: u64,
    /// The last place.
    to: u64,
}

/// What is next.
#[derive(Debug)]
pub(crate) enum Next<T> {
    /// An item of the queue.
    Item(T),
    /// What is in the log, from this place on.
    Behind(u64),
    /// Nothing.
    Nothing,
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is in the queue.
    Queued,
    /// The log has it, or it was given before.
    Left,
    /// There was no room for it.
    Lost,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
            behind: None,
            read_to: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Begins after `position`, with what is in the log. To be called before the router knows of it, and to be followed by
    /// [`Queue::reaches`].
    pub(crate) fn begin_after(&mut self, position: u64) {
        self.read_to = position;
        self.behind = Some(Behind {
            from: position + 1,
            to: position,
        });
    }

    /// The log has messages up to `head`. The router may be behind that, or further.
    pub(crate) fn reaches(&mut self, head: u64) {
        self.behind = self
            .behind
            .map(|Behind { from, to }| Behind { from, to: to.max(head) })
            .filter(|behind| behind.from <= behind.to);
    }

    /// Whether there is nothing to be given, neither here nor in the log.
    pub(crate) fn is_idle(&self) -> bool {
        self.items.is_empty() && self.behind.is_none()
    }

    /// Takes an item that counts as `bytes`, or leaves it to the log if that keeps it at `place`.
    pub(crate) fn put(&mut self, item: T, bytes: usize, place: Option<u64>) -> Put {
        if place.is_some_and(|sequence| sequence <= self.read_to) {
            return Put::Left;
        }
        let is_full = self.items.len() >= QUEUE_ENTRIES_MAX || self.bytes >= QUEUE_BYTES_MAX;
        if !is_full && (self.behind.is_none() || place.is_none()) {
            self.bytes += bytes;
            self.items.push_back((item, bytes));
            return Put::Queued;
        }
        let Some(sequence) = place else {
            return Put::Lost;
        };
        let behind = self.behind.get_or_insert(Behind {
            from: sequence,
            to: sequence,
        });
        behind.to = behind.to.max(sequence);
        Put::Left
    }

    /// What [`Queue::take`] would give.
    pub(crate) fn peek(&self) -> Next<&T> {
        match (self.items.front(), self.behind) {
            (Some((item, _)), _) => Next::Item(item),
            (None, Some(behind)) => Next::Behind(behind.from),
            (None, None) => Next::Nothing,
        }
    }

    pub(crate) fn take(&mut self) -> Next<T> {
        match (self.items.pop_front(), self.behind) {
            (Some((item, bytes)), _) => {
                self.bytes -= bytes;
                if self.items.is_empty() && self.items.capacity() > QUEUE_ENTRIES_KEPT {
                    self.items = VecDeque::new();
                }
                Next::Item(item)
            }
            (None, Some(behind)) => Next::Behind(behind.from),
            (None, None) => Next::Nothing,
        }
    }

    /// Tells that the log was read up to but without `next`. From when this is true on, what the log keeps comes through the queue again,
    /// beginning with the first that was not read.
    pub(crate) fn has_caught_up(&mut self, next: u64) -> bool {
        match self.behind {
            Some(Behind { to, .. }) if next <= to => {
                self.behind = Some(Behind { from: next, to });
                false
            }
            Some(_) | None => {
                self.behind = None;
                self.read_to = self.read_to.max(next.saturating_sub(1));
                true
            }
        }
    }
}
