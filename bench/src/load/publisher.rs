//! What publishers of all protocols have in common: the timetable, the ledger and the counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::clock::Clock;
use super::pace::Pace;
use super::summary::Latency;
use super::{Counts, Outcome, Plan, Target};
use crate::Content;
use crate::ledger::{Answer, Ledger, Producer};

/// One publisher with its own sequence of messages.
pub(crate) struct Publisher {
    pub(crate) plan: Plan,
    pub(crate) target: Target,
    pub(crate) clock: Clock,
    pub(crate) counts: Arc<Counts>,
    pub(crate) latency: Latency,
    ledger: Option<Arc<Ledger>>,
    id: u32,
    next_sequence: u64,
    messages_max: u64,
    pace: Pace,
    end_ns: u64,
    is_stopped: bool,
    /// Whether anything was sent since a connection was last over.
    has_sent: bool,
}

/// What all publishers of a load share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) clock: Clock,
    pub(crate) counts: Arc<Counts>,
}

/// One message that is about to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    pub(crate) sequence: u64,
    pub(crate) due_ns: u64,
}

impl Publisher {
    /// Publisher `number` of `count`.
    pub(crate) fn new(plan: &Plan, target: Target, (number, count): (usize, usize), shared: Shared) -> Self {
        let Shared { ledger, clock, counts } = shared;
        let start_ns = clock.now_ns();
        let id = number as u32;
        let producer = Producer {
            id,
            protocol: plan.protocol,
            qos: plan.qos,
            place: target.place.clone(),
            publisher: target.user.clone(),
        };
        let id = ledger.as_ref().map_or(id, |ledger| ledger.producer(&producer));
        let share = plan.messages_max / count as u64 + u64::from((number as u64) < plan.messages_max % count as u64);
        Self {
            plan: plan.clone(),
            target,
            clock,
            counts,
            latency: Latency::default(),
            ledger,
            id,
            next_sequence: 0,
            messages_max: share,
            pace: Pace::new(plan.rate, number, count, start_ns),
            end_ns: start_ns.saturating_add(plan.time_max.as_nanos() as u64),
            is_stopped: false,
            has_sent: false,
        }
    }

    /// Takes the next message, which is in the ledger from now on; `None` when none is due, or none ever will be.
    pub(crate) fn take(&mut self) -> Option<(Message, Vec<u8>)> {
        let now_ns = self.clock.now_ns();
        if self.is_over_at(now_ns) {
            return None;
        }
        let due_ns = self.pace.take(now_ns)?;
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let content = self.content(sequence, due_ns);
        if let Some(ledger) = &self.ledger {
            ledger.sent(self.id, sequence, now_ns, &content.hash());
        }
        self.has_sent = true;
        Counts::add(&self.counts.sent);
        Counts::add(&self.counts.in_flight);
        Some((Message { sequence, due_ns }, content.payload()))
    }

    /// The payload of a message that had no answer, which is in the ledger as sent once more from now on.
    pub(crate) fn repeat(&mut self, message: &Message) -> Vec<u8> {
        if let Some(ledger) = &self.ledger {
            ledger.again(self.id, message.sequence, self.clock.now_ns());
        }
        self.has_sent = true;
        Counts::add(&self.counts.repeated);
        self.content(message.sequence, message.due_ns).payload()
    }

    /// A message was answered.
    pub(crate) fn answered(&mut self, message: &Message, answer: &Answer) {
        let now_ns = self.clock.now_ns();
        if let Some(ledger) = &self.ledger {
            ledger.answered(self.id, message.sequence, now_ns, answer);
        }
        let count = match answer {
            Answer::Kept(_) => {
                self.latency.record_ns(now_ns.saturating_sub(message.due_ns));
                &self.counts.acknowledged
            }
            Answer::Refused(_) => &self.counts.refused,
            Answer::Unclear(_) => &self.counts.unclear,
        };
        Counts::add(count);
        self.counts.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// The connection is over, and what has no answer will have none over it.
    pub(crate) fn closed(&mut self) {
        if let Some(ledger) = self.ledger.as_ref().filter(|_| self.has_sent) {
            ledger.closed(self.id, self.clock.now_ns());
        }
        self.has_sent = false;
    }

    /// A message that never gets an answer is on its way.
    pub(crate) fn let_go(&self) {
        self.counts.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sends nothing new from now on.
    pub(crate) fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Whether nothing new will be sent.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over_at(self.clock.now_ns())
    }

    fn is_over_at(&self, now_ns: u64) -> bool {
        self.is_stopped || self.next_sequence >= self.messages_max || now_ns >= self.end_ns
    }

    /// When to look again: when the next message is due, or the load is over.
    pub(crate) fn next_look(&self) -> tokio::time::Instant {
        let next_ns = self.pace.next_ns(self.clock.now_ns());
        self.clock.instant(next_ns.min(self.end_ns))
    }

    /// What the publisher came to.
    pub(crate) fn end(self, failure: Option<String>) -> Outcome {
        let over_ns = self.clock.now_ns().min(self.end_ns);
        let is_counted_out = self.next_sequence >= self.messages_max;
        Outcome {
            latency: self.latency,
            overdue: if is_counted_out { 0 } else { self.pace.overdue(over_ns) },
            failure,
        }
    }

    fn content(&self, sequence: u64, due_ns: u64) -> Content {
        Content::new(&self.plan.run, self.id, sequence, due_ns, self.plan.payload_bytes)
    }
}

/// How long to rest before a connection is made anew.
pub(crate) const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Place;
    use crate::ledger::{Book, Protocol};

    fn publisher(ledger: &Arc<Ledger>) -> Publisher {
        let plan = Plan {
            run: "run".to_owned(),
            protocol: Protocol::Mqtt5,
            qos: 1,
            connections: 1,
            window: 1,
            rate: None,
            payload_bytes: 128,
            messages_max: 2,
            time_max: Duration::from_secs(60),
            is_persistent: true,
            tier: Plan::TIER_UNTOLD.to_owned(),
        };
        let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let target = Target {
            http: nobody,
            mqtt: nobody,
            user: "user".to_owned(),
            password: String::new(),
            topic: "topic".to_owned(),
            place: Place {
                domain: "domain".to_owned(),
                channel: "channel".to_owned(),
            },
        };
        let shared = Shared {
            ledger: Some(Arc::clone(ledger)),
            clock: Clock::start(),
            counts: Arc::default(),
        };
        Publisher::new(&plan, target, (0, 1), shared)
    }

    #[test]
    fn a_connection_is_over_in_the_ledger_when_anything_was_sent_over_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let ledger = Ledger::create(&path, "run").unwrap();
        let mut publisher = publisher(&ledger);
        publisher.closed();
        let (message, _) = publisher.take().unwrap();
        publisher.closed();
        publisher.closed();
        publisher.repeat(&message);
        publisher.closed();
        ledger.close().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let kinds = text.lines().filter_map(|line| line.split_whitespace().next());
        let kinds: Vec<&str> = kinds.collect();
        assert_eq!(kinds, ["run", "producer", "sent", "closed", "again", "closed"]);
        assert!(Book::read(&path).unwrap().entries[0][0].waited_ns > 0);
    }
}
