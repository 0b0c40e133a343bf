//! The tracer: it says what is recorded, and takes what was.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry_proto::tonic::trace::v1::Span as Record;
use tokio::sync::mpsc;

use super::config::Config;
use super::context::TraceContext;
use super::export::{Export, QUEUE_SPANS_MAX};
use super::random;
use super::span::{Kind, Parent, Span};
use crate::{Counter, Metrics};

/// What is recorded in one process, and where it goes. Cheap to clone; the default records nothing.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<Arc<Recorder>>);

/// Who the spans of a process are from.
#[derive(Debug, Clone, Default)]
pub struct Resource {
    /// What the process does, such as `trunkline-mqtt-http`.
    pub service: String,
    /// Version of the binary.
    pub version: &'static str,
    /// Id of this run of it.
    pub instance: String,
    /// Id of the platform that it belongs to.
    pub platform: String,
}

/// What spans are made with and given back to.
pub(crate) struct Recorder {
    sampling_ratio: f64,
    follow_outside: bool,
    queue: mpsc::Sender<Record>,
    losses: Arc<Losses>,
}

/// Spans that no collector took.
pub(crate) struct Losses {
    count: Counter,
    /// Whether it was logged since a collector last took some.
    is_noted: AtomicBool,
}

impl Tracer {
    /// A tracer as the configuration says, and the export to its collector, which begins with the first span. Must be called in a runtime.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn open(config: &Config, resource: &Resource, metrics: &Metrics) -> Result<(Self, Option<Export>), String> {
        config.check()?;
        let Some(place) = config.place()? else {
            return Ok((Self::default(), None));
        };
        let losses = Arc::new(Losses::new(metrics));
        let (queue, spans) = mpsc::channel(QUEUE_SPANS_MAX);
        let export = Export::start(place, resource, (spans, Arc::clone(&losses)), metrics);
        let recorder = Recorder {
            sampling_ratio: config.sampling_ratio,
            follow_outside: config.follow_outside,
            queue,
            losses,
        };
        Ok((Self(Some(Arc::new(recorder))), Some(export)))
    }

    /// A span for something that comes from outside, if it is to be recorded. `outside` reads the `traceparent` that came along, and is
    /// asked only where that matters.
    pub fn admit<'a>(&self, kind: Kind, name: &'static str, outside: impl FnOnce() -> Option<&'a str>) -> Option<Span> {
        let recorder = self.0.as_ref()?;
        let read = || outside().and_then(TraceContext::parse);
        let parent = if recorder.follow_outside {
            let parent = read();
            let is_recorded = parent.map_or_else(|| recorder.samples(), |parent| parent.is_sampled);
            is_recorded.then_some(parent)?
        } else {
            recorder.samples().then(read)?
        };
        let parent = parent.map_or(Parent::None, Parent::Elsewhere);
        Some(Span::open(Arc::clone(recorder), kind, name, &parent))
    }

    /// A span below one of another process of the platform, if that is recorded.
    pub fn follow(&self, kind: Kind, name: &'static str, parent: TraceContext) -> Option<Span> {
        let recorder = self.0.as_ref().filter(|_| parent.is_sampled)?;
        let parent = Parent::Elsewhere(parent);
        Some(Span::open(Arc::clone(recorder), kind, name, &parent))
    }

    /// A span of a trace of its own for work that goes on with `causes`, if there are any.
    pub fn join(&self, kind: Kind, name: &'static str, causes: &[TraceContext]) -> Option<Span> {
        let recorder = self.0.as_ref().filter(|_| !causes.is_empty())?;
        let mut span = Span::open(Arc::clone(recorder), kind, name, &Parent::None);
        span.link(causes);
        Some(span)
    }

    /// Whether anything is ever recorded.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }
}

impl Recorder {
    /// Whether the next thing that is ours to judge is recorded.
    fn samples(&self) -> bool {
        // 53 bits, so that each is a number of its own below 1.
        #[allow(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
        let drawn = (random::next() >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < self.sampling_ratio
    }

    /// Takes a span that ended. Never waits: without room it is dropped.
    pub(crate) fn tell(&self, record: Record) {
        if self.queue.try_send(record).is_err() {
            self.losses.add(1);
        }
    }
}

impl Losses {
    fn new(metrics: &Metrics) -> Self {
        Self {
            count: metrics.counter(
                "trunkline_spans_dropped_total",
                "Spans of traces that no collector took.",
                &[],
            ),
            is_noted: AtomicBool::new(false),
        }
    }

    /// Counts some more, and logs the first.
    pub(crate) fn add(&self, spans: u64) {
        self.count.add(spans);
        if spans > 0 && !self.is_noted.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "spans are dropped, since no collector takes them; trunkline_spans_dropped_total counts them"
            );
        }
    }

    /// Has the next loss logged again.
    pub(crate) fn end(&self) {
        self.is_noted.store(false, Ordering::Relaxed);
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut recorder = formatter.debug_struct("Recorder");
        recorder
            .field("sampling_ratio", &self.sampling_ratio)
            .finish_non_exhaustive()
    }
}
