//! The decisions that are remembered for one client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use trunkline_bus::Ref;
use trunkline_core::{ChannelId, DomainId};
use uuid::Uuid;

use crate::limits::{DENIAL_AGE_MAX, GRANTS_PER_CLIENT_MAX};
use crate::place::Place;
use crate::{Action, Denial, Grant};

/// What is remembered, by what was asked. Ids stand for all of their spellings.
#[derive(Default)]
pub(crate) struct Memory {
    decisions: HashMap<Question, Outcome>,
    /// Once there are as many decisions, those that nobody lives by go.
    mark: usize,
}

/// What was asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Question {
    action: Action,
    domain: Ref<DomainId>,
    channel: Ref<ChannelId>,
}

enum Outcome {
    Granted(Arc<Grant>),
    Denied { since: Instant },
}

impl Memory {
    /// The remembered answer, if it may still be given.
    pub(crate) fn recall(&self, action: Action, place: &Place) -> Option<Result<Arc<Grant>, Denial>> {
        match self.decisions.get(&Question::new(action, place))? {
            Outcome::Granted(grant) => grant.holds().then(|| Ok(Arc::clone(grant))),
            Outcome::Denied { since } => (since.elapsed() < DENIAL_AGE_MAX).then_some(Err(Denial::NotAuthorized)),
        }
    }

    /// Remembers an answer, if it is one. What was answered before holds no longer.
    pub(crate) fn remember(&mut self, action: Action, place: &Place, answer: &Result<Arc<Grant>, Denial>) {
        let outcome = match answer {
            Ok(grant) => Outcome::Granted(Arc::clone(grant)),
            Err(Denial::NotAuthorized) => Outcome::Denied { since: Instant::now() },
            Err(Denial::InvalidTopic(_) | Denial::Unavailable) => return,
        };
        let question = Question::new(action, place);
        if !self.decisions.contains_key(&question) && self.decisions.len() >= self.mark {
            self.decisions.retain(|_, outcome| outcome.is_in_use());
            self.mark = self.decisions.len() + GRANTS_PER_CLIENT_MAX;
        }
        // Changes do not reach it any more, so whoever holds it must ask again.
        if let Some(Outcome::Granted(replaced)) = self.decisions.insert(question, outcome) {
            replaced.withdraw();
        }
    }

    /// Forgets the decisions for channels that a change has touched, or all of them, and all denials. Says whether anything was withdrawn.
    pub(crate) fn apply(&mut self, is_all: bool, is_touched: impl Fn(Uuid) -> bool) -> bool {
        let before = self.decisions.len();
        let mut denials = 0;
        self.decisions.retain(|_, outcome| match outcome {
            Outcome::Granted(grant) if is_all || is_touched(grant.channel_id().uuid()) => {
                grant.withdraw();
                false
            }
            Outcome::Granted(_) => true,
            // A change can only turn a denial into a grant, and that answers at once.
            Outcome::Denied { .. } => {
                denials += 1;
                false
            }
        });
        before > self.decisions.len() + denials
    }
}

impl Question {
    const fn new(action: Action, place: &Place) -> Self {
        Self {
            action,
            domain: place.domain,
            channel: place.channel,
        }
    }
}

impl Outcome {
    /// Whether a session or a subscription has the grant.
    fn is_in_use(&self) -> bool {
        matches!(self, Self::Granted(grant) if Arc::strong_count(grant) > 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::lease::Lease;

    const GRANTS: usize = 8 * GRANTS_PER_CLIENT_MAX;

    fn grant() -> Arc<Grant> {
        Arc::new(Grant::new(DomainId::new(), ChannelId::new(), Lease::unlimited()))
    }

    fn remember(memory: &mut Memory, topic: &str) -> Arc<Grant> {
        let grant = grant();
        let place = Place::parse(topic, Action::Publish).unwrap();
        memory.remember(Action::Publish, &place, &Ok(Arc::clone(&grant)));
        grant
    }

    fn recall(memory: &Memory, topic: &str) -> Option<Arc<Grant>> {
        let place = Place::parse(topic, Action::Publish).unwrap();
        memory.recall(Action::Publish, &place)?.ok()
    }

    #[test]
    fn an_id_is_asked_for_once_however_it_is_spelled() {
        let mut memory = Memory::default();
        let (domain_id, channel_id) = (DomainId::new(), ChannelId::new());
        let lower = format!("m/{domain_id}/c/{channel_id}/a");
        let upper = format!(
            "m/{}/c/{}",
            domain_id.to_string().to_uppercase(),
            channel_id.to_string().to_uppercase()
        );
        let granted = remember(&mut memory, &lower);
        assert!(recall(&memory, &upper).is_some_and(|recalled| Arc::ptr_eq(&recalled, &granted)));
        remember(&mut memory, &upper);
        assert!(!granted.holds(), "it was decided anew");
        assert_eq!(memory.decisions.len(), 1);
    }

    #[test]
    fn all_decisions_are_looked_through_once_for_as_many_as_may_go() {
        let mut memory = Memory::default();
        let mut marks = HashSet::new();
        let mut used = Vec::new();
        for number in 0..GRANTS {
            used.push(remember(&mut memory, &format!("m/d/c/n{number}")));
            marks.insert(memory.mark);
        }
        assert!(used.iter().all(|grant| grant.holds()));
        assert_eq!(marks.len(), GRANTS / GRANTS_PER_CLIENT_MAX);
    }

    #[test]
    fn what_nobody_lives_by_any_more_goes_however_much_was_in_use_once() {
        let mut memory = Memory::default();
        let used: Vec<_> = (0..GRANTS)
            .map(|number| remember(&mut memory, &format!("m/d/c/n{number}")))
            .collect();
        drop(used);
        for number in 0..=GRANTS_PER_CLIENT_MAX {
            remember(&mut memory, &format!("m/d/c/o{number}"));
        }
        assert!(
            memory.decisions.len() <= GRANTS_PER_CLIENT_MAX,
            "{}",
            memory.decisions.len()
        );
    }
}
