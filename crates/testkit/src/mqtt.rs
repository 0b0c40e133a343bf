//! An MQTT client for tests, of both versions, on the platform's own codec: it sends what it is told, valid or not, and
//! waits for what comes with a deadline.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use trunkline_mqtt_wire::{
    Ack, ConnAck, Connect, Decoder, Disconnect, Limits, Packet, PacketId, Publish, QoS, ReasonCode, Secret, Subscribe,
    SubscribeFilter, SubscribeProperties, Unsubscribe, UnsubscribeProperties, Utf8Bytes, Version, encode,
};

/// How long anything may take that is waited for.
const WAIT: Duration = Duration::from_secs(10);

/// One connection. Packets that arrive while another is waited for are kept in their order.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    version: Version,
    decoder: Decoder,
    buffer: BytesMut,
    early: VecDeque<Packet>,
    last_id: u16,
}

/// A CONNECT with a clean start and without keep alive, for a client's id and secret as user name and password.
///
/// # Panics
/// If one of the texts is no MQTT string.
#[must_use]
pub fn connect_packet(client_id: &str, user_name: &str, password: &str) -> Connect {
    Connect {
        clean_start: true,
        client_id: text(client_id),
        user_name: Some(text(user_name)),
        password: Some(Secret::from(Bytes::copy_from_slice(password.as_bytes()))),
        ..Connect::default()
    }
}

/// A PUBLISH without properties. The packet id is put in when it is sent.
///
/// # Panics
/// If the topic is no MQTT string.
#[must_use]
pub fn publish_packet(topic: &str, qos: QoS, payload: impl Into<Bytes>) -> Publish {
    Publish {
        topic: text(topic),
        qos,
        payload: payload.into(),
        ..Publish::default()
    }
}

