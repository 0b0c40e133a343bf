//! A channel as this service knows it: parsed once, valid from then on. No I/O, no proto.

use trunkline_bus::Route;
use trunkline_core::attributes::{Metadata, Name, Tags};
use trunkline_core::{ChannelId, DomainId, Fault, Timestamp, UserId};
use trunkline_registry::{Base, Change};

/// A place that messages are published to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// What it has in common with all objects; enabled, it carries messages.
    pub base: Base<ChannelId>,
    /// Its name in topics, unique in the domain, fixed on creation.
    pub route: Option<Route>,
    /// User that created it.
    pub created_by: UserId,
}

/// Parses a route; a fault names `field`.
///
/// # Errors
/// INVALID_ARGUMENT when topics could not name a channel by it.
pub fn parse_route(field: &str, text: &str) -> Result<Route, Fault> {
    Route::parse(text).ok_or_else(|| {
        let rule =
            "is not a letter and up to 35 letters, digits, `-` and `_`, none of the last two doubled, or is a UUID";
        Fault::invalid(field, rule)
    })
}

/// A channel to create.
#[derive(Debug, Clone)]
pub struct NewChannel {
    /// Its id.
    pub id: ChannelId,
    /// Its domain.
    pub domain_id: DomainId,
    /// Its name in topics.
    pub route: Option<Route>,
    /// Its name.
    pub name: Option<Name>,
    /// Its labels.
    pub tags: Tags,
    /// Free JSON.
    pub metadata: Option<Metadata>,
}

impl NewChannel {
    /// The channel as it is right after its creation by `by` at `now`.
    pub fn created(&self, by: UserId, now: Timestamp) -> Channel {
        Channel {
            base: Base {
                name: self.name.clone(),
                tags: self.tags.clone(),
                metadata: self.metadata.clone(),
                ..Base::new(self.id, self.domain_id, now)
            },
            route: self.route,
            created_by: by,
        }
    }
}

/// What an update changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Its name.
    pub name: Change<Name>,
    /// Free JSON.
    pub metadata: Change<Metadata>,
}

impl Changes {
    /// Changes `channel`, and says whether there is anything to change.
    pub fn apply(&self, channel: &mut Channel) -> bool {
        self.name.apply(&mut channel.base.name);
        self.metadata.apply(&mut channel.base.metadata);
        *self != Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_what_topics_can_name_a_channel_by() {
        assert_eq!(parse_route("channel.route", "Kitchen-2").unwrap().as_str(), "Kitchen-2");
        for bad in ["9lives", "a__b", "a/b", "a192f0c1-7b1e-7c3a-9a55-0123456789ab"] {
            let fault = parse_route("channel.route", bad).unwrap_err();
            assert_eq!(fault.fields[0].field, "channel.route", "{bad:?}");
        }
    }

    #[test]
    fn an_update_changes_what_its_mask_names_and_nothing_else() {
        let new = NewChannel {
            id: ChannelId::new(),
            domain_id: DomainId::new(),
            route: Route::parse("kitchen"),
            name: Some(Name::parse("name", "kitchen").unwrap()),
            tags: Tags::default(),
            metadata: Some(Metadata::parse("metadata", b"{\"a\":1}").unwrap()),
        };
        let mut expected = new.created(UserId::new(), Timestamp::from_micros(1));
        let mut changed = expected.clone();
        let name = Name::parse("name", "cellar").ok();
        Changes {
            name: Change::Set(name.clone()),
            ..Changes::default()
        }
        .apply(&mut changed);
        expected.base.name = name;
        assert_eq!(changed, expected);
    }
}
