//! A publisher over MQTT: one task, one connection at a time, as many messages under way as the window allows.
//!
//! At QoS 1 what had no answer is published anew over the next connection. At QoS 2 the publisher has a session: over the next connection it
//! goes on with each message where it was, by its packet identifier.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use trunkline_mqtt_wire::{
    Ack, ConnAck, Connect, ConnectProperties, Decoder, Disconnect, Limits, Packet, PacketId, Publish,
    PublishProperties, QoS, ReasonCode, Secret, Subscribe, SubscribeFilter, SubscribeProperties, Utf8Bytes, Version,
    encode,
};

use super::flight::Flight;
use super::publisher::{Message, Publisher, RECONNECT_PAUSE};
use super::{ANSWER_WAIT, Counts, Outcome, Plan, Target};
use crate::ledger::{Answer, Protocol};

/// How long a connection may take to be made and admitted.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Bytes waiting for the socket above which no further message is made.
const OUTBOX_BYTES_MAX: usize = 64 * 1024;
/// How long a broker keeps a session of ours, in seconds.
const SESSION_EXPIRY_S: u32 = 3_600;
/// Nobody pings; a broker that takes 0 for no time at all is to be measured as well.
const KEEP_ALIVE_S: u16 = 3_600;
/// Bytes that are read at a time.
const INBOX_BYTES: usize = 16 * 1024;

/// Publishes until the plan is fulfilled, `stop`, or a failure that the plan does not bear.
pub(crate) async fn run(mut publisher: Publisher, stop: CancellationToken) -> Outcome {
    let mut unanswered = VecDeque::new();
    let session = (publisher.plan.qos == 2).then(|| Session::new(format!("load-{}", Plan::new_run())));
    let mut kept = session.map(|session| Kept {
        session,
        flight: Flight::new(publisher.plan.window),
        released: HashSet::new(),
    });
    loop {
        let ended = connection(&mut publisher, &mut unanswered, &mut kept, &stop).await;
        publisher.closed();
        let failure = match ended {
            Ok(()) => return publisher.end(None),
            Err(failure) => failure,
        };
        Counts::add(&publisher.counts.broken);
        if stop.is_cancelled() || !publisher.plan.is_persistent || publisher.is_over() && unanswered.is_empty() {
            return publisher.end(Some(format!("{failure:#}")));
        }
        let pause = tokio::time::sleep(RECONNECT_PAUSE);
        let _ = stop.run_until_cancelled(pause).await;
    }
}

/// One connection from its CONNECT to its end. What had no answer at the end is in `unanswered`.
async fn connection(
    publisher: &mut Publisher,
    unanswered: &mut VecDeque<Message>,
    kept: &mut Option<Kept>,
    stop: &CancellationToken,
) -> Result<()> {
    let version = match publisher.plan.protocol {
        Protocol::Mqtt3 => Version::V3,
        Protocol::Mqtt5 | Protocol::Http => Version::V5,
    };
    let session = kept.as_ref().map(|kept| &kept.session);
    let (wire, answer) = Wire::connect_to(&publisher.target, version, session).await?;
    Counts::add(&publisher.counts.connected);
    let receive_max = answer.properties.receive_maximum.map(std::num::NonZeroU16::get);
    let (flight, released) = match kept {
        Some(kept) if kept.flight.is_empty() => (kept.flight.limited(receive_max), HashSet::new()),
        Some(kept) => {
            ensure!(answer.session_present, "the broker has forgotten the session");
            (kept.flight.limited(None), kept.released.clone())
        }
        None => (Flight::new(publisher.plan.window).limited(receive_max), HashSet::new()),
    };
    let topic = text(&publisher.target.topic)?;
    let mut connection = Connection {
        wire,
        flight,
        released,
        topic,
        publisher,
        unanswered,
    };
    let outcome = match connection.go_on() {
        Ok(()) => connection.serve(stop).await,
        Err(failure) => Err(failure),
    };
    match kept {
        Some(kept) => (kept.flight, kept.released) = (connection.flight, connection.released),
        None => {
            let mut left = connection.flight.drain();
            left.append(connection.unanswered);
            *unanswered = left;
        }
    }
    outcome
}

/// What a publisher at QoS 2 goes on with over the next connection.
struct Kept {
    session: Session,
    flight: Flight,
    /// Messages whose PUBREC came.
    released: HashSet<PacketId>,
}

/// A session that outlives its connections.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    client_id: String,
}

impl Session {
    pub(crate) const fn new(client_id: String) -> Self {
        Self { client_id }
    }
}

struct Connection<'a> {
    wire: Wire,
    flight: Flight,
    /// At QoS 2, messages whose PUBREC came.
    released: HashSet<PacketId>,
    topic: Utf8Bytes,
    publisher: &'a mut Publisher,
    unanswered: &'a mut VecDeque<Message>,
}

