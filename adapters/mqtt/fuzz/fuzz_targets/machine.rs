//! Plays a client, a log and a record against the session machine, and holds what it says to what a server may say.
#![no_main]

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use trunkline_bus::log::{AppendError, Quota};
use trunkline_gate::{Denial, Refusal};
use trunkline_mqtt::Settings;
use trunkline_mqtt::machine::{Awaits, Delivered, Kept, Machine, Offer, Opened, Sent, Source, Step};
use trunkline_mqtt_wire::{
    Connect, ConnectProperties, Decoder, Limits, Packet, PacketId, PublishProperties, QoS, ReasonCode,
    SharedProperties, Utf8Bytes, Version, encode,
};

fuzz_target!(|input: &[u8]| {
    let mut input = Input(input);
    let mut play = Play::begin(&mut input);
    while !input.0.is_empty() && !play.has_ended {
        play.happening(&mut input);
        play.listen();
    }
});

/// What is left of the input; zeros when nothing is.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn below(&mut self, limit: u8) -> u8 {
        self.byte() % limit
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 != 0
    }

    /// One of few, so that they meet.
    fn id(&mut self) -> PacketId {
        PacketId::new(u16::from(self.below(6)) + 1).expect("above zero")
    }

    fn qos(&mut self) -> QoS {
        QoS::from_u8(self.below(3)).expect("below three")
    }
}

struct Play {
    machine: Machine,
    /// Reads what the machine is given, to know what the client has said.
    server: Decoder,
    client: Decoder,
    input: BytesMut,
    out: BytesMut,
    now: Duration,
    packet_bytes_max: usize,
    /// Messages at QoS 1 and 2 that the client takes before it has answered them.
    window: usize,
    /// Those that it has from this connection.
    under_way: HashSet<PacketId>,
    /// Whether it has answered what it had not been sent over this connection, so that its window is its own fault.
    is_ahead: bool,
    /// What the client was sent at QoS 1 and 2 and has not answered to the end, also over an earlier connection.
    outstanding: HashMap<PacketId, QoS>,
    /// Messages whose outcome the log has not told.
    awaiting: usize,
    /// Messages at QoS 1 that the log has, less the PUBACKs that said so.
    owed: usize,
    qos_of_awaiting: Vec<QoS>,
    is_saving: bool,
    is_open: bool,
    has_ended: bool,
}

impl Play {
    /// A client that sends a good CONNECT, nearly always.
    fn begin(input: &mut Input<'_>) -> Self {
        let version = if input.flag() { Version::V5 } else { Version::V3 };
        let (receive_maximum, bytes_max) = (NonZeroU16::new(u16::from(input.below(8))), u32::from(input.byte()) * 4);
        let is_v5 = version == Version::V5;
        let connect = Connect {
            clean_start: input.flag(),
            keep_alive_s: u16::from(input.below(100)),
            client_id: text("c"),
            properties: ConnectProperties {
                session_expiry_s: is_v5.then(|| u32::from(input.below(2))),
                receive_maximum: receive_maximum.filter(|_| is_v5),
                maximum_packet_bytes: std::num::NonZeroU32::new(bytes_max).filter(|_| is_v5),
                topic_alias_maximum: is_v5.then(|| u16::from(input.below(4))),
                ..ConnectProperties::default()
            },
            ..Connect::default()
        };
        let mut play = Self {
            machine: Machine::new(Settings::default(), Duration::ZERO),
            server: Decoder::server(Limits::STANDARD),
            client: Decoder::client(version, Limits::STANDARD),
            input: BytesMut::new(),
            out: BytesMut::new(),
            now: Duration::ZERO,
            packet_bytes_max: connect
                .properties
                .maximum_packet_bytes
                .map_or(usize::MAX, |bytes| bytes.get() as usize),
            window: connect
                .properties
                .receive_maximum
                .map_or(usize::MAX, |maximum| usize::from(maximum.get())),
            under_way: HashSet::new(),
            is_ahead: false,
            outstanding: HashMap::new(),
            awaiting: 0,
            owed: 0,
            qos_of_awaiting: Vec::new(),
            is_saving: false,
            is_open: false,
            has_ended: false,
        };
        if input.below(8) != 0 {
            encode(&Packet::Connect(Box::new(connect)), version, &mut play.input).expect("a valid CONNECT");
            play.read(input);
            play.listen();
        }
        play
    }

    fn happening(&mut self, input: &mut Input<'_>) {
        match input.below(12) {
            0 => {
                let bytes = input
                    .0
                    .split_at(usize::from(input.byte()).min(input.0.len().saturating_sub(1)));
                self.input.extend_from_slice(bytes.0);
                input.0 = bytes.1;
                self.read(input);
            }
            1 | 2 => self.publish(input),
            3 | 4 => self.acknowledge(input),
            5 => self.appended(input.flag()),
            6 | 7 => self.deliver(input),
            8 => self.save(),
            9 => self.resend(input),
            10 => {
                self.now += Duration::from_secs(u64::from(input.below(60)));
                let step = self.machine.tick(self.now, &mut self.out);
                self.take(step, input);
            }
            _ => self.end(input),
        }
    }

