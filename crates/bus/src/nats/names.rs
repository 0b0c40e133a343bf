//! How streams, buckets and subjects are called. One place, since permissions are given by these names.

use trunkline_core::DomainId;

use crate::log::Shard;
use crate::state::Keyspace;

/// What comes after every subject of `Live`, so that one subscription covers a prefix and all below it, by whole tokens.
const LIVE_END: &str = "=";

/// The names of one platform on a server.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: String,
}

/// A log of the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogName {
    Messages,
    Events,
    Dead,
}

/// A bucket of the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Bucket {
    Durable,
    Volatile,
    Leases,
}

impl LogName {
    pub(super) const ALL: [Self; 3] = [Self::Messages, Self::Events, Self::Dead];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Events => "events",
            Self::Dead => "dead",
        }
    }
}

impl Bucket {
    pub(super) const ALL: [Self; 3] = [Self::Durable, Self::Volatile, Self::Leases];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Volatile => "volatile",
            Self::Leases => "leases",
        }
    }
}

impl From<Keyspace> for Bucket {
    fn from(keyspace: Keyspace) -> Self {
        match keyspace {
            Keyspace::Durable => Self::Durable,
            Keyspace::Volatile => Self::Volatile,
        }
    }
}

/// Whether the publisher of a message wants an answer: the last token of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Wanted,
    Unwanted,
}

impl Answer {
    const fn token(self) -> &'static str {
        match self {
            Self::Wanted => "a",
            Self::Unwanted => "u",
        }
    }
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    pub(super) fn stream(&self, log: LogName, shard: Shard) -> String {
        format!("{}_{}_{shard}", self.prefix, log.as_str())
    }

    /// All subjects of a shard: `<prefix>.<log>.<shard>.<domain>.<a or u>`.
    pub(super) fn shard_subjects(&self, log: LogName, shard: Shard) -> String {
        format!("{}.{}.{shard}.>", self.prefix, log.as_str())
    }

    pub(super) fn entry_subject(&self, log: LogName, shard: Shard, domain: DomainId, answer: Answer) -> String {
        let (log, domain, answer) = (log.as_str(), domain.uuid().simple(), answer.token());
        format!("{}.{log}.{shard}.{domain}.{answer}", self.prefix)
    }

    /// All entries of a domain.
    pub(super) fn domain_subjects(&self, log: LogName, shard: Shard, domain: DomainId) -> String {
        let domain = domain.uuid().simple();
        format!("{}.{}.{shard}.{domain}.*", self.prefix, log.as_str())
    }

    /// All entries whose publishers want no answer.
    pub(super) fn unanswered_subjects(&self, log: LogName) -> String {
        let unwanted = Answer::Unwanted.token();
        format!("{}.{}.*.*.{unwanted}", self.prefix, log.as_str())
    }

    /// Where the server tells of the entries of a shard that it stored.
    pub(super) fn shard_news(&self, log: LogName, shard: Shard) -> String {
        format!("{}.news.{}.{shard}.>", self.prefix, log.as_str())
    }

    pub(super) fn bucket_stream(&self, bucket: Bucket) -> String {
        format!("KV_{}_{}", self.prefix, bucket.as_str())
    }

    /// The subject of `key`, which may be `>`.
    pub(super) fn key_subject(&self, bucket: Bucket, key: &str) -> String {
        format!("$KV.{}_{}.{key}", self.prefix, bucket.as_str())
    }

    /// Where the server tells of changes of `key`, which may be `>`.
    pub(super) fn key_news(&self, bucket: Bucket, key: &str) -> String {
        format!("{}.changes.{}.{key}", self.prefix, bucket.as_str())
    }

    pub(super) fn live_subject(&self, subject: &str) -> String {
        format!("{}.live.{subject}.{LIVE_END}", self.prefix)
    }

    pub(super) fn live_subjects(&self, prefix: &str) -> String {
        format!("{}.live.{prefix}.>", self.prefix)
    }

    /// What was published under `subject`, given as the server spells it.
    pub(super) fn live_subject_of<'subject>(&self, subject: &'subject str) -> Option<&'subject str> {
        let below = subject.strip_prefix(self.prefix.as_str())?.strip_prefix(".live.")?;
        below.strip_suffix(LIVE_END)?.strip_suffix('.')
    }
}

/// The domain that an entry's subject names, whichever prefix it has.
pub(super) fn domain_of(subject: &str) -> Option<DomainId> {
    subject.rsplit('.').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_gives_its_domain_back() {
        let (names, domain) = (Names::new("trunkline"), DomainId::new());
        let subject = names.entry_subject(LogName::Messages, Shard(2), domain, Answer::Unwanted);
        assert_eq!(domain_of(&subject), Some(domain));
    }

    #[test]
    fn a_live_subject_comes_back_as_it_was_published() {
        let names = Names::new("x-1");
        assert_eq!(names.live_subject_of(&names.live_subject("a.b")), Some("a.b"));
        assert_eq!(names.live_subject_of("y.live.a.="), None);
    }
}