impl Connection<'_> {
    /// Takes up each message where the connection before left it.
    fn go_on(&mut self) -> Result<()> {
        for (id, message) in self.flight.open() {
            if self.released.contains(&id) {
                self.wire.put(&Packet::PubRel(Ack::success(id)))?;
            } else {
                let payload = self.publisher.repeat(&message);
                self.publish(Some(id), payload, true)?;
            }
        }
        Ok(())
    }

    fn publish(&mut self, packet_id: Option<PacketId>, payload: Vec<u8>, dup: bool) -> Result<()> {
        let publish = Publish {
            dup,
            qos: match packet_id {
                Some(_) => QoS::from_u8(self.publisher.plan.qos).context("there are QoS 0, 1 and 2")?,
                None => QoS::AtMostOnce,
            },
            topic: self.topic.clone(),
            packet_id,
            properties: self.wire.properties.clone(),
            payload: Bytes::from(payload),
            ..Publish::default()
        };
        self.wire.put(&Packet::Publish(publish))
    }

    async fn serve(&mut self, stop: &CancellationToken) -> Result<()> {
        let mut give_up = None;
        loop {
            self.fill()?;
            let is_over = self.publisher.is_over();
            if is_over && self.flight.is_empty() && self.unanswered.is_empty() {
                return self.wire.leave().await;
            }
            if is_over && give_up.is_none() {
                give_up = Some(Instant::now() + ANSWER_WAIT);
            }
            let can_send = !is_over && self.flight.has_room() && self.wire.outbox.len() < OUTBOX_BYTES_MAX;
            let look = give_up.unwrap_or_else(|| self.publisher.next_look());
            // Cancel safe: reading and writing take up their buffers where they left them.
            tokio::select! {
                read = self.wire.stream.0.read_buf(&mut self.wire.inbox) => {
                    ensure!(read? > 0, "the broker closed the connection");
                }
                written = self.wire.stream.1.write_buf(&mut self.wire.outbox), if !self.wire.outbox.is_empty() => {
                    ensure!(written? > 0, "the broker closed the connection");
                }
                () = sleep_until(look), if can_send || is_over => {
                    ensure!(give_up.is_none_or(|give_up| Instant::now() < give_up), "no answer within {ANSWER_WAIT:?}");
                }
                () = stop.cancelled(), if !is_over => self.publisher.stop(),
            }
            while let Some(packet) = self.wire.decode()? {
                self.take(packet)?;
            }
        }
    }

    /// Encodes what may be sent now: first what is to be repeated.
    fn fill(&mut self) -> Result<()> {
        while self.flight.has_room() && self.wire.outbox.len() < OUTBOX_BYTES_MAX {
            let (message, payload) = match self.unanswered.pop_front() {
                Some(message) => (message, self.publisher.repeat(&message)),
                None => match self.publisher.take() {
                    Some(next) => next,
                    None => return Ok(()),
                },
            };
            let packet_id = if self.publisher.plan.qos == 0 {
                self.publisher.let_go();
                None
            } else {
                self.flight.enter(message)
            };
            self.publish(packet_id, payload, false)?;
        }
        Ok(())
    }

    fn take(&mut self, packet: Packet) -> Result<()> {
        match packet {
            Packet::PubAck(Ack { packet_id, reason, .. }) => {
                let message = self
                    .flight
                    .leave(packet_id)
                    .context("the broker answered what was not sent")?;
                self.publisher
                    .answered(&message, &answer(reason, &self.publisher.plan.tier));
                Ok(())
            }
            Packet::PubRec(Ack { packet_id, reason, .. }) => {
                let message = self
                    .flight
                    .find(packet_id)
                    .context("the broker answered what was not sent")?;
                if reason.is_error() {
                    self.flight.leave(packet_id);
                } else {
                    self.released.insert(packet_id);
                    self.wire.put(&Packet::PubRel(Ack::success(packet_id)))?;
                }
                self.publisher
                    .answered(&message, &answer(reason, &self.publisher.plan.tier));
                Ok(())
            }
            Packet::PubComp(Ack { packet_id, .. }) => {
                self.released.remove(&packet_id);
                let message = self.flight.leave(packet_id);
                message.map(drop).context("the broker completed what was not sent")
            }
            Packet::Disconnect(disconnect) => bail!("the broker disconnected: {}", disconnect.reason),
            other => bail!("the broker sent {}", other.packet_type()),
        }
    }
}

/// What a PUBACK means.
fn answer(reason: ReasonCode, tier: &str) -> Answer {
    match reason {
        reason if !reason.is_error() => Answer::Kept(tier.to_owned()),
        ReasonCode::UnspecifiedError | ReasonCode::ImplementationSpecificError => Answer::Unclear(code(reason)),
        reason => Answer::Refused(code(reason)),
    }
}

fn code(reason: ReasonCode) -> String {
    format!("{:#04x}", reason as u8)
}

/// The two halves of a socket with their buffers.
pub(crate) struct Wire {
    pub(crate) stream: (tokio::net::tcp::OwnedReadHalf, tokio::net::tcp::OwnedWriteHalf),
    pub(crate) inbox: BytesMut,
    pub(crate) outbox: BytesMut,
    decoder: Decoder,
    version: Version,
    properties: Option<Box<PublishProperties>>,
}

