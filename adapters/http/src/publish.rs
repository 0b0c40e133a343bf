//! One publish, from the request to the log's receipt.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::Request;
use axum::response::Response;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use trunkline_bus::log::{Appended, TryAppendError};
use trunkline_bus::{EnvelopeError, Log, NewEntry, Ref, Topic};
use trunkline_core::error::{Code, Fault, reason};
use trunkline_core::{Clock, MessageId, RequestId};
use trunkline_gate::{Action, Credentials, Denial, Gate, Permit, Publication, PublishTrace, Session, stamp};
use trunkline_proto::messages::v1::Protocol;
use trunkline_telemetry::traces::{traceparent_of, within};
use trunkline_telemetry::{Histogram, Metrics, Tracer};

use crate::answer::overloaded;
use crate::limits::{
    BODIES_BYTES_MAX, CONTENT_TYPE_BYTES_MAX, RECEIPT_WAIT_MAX, REQUESTS_MAX, RETRY_AFTER, ROOM_WAIT_MAX,
};
use crate::{Deps, answer, authorization, body, path};

/// QoS of a message by HTTP: its 202 promises what a PUBACK promises.
const QOS: u8 = 1;

/// Takes publishes.
pub(crate) struct Publisher {
    gate: Arc<dyn Gate>,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    tracer: Tracer,
    accepted_seconds: Histogram,
    payload_bytes_max: usize,
    room: Semaphore,
    bodies: Semaphore,
}

/// Who publishes, and the permission to.
struct Admission {
    session: Session,
    permit: Permit,
}

/// A message that the log holds.
struct Published {
    message_id: MessageId,
    place: Appended,
}

impl Publisher {
    pub(crate) fn new(deps: Deps) -> Self {
        let accepted_seconds = deps.metrics.histogram(
            "trunkline_http_publish_seconds",
            "Time from the head of an accepted publish by HTTP to its receipt.",
            &[],
        );
        Self {
            gate: deps.gate,
            log: deps.log,
            clock: deps.clock,
            metrics: deps.metrics,
            tracer: deps.tracer,
            accepted_seconds,
            payload_bytes_max: deps.payload_bytes_max,
            room: Semaphore::new(REQUESTS_MAX),
            bodies: Semaphore::new(BODIES_BYTES_MAX),
        }
    }

