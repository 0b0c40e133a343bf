//! Topic aliases: numbers that stand for topics on one connection. Each side gives its own.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use trunkline_mqtt_wire::{Publish, ReasonCode, Utf8Bytes};

use super::{Cause, Machine};
use crate::limits::TOPIC_ALIASES_MAX;

/// Topics that the client gave numbers to; that of the alias `n` is at `n - 1`.
#[derive(Debug, Default)]
pub(super) struct Told(Vec<Option<Utf8Bytes>>);

/// Topics that we gave numbers to, the most recently used first.
#[derive(Debug, Default)]
pub(super) struct Given {
    topics: VecDeque<(Box<str>, NonZeroU16)>,
    max: u16,
}

/// A number for the topic of a message that is being sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alias {
    pub(super) number: NonZeroU16,
    /// Whether the client was told what it stands for, so that the topic can be left out.
    pub(super) is_known: bool,
}

impl Machine {
    /// Puts the topic in the place of its alias, or remembers what the alias stands for.
    pub(super) fn resolve_alias(&mut self, publish: &mut Publish) -> Result<(), (ReasonCode, Cause)> {
        let properties = publish.properties.as_deref();
        let Some(alias) = properties.and_then(|properties| properties.topic_alias) else {
            return Ok(());
        };
        if alias.get() > self.settings.topic_alias_max {
            return Err((ReasonCode::TopicAliasInvalid, Cause::OverLimit));
        }
        let (place, topics) = (usize::from(alias.get()) - 1, &mut self.told.0);
        if publish.topic.is_empty() {
            let known = topics.get(place).cloned().flatten();
            publish.topic = known.ok_or((ReasonCode::ProtocolError, Cause::Malformed))?;
            return Ok(());
        }
        if topics.len() <= place {
            topics.resize(place + 1, None);
        }
        topics[place] = Some(publish.topic.detached());
        Ok(())
    }
}

impl Given {
    /// For a client that takes aliases up to `maximum`.
    pub(super) fn new(maximum: u16) -> Self {
        Self {
            topics: VecDeque::new(),
            max: maximum.min(TOPIC_ALIASES_MAX),
        }
    }

    /// The alias for `topic`: its own, a free one, or the one that was not used for longest; `None` where the client takes none.
    pub(super) fn choose(&self, topic: &str) -> Option<Alias> {
        let known = self.topics.iter().find(|(other, _)| **other == *topic);
        if let Some((_, number)) = known {
            return Some(Alias {
                number: *number,
                is_known: true,
            });
        }
        let count = u16::try_from(self.topics.len()).unwrap_or(u16::MAX);
        let number = match count < self.max {
            true => NonZeroU16::new(count + 1)?,
            false => self.topics.back()?.1,
        };
        Some(Alias {
            number,
            is_known: false,
        })
    }

    /// Notes that `topic` was sent with the alias that was chosen for it.
    pub(super) fn used(&mut self, topic: &str, alias: Alias) {
        let place = self.topics.iter().position(|(_, number)| *number == alias.number);
        let before = place.and_then(|place| self.topics.remove(place));
        let entry = match before {
            Some(entry) if alias.is_known => entry,
            Some(_) | None => (topic.into(), alias.number),
        };
        self.topics.push_front(entry);
    }
}
