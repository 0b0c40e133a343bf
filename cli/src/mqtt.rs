//! A device's conversation over MQTT 5: connect, publish one message at QoS 1, leave once it is acknowledged.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use trunkline_core::Secret;
use trunkline_mqtt_wire as wire;
use trunkline_mqtt_wire::{
    ConnAck, Connect, Decoder, Disconnect, Limits, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode,
    Utf8Bytes, Version,
};

use crate::Error;

/// How long each step may take.
const STEP_WAIT: Duration = Duration::from_secs(10);
const KEEP_ALIVE_S: u16 = 30;
const VERSION: Version = Version::V5;
/// The step in which the platform admits the client, as errors name it.
const ADMIT_STEP: &str = "admit the client";
/// The step in which it acknowledges.
pub(crate) const TAKE_STEP: &str = "take the message";

/// What a device sends, and as whom.
pub(crate) struct Message<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) secret: &'a Secret,
    pub(crate) topic: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) payload: &'static str,
}

/// Publishes `message` at `address` and tells how long the acknowledgement took.
pub(crate) async fn publish(address: &str, message: &Message<'_>) -> Result<Duration, Error> {
    let admitted = async {
        let mut connection = Connection::open(address).await?;
        connection.log_in(message).await?;
        Ok(connection)
    };
    let mut connection = in_time(address, ADMIT_STEP, admitted).await?;
    let took = in_time(address, TAKE_STEP, connection.publish(message)).await?;
    let goodbye = Packet::Disconnect(Box::<Disconnect>::default());
    in_time(address, "take leave", connection.send("take leave", &goodbye)).await?;
    Ok(took)
}

async fn in_time<T>(
    address: &str,
    step: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(STEP_WAIT, work).await.unwrap_or_else(|_| {
        let message = format!("no answer within {} s", STEP_WAIT.as_secs());
        Err(failure(address, step, &message))
    })
}

struct Connection<'a> {
    address: &'a str,
    stream: TcpStream,
    decoder: Decoder,
    buffer: BytesMut,
}

impl<'a> Connection<'a> {
    async fn open(address: &'a str) -> Result<Self, Error> {
        let nobody = |_| Error::NoMqtt {
            address: address.to_owned(),
        };
        let stream = TcpStream::connect(address).await.map_err(nobody)?;
        stream.set_nodelay(true).map_err(nobody)?;
        Ok(Self {
            address,
            stream,
            decoder: Decoder::client(VERSION, Limits::default()),
            buffer: BytesMut::new(),
        })
    }

    async fn log_in(&mut self, message: &Message<'_>) -> Result<(), Error> {
        const STEP: &str = ADMIT_STEP;
        let connect = Connect {
            clean_start: true,
            keep_alive_s: KEEP_ALIVE_S,
            user_name: Some(self.text(STEP, message.client_id)?),
            password: Some(wire::Secret::from(Bytes::copy_from_slice(
                message.secret.expose().as_bytes(),
            ))),
            ..Connect::default()
        };
        self.send(STEP, &Packet::Connect(Box::new(connect))).await?;
        match self.receive(STEP).await? {
            Packet::ConnAck(answer) if answer.reason == ReasonCode::Success => Ok(()),
            Packet::ConnAck(answer) => {
                let ConnAck { reason, properties, .. } = *answer;
                Err(self.refused(STEP, reason, properties.reason_string))
            }
            other => Err(self.unexpected(STEP, &other)),
        }
    }

    async fn publish(&mut self, message: &Message<'_>) -> Result<Duration, Error> {
        const STEP: &str = TAKE_STEP;
        let properties = PublishProperties {
            content_type: Some(self.text(STEP, message.content_type)?),
            ..PublishProperties::default()
        };
        let publish = Publish {
            qos: QoS::AtLeastOnce,
            topic: self.text(STEP, message.topic)?,
            packet_id: Some(PacketId::MIN),
            properties: Some(Box::new(properties)),
            payload: Bytes::from_static(message.payload.as_bytes()),
            ..Publish::default()
        };
        let started = Instant::now();
        self.send(STEP, &Packet::Publish(publish)).await?;
        match self.receive(STEP).await? {
            Packet::PubAck(answer) if answer.reason.is_error() => {
                Err(self.refused(STEP, answer.reason, answer.properties.reason_string))
            }
            Packet::PubAck(_) => Ok(started.elapsed()),
            other => Err(self.unexpected(STEP, &other)),
        }
    }

    async fn send(&mut self, step: &'static str, packet: &Packet) -> Result<(), Error> {
        let mut bytes = BytesMut::new();
        wire::encode(packet, VERSION, &mut bytes).map_err(|cause| failure(self.address, step, &cause))?;
        let sent = self.stream.write_all(&bytes).await;
        sent.map_err(|cause| failure(self.address, step, &cause))
    }

