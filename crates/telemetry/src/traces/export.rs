//! The way to the collector: a queue, batches, and one task that sends them. Only that task ever waits for the collector.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource as Origin;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Record};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

use super::span::attribute;
use super::tracer::{Losses, Resource};
use crate::{Counter, Metrics};

/// Spans that wait for the collector; further ones are dropped.
pub const QUEUE_SPANS_MAX: usize = 4_096;
/// How long the end of a process may wait for a collector to take the last spans.
pub const FLUSH_WAIT_MAX: Duration = Duration::from_secs(2);
/// Spans of one request.
const BATCH_SPANS_MAX: usize = 512;
/// How long a smaller batch waits for more.
const LINGER: Duration = Duration::from_secs(1);
/// How long a connection to the collector may take to be made.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// How long the collector may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// The first pause after a failure; each further one is twice as long.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// What sends spans to the collector. Dropped, it stops at once.
#[derive(Debug)]
pub struct Export {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

struct Exporter {
    client: TraceServiceClient<Channel>,
    origin: Origin,
    scope: InstrumentationScope,
    spans: mpsc::Receiver<Record>,
    stop: oneshot::Receiver<()>,
    is_stopping: bool,
    is_failing: bool,
    exported: Counter,
    losses: Arc<Losses>,
}

/// What became of a batch.
enum Outcome {
    Taken { rejected: u64 },
    NotReached(Status),
    Refused(Status),
}

impl Export {
    pub(crate) fn start(
        place: Uri,
        resource: &Resource,
        (spans, losses): (mpsc::Receiver<Record>, Arc<Losses>),
        metrics: &Metrics,
    ) -> Self {
        let endpoint = Endpoint::from(place).connect_timeout(CONNECT_WAIT).timeout(ANSWER_WAIT);
        let (stop, stopped) = oneshot::channel();
        let exporter = Exporter {
            client: TraceServiceClient::new(endpoint.connect_lazy()),
            origin: origin(resource),
            scope: InstrumentationScope {
                name: "trunkline".to_owned(),
                version: resource.version.to_owned(),
                ..InstrumentationScope::default()
            },
            spans,
            stop: stopped,
            is_stopping: false,
            is_failing: false,
            exported: metrics.counter(
                "trunkline_spans_exported_total",
                "Spans of traces that the collector took.",
                &[],
            ),
            losses,
        };
        Self {
            stop: Some(stop),
            task: tokio::spawn(exporter.run()),
        }
    }

    /// Sends what was recorded until now, and ends; within [`FLUSH_WAIT_MAX`], whatever the collector does.
    pub async fn finish(mut self) {
        if let Some(stop) = self.stop.take() {
            // It is gone already only if it panicked.
            let _ = stop.send(());
        }
        if timeout(FLUSH_WAIT_MAX, &mut self.task).await.is_err() {
            let waited_s = FLUSH_WAIT_MAX.as_secs();
            tracing::warn!(waited_s, "the collector did not take the last spans in time");
        }
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Exporter {
    async fn run(mut self) {
        let mut batch = Vec::new();
        while self.gather(&mut batch).await {
            self.send(std::mem::take(&mut batch)).await;
        }
    }

    /// Fills `batch`, for as long as it may linger; `false` when it is empty because nothing will come any more.
    async fn gather(&mut self, batch: &mut Vec<Record>) -> bool {
        let mut deadline = None;
        while batch.len() < BATCH_SPANS_MAX && !self.is_stopping {
            let room = BATCH_SPANS_MAX - batch.len();
            tokio::select! {
                biased;
                _ = &mut self.stop => self.is_stopping = true,
                more = receive(&mut self.spans, batch, room, deadline) => match more {
                    Some(0) => self.is_stopping = true,
                    Some(_) => _ = deadline.get_or_insert_with(|| Instant::now() + LINGER),
                    None => return true,
                },
            }
        }
        if self.is_stopping {
            // Spans that end from now on are counted as dropped; those that wait are still sent.
            self.spans.close();
            while batch.len() < BATCH_SPANS_MAX
                && let Ok(record) = self.spans.try_recv()
            {
                batch.push(record);
            }
        }
        !batch.is_empty()
    }

    /// Sends a batch, again while the collector cannot be reached. While stopping, it is tried once.
    async fn send(&mut self, batch: Vec<Record>) {
        let count = batch.len() as u64;
        let request = self.request(batch);
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            let status = match self.export(request.clone()).await {
                Outcome::Taken { rejected } => return self.note_taken(count.saturating_sub(rejected), rejected),
                Outcome::NotReached(status) if !self.is_stopping => status,
                Outcome::NotReached(status) | Outcome::Refused(status) => {
                    self.note_failure(&status);
                    return self.losses.add(count);
                }
            };
            self.note_failure(&status);
            tokio::select! {
                biased;
                _ = &mut self.stop => self.is_stopping = true,
                () = sleep(pause) => {}
            }
            pause = RETRY_PAUSE_MAX.min(pause * 2);
        }
    }

    async fn export(&mut self, request: ExportTraceServiceRequest) -> Outcome {
        match self.client.export(request).await {
            Ok(answer) => {
                let rejected = answer
                    .into_inner()
                    .partial_success
                    .map_or(0, |partial| partial.rejected_spans);
                Outcome::Taken {
                    rejected: u64::try_from(rejected).unwrap_or_default(),
                }
            }
            Err(status) if is_passing(status.code()) => Outcome::NotReached(status),
            Err(status) => Outcome::Refused(status),
        }
    }

    fn request(&self, spans: Vec<Record>) -> ExportTraceServiceRequest {
        let scope_spans = ScopeSpans {
            scope: Some(self.scope.clone()),
            spans,
            ..ScopeSpans::default()
        };
        let resource_spans = ResourceSpans {
            resource: Some(self.origin.clone()),
            scope_spans: vec![scope_spans],
            ..ResourceSpans::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![resource_spans],
        }
    }

    fn note_taken(&mut self, taken: u64, rejected: u64) {
        self.exported.add(taken);
        match rejected {
            0 => self.losses.end(),
            _ => self.losses.add(rejected),
        }
        if std::mem::take(&mut self.is_failing) {
            tracing::info!("the collector takes spans again");
        }
    }

    /// Logs the first of several failures in a row.
    fn note_failure(&mut self, status: &Status) {
        if !std::mem::replace(&mut self.is_failing, true) {
            let (code, error) = (status.code(), status.message());
            tracing::warn!(
                ?code,
                error,
                "the collector takes no spans; they wait, and beyond a limit they are dropped"
            );
        }
    }
}

/// How many spans came into `batch` before the deadline, if there is one; 0 when none will come any more, `None` when it passed.
/// Cancel safe.
async fn receive(
    spans: &mut mpsc::Receiver<Record>,
    batch: &mut Vec<Record>,
    room: usize,
    deadline: Option<Instant>,
) -> Option<usize> {
    match deadline {
        Some(deadline) => timeout_at(deadline, spans.recv_many(batch, room)).await.ok(),
        None => Some(spans.recv_many(batch, room).await),
    }
}

/// Whether the same request may succeed later (OTLP specification, "Failures").
const fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    )
}

fn origin(resource: &Resource) -> Origin {
    let told = [
        ("service.name", resource.service.as_str()),
        ("service.version", resource.version),
        ("service.instance.id", &resource.instance),
        ("trunkline.platform.id", &resource.platform),
    ];
    let attributes = told.map(|(name, value)| attribute(name, Value::StringValue(value.to_owned())));
    Origin {
        attributes: attributes.into(),
        ..Origin::default()
    }
}
