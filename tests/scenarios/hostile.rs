//! Clients that mean harm, against a platform at work: each ends its own connection alone, while another device publishes throughout
//! and has every message acknowledged.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use trunkline_mqtt_wire::{
    Ack, Auth, AuthProperties, Connect, Decoder, Limits, Packet, PacketId, PublishProperties, QoS, ReasonCode, SubAck,
    Subscribe, SubscribeProperties, Unsubscribe, UserProperty, Version, Will, WillProperties,
};
use trunkline_testkit::mqtt::{connect_packet, publish_packet};
use trunkline_tests::{Device, World, scenarios};

use crate::wire::{BOTH, encoded, filter, goodbye, log_in, log_in_as, publish_with, text};

scenarios!(
    packets_cut_at_any_byte_end_their_connection_alone,
    packets_with_any_byte_wrong_end_their_connection_alone,
    lengths_that_lie_end_their_connection_alone,
    packets_that_only_a_server_sends_end_their_connection_alone,
    packets_in_fragments_of_one_byte_are_packets,
    silence_before_connect_ends_its_connection_alone,
);

/// Hostile connections at a time.
const AT_ONCE: usize = 64;
/// Time in which the platform must have closed a connection whose client has said all it had to say.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);
/// Time in which it must have closed one that says nothing; it gives a client 10 s to be admitted.
const SILENCE_TIME_MAX: Duration = Duration::from_secs(20);

/// A platform with somebody who works and somebody who means harm.
struct Scene {
    world: World,
    topic: String,
    villain: Device,
    worker: JoinHandle<u32>,
    is_over: Arc<AtomicBool>,
}

impl Scene {
    async fn new(world: World) -> Self {
        let plant = world.domain("plant").await;
        let (channel, device) = plant.channel_with_device("boiler").await;
        let (other, villain) = plant.channel_with_device("other").await;
        let is_over = Arc::new(AtomicBool::new(false));
        let mut client = log_in(&world, Version::V5, &device).await;
        let (topic, is_done) = (plant.topic(&channel), Arc::clone(&is_over));
        let worker = tokio::spawn(async move {
            let mut count = 0;
            while !is_done.load(Ordering::SeqCst) {
                let answer = client.publish(&topic, QoS::AtLeastOnce, r#"{"a":1}"#).await;
                assert_eq!(answer, ReasonCode::Success);
                count += 1;
            }
            client.disconnect().await;
            count
        });
        Self {
            topic: plant.topic(&other),
            world,
            villain,
            worker,
            is_over,
        }
    }

    /// The worker noticed nothing.
    async fn end(self) {
        self.is_over.store(true, Ordering::SeqCst);
        let published = self.worker.await.unwrap();
        assert!(published > 0, "the worker did not come to publish");
        self.world.stop().await;
    }

    /// Every packet of a version, as full as the standard lets it be, whoever sends it.
    fn packets(&self, version: Version) -> Vec<Packet> {
        let id = PacketId::MIN;
        let answers = SubAck {
            packet_id: id,
            reasons: if version == Version::V5 {
                vec![ReasonCode::Success]
            } else {
                Vec::new()
            },
            properties: Default::default(),
        };
        let granted = SubAck {
            reasons: vec![ReasonCode::GrantedQos1],
            ..answers.clone()
        };
        let mut packets = vec![
            Packet::Connect(Box::new(self.full_connect())),
            Packet::ConnAck(Box::default()),
            Packet::Publish(trunkline_mqtt_wire::Publish {
                packet_id: Some(id),
                ..publish_with(&self.topic, "payload", full_properties())
            }),
            Packet::Publish(publish_packet(&self.topic, QoS::AtMostOnce, "payload")),
            Packet::PubAck(Ack::success(id)),
            Packet::PubRec(Ack::success(id)),
            Packet::PubRel(Ack::success(id)),
            Packet::PubComp(Ack::success(id)),
            Packet::Subscribe(Subscribe {
                packet_id: id,
                filters: vec![filter(&self.topic), filter("m/a/c/b/#")],
                properties: SubscribeProperties::default(),
            }),
            Packet::SubAck(granted),
            Packet::Unsubscribe(Unsubscribe {
                packet_id: id,
                filters: vec![text(&self.topic)],
                properties: Default::default(),
            }),
            Packet::UnsubAck(answers),
            Packet::PingReq,
            Packet::PingResp,
            Packet::Disconnect(Box::default()),
        ];
        if version == Version::V5 {
            let properties = AuthProperties {
                authentication_method: Some(text("SCRAM-SHA-1")),
                ..AuthProperties::default()
            };
            let reason = ReasonCode::ReAuthenticate;
            packets.push(Packet::Auth(Box::new(Auth { reason, properties })));
        }
        packets
    }

    fn full_connect(&self) -> Connect {
        let will = Will {
            qos: QoS::AtLeastOnce,
            topic: text(&self.topic),
            payload: Bytes::from_static(b"gone"),
            properties: WillProperties {
                will_delay_s: Some(5),
                content_type: Some(text("text/plain")),
                ..WillProperties::default()
            },
            ..Will::default()
        };
        Connect {
            will: Some(will),
            keep_alive_s: 60,
            ..self.connect()
        }
    }

    /// The villain's CONNECT; he asks for a new id each time, so that he takes no session of his own.
    fn connect(&self) -> Connect {
        connect_packet("", &self.villain.id, &self.villain.secret)
    }

    /// Sends each of these, on a connection of its own, and waits until the platform closed all of them.
    async fn attack(&self, attacks: Vec<Attack>) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut running = JoinSet::new();
        for attack in attacks {
            let place = Arc::clone(&places).acquire_owned().await.unwrap();
            let address = self.world.addresses.mqtt;
            running.spawn(async move {
                let closing = tokio::time::timeout(CLOSE_TIME_MAX, attack.play(address)).await;
                assert!(closing.is_ok(), "the connection is still open after {attack:x?}");
                drop(place);
            });
        }
        while let Some(ended) = running.join_next().await {
            ended.unwrap();
        }
    }