    async fn receive(&mut self, step: &'static str) -> Result<Packet, Error> {
        loop {
            let decoded = self.decoder.decode(&mut self.buffer);
            if let Some(packet) = decoded.map_err(|cause| failure(self.address, step, &cause))? {
                return Ok(packet);
            }
            let read = self.stream.read_buf(&mut self.buffer).await;
            if read.map_err(|cause| failure(self.address, step, &cause))? == 0 {
                return Err(failure(self.address, step, &"it closed the connection"));
            }
        }
    }

    fn text(&self, step: &'static str, text: &str) -> Result<Utf8Bytes, Error> {
        Utf8Bytes::try_from(text).map_err(|cause| failure(self.address, step, &format!("`{text}` {cause}")))
    }

    /// A refusal: the server's own words, or those of the standard.
    fn refused(&self, step: &'static str, reason: ReasonCode, words: Option<Utf8Bytes>) -> Error {
        let message = words.map_or_else(|| reason.to_string(), |words| words.to_string());
        failure(self.address, step, &message)
    }

    fn unexpected(&self, step: &'static str, packet: &Packet) -> Error {
        let message = match packet {
            Packet::Disconnect(leave) => format!("it disconnected: {}", leave.reason),
            other => format!("it answered by {}", other.packet_type()),
        };
        failure(self.address, step, &message)
    }
}

fn failure(address: &str, step: &'static str, message: &impl ToString) -> Error {
    Error::Mqtt {
        address: address.to_owned(),
        step,
        message: message.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::net::TcpListener;
    use trunkline_mqtt_wire::{Ack, ConnAckProperties};

    use super::*;

    const PAYLOAD: &str = "[]";

    /// A peer that answers the packets of one connection by `answers`, one each, and returns what it was sent.
    async fn converse_with(answers: Vec<Packet>) -> (Result<Duration, Error>, Vec<Packet>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut decoder, mut buffer) = (Decoder::server(Limits::default()), BytesMut::new());
            let (mut answers, mut sent) = (answers.into_iter(), Vec::new());
            loop {
                if let Some(packet) = decoder.decode(&mut buffer).unwrap() {
                    sent.push(packet);
                    let mut bytes = BytesMut::new();
                    let Some(answer) = answers.next() else { return sent };
                    wire::encode(&answer, VERSION, &mut bytes).unwrap();
                    stream.write_all(&bytes).await.unwrap();
                } else if stream.read_buf(&mut buffer).await.unwrap() == 0 {
                    return sent;
                }
            }
        };
        let secret = Secret::new("s3cret".to_owned());
        let message = Message {
            client_id: "t1",
            secret: &secret,
            topic: "m/home/c/climate",
            content_type: "application/senml+json",
            payload: PAYLOAD,
        };
        tokio::join!(publish(&address, &message), peer)
    }

    fn connack(reason: ReasonCode, words: Option<&str>) -> Packet {
        Packet::ConnAck(Box::new(ConnAck {
            reason,
            properties: ConnAckProperties {
                reason_string: words.map(|words| Utf8Bytes::try_from(words).unwrap()),
                ..ConnAckProperties::default()
            },
            ..ConnAck::default()
        }))
    }

    #[tokio::test]
    async fn a_message_is_published_by_its_client_and_awaited() {
        let admitted = connack(ReasonCode::Success, None);
        let kept = Packet::PubAck(Ack::success(PacketId::MIN));
        let (outcome, sent) = converse_with(vec![admitted, kept]).await;
        outcome.unwrap();
        let [
            Packet::Connect(connect),
            Packet::Publish(publish),
            Packet::Disconnect(_),
        ] = &sent[..]
        else {
            panic!("{sent:?}")
        };
        assert_eq!(connect.user_name.as_deref(), Some("t1"));
        assert_eq!(connect.password.as_ref().unwrap().reveal(), "s3cret");
        assert_eq!(
            (publish.qos, &publish.payload[..]),
            (QoS::AtLeastOnce, PAYLOAD.as_bytes())
        );
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_words_of_the_broker_or_the_standard() {
        let refused = connack(ReasonCode::BadUserNameOrPassword, Some("the secret is wrong"));
        let (outcome, _) = converse_with(vec![refused]).await;
        let message = outcome.unwrap_err().to_string();
        assert!(
            message.ends_with(" did not admit the client: the secret is wrong"),
            "{message}"
        );

        let admitted = connack(ReasonCode::Success, None);
        let denied = Packet::PubAck(Ack::with_reason(PacketId::MIN, ReasonCode::NotAuthorized));
        let (outcome, _) = converse_with(vec![admitted, denied]).await;
        let message = outcome.unwrap_err().to_string();
        assert!(
            message.ends_with(" did not take the message: not authorized (0x87)"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn a_connection_that_ends_without_an_answer_is_an_error() {
        let (outcome, sent) = converse_with(Vec::new()).await;
        assert_eq!(sent.len(), 1);
        assert!(matches!(
            outcome,
            Err(Error::Mqtt {
                step: "admit the client",
                ..
            })
        ));
    }
}
