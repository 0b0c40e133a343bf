//! The session machine: bytes and decisions in, bytes and steps out. It has no socket, no clock, no log and no topics of its own.
//!
//! [`Machine::next`] takes what a client sent and says what is to be done outside; what came of it is told by the method that
//! the [`Step`] names. Answers are appended to the buffer that every call is given.

mod alias;
mod connect;
mod deliver;
pub(crate) mod generations;
mod inbound;
mod inflight;
mod kept;
mod received;
mod settings;
mod subscribe;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use trunkline_gate::Credentials;
use trunkline_mqtt_wire::{
    Ack, DecodeError, Decoder, Disconnect, Limits, Packet, PacketId, PacketType, Publish, QoS, ReasonCode, Subscribe,
    Utf8Bytes, Version, encode, encoded_bytes,
};

pub use connect::Opened;
pub use deliver::{Delivered, Offer};
pub use generations::Generations;
pub use kept::{Awaits, Kept, Sent, Source};
pub use settings::Settings;

use crate::config::Refusals;
use crate::limits::{PACKET_OVERHEAD_BYTES_MAX, RECEIVE_MAX, TOPIC_ALIASES_MAX};
use crate::reason::Feature;
use alias::{Given, Told};
use connect::{Opening, Peer};
use inflight::Inflight;
use kept::Held;
use received::Received;

/// One client's end of the protocol, from its first byte to its last.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    decoder: Decoder,
    phase: Phase,
    peer: Peer,
    acks: VecDeque<AckSlot>,
    received: Received,
    inflight: Inflight,
    told: Told,
    given: Given,
    /// When the client was last heard, on the caller's clock.
    heard: Duration,
    unsupported: Option<Feature>,
    has_refused_payload: bool,
    owes_will: bool,
    /// Whether the session outlives the connection.
    is_kept: bool,
    generations: Generations,
    held: Held,
    changes: u64,
    /// What groups dealt at QoS 1 and was acknowledged since this was last asked. The window bounds it.
    shared_answered: Vec<(u64, u64)>,
}

/// Where a connection stands.
#[derive(Debug)]
enum Phase {
    /// CONNECT has not come.
    Silent,
    /// CONNECT is being decided.
    Admitting(Box<Opening>),
    /// CONNACK was success.
    Open,
    /// Nothing is read or said any more.
    Closed,
}

/// The PUBACK or PUBREC of one PUBLISH, in its place in the order of arrival.
#[derive(Debug)]
struct AckSlot {
    packet_id: PacketId,
    qos: QoS,
    answer: Option<ReasonCode>,
    /// What the answer is when the log takes the message.
    success: ReasonCode,
}

/// What is to be done outside of the machine.
#[derive(Debug)]
pub enum Step {
    /// Nothing: there is no whole packet to read.
    Wait,
    /// Nothing: go on with the next packet.
    Continue,
    /// Ask whether these credentials are admitted, and tell [`Machine::admitted`].
    Admit(Credentials),
    /// Ask whether the message may be published; then [`Machine::awaiting`] and append it, or [`Machine::deny`].
    Publish(Publish),
    /// Ask for each of its filters, and tell [`Machine::subscribed`].
    Subscribe(Subscribe),
    /// Remove these subscriptions, and tell [`Machine::unsubscribed`].
    Unsubscribe {
        /// What the answer is called by.
        packet_id: PacketId,
        /// The filters in their order.
        filters: Vec<Utf8Bytes>,
    },
    /// Send what is written, then close.
    Close(Cause),
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The client said goodbye.
    Left,
    /// The client sent what no client may send.
    Malformed,
    /// The client was not admitted.
    NotAdmitted,
    /// The client used a feature that is not offered.
    Unsupported,
    /// A publish was refused, which 3.1.1 can say in no other way.
    PublishRefused,
    /// The client exceeded a limit that it was told.
    OverLimit,
    /// The client was silent for one and a half keep alives.
    KeepAlive,
    /// Another connection took the session.
    TakenOver,
    /// The client or its domain is no longer enabled.
    Revoked,
    /// What was written for the client, and not taken by it, may not be delivered any more.
    Withdrawn,
    /// The node drains.
    Draining,
    /// The platform could not keep a promise.
    Failed,
    /// What the client waits for depends on a part of the platform that does not answer.
    Busy,
    /// The connection broke, or its client did not read for too long.
    Lost,
    /// The connection was open for too long without an admitted CONNECT.
    Handshake,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 15] = [
        Self::Left,
        Self::Malformed,
        Self::NotAdmitted,
        Self::Unsupported,
        Self::PublishRefused,
        Self::OverLimit,
        Self::KeepAlive,
        Self::TakenOver,
        Self::Revoked,
        Self::Withdrawn,
        Self::Draining,
        Self::Failed,
        Self::Busy,
        Self::Lost,
        Self::Handshake,
    ];

    /// Its name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Malformed => "malformed",
            Self::NotAdmitted => "not_admitted",
            Self::Unsupported => "unsupported",
            Self::PublishRefused => "publish_refused",
            Self::OverLimit => "over_limit",
            Self::KeepAlive => "keep_alive",
            Self::TakenOver => "taken_over",
            Self::Revoked => "revoked",
            Self::Withdrawn => "withdrawn",
            Self::Draining => "draining",
            Self::Failed => "failed",
            Self::Busy => "busy",
            Self::Lost => "lost",
            Self::Handshake => "handshake",
        }
    }
}