    /// An attack with `bytes`, after a CONNECT unless they are one.
    fn attack_of(&self, version: Version, packet: &Packet, bytes: &[u8]) -> Attack {
        let mut connect = BytesMut::new();
        if !matches!(packet, Packet::Connect(_)) {
            connect = encoded(&Packet::Connect(Box::new(self.connect())), version);
        }
        Attack {
            connect: connect.freeze(),
            bytes: Bytes::copy_from_slice(bytes),
        }
    }
}

/// What one hostile connection sends before it says nothing more.
#[derive(Debug)]
struct Attack {
    connect: Bytes,
    bytes: Bytes,
}

impl Attack {
    /// Plays it. Whatever the platform answers must be whole packets, and then it must close.
    async fn play(&self, address: SocketAddr) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut answers = BytesMut::new();
        // A platform that has seen enough may close before it has read all: that is an end, too.
        let _ = self.send(&mut stream).await;
        while matches!(stream.read_buf(&mut answers).await, Ok(bytes) if bytes > 0) {}
        let is_whole = |version| is_whole(&answers, version);
        assert!(
            BOTH.into_iter().any(is_whole),
            "what came back are no packets: {answers:x?}"
        );
    }

    async fn send(&self, stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(&self.connect).await?;
        stream.write_all(&self.bytes).await?;
        stream.shutdown().await
    }
}

/// Whether bytes are whole packets of a server. A version is not the one that was meant once its byte in CONNECT is wrong.
fn is_whole(answers: &BytesMut, version: Version) -> bool {
    let mut rest = answers.clone();
    let mut decoder = Decoder::client(version, Limits::STANDARD);
    while let Ok(Some(_)) = decoder.decode(&mut rest) {}
    rest.is_empty()
}

fn full_properties() -> PublishProperties {
    let property = UserProperty {
        name: text("name"),
        value: text("value"),
    };
    PublishProperties {
        payload_is_utf8: Some(true),
        message_expiry_s: Some(60),
        response_topic: Some(text("a/b")),
        correlation_data: Some(Bytes::from_static(b"12")),
        user_properties: vec![property],
        content_type: Some(text("text/plain")),
        ..PublishProperties::default()
    }
}

async fn packets_cut_at_any_byte_end_their_connection_alone(world: World) {
    let scene = Scene::new(world).await;
    let mut attacks = Vec::new();
    for version in BOTH {
        for packet in scene.packets(version) {
            let bytes = encoded(&packet, version);
            attacks.extend((0..bytes.len()).map(|end| scene.attack_of(version, &packet, &bytes[..end])));
        }
    }
    scene.attack(attacks).await;
    scene.end().await;
}

async fn packets_with_any_byte_wrong_end_their_connection_alone(world: World) {
    let scene = Scene::new(world).await;
    let mut attacks = Vec::new();
    for version in BOTH {
        for packet in scene.packets(version) {
            let bytes = encoded(&packet, version);
            for place in 0..bytes.len() {
                // All ones makes the largest of every length, all zeros the smallest, and one more or less the nearest.
                for wrong in [0xff, 0x00, bytes[place].wrapping_add(1), bytes[place].wrapping_sub(1)] {
                    let mut mutant = bytes.clone();
                    mutant[place] = wrong;
                    attacks.push(scene.attack_of(version, &packet, &mutant));
                }
            }
        }
    }
    scene.attack(attacks).await;
    scene.end().await;
}

