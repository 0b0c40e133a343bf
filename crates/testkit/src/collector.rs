//! A collector of traces: it takes spans by OTLP over gRPC as any collector does, and keeps them for the test to look at.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span as Record};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

pub use tonic::Code;

use crate::until_some;

/// How long a span may take to come: it lingers in its process for a second.
const WAIT: Duration = Duration::from_secs(20);

/// A collector on a free loopback port. Dropping it ends it.
pub struct Collector {
    address: SocketAddr,
    taking: Taking,
    serving: JoinHandle<()>,
}

/// A span that came. Ids are in lower case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// `service.name` of the process that it is from.
    pub service: String,
    /// What was done.
    pub name: String,
    /// Its trace.
    pub trace: String,
    /// Itself.
    pub id: String,
    /// What it is part of; empty for the first of a trace.
    pub parent: String,
    /// Trace and span of each link.
    pub links: Vec<(String, String)>,
    /// What is told of it, numbers as texts.
    pub attributes: HashMap<String, String>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// When it began and ended, in nanoseconds since the Unix epoch.
    pub time: (u64, u64),
}

/// What it takes, and how.
#[derive(Clone, Default)]
struct Taking {
    spans: Arc<Mutex<Vec<Span>>>,
    /// What it answers instead of taking anything.
    refusal: Arc<Mutex<Option<Code>>>,
    refused: Arc<AtomicUsize>,
}

impl Collector {
    /// Starts one.
    ///
    /// # Panics
    /// If no loopback port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let taking = Taking::default();
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(taking.clone()));
        let serving = tokio::spawn(async move {
            let served = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
            served.expect("a collector serves until it is dropped");
        });
        Self {
            address,
            taking,
            serving,
        }
    }

    /// Where it takes spans.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as the configuration has it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that came so far, in the order of arrival.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        lock(&self.taking.spans).clone()
    }

    /// Answers every request with this code from now on, or takes them again.
    pub fn refuse_with(&self, refusal: Option<Code>) {
        *lock(&self.taking.refusal) = refusal;
    }

    /// How many requests it refused.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.taking.refused.load(Ordering::Relaxed)
    }

    /// The first span that `is_meant` means, once it came.
    ///
    /// # Panics
    /// If it does not come within 20 s, with all that did.
    pub async fn span(&self, what: &str, is_meant: impl Fn(&Span) -> bool) -> Span {
        let look = || async { self.spans().into_iter().find(|span| is_meant(span)) };
        let found = tokio::time::timeout(WAIT, until_some(WAIT * 2, look)).await;
        found.unwrap_or_else(|_| panic!("{what} did not come; these did: {:#?}", self.spans()))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tonic::async_trait]
impl TraceService for Taking {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if let Some(code) = *lock(&self.refusal) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Status::new(code, "refused by the test"));
        }
        let processes = request.into_inner().resource_spans.into_iter();
        lock(&self.spans).extend(processes.flat_map(spans_of));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn spans_of(process: ResourceSpans) -> Vec<Span> {
    let told = texts(process.resource.map(|resource| resource.attributes).unwrap_or_default());
    let service = told.get("service.name").cloned().unwrap_or_default();
    let records = process.scope_spans.into_iter().flat_map(|scope| scope.spans);
    records.map(|record| span(&service, record)).collect()
}

fn span(service: &str, record: Record) -> Span {
    let links = record.links.iter();
    let failed = record.status.filter(|status| status.code() == StatusCode::Error);
    Span {
        service: service.to_owned(),
        name: record.name,
        trace: hexadecimal(&record.trace_id),
        id: hexadecimal(&record.span_id),
        parent: hexadecimal(&record.parent_span_id),
        links: links
            .map(|link| (hexadecimal(&link.trace_id), hexadecimal(&link.span_id)))
            .collect(),
        attributes: texts(record.attributes),
        failure: failed.map(|status| status.message),
        time: (record.start_time_unix_nano, record.end_time_unix_nano),
    }
}

fn texts(attributes: Vec<KeyValue>) -> HashMap<String, String> {
    let text = |attribute: KeyValue| match attribute.value?.value? {
        Value::StringValue(text) => Some((attribute.key, text)),
        Value::IntValue(number) => Some((attribute.key, number.to_string())),
        _ => None,
    };
    attributes.into_iter().filter_map(text).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