    /// Publishes what `request` carries and tells how that went.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        let (started, request_id) = (Instant::now(), RequestId::new());
        let mut trace = PublishTrace::begin(&self.tracer, "http publish", || traceparent_of(request.headers()));
        match within(trace.scope(), self.publish(request, &mut trace)).await {
            Ok(Published { message_id, place }) => {
                self.count("accepted");
                self.accepted_seconds.observe(started.elapsed());
                answer::accepted(message_id, place, request_id)
            }
            Err(fault) => {
                self.count(outcome(&fault));
                trace.refused(&fault.reason);
                tracing::debug!(request.id = %request_id, reason = %fault.reason, "a publish was refused");
                let wait = (fault.code == Code::Unavailable).then_some(RETRY_AFTER);
                let retry_after = fault.retry_after.or(wait);
                answer::refused(&Fault { retry_after, ..fault }, request_id)
            }
        }
    }

    async fn publish(&self, request: Request, trace: &mut PublishTrace) -> Result<Published, Fault> {
        let (head, body) = request.into_parts();
        let name = path::topic(head.uri.path())?;
        let topic = Topic::parse(&name).map_err(|error| Denial::InvalidTopic(error).into_fault())?;
        let domain = match topic.domain {
            Ref::Id(id) => id.to_string(),
            Ref::Route(route) => route.to_string(),
        };
        let credentials = authorization::read(&head.headers, &domain)?;
        let content_type = content_type(&head.headers)?;
        body::check_declared(&body, self.payload_bytes_max)?;
        let mut admission = self.admit(&credentials, &name).await?;
        let (payload, _share) = body::read(body, self.payload_bytes_max, &self.bodies).await?;
        // Only now, so that a slow sender holds nobody's place.
        let _room = self.room.try_acquire().map_err(|_| overloaded())?;
        if !admission.holds() {
            admission = self.admit(&credentials, &name).await?;
        }
        let publication = Publication {
            protocol: Protocol::Http,
            qos: QOS,
            content_type,
            payload,
            ..Publication::default()
        };
        let mut envelope = stamp(&admission.session, &admission.permit, &name, publication, &*self.clock);
        trace.append(&mut envelope);
        let entry = NewEntry::seal(envelope, self.payload_bytes_max)
            .map_err(|error| unsealed(&error))?
            .unrepeated();
        let message_id = entry.id();
        let place = self.append(entry).await?;
        trace.settled(Ok(&place));
        Ok(Published { message_id, place })
    }

    async fn admit(&self, credentials: &Credentials, topic: &str) -> Result<Admission, Fault> {
        let refused = |refusal: trunkline_gate::Refusal| refusal.into_fault();
        let session = self.gate.connect(credentials.clone()).await.map_err(refused)?;
        let answer = match self.gate.may_warm(&session, Action::Publish, topic) {
            Some(answer) => answer,
            None => self.gate.may(&session, Action::Publish, topic).await,
        };
        let permit = answer.map_err(Denial::into_fault)?;
        Ok(Admission { session, permit })
    }

    /// Appends `entry` and waits until it is durable.
    async fn append(&self, entry: NewEntry) -> Result<Appended, Fault> {
        let receipt = match self.log.try_append(entry) {
            Ok(receipt) => receipt,
            Err(TryAppendError::Refused(error)) => return Err(error.fault()),
            Err(TryAppendError::Busy(entry)) => timeout(ROOM_WAIT_MAX, self.log.append(entry))
                .await
                .map_err(|_| overloaded())?
                .map_err(|error| error.fault())?,
        };
        timeout(RECEIPT_WAIT_MAX, receipt)
            .await
            .map_err(|_| unknown_outcome())?
            .map_err(|error| error.fault())
    }

    fn count(&self, outcome: &'static str) {
        let counter = self.metrics.counter(
            "trunkline_http_publishes_total",
            "Publishes by HTTP, by outcome.",
            &[("outcome", outcome)],
        );
        counter.increment();
    }
}

impl Admission {
    /// Whether no change of authorization has touched it.
    fn holds(&self) -> bool {
        self.session.is_undisturbed() && self.permit.grant.holds()
    }
}

/// The content type as it was given, empty when none was. Of several the first counts.
fn content_type(headers: &HeaderMap) -> Result<String, Fault> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(String::new());
    };
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) if text.len() <= CONTENT_TYPE_BYTES_MAX => Ok(text.to_owned()),
        _ => Err(Fault::invalid(
            "content-type",
            format!("is not UTF-8 or has more than {CONTENT_TYPE_BYTES_MAX} bytes"),
        )),
    }
}

fn unknown_outcome() -> Fault {
    let message = "the log did not answer in time; the message may or may not have been kept";
    Fault::new(Code::DeadlineExceeded, "OUTCOME_UNKNOWN", message)
}

fn unsealed(error: &EnvelopeError) -> Fault {
    match error {
        EnvelopeError::PayloadTooLarge { bytes_max, .. } => body::too_large(*bytes_max),
        EnvelopeError::OverheadTooLarge { .. } | EnvelopeError::Id { .. } | EnvelopeError::Malformed => {
            tracing::error!(%error, "a message by HTTP could not be sealed");
            Fault::new(
                Code::Internal,
                reason::INTERNAL,
                "internal error; its cause is in the log",
            )
        }
    }
}

/// The word for a failure in metrics.
fn outcome(fault: &Fault) -> &'static str {
    match fault.http() {
        400 => "malformed",
        401 => "unauthenticated",
        403 => "denied",
        413 => "too_large",
        429 => "limited",
        503 => "unavailable",
        504 => "unknown",
        507 => "full",
        _ => "failed",
    }
}