async fn lengths_that_lie_end_their_connection_alone(world: World) {
    let scene = Scene::new(world).await;
    let lies: [&[u8]; 7] = [
        &[0x00],
        &[0x7f],
        &[0x80, 0x00],
        &[0xff, 0x7f],
        &[0xff, 0xff, 0x7f],
        &[0xff, 0xff, 0xff, 0x7f],
        &[0xff, 0xff, 0xff, 0xff, 0x01],
    ];
    let mut attacks = Vec::new();
    for version in BOTH {
        for packet in scene.packets(version) {
            let bytes = encoded(&packet, version);
            let head = 1 + bytes[1..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
            for lie in lies {
                let mutant = [&bytes[..1], lie, &bytes[head..]].concat();
                attacks.push(scene.attack_of(version, &packet, &mutant));
            }
        }
    }
    scene.attack(attacks).await;
    // Whoever was admitted is told why, from the header alone: the body never comes.
    for version in BOTH {
        for (bytes, reason) in [
            (&[0x32, 0xff, 0xff, 0xff, 0x7f][..], ReasonCode::PacketTooLarge),
            (&[0x32, 0xff, 0xff, 0xff, 0xff, 0x01], ReasonCode::MalformedPacket),
            (&[0xf3, 0x00], ReasonCode::MalformedPacket),
            (&[0x00, 0x00], ReasonCode::MalformedPacket),
        ] {
            let mut client = log_in_as(&scene.world, version, &scene.villain, "").await;
            client.write(bytes).await;
            assert_eq!(
                goodbye(client).await,
                (version == Version::V5).then_some(reason),
                "{bytes:x?}"
            );
        }
        let mut client = log_in_as(&scene.world, version, &scene.villain, "").await;
        let large = vec![b'x'; 256 * 1024 + 1];
        let publish = trunkline_mqtt_wire::Publish {
            packet_id: NonZeroU16::new(1),
            ..publish_packet(&scene.topic, QoS::AtLeastOnce, large)
        };
        client.try_send(&Packet::Publish(publish)).await;
        assert_eq!(
            goodbye(client).await,
            (version == Version::V5).then_some(ReasonCode::PacketTooLarge)
        );
    }
    scene.end().await;
}

async fn packets_that_only_a_server_sends_end_their_connection_alone(world: World) {
    let scene = Scene::new(world).await;
    for version in BOTH {
        for packet in scene.packets(version) {
            let is_servers = matches!(
                packet,
                Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp
            );
            // Acknowledgements at QoS 2 of nothing: the standard has an answer for them, and the connection goes on.
            if matches!(packet, Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_)) {
                let mut client = log_in_as(&scene.world, version, &scene.villain, "").await;
                client.send(&packet).await;
                let answered = match (&packet, client.settle().await.as_slice()) {
                    (Packet::PubRec(asked), [Packet::PubRel(answer)]) => asked.packet_id == answer.packet_id,
                    (Packet::PubRel(asked), [Packet::PubComp(answer)]) => asked.packet_id == answer.packet_id,
                    (Packet::PubComp(_), []) => true,
                    _ => false,
                };
                assert!(answered, "{packet:?}");
            }
            if is_servers {
                let mut client = log_in_as(&scene.world, version, &scene.villain, "").await;
                client.send(&packet).await;
                let expected = (version == Version::V5).then_some(ReasonCode::ProtocolError);
                assert_eq!(goodbye(client).await, expected, "{packet:?}");
            }
            if !matches!(packet, Packet::Connect(_)) {
                let mut stranger = trunkline_testkit::mqtt::Client::open(scene.world.addresses.mqtt, version).await;
                stranger.send(&packet).await;
                assert!(stranger.closed().await.is_empty(), "{packet:?} before CONNECT");
            }
        }
    }
    scene.end().await;
}

async fn packets_in_fragments_of_one_byte_are_packets(world: World) {
    let scene = Scene::new(world).await;
    for version in BOTH {
        let mut client = trunkline_testkit::mqtt::Client::open(scene.world.addresses.mqtt, version).await;
        let mut bytes = encoded(&Packet::Connect(Box::new(scene.connect())), version);
        for packet in scene.packets(version) {
            let is_welcome = matches!(
                packet,
                Packet::Publish(_)
                    | Packet::PubAck(_)
                    | Packet::Subscribe(_)
                    | Packet::Unsubscribe(_)
                    | Packet::PingReq
            );
            if is_welcome {
                bytes.extend_from_slice(&encoded(&packet, version));
            }
        }
        for byte in bytes {
            client.write(&[byte]).await;
        }
        // Who waits for the log and who for the gate is answered when that is done; CONNACK comes first. What the worker publishes
        // while the subscription stands comes in between.
        let mut answers = Vec::new();
        while answers.len() < 5 {
            let packet = client.receive().await;
            if !matches!(packet, Packet::Publish(_)) {
                answers.push(packet.packet_type().name());
            }
        }
        assert_eq!(answers[0], "CONNACK");
        answers.sort_unstable();
        assert_eq!(answers, ["CONNACK", "PINGRESP", "PUBACK", "SUBACK", "UNSUBACK"]);
    }
    scene.end().await;
}

async fn silence_before_connect_ends_its_connection_alone(world: World) {
    let scene = Scene::new(world).await;
    let connect = encoded(&Packet::Connect(Box::new(scene.connect())), Version::V5);
    let mut silent = JoinSet::new();
    for end in [0, 1, connect.len() / 2, connect.len() - 1] {
        let (address, bytes) = (scene.world.addresses.mqtt, connect[..end].to_vec());
        silent.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            let read = tokio::time::timeout(SILENCE_TIME_MAX, stream.read(&mut [0])).await;
            assert!(matches!(read, Ok(Ok(0) | Err(_))), "after {end} bytes: {read:?}");
        });
    }
    while let Some(ended) = silent.join_next().await {
        ended.unwrap();
    }
    scene.end().await;
}