impl Machine {
    /// A machine for a connection that was just accepted at `now` on the caller's clock.
    pub fn new(mut settings: Settings, now: Duration) -> Self {
        settings.receive_max = settings.receive_max.clamp(1, RECEIVE_MAX);
        settings.topic_alias_max = settings.topic_alias_max.min(TOPIC_ALIASES_MAX);
        let packet_bytes_max = settings.payload_bytes_max + PACKET_OVERHEAD_BYTES_MAX;
        let limits = Limits {
            packet_bytes_max: u32::try_from(packet_bytes_max).unwrap_or(Limits::STANDARD_PACKET_BYTES_MAX),
            ..settings.limits
        };
        Self {
            settings,
            decoder: Decoder::server(limits),
            phase: Phase::Silent,
            peer: Peer::default(),
            acks: VecDeque::new(),
            received: Received::default(),
            inflight: Inflight::default(),
            told: Told::default(),
            given: Given::default(),
            heard: now,
            unsupported: None,
            has_refused_payload: false,
            owes_will: false,
            is_kept: false,
            generations: Generations::default(),
            held: Held::default(),
            changes: 0,
            shared_answered: Vec::new(),
        }
    }

    /// Reads the next packet from `input`, having heard the client at `now`.
    pub fn next(&mut self, input: &mut BytesMut, now: Duration, out: &mut BytesMut) -> Step {
        match self.phase {
            Phase::Silent | Phase::Open => {}
            Phase::Admitting(_) | Phase::Closed => return Step::Wait,
        }
        match self.decoder.decode(input) {
            Ok(None) => Step::Wait,
            Ok(Some(packet)) => {
                self.heard = now;
                self.receive(packet, out)
            }
            Err(error) => self.malformed(&error, out),
        }
    }

    /// The version spoken, once CONNECT said it.
    pub fn version(&self) -> Version {
        self.decoder.version().unwrap_or(Version::V5)
    }

    /// The MQTT client id, given or assigned; empty before CONNECT.
    pub const fn client_id(&self) -> &Utf8Bytes {
        &self.peer.client_id
    }

    /// Whether the client that asks to be admitted gets its MQTT client id from here: nobody can have a session under it.
    pub fn has_new_id(&self) -> bool {
        matches!(&self.phase, Phase::Admitting(opening) if opening.has_assigned_id)
    }

    /// Whether the client was admitted and the connection goes on.
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether further packets may be read: a 3.1.1 client knows no Receive Maximum and is held back instead.
    pub fn may_read(&self) -> bool {
        match self.phase {
            Phase::Silent => true,
            Phase::Open if self.is_stopped() => false,
            Phase::Open => self.version() == Version::V5 || self.acks.len() < usize::from(self.settings.receive_max),
            Phase::Admitting(_) | Phase::Closed => false,
        }
    }

    /// A feature that is not offered and was used since this was last asked.
    pub const fn take_unsupported(&mut self) -> Option<Feature> {
        self.unsupported.take()
    }