    /// A PUBLISH of the client, by hand: also one that it may not send.
    fn publish(&mut self, input: &mut Input<'_>) {
        let (qos, id, flags) = (input.qos(), input.id(), input.byte());
        let dup = if qos == QoS::AtMostOnce { 0 } else { flags & 0b1000 };
        let mut body = b"\0\x01t".to_vec();
        if qos != QoS::AtMostOnce {
            body.extend(id.get().to_be_bytes());
        }
        if self.machine.version() == Version::V5 {
            match flags & 0x30 {
                0 => body.extend([3, 0x23, 0, flags >> 6]),
                _ => body.push(0),
            }
        }
        self.input
            .extend([0x30 | dup | (qos as u8) << 1 | flags & 1, body.len() as u8]);
        self.input.extend(body);
        self.read(input);
    }

    fn acknowledge(&mut self, input: &mut Input<'_>) {
        let id = input.id().get().to_be_bytes();
        let first = [0x40, 0x50, 0x62, 0x70][usize::from(input.below(4))];
        match input.below(4) {
            0 if self.machine.version() == Version::V5 && first < 0x60 => {
                self.input.extend([first, 3, id[0], id[1], 0x80]);
            }
            _ => self.input.extend([first, 2, id[0], id[1]]),
        }
        self.read(input);
    }

    /// Has the machine read all that it will, and notes what that was.
    fn read(&mut self, input: &mut Input<'_>) {
        while !self.has_ended && self.machine.may_read() {
            let before = self.input.clone();
            let step = self.machine.next(&mut self.input, self.now, &mut self.out);
            let read = before.len() - self.input.len();
            if matches!(step, Step::Wait) {
                return;
            }
            self.note(&before[..read]);
            self.take(step, input);
        }
    }

    /// What the client has answered.
    fn note(&mut self, packet: &[u8]) {
        let (ack, is_end) = match self.server.decode(&mut BytesMut::from(packet)) {
            Ok(Some(Packet::PubAck(ack))) => {
                let is_end = self.outstanding.get(&ack.packet_id) == Some(&QoS::AtLeastOnce);
                (ack, is_end)
            }
            Ok(Some(Packet::PubRec(ack))) => {
                let is_end = ack.reason.is_error();
                (ack, is_end)
            }
            Ok(Some(Packet::PubComp(ack))) => (ack, true),
            _ => return,
        };
        self.is_ahead |= !self.under_way.contains(&ack.packet_id);
        if is_end {
            self.outstanding.remove(&ack.packet_id);
            self.under_way.remove(&ack.packet_id);
        }
    }

    /// Does what a connection does about a step.
    fn take(&mut self, step: Step, input: &mut Input<'_>) {
        match step {
            Step::Wait | Step::Continue => {}
            Step::Admit(_) => self.admit(input),
            Step::Publish(publish) => match (input.below(8), publish.packet_id) {
                (0, _) => {
                    let step = self.machine.deny(&publish, &Denial::NotAuthorized, &mut self.out);
                    self.take(step, input);
                }
                (_, Some(id)) => {
                    self.machine.awaiting(id, publish.qos);
                    self.awaiting += 1;
                    self.qos_of_awaiting.push(publish.qos);
                }
                (_, None) => {}
            },
            Step::Subscribe(subscribe) => {
                let reasons = vec![ReasonCode::NotAuthorized; subscribe.filters.len()];
                self.machine.subscribed(subscribe.packet_id, reasons, &mut self.out);
            }
            Step::Unsubscribe { packet_id, filters } => {
                self.machine
                    .unsubscribed(packet_id, &vec![true; filters.len()], &mut self.out);
            }
            Step::Close(_) => {
                self.listen();
                self.has_ended = true;
            }
        }
    }

