//! CONNECT and its answer.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::BytesMut;
use trunkline_core::{Secret, SessionId};
use trunkline_gate::{Credentials, Denial, Refusal};
use trunkline_mqtt_wire::{
    ConnAck, ConnAckProperties, Connect, Limits, Packet, PacketType, ReasonCode, Utf8Bytes, Version, Will,
};

use super::alias::Given;
use super::kept::Kept;
use super::{Cause, Machine, Phase, Step};
use crate::limits::{EXPIRY_NEVER_S, PACKET_OVERHEAD_BYTES_MAX, WINDOW_MAX};
use crate::reason::{self, Feature};

/// What a client said of itself.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) client_id: Utf8Bytes,
    /// Seconds of silence allowed, before they are counted one and a half times; 0 for any.
    pub(super) keep_alive_s: u16,
    /// Messages at QoS 1 and 2 that it takes without having acknowledged them.
    pub(super) window: u16,
    /// Bytes of a packet that it takes.
    pub(super) packet_bytes_max: usize,
    /// Whether it wants words with the answers to what it publishes and subscribes to.
    pub(super) wants_words: bool,
    /// Whether it speaks MQTT 3.1, whose CONNACK does not tell whether a session was there.
    pub(super) is_3_1: bool,
    /// Whether it is a bridge.
    pub(super) is_bridge: bool,
    /// Whether a session that is there is thrown away.
    pub(super) clean_start: bool,
    /// Seconds for which its session outlives its connection.
    pub(super) expiry_s: u32,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            client_id: Utf8Bytes::new(),
            keep_alive_s: 0,
            window: WINDOW_MAX,
            packet_bytes_max: usize::MAX,
            wants_words: true,
            is_3_1: false,
            is_bridge: false,
            clean_start: true,
            expiry_s: 0,
        }
    }
}

/// What the answer to a CONNECT depends on beyond its credentials.
#[derive(Debug)]
pub(super) struct Opening {
    will: Option<Will>,
    pub(super) has_assigned_id: bool,
    has_capped_keep_alive: bool,
}

/// The session of a client that is admitted.
#[derive(Debug, Default)]
pub struct Opened {
    /// Whether it was there before.
    pub is_present: bool,
    /// What there is of it, if it is kept; `None` for one that ends with the connection.
    pub kept: Option<Box<Kept>>,
}

impl Machine {
    pub(super) fn connect(&mut self, connect: Connect, out: &mut BytesMut) -> Step {
        let version = self.version();
        let has_assigned_id = connect.client_id.is_empty();
        let keep_alive_s_max = match version {
            Version::V3 => u16::MAX,
            Version::V5 => self.settings.keep_alive_s_max,
        };
        let properties = &connect.properties;
        let assigned = || Utf8Bytes::try_from(format!("auto-{}", SessionId::new())).unwrap_or_default();
        self.peer = Peer {
            client_id: if has_assigned_id {
                assigned()
            } else {
                connect.client_id.detached()
            },
            keep_alive_s: connect.keep_alive_s.min(keep_alive_s_max),
            window: properties
                .receive_maximum
                .map_or(u16::MAX, NonZeroU16::get)
                .min(WINDOW_MAX),
            packet_bytes_max: properties
                .maximum_packet_bytes
                .map_or(usize::MAX, |bytes| bytes.get() as usize),
            wants_words: properties.request_problem_information.unwrap_or(true),
            is_3_1: connect.is_3_1,
            is_bridge: connect.is_bridge,
            clean_start: connect.clean_start,
            expiry_s: match version {
                Version::V3 if connect.clean_start => 0,
                Version::V3 => EXPIRY_NEVER_S,
                Version::V5 => properties.session_expiry_s.unwrap_or(0),
            },
        };
        self.given = Given::new(properties.topic_alias_maximum.unwrap_or(0));
        if properties.authentication_method.is_some() {
            return self.refuse_opening(Feature::EnhancedAuthentication, out);
        }
        let password = connect
            .password
            .map(|password| password.reveal().to_vec())
            .unwrap_or_default();
        if let Some(reason) = connect.will.as_ref().and_then(|will| self.fault_of(will)) {
            return self.refuse_connect(reason, None, Cause::OverLimit, out);
        }
        let Ok(secret) = String::from_utf8(password) else {
            let reason = reason::of_refusal(Refusal::BadCredentials);
            return self.refuse_connect(reason, None, Cause::NotAdmitted, out);
        };
        self.phase = Phase::Admitting(Box::new(Opening {
            will: connect.will,
            has_assigned_id,
            has_capped_keep_alive: connect.keep_alive_s > keep_alive_s_max,
        }));
        let user_name = connect.user_name.as_deref().unwrap_or_default();
        Step::Admit(Credentials::of_client(user_name, Secret::new(secret)))
    }