    /// Whether a message was refused for its payload since this was last asked.
    pub const fn take_invalid_payload(&mut self) -> bool {
        std::mem::replace(&mut self.has_refused_payload, false)
    }

    /// When [`Machine::tick`] is to be called, on the caller's clock.
    pub fn deadline(&self) -> Option<Duration> {
        let silence = Duration::from_millis(u64::from(self.peer.keep_alive_s) * 1_500);
        (self.is_open() && !silence.is_zero()).then(|| self.heard + silence)
    }

    /// Nothing was read from the client up to `now`, though it may have sent something.
    pub const fn held_back(&mut self, now: Duration) {
        self.heard = now;
    }

    /// Looks at the keep alive.
    pub fn tick(&mut self, now: Duration, out: &mut BytesMut) -> Step {
        match self.deadline() {
            Some(deadline) if now >= deadline => self.disconnect(ReasonCode::KeepAliveTimeout, Cause::KeepAlive, out),
            Some(_) | None => Step::Continue,
        }
    }

    /// Another connection has taken the session.
    pub fn taken_over(&mut self, out: &mut BytesMut) -> Step {
        self.disconnect(ReasonCode::SessionTakenOver, Cause::TakenOver, out)
    }

    /// The client or its domain was disabled or removed.
    pub fn revoked(&mut self, out: &mut BytesMut) -> Step {
        self.disconnect(ReasonCode::AdministrativeAction, Cause::Revoked, out)
    }

    /// The platform did not keep a promise that it owes the client.
    pub fn failed(&mut self, out: &mut BytesMut) -> Step {
        self.disconnect(ReasonCode::UnspecifiedError, Cause::Failed, out)
    }

    /// What the client waits for cannot be had from here now; it may ask again, perhaps elsewhere.
    pub fn busy(&mut self, out: &mut BytesMut) -> Step {
        self.disconnect(ReasonCode::ServerBusy, Cause::Busy, out)
    }

    /// The node drains; outstanding acknowledgements have been written.
    pub fn drained(&mut self, out: &mut BytesMut) -> Step {
        self.disconnect(ReasonCode::ServerShuttingDown, Cause::Draining, out)
    }