/// Every method panics when what it waits for does not come within 10 s, or when something else comes instead.
impl Client {
    /// A connection on which nothing was sent yet.
    pub async fn open(address: SocketAddr, version: Version) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await;
        let stream = stream.unwrap_or_else(|error| panic!("nothing listens for MQTT at {address}: {error}"));
        Self::over(stream, version)
    }

    /// The same over a socket that was connected already.
    pub fn over(stream: TcpStream, version: Version) -> Self {
        stream
            .set_nodelay(true)
            .expect("TCP_NODELAY can be set on any connection");
        Self {
            stream,
            version,
            decoder: Decoder::client(version, Limits::STANDARD),
            buffer: BytesMut::new(),
            early: VecDeque::new(),
            last_id: 0,
        }
    }

    /// A connection whose CONNECT was answered, however.
    pub async fn connect(address: SocketAddr, version: Version, connect: Connect) -> (Self, ConnAck) {
        let mut client = Self::open(address, version).await;
        let answer = client.ask(connect).await;
        (client, answer)
    }

    /// Sends CONNECT on a connection that was opened, and waits for the answer.
    pub async fn ask(&mut self, connect: Connect) -> ConnAck {
        self.send(&Packet::Connect(Box::new(connect))).await;
        match self.receive().await {
            Packet::ConnAck(answer) => *answer,
            other => panic!("CONNECT was answered by {other:?}"),
        }
    }

    /// Whether the server has thrown the connection away, with what it had not sent yet. Nothing is read. To be told once.
    pub fn was_reset(&self) -> bool {
        self.stream.take_error().is_ok_and(|error| error.is_some())
    }

    /// A connection of the platform's client `client_id`, admitted.
    pub async fn log_in(address: SocketAddr, version: Version, client_id: &str, secret: &str) -> Self {
        let connect = connect_packet(client_id, client_id, secret);
        let (client, answer) = Self::connect(address, version, connect).await;
        assert_eq!(answer.reason, ReasonCode::Success, "{client_id} was not admitted");
        client
    }

    /// Sends a packet.
    pub async fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        let written = encode(packet, self.version, &mut bytes).expect("tests send packets that can be encoded");
        assert!(written > 0, "{} says nothing in 3.1.1", packet.packet_type());
        self.write(&bytes).await;
    }

    /// The same; `false` when the server has closed the connection.
    pub async fn try_send(&mut self, packet: &Packet) -> bool {
        let mut bytes = BytesMut::new();
        encode(packet, self.version, &mut bytes).expect("tests send packets that can be encoded");
        self.try_write(&bytes).await
    }

    /// Sends bytes as they are, packet or not.
    pub async fn write(&mut self, bytes: &[u8]) {
        let written = self.try_write(bytes).await;
        assert!(written, "the server closed the connection before everything was sent");
    }

    /// Sends bytes as they are; `false` when the server has closed the connection.
    pub async fn try_write(&mut self, bytes: &[u8]) -> bool {
        within("room to write", self.stream.write_all(bytes)).await.is_ok()
    }

    /// The next packet, in the order of arrival.
    pub async fn receive(&mut self) -> Packet {
        let packet = self.next().await;
        packet.expect("a packet was waited for, and the server closed")
    }

    /// The same; `None` when the server has closed the connection.
    pub async fn next(&mut self) -> Option<Packet> {
        match self.early.pop_front() {
            Some(packet) => Some(packet),
            None => self.read().await,
        }
    }

    /// Publishes and, at QoS 1 and 2, waits for the answers; what arrives before them is kept. QoS 0 is always success.
    pub async fn publish(&mut self, topic: &str, qos: QoS, payload: impl Into<Bytes>) -> ReasonCode {
        self.publish_packet(publish_packet(topic, qos, payload)).await
    }

    /// The same for a packet with properties or flags. A packet id is put in where one is needed and missing.
    pub async fn publish_packet(&mut self, mut publish: Publish) -> ReasonCode {
        if publish.qos == QoS::AtMostOnce {
            self.send(&Packet::Publish(publish)).await;
            return ReasonCode::Success;
        }
        let id = *publish.packet_id.get_or_insert(self.next_id());
        let is_released = publish.qos == QoS::ExactlyOnce;
        self.send(&Packet::Publish(publish)).await;
        let answers = |packet: &Packet| match packet {
            Packet::PubAck(ack) | Packet::PubRec(ack) if ack.packet_id == id => Some(ack.reason),
            _ => None,
        };
        let reason = self.find(answers).await;
        if is_released && !reason.is_error() {
            self.send(&Packet::PubRel(Ack::success(id))).await;
            let completes =
                |packet: &Packet| matches!(packet, Packet::PubComp(ack) if ack.packet_id == id).then_some(());
            self.find(completes).await;
        }
        reason
    }

    /// Subscribes to a filter and waits for the answer; what arrives before it is kept.
    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> ReasonCode {
        let filter = SubscribeFilter {
            filter: text(filter),
            qos,
            ..SubscribeFilter::default()
        };
        self.subscribe_all(vec![filter]).await[0]
    }

    /// Subscribes to filters with options and waits for the answers, one for each.
    pub async fn subscribe_all(&mut self, filters: Vec<SubscribeFilter>) -> Vec<ReasonCode> {
        let (id, count) = (self.next_id(), filters.len());
        let subscribe = Subscribe {
            packet_id: id,
            filters,
            properties: SubscribeProperties::default(),
        };
        self.send(&Packet::Subscribe(subscribe)).await;
        let answers = |packet: &Packet| match packet {
            Packet::SubAck(answer) if answer.packet_id == id => Some(answer.reasons.clone()),
            _ => None,
        };
        let reasons = self.find(answers).await;
        assert_eq!(reasons.len(), count, "SUBACK answers each filter");
        reasons
    }

    /// Unsubscribes from a filter and waits for the answer: one reason, at 3.1.1 none.
    pub async fn unsubscribe(&mut self, filter: &str) -> Vec<ReasonCode> {
        let id = self.next_id();
        let unsubscribe = Unsubscribe {
            packet_id: id,
            filters: vec![text(filter)],
            properties: UnsubscribeProperties::default(),
        };
        self.send(&Packet::Unsubscribe(unsubscribe)).await;
        let answers = |packet: &Packet| match packet {
            Packet::UnsubAck(answer) if answer.packet_id == id => Some(answer.reasons.clone()),
            _ => None,
        };
        self.find(answers).await
    }

    /// The next packet, which must be a PUBLISH; it is acknowledged if it asks for that.
    pub async fn message(&mut self) -> Publish {
        let publish = match self.receive().await {
            Packet::Publish(publish) => publish,
            other => panic!("a message was waited for, and {other:?} came"),
        };
        match (publish.packet_id, publish.qos) {
            (None, _) | (Some(_), QoS::AtMostOnce) => {}
            (Some(id), QoS::AtLeastOnce) => self.send(&Packet::PubAck(Ack::success(id))).await,
            (Some(id), QoS::ExactlyOnce) => {
                self.send(&Packet::PubRec(Ack::success(id))).await;
                let releases =
                    |packet: &Packet| matches!(packet, Packet::PubRel(ack) if ack.packet_id == id).then_some(());
                self.find(releases).await;
                self.send(&Packet::PubComp(Ack::success(id))).await;
            }
        }
        publish
    }

    /// Everything that arrived before the answer to a PINGREQ sent now: the way to say that nothing came, without a sleep.
    pub async fn settle(&mut self) -> Vec<Packet> {
        self.send(&Packet::PingReq).await;
        self.find(|packet| matches!(packet, Packet::PingResp).then_some(()))
            .await;
        self.early.drain(..).collect()
    }

    /// Everything that arrived until the server closed the connection.
    pub async fn closed(self) -> Vec<Packet> {
        self.closed_within(WAIT).await
    }

    /// The same for a server that takes its time, `limit` at most between two packets.
    pub async fn closed_within(mut self, limit: Duration) -> Vec<Packet> {
        while let Some(packet) = self.read_within(limit).await {
            self.early.push_back(packet);
        }
        self.early.into()
    }

    /// Says goodbye and waits until the server closed the connection.
    pub async fn disconnect(mut self) {
        self.send(&Packet::Disconnect(Box::<Disconnect>::default())).await;
        self.closed().await;
    }

    /// The first packet from now on that `pick` picks; those before it are kept.
    async fn find<Found>(&mut self, pick: impl Fn(&Packet) -> Option<Found>) -> Found {
        loop {
            let packet = self.read().await;
            let Some(packet) = packet else {
                panic!("an answer was waited for, and the server closed after {:?}", self.early)
            };
            match pick(&packet) {
                Some(found) => return found,
                None => self.early.push_back(packet),
            }
        }
    }

    /// The next packet off the wire; `None` when the server closed, properly or not.
    async fn read(&mut self) -> Option<Packet> {
        self.read_within(WAIT).await
    }

    async fn read_within(&mut self, limit: Duration) -> Option<Packet> {
        loop {
            let decoded = self.decoder.decode(&mut self.buffer);
            if let Some(packet) = decoded.expect("the server sends valid packets") {
                return Some(packet);
            }
            match timeout(limit, self.stream.read_buf(&mut self.buffer)).await {
                Ok(Ok(0) | Err(_)) => return None,
                Ok(Ok(_)) => {}
                Err(_) => panic!("a packet did not come within {limit:?}"),
            }
        }
    }

    fn next_id(&mut self) -> PacketId {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        PacketId::new(self.last_id).expect("counting starts at 1")
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(WAIT, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not come within {WAIT:?}"),
    }
}

fn text(text: &str) -> Utf8Bytes {
    Utf8Bytes::try_from(text).expect("tests write texts that MQTT can carry")
}
