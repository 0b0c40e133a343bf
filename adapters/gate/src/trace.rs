//! The trace of one publish: all of it from its arrival to the log's receipt, and in that the append.

use bytes::Bytes;
use trunkline_bus::log::{AppendError, Appended};
use trunkline_proto::messages::v1::Envelope;
use trunkline_telemetry::Tracer;
use trunkline_telemetry::traces::{Kind, Scope, Span};
use uuid::Uuid;

/// What is recorded of one publish: for most of them nothing, which takes no memory. Dropped, it ends.
#[derive(Debug, Default)]
pub struct PublishTrace(Option<Box<Recorded>>);

/// Ends in this order.
#[derive(Debug)]
struct Recorded {
    append: Option<Span>,
    publish: Span,
}

impl PublishTrace {
    /// Begins with a publish by the protocol that `name` says, if it is to be recorded. `outside` reads the `traceparent` that came with it.
    pub fn begin<'a>(tracer: &Tracer, name: &'static str, outside: impl FnOnce() -> Option<&'a str>) -> Self {
        let span = tracer.admit(Kind::Server, name, outside);
        Self(span.map(|publish| Box::new(Recorded { append: None, publish })))
    }

    /// What calls made for the publish are recorded below.
    pub fn scope(&self) -> Option<Scope> {
        self.0.as_ref().map(|recorded| recorded.publish.scope())
    }

    /// Begins the append, and has the envelope say so to whoever works with the message later.
    pub fn append(&mut self, envelope: &mut Envelope) {
        let Some(recorded) = &mut self.0 else { return };
        let append = recorded.publish.child(Kind::Producer, "append");
        envelope.traceparent = append.context().to_string();
        recorded.append = Some(append);
        let told = [
            ("message.id", &envelope.id),
            ("domain.id", &envelope.domain_id),
            ("channel.id", &envelope.channel_id),
            ("client.id", &envelope.device_id),
        ];
        for (name, id) in told {
            recorded.publish.text(name, id_of(id));
        }
        let bytes = i64::try_from(envelope.payload.len()).unwrap_or(i64::MAX);
        recorded.publish.number("payload.bytes", bytes);
    }

    /// Ends with what the log answered.
    pub fn settled(&mut self, outcome: Result<&Appended, &AppendError>) {
        match outcome {
            Ok(place) => {
                if let Some(append) = self.0.as_mut().and_then(|recorded| recorded.append.as_mut()) {
                    append.number("log.shard", place.shard.0.into());
                    append.number("log.sequence", i64::try_from(place.sequence).unwrap_or(i64::MAX));
                }
                self.0 = None;
            }
            Err(error) if self.0.is_some() => self.refused(&error.fault().reason),
            Err(_) => {}
        }
    }

    /// Ends without the message being kept, and with the word for why.
    pub fn refused(&mut self, why: &str) {
        if let Some(mut recorded) = self.0.take() {
            if let Some(append) = &mut recorded.append {
                append.fail(why);
            }
            recorded.publish.fail(why);
        }
    }
}

fn id_of(bytes: &Bytes) -> String {
    Uuid::from_slice(bytes).unwrap_or_default().to_string()
}