    fn receive(&mut self, packet: Packet, out: &mut BytesMut) -> Step {
        match packet {
            Packet::Connect(connect) => self.connect(*connect, out),
            Packet::Publish(publish) => self.publish(publish, out),
            Packet::PubAck(ack) => self.acknowledged(&ack),
            Packet::PubRec(ack) => self.was_received(&ack, out),
            Packet::PubComp(ack) => self.was_completed(&ack),
            Packet::PubRel(ack) => self.release(&ack, out),
            Packet::Subscribe(subscribe) => self.subscribe(subscribe),
            Packet::Unsubscribe(unsubscribe) => Step::Unsubscribe {
                packet_id: unsubscribe.packet_id,
                filters: unsubscribe.filters,
            },
            Packet::PingReq => {
                self.send(Packet::PingResp, out);
                Step::Continue
            }
            Packet::Disconnect(disconnect) => {
                if let Some(expiry_s) = disconnect.properties.session_expiry_s {
                    // Who did not ask for a session cannot have one when it leaves [MQTT-3.14.2-2].
                    if expiry_s > 0 && self.peer.expiry_s == 0 {
                        return self.disconnect(ReasonCode::ProtocolError, Cause::Malformed, out);
                    }
                    self.peer.expiry_s = expiry_s;
                }
                self.owes_will &= disconnect.reason != ReasonCode::Success;
                self.phase = Phase::Closed;
                Step::Close(Cause::Left)
            }
            Packet::Auth(_) => self.refuse_feature(Feature::EnhancedAuthentication, out),
            // These are for clients, and the codec refuses them.
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                self.disconnect(ReasonCode::ProtocolError, Cause::Malformed, out)
            }
        }
    }

    /// Ends the connection for bytes that are no packet. Only who began with a CONNECT is told.
    fn malformed(&mut self, error: &DecodeError, out: &mut BytesMut) -> Step {
        let cause = match error {
            DecodeError::PacketTooLarge { .. } | DecodeError::TooManyFilters { .. } => Cause::OverLimit,
            _ => Cause::Malformed,
        };
        let reason = error.reason();
        match self.phase {
            Phase::Silent if self.is_worth_connack(reason) => self.refuse_connect(reason, None, cause, out),
            Phase::Silent | Phase::Admitting(_) | Phase::Closed => {
                self.phase = Phase::Closed;
                Step::Close(cause)
            }
            Phase::Open if self.settings.refusals == Refusals::Terse => self.malformed_tersely(error, cause, out),
            Phase::Open => self.disconnect(reason, cause, out),
        }
    }

    /// Ends the connection without a word on which rule was broken. Who begins anew, or speaks as a server, does not wait for a goodbye.
    fn malformed_tersely(&mut self, error: &DecodeError, cause: Cause, out: &mut BytesMut) -> Step {
        match error {
            DecodeError::SecondConnect | DecodeError::Direction(_) => {
                self.phase = Phase::Closed;
                Step::Close(cause)
            }
            DecodeError::PacketTooLarge { .. } => self.disconnect(ReasonCode::PacketTooLarge, cause, out),
            DecodeError::TopicNameTooLong(_) => self.disconnect(ReasonCode::ProtocolError, cause, out),
            _ => self.disconnect(ReasonCode::MalformedPacket, cause, out),
        }
    }

    /// Whether a CONNECT that is none is answered. Bytes that no client of its version sends are not; and on 3.1.1 there are words for
    /// little else [MQTT-3.1.4-1].
    fn is_worth_connack(&self, reason: ReasonCode) -> bool {
        match self.decoder.version() {
            None => false,
            Some(Version::V3) => matches!(
                reason,
                ReasonCode::UnsupportedProtocolVersion | ReasonCode::ClientIdentifierNotValid
            ),
            Some(Version::V5) => reason != ReasonCode::MalformedPacket,
        }
    }

    /// Ends the connection over a feature that is not offered.
    fn refuse_feature(&mut self, feature: Feature, out: &mut BytesMut) -> Step {
        self.unsupported = Some(feature);
        self.say_goodbye(feature.reason(), Some(feature.words()), out);
        Step::Close(Cause::Unsupported)
    }

    /// Ends the connection, saying why where the version can.
    fn disconnect(&mut self, reason: ReasonCode, cause: Cause, out: &mut BytesMut) -> Step {
        self.say_goodbye(reason, None, out);
        Step::Close(cause)
    }

    fn say_goodbye(&mut self, reason: ReasonCode, words: Option<&'static str>, out: &mut BytesMut) {
        if self.is_open() && self.version() == Version::V5 {
            let mut disconnect = Disconnect {
                reason: match reason.is_allowed_in(PacketType::Disconnect) {
                    true => reason,
                    false => ReasonCode::UnspecifiedError,
                },
                ..Disconnect::default()
            };
            disconnect.properties.reason_string = words.and_then(|words| Utf8Bytes::try_from(words).ok());
            self.send(Packet::Disconnect(Box::new(disconnect)), out);
        }
        self.phase = Phase::Closed;
    }

    /// Writes a packet, without its words when it would be larger than the client takes, or not at all when it still is.
    fn send(&self, mut packet: Packet, out: &mut BytesMut) {
        let version = self.version();
        let fits =
            |packet: &Packet| encoded_bytes(packet, version).is_ok_and(|bytes| bytes <= self.peer.packet_bytes_max);
        if self.settings.refusals == Refusals::Terse || !fits(&packet) {
            leave_out_words(&mut packet);
            if !fits(&packet) {
                return;
            }
        }
        let written = encode(&packet, version, out);
        debug_assert!(written.is_ok(), "an answer of ours breaks the standard: {written:?}");
    }
}

/// Leaves out what [MQTT-3.2.2-19] and its like let a server leave out.
fn leave_out_words(packet: &mut Packet) {
    match packet {
        Packet::ConnAck(connack) => connack.properties.reason_string = None,
        Packet::Disconnect(disconnect) => disconnect.properties.reason_string = None,
        Packet::PubAck(Ack { properties, .. }) | Packet::PubRec(Ack { properties, .. }) => {
            properties.reason_string = None;
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
