//! One piece of work that is recorded: open from when it is made until it is dropped.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span as Record, Status};

use super::context::TraceContext;
use super::scope::Scope;
use super::tracer::Recorder;

/// Links of one span; further ones are counted in it.
pub const LINKS_MAX: usize = 64;
/// Flags of a span whose parent is known to be in another process, and of links to such: sampled, "has is-remote", "is remote" (OTLP).
const FLAGS_REMOTE: u32 = 0x301;
/// The same with the parent in this process, or without one.
const FLAGS_LOCAL: u32 = 0x101;

/// What a span is to the other side of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Answers a request.
    Server,
    /// Makes a request.
    Client,
    /// Hands over a message.
    Producer,
    /// Works on messages that were handed over.
    Consumer,
}

/// A piece of work that is recorded. Dropped, it ends and goes to the collector.
#[derive(Debug)]
pub struct Span(Box<Open>);

#[derive(Debug)]
struct Open {
    recorder: Arc<Recorder>,
    context: TraceContext,
    opened: Instant,
    record: Record,
}

/// What a span is caused by.
pub(crate) enum Parent {
    Here(TraceContext),
    Elsewhere(TraceContext),
    None,
}

impl Span {
    pub(crate) fn open(recorder: Arc<Recorder>, kind: Kind, name: &'static str, parent: &Parent) -> Self {
        let (parent, flags) = match parent {
            Parent::Here(parent) => (Some(parent), FLAGS_LOCAL),
            Parent::Elsewhere(parent) => (Some(parent), FLAGS_REMOTE),
            Parent::None => (None, FLAGS_LOCAL),
        };
        let context = TraceContext::new_below(parent);
        let record = Record {
            trace_id: context.trace_id.to_be_bytes().into(),
            span_id: context.span_id.to_be_bytes().into(),
            parent_span_id: parent.map_or_else(Vec::new, |parent| parent.span_id.to_be_bytes().into()),
            flags,
            name: name.to_owned(),
            kind: kind.in_otlp().into(),
            start_time_unix_nano: now_ns(),
            ..Record::default()
        };
        Self(Box::new(Open {
            recorder,
            context,
            opened: Instant::now(),
            record,
        }))
    }

    /// Its place in the trace, for whoever is to record below it.
    pub const fn context(&self) -> TraceContext {
        self.0.context
    }

    /// A part of this work.
    pub fn child(&self, kind: Kind, name: &'static str) -> Self {
        let recorder = Arc::clone(&self.0.recorder);
        Self::open(recorder, kind, name, &Parent::Here(self.0.context))
    }

    /// What makes calls within this work record below it.
    pub fn scope(&self) -> Scope {
        Scope {
            recorder: Arc::clone(&self.0.recorder),
            context: self.0.context,
        }
    }

    /// Says something of the work in a text. No secrets, payloads or mail addresses.
    pub fn text(&mut self, name: &'static str, value: impl Into<String>) {
        self.note(name, Value::StringValue(value.into()));
    }

    /// Says something of the work in a number.
    pub fn number(&mut self, name: &'static str, value: i64) {
        self.note(name, Value::IntValue(value));
    }

    /// Says that the work came to nothing, and why, in a word.
    pub fn fail(&mut self, why: impl Into<String>) {
        self.0.record.status = Some(Status {
            message: why.into(),
            code: StatusCode::Error.into(),
        });
    }

    /// Says which other work this one goes on with; beyond [`LINKS_MAX`] they are only counted.
    pub(crate) fn link(&mut self, causes: &[TraceContext]) {
        let linked = &causes[..causes.len().min(LINKS_MAX)];
        self.0.record.links = linked.iter().map(link_to).collect();
        let left_out = causes.len() - linked.len();
        self.0.record.dropped_links_count = u32::try_from(left_out).unwrap_or(u32::MAX);
    }

    fn note(&mut self, name: &'static str, value: Value) {
        self.0.record.attributes.push(attribute(name, value));
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let mut record = std::mem::take(&mut self.0.record);
        let took_ns = u64::try_from(self.0.opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
        record.end_time_unix_nano = record.start_time_unix_nano.saturating_add(took_ns);
        self.0.recorder.tell(record);
    }
}

impl Kind {
    const fn in_otlp(self) -> SpanKind {
        match self {
            Self::Server => SpanKind::Server,
            Self::Client => SpanKind::Client,
            Self::Producer => SpanKind::Producer,
            Self::Consumer => SpanKind::Consumer,
        }
    }
}

/// A property as OTLP has it.
pub(crate) fn attribute(name: &str, value: Value) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn link_to(cause: &TraceContext) -> Link {
    Link {
        trace_id: cause.trace_id.to_be_bytes().into(),
        span_id: cause.span_id.to_be_bytes().into(),
        flags: FLAGS_REMOTE,
        ..Link::default()
    }
}

fn now_ns() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}
