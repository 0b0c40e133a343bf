//! The messages of one connection that have no answer yet, by packet identifier.

use std::collections::VecDeque;

use trunkline_mqtt_wire::PacketId;

use super::publisher::Message;

/// A window of messages.
#[derive(Debug)]
pub(crate) struct Flight {
    /// The message of each identifier; identifier `n` is place `n - 1`.
    messages: Vec<Option<Message>>,
    free: Vec<PacketId>,
    count: usize,
    window: usize,
}

impl Flight {
    /// An empty window of `window` messages.
    pub(crate) fn new(window: usize) -> Self {
        let window = window.min(usize::from(u16::MAX));
        let ids = (1..=window as u16).rev().filter_map(PacketId::new);
        Self {
            messages: vec![None; window],
            free: ids.collect(),
            count: 0,
            window,
        }
    }

    /// The same with the window lowered to what the peer takes, if there is no message in it.
    pub(crate) fn limited(&mut self, receive_max: Option<u16>) -> Self {
        let window = self.window.min(receive_max.map_or(self.window, usize::from));
        match self.is_empty() {
            true => Self::new(window),
            false => std::mem::replace(self, Self::new(window)),
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes a place for a message; `None` when there is no room.
    pub(crate) fn enter(&mut self, message: Message) -> Option<PacketId> {
        let id = self.free.pop()?;
        self.messages[usize::from(id.get()) - 1] = Some(message);
        self.count += 1;
        Some(id)
    }

    /// The message of an identifier.
    pub(crate) fn find(&self, id: PacketId) -> Option<Message> {
        self.messages.get(usize::from(id.get()) - 1).copied().flatten()
    }

    /// All messages by their identifiers, in the order in which they were sent first.
    pub(crate) fn open(&self) -> Vec<(PacketId, Message)> {
        let ids = (1..=u16::MAX).filter_map(PacketId::new);
        let open = ids
            .zip(&self.messages)
            .filter_map(|(id, message)| Some((id, (*message)?)));
        let mut open: Vec<_> = open.collect();
        open.sort_by_key(|(_, message)| message.sequence);
        open
    }

    /// Ends the message of an identifier; `None` when there is none.
    pub(crate) fn leave(&mut self, id: PacketId) -> Option<Message> {
        let message = self.messages.get_mut(usize::from(id.get()) - 1)?.take()?;
        self.free.push(id);
        self.count -= 1;
        Some(message)
    }

    /// Empties the window; the messages come in the order in which they were sent first.
    pub(crate) fn drain(&mut self) -> VecDeque<Message> {
        let mut messages: Vec<Message> = self.messages.iter().copied().flatten().collect();
        messages.sort_by_key(|message| message.sequence);
        *self = Self::new(self.window);
        messages.into()
    }
}