impl Wire {
    /// A socket on which nothing was said yet.
    pub(crate) fn over(stream: TcpStream, version: Version) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: stream.into_split(),
            inbox: BytesMut::with_capacity(INBOX_BYTES),
            outbox: BytesMut::with_capacity(OUTBOX_BYTES_MAX),
            decoder: Decoder::client(version, Limits::STANDARD),
            version,
            properties: properties(version)?,
        })
    }

    /// A connection that was admitted, with the broker's answer.
    pub(crate) async fn connect(target: &Target, version: Version) -> Result<(Self, ConnAck)> {
        Self::connect_to(target, version, None).await
    }

    /// The same for a client that goes on with a session.
    pub(crate) async fn connect_to(
        target: &Target,
        version: Version,
        session: Option<&Session>,
    ) -> Result<(Self, ConnAck)> {
        let connecting = async {
            let mut wire = Self::over(TcpStream::connect(target.mqtt).await?, version)?;
            wire.put(&connect_packet(target, version, session)?)?;
            match wire.exchange().await? {
                Packet::ConnAck(answer) if answer.reason == ReasonCode::Success => Ok((wire, *answer)),
                Packet::ConnAck(answer) => bail!("not admitted: {}", answer.reason),
                other => bail!("CONNECT was answered by {}", other.packet_type()),
            }
        };
        let connected = timeout(CONNECT_WAIT, connecting).await;
        connected
            .context("no answer to CONNECT")
            .and_then(|outcome| outcome)
            .with_context(|| format!("cannot connect to {}", target.mqtt))
    }

    /// Subscribes; the answer is the first packet that is expected.
    pub(crate) async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<()> {
        let filter = SubscribeFilter {
            filter: text(filter)?,
            qos: QoS::from_u8(qos).context("there are QoS 0, 1 and 2")?,
            ..SubscribeFilter::default()
        };
        self.put(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            filters: vec![filter],
            properties: SubscribeProperties::default(),
        }))?;
        let answer = timeout(ANSWER_WAIT, self.exchange())
            .await
            .context("no answer to SUBSCRIBE")??;
        let is_granted = matches!(&answer, Packet::SubAck(answer) if !answer.reasons[0].is_error());
        ensure!(is_granted, "SUBSCRIBE was answered by {answer:?}");
        Ok(())
    }

    /// Appends a packet to what waits for the socket.
    pub(crate) fn put(&mut self, packet: &Packet) -> Result<()> {
        encode(packet, self.version, &mut self.outbox)?;
        Ok(())
    }

    /// The next packet of those that were read.
    pub(crate) fn decode(&mut self) -> Result<Option<Packet>> {
        self.decoder
            .decode(&mut self.inbox)
            .context("the broker sent what is no MQTT")
    }

    /// Sends all that waits and returns the next packet.
    pub(crate) async fn exchange(&mut self) -> Result<Packet> {
        self.stream.1.write_all_buf(&mut self.outbox).await?;
        loop {
            if let Some(packet) = self.decode()? {
                return Ok(packet);
            }
            ensure!(
                self.stream.0.read_buf(&mut self.inbox).await? > 0,
                "the broker closed the connection"
            );
        }
    }

    /// Ends the connection, once the broker has taken all that was sent: it answers a PINGREQ in its turn.
    async fn leave(&mut self) -> Result<()> {
        self.put(&Packet::PingReq)?;
        let answered = async {
            while !matches!(self.exchange().await?, Packet::PingResp) {}
            self.put(&Packet::Disconnect(Box::<Disconnect>::default()))?;
            Ok(self.stream.1.write_all_buf(&mut self.outbox).await?)
        };
        timeout_at(Instant::now() + ANSWER_WAIT, answered)
            .await
            .context("no answer to the last PINGREQ")?
    }
}

fn connect_packet(target: &Target, version: Version, session: Option<&Session>) -> Result<Packet> {
    let is_anonymous = target.user.is_empty();
    let mut properties = ConnectProperties::default();
    if session.is_some() && version == Version::V5 {
        properties.session_expiry_s = Some(SESSION_EXPIRY_S);
    }
    Ok(Packet::Connect(Box::new(Connect {
        clean_start: session.is_none(),
        keep_alive_s: KEEP_ALIVE_S,
        // Devices have a name, and not every broker gives one.
        client_id: session.map_or_else(|| text(&Plan::new_run()), |session| text(&session.client_id))?,
        properties,
        user_name: if is_anonymous { None } else { Some(text(&target.user)?) },
        password: (!is_anonymous).then(|| Secret::from(Bytes::from(target.password.clone().into_bytes()))),
        ..Connect::default()
    })))
}

fn properties(version: Version) -> Result<Option<Box<PublishProperties>>> {
    Ok(match version {
        Version::V3 => None,
        Version::V5 => Some(Box::new(PublishProperties {
            content_type: Some(text("application/senml+json")?),
            ..PublishProperties::default()
        })),
    })
}

pub(crate) fn text(text: &str) -> Result<Utf8Bytes> {
    Utf8Bytes::try_from(text).with_context(|| format!("`{text}` cannot be sent over MQTT"))
}
