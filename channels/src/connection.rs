//! Connections: which clients may do what on which channels. No I/O, no proto.

use std::collections::BTreeSet;
use std::hash::Hash;

use trunkline_core::{ChannelId, ClientId, DomainId, Fault};
use uuid::Uuid;

/// Most channels, and most clients, that one call connects.
pub const ENDS_MAX: usize = 100;

/// What a connection allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The client may publish to the channel.
    Publish,
    /// The client may receive from the channel and read its stored messages.
    Subscribe,
}

impl Kind {
    /// The word that databases keep.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }
}

/// Each of some clients with each of some channels: what one call connects or disconnects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connections {
    domain_id: DomainId,
    channels: BTreeSet<ChannelId>,
    clients: BTreeSet<ClientId>,
    kinds: BTreeSet<Kind>,
}

impl Connections {
    /// Takes the ends, each of which counts once however often it is given.
    ///
    /// # Errors
    /// INVALID_ARGUMENT naming `channel_ids`, `client_ids` or `types` when there are none or more than [`ENDS_MAX`].
    pub fn new(
        domain_id: DomainId,
        channels: &[ChannelId],
        clients: &[ClientId],
        kinds: &[Kind],
    ) -> Result<Self, Fault> {
        Ok(Self {
            domain_id,
            channels: ends("channel_ids", channels)?,
            clients: ends("client_ids", clients)?,
            kinds: ends("types", kinds)?,
        })
    }

    /// Domain of them all.
    pub const fn domain_id(&self) -> DomainId {
        self.domain_id
    }

    /// The channels, in order of their ids.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = ChannelId> {
        self.channels.iter().copied()
    }

    /// The clients, in order of their ids.
    pub fn clients(&self) -> impl ExactSizeIterator<Item = ClientId> {
        self.clients.iter().copied()
    }

    /// What the connections allow.
    pub fn kinds(&self) -> impl ExactSizeIterator<Item = Kind> {
        self.kinds.iter().copied()
    }

    /// Ids that appear in every decision that these connections bear on: the fewer ends, so that fewer decisions are forgotten.
    pub fn touched(&self) -> Vec<Uuid> {
        if self.clients.len() <= self.channels.len() {
            self.clients().map(ClientId::uuid).collect()
        } else {
            self.channels().map(ChannelId::uuid).collect()
        }
    }
}

fn ends<T: Copy + Ord + Hash>(field: &str, given: &[T]) -> Result<BTreeSet<T>, Fault> {
    if given.is_empty() {
        return Err(Fault::invalid(field, "is empty; give at least one"));
    }
    if given.len() > ENDS_MAX {
        return Err(Fault::invalid(
            field,
            format!("has {} entries; at most {ENDS_MAX} are allowed", given.len()),
        ));
    }
    Ok(given.iter().copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_is_given_once_to_a_hundred_times() {
        let (domain_id, channel, client) = (DomainId::new(), ChannelId::new(), ClientId::new());
        let field = |channels: &[ChannelId], clients: &[ClientId], kinds: &[Kind]| {
            Connections::new(domain_id, channels, clients, kinds).map_err(|fault| fault.fields[0].field.clone())
        };
        assert_eq!(field(&[], &[client], &[Kind::Publish]), Err("channel_ids".into()));
        assert_eq!(field(&[channel], &[], &[Kind::Publish]), Err("client_ids".into()));
        assert_eq!(field(&[channel], &[client], &[]), Err("types".into()));
        assert_eq!(
            field(&[channel], &[client; ENDS_MAX + 1], &[Kind::Publish]),
            Err("client_ids".into())
        );
        let once = field(&[channel; ENDS_MAX], &[client], &[Kind::Publish; 2]).unwrap();
        assert_eq!((once.channels().len(), once.kinds().len()), (1, 1));
    }

    #[test]
    fn the_side_with_fewer_ends_is_what_a_change_touches() {
        let (one, two) = (ClientId::new(), [ChannelId::new(), ChannelId::new()]);
        let connections = Connections::new(DomainId::new(), &two, &[one], &[Kind::Publish]).unwrap();
        assert_eq!(connections.touched(), [one.uuid()]);
        let connections =
            Connections::new(DomainId::new(), &two[..1], &[one, ClientId::new()], &[Kind::Publish]).unwrap();
        assert_eq!(connections.touched(), [two[0].uuid()]);
    }
}
