//! A topic's text taken apart: the place (domain and channel) and where the subtopic begins.

use std::sync::Arc;

use trunkline_bus::{Filter, Ref, Topic};
use trunkline_core::{ChannelId, DomainId};

use crate::{Action, Denial, Grant, Permit};

/// The part of a topic name or filter that a decision is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The domain, by id or route.
    pub(crate) domain: Ref<DomainId>,
    /// The channel, by id or route.
    pub(crate) channel: Ref<ChannelId>,
    subtopic_at: usize,
}

impl Place {
    /// Takes apart a topic name, to publish, or a topic filter, to subscribe.
    pub(crate) fn parse(topic: &str, action: Action) -> Result<Self, Denial> {
        let (domain, channel, below) = match action {
            Action::Publish => {
                let topic = Topic::parse(topic)?;
                (topic.domain, topic.channel, topic.subtopic.len())
            }
            Action::Subscribe => {
                let filter = Filter::parse(topic)?;
                (filter.domain(), filter.channel(), filter.pattern().len())
            }
        };
        Ok(Self {
            domain,
            channel,
            subtopic_at: topic.len() - below,
        })
    }

    pub(crate) fn permit(&self, grant: Arc<Grant>) -> Permit {
        Permit {
            grant,
            subtopic_at: self.subtopic_at,
        }
    }
}