    fn admit(&mut self, input: &mut Input<'_>) {
        let _ = self.machine.take_will();
        let answer = match input.below(16) {
            0 => Err(Refusal::BadCredentials),
            1..6 => Ok(Opened::default()),
            _ => Ok(Opened {
                is_present: input.flag(),
                kept: Some(Box::new(kept(input))),
            }),
        };
        if let Ok(Opened { kept: Some(kept), .. }) = &answer {
            for sent in &kept.sent {
                let is_once = sent.awaits == Awaits::Ack;
                let qos = if is_once { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
                self.outstanding.insert(sent.id, qos);
            }
        }
        let step = self.machine.admitted(answer, &mut self.out);
        self.is_open = self.machine.is_open();
        self.take(step, input);
    }

    fn appended(&mut self, is_kept: bool) {
        if self.awaiting == 0 || !self.machine.is_open() {
            return;
        }
        self.awaiting -= 1;
        let qos = self.qos_of_awaiting.remove(0);
        let full = AppendError::Full {
            quota: Quota::Domain,
            retry_after: Duration::from_secs(1),
        };
        self.owed += usize::from(is_kept && qos == QoS::AtLeastOnce);
        let outcome = if is_kept { Ok(()) } else { Err(&full) };
        let step = self.machine.appended(outcome, &mut self.out);
        self.take(step, &mut Input(&[]));
    }

    fn deliver(&mut self, input: &mut Input<'_>) {
        if !self.machine.is_open() || self.machine.has_unsent() {
            return;
        }
        let (qos, bytes, expires_at_ns) = (input.qos(), input.byte(), i64::from(input.below(4)));
        with_offer(qos, usize::from(bytes), expires_at_ns, |offer| {
            let had_window = self.machine.has_window();
            let delivered = self.machine.deliver(offer, 2, &mut self.out);
            assert!(delivered != Delivered::WindowFull || !had_window);
            assert!(delivered != Delivered::Sent || expires_at_ns == 0 || expires_at_ns > 2);
        });
    }

    /// Begins a save, or ends the one that is under way.
    fn save(&mut self) {
        if !self.machine.is_kept() {
            return;
        }
        match self.is_saving {
            true => self.machine.saved(&mut self.out),
            false => drop(self.machine.begin_save()),
        }
        self.is_saving = !self.is_saving;
        self.read(&mut Input(&[]));
    }

    /// Sends again what an earlier connection sent, or gives it up.
    fn resend(&mut self, input: &mut Input<'_>) {
        let Some(sent) = self.machine.next_unsent().filter(|_| self.machine.is_open()) else {
            return;
        };
        if sent.awaits == Awaits::Completed {
            return self.machine.resend_release(sent.id, &mut self.out);
        }
        let qos = if sent.awaits == Awaits::Ack {
            QoS::AtLeastOnce
        } else {
            QoS::ExactlyOnce
        };
        let is_written = input.flag()
            && with_offer(qos, usize::from(input.byte()), 0, |offer| {
                self.machine.resend(sent, offer, 2, &mut self.out)
            });
        if !is_written {
            self.machine.give_up(sent, &mut self.out);
            if sent.awaits == Awaits::Ack {
                self.outstanding.remove(&sent.id);
            }
        }
    }

    fn end(&mut self, input: &mut Input<'_>) {
        if !self.machine.is_open() {
            return;
        }
        let step = match input.below(20) {
            0 => self.machine.taken_over(&mut self.out),
            1 => self.machine.revoked(&mut self.out),
            2 => self.machine.failed(&mut self.out),
            3 => self.machine.busy(&mut self.out),
            4 => self.machine.drained(&mut self.out),
            _ => return,
        };
        assert!(matches!(step, Step::Close(_)));
        self.take(step, input);
    }

    /// Reads what the machine has said, as the client does.
    fn listen(&mut self) {
        loop {
            let before = self.out.len();
            let packet = self
                .client
                .decode(&mut self.out)
                .expect("a server says what a client can read");
            let Some(packet) = packet else {
                assert!(self.out.is_empty(), "half a packet");
                return;
            };
            assert!(!self.has_ended, "something is said after the end");
            assert!(
                before - self.out.len() <= self.packet_bytes_max,
                "{packet:?} is larger than the client takes"
            );
            match packet {
                Packet::Publish(publish) if publish.packet_id.is_some() => {
                    let id = publish.packet_id.expect("just looked at");
                    let was_out = self.outstanding.insert(id, publish.qos);
                    assert!(publish.dup || was_out.is_none(), "{id} stands for two messages");
                    self.under_way.insert(id);
                    let is_within = self.under_way.len() <= self.window;
                    assert!(is_within || self.is_ahead, "more is under way than the client takes");
                }
                Packet::PubAck(ack) if !ack.reason.is_error() => {
                    self.owed = self.owed.checked_sub(1).expect("what is acknowledged is in the log");
                }
                _ => {}
            }
        }
    }
}

/// A session that was there, or a new one.
fn kept(input: &mut Input<'_>) -> Kept {
    let mut kept = Kept::default();
    for number in 0..input.below(4) {
        let awaits = [Awaits::Ack, Awaits::Received, Awaits::Completed][usize::from(input.below(3))];
        let id = PacketId::new(u16::from(number) + 1).expect("above zero");
        let source = Source::Log(u64::from(number));
        kept.sent.push(Sent { id, awaits, source });
    }
    kept.last_id = kept.sent.len() as u16;
    kept.received = (1..=u16::from(input.below(3))).filter_map(PacketId::new).collect();
    kept
}

fn with_offer<T>(qos: QoS, bytes: usize, expires_at_ns: i64, then: impl FnOnce(&Offer<'_>) -> T) -> T {
    let shared = SharedProperties::of(&PublishProperties {
        content_type: Some(text("x")),
        ..PublishProperties::default()
    });
    let payload = Bytes::from(vec![0; bytes]);
    then(&Offer {
        topic: if bytes % 2 == 0 { "even" } else { "odd" },
        qos,
        retain: false,
        expires_at_ns,
        subscription_ids: &[],
        shared: &shared.expect("valid properties"),
        payload: &payload,
        source: Source::Log(1),
    })
}

fn text(text: &str) -> Utf8Bytes {
    Utf8Bytes::try_from(text).expect("a valid string")
}