    /// The will of a CONNECT that is being decided, once. It is to be authorized before [`Machine::admitted`].
    pub fn take_will(&mut self) -> Option<Will> {
        let Phase::Admitting(opening) = &mut self.phase else {
            return None;
        };
        let will = opening.will.take();
        self.owes_will = will.is_some();
        will
    }

    /// Whether the will is to be published now that the connection is over: it did not end by a goodbye that takes the will back.
    pub const fn owes_will(&self) -> bool {
        self.owes_will
    }

    /// Whether the client throws a session away that is there.
    pub const fn is_clean_start(&self) -> bool {
        self.peer.clean_start
    }

    /// Seconds for which the session outlives the connection, as the client said last; [`EXPIRY_NEVER_S`] for ever.
    pub const fn expiry_s(&self) -> u32 {
        self.peer.expiry_s
    }

    /// Refuses a CONNECT whose client has as many sessions as it may have.
    pub fn has_too_many_sessions(&mut self, out: &mut BytesMut) -> Step {
        let words = Some("the client has as many sessions as it may have");
        self.refuse_connect(ReasonCode::QuotaExceeded, words, Cause::OverLimit, out)
    }

    /// Refuses a CONNECT whose will may not be published.
    pub fn will_denied(&mut self, denial: &Denial, out: &mut BytesMut) -> Step {
        self.refuse_connect(reason::of_will_denial(denial), None, Cause::NotAdmitted, out)
    }

    /// Answers CONNECT, now that its credentials are decided.
    pub fn admitted(&mut self, answer: Result<Opened, Refusal>, out: &mut BytesMut) -> Step {
        let Phase::Admitting(opening) = std::mem::replace(&mut self.phase, Phase::Open) else {
            self.phase = Phase::Closed;
            return Step::Close(Cause::Failed);
        };
        let opened = match answer {
            Ok(opened) => opened,
            Err(refusal) => return self.refuse_connect(reason::of_refusal(refusal), None, Cause::NotAdmitted, out),
        };
        if let Some(kept) = opened.kept {
            self.resume(*kept);
        }
        let connack = ConnAck {
            session_present: opened.is_present && !self.peer.is_3_1,
            properties: self.terms(&opening),
            ..ConnAck::default()
        };
        self.send(Packet::ConnAck(Box::new(connack)), out);
        Step::Continue
    }

    /// Why this cannot be a will.
    fn fault_of(&self, will: &Will) -> Option<ReasonCode> {
        let is_text = will.properties.payload_is_utf8 == Some(true);
        if will.payload.len() > self.settings.payload_bytes_max {
            return Some(ReasonCode::PacketTooLarge);
        }
        (is_text && std::str::from_utf8(&will.payload).is_err()).then_some(ReasonCode::PayloadFormatInvalid)
    }

    /// What MQTT 5 clients are told to keep to; 3.1.1 has no place for it.
    fn terms(&self, opening: &Opening) -> ConnAckProperties {
        let packet_bytes_max = u32::try_from(self.settings.payload_bytes_max + PACKET_OVERHEAD_BYTES_MAX);
        let packet_bytes_max = packet_bytes_max
            .ok()
            .filter(|bytes| *bytes < Limits::STANDARD_PACKET_BYTES_MAX);
        ConnAckProperties {
            receive_maximum: NonZeroU16::new(self.settings.receive_max),
            maximum_packet_bytes: packet_bytes_max.and_then(NonZeroU32::new),
            topic_alias_maximum: Some(self.settings.topic_alias_max),
            assigned_client_id: opening.has_assigned_id.then(|| self.peer.client_id.clone()),
            server_keep_alive_s: opening.has_capped_keep_alive.then_some(self.peer.keep_alive_s),
            ..ConnAckProperties::default()
        }
    }

    fn refuse_opening(&mut self, feature: Feature, out: &mut BytesMut) -> Step {
        self.unsupported = Some(feature);
        self.refuse_connect(feature.reason(), Some(feature.words()), Cause::Unsupported, out)
    }

    /// Answers CONNECT with a failure, where the version has words for it, and ends the connection.
    pub(super) fn refuse_connect(
        &mut self,
        reason: ReasonCode,
        words: Option<&'static str>,
        cause: Cause,
        out: &mut BytesMut,
    ) -> Step {
        self.phase = Phase::Closed;
        if reason.is_allowed_in(PacketType::ConnAck) {
            let mut connack = ConnAck {
                reason,
                ..ConnAck::default()
            };
            connack.properties.reason_string = words.and_then(|words| Utf8Bytes::try_from(words).ok());
            self.send(Packet::ConnAck(Box::new(connack)), out);
        }
        Step::Close(cause)
    }
}
