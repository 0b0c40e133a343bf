//! A crowd that means harm, around clients that do not: each of its members comes back for as long as the crowd is there.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use trunkline_mqtt_wire::{
    Connect, Packet, PacketId, Publish, PublishProperties, Secret, Subscribe, SubscribeFilter, SubscribeProperties,
    UserProperty, Version, encode,
};

use super::broker::Broker;
use crate::load::{Target, Wire, text};

/// Connections that say nothing.
const SILENT: usize = 200;
/// Connections that say what is right, a byte at a time.
const SLOW: usize = 20;
/// Subscribers to everything that take a byte a second, and those that take all and acknowledge nothing.
const SIPPING: usize = 5;
const UNGRATEFUL: usize = 5;
/// Time between two connections of the duel for a client id.
const DUEL_PAUSE: Duration = Duration::from_millis(1);
/// Time between two connections that speak no MQTT, and between two that say what is far too large.
const NONSENSE_PAUSE: Duration = Duration::from_millis(10);
const GIANT_PAUSE: Duration = Duration::from_millis(200);
/// Time between two bytes of who says a byte at a time, and of who takes one.
const BYTE_PAUSE: Duration = Duration::from_millis(5);
const SIP_PAUSE: Duration = Duration::from_secs(1);
/// How long a member waits for the end of its connection.
const END_WAIT: Duration = Duration::from_secs(30);

/// What speaks no MQTT, or not what a client may say first.
const NONSENSE: [&[u8]; 6] = [
    // A CONNACK.
    &[0x20, 0x02, 0x00, 0x00],
    // A CONNECT and a PUBLISH of 256 MiB.
    &[0x10, 0xFF, 0xFF, 0xFF, 0x7F, 0x00, 0x04, b'M', b'Q', b'T', b'T', 0x04],
    &[0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0x00, 0x01, b'a'],
    // A length of five bytes.
    &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
    // A CONNECT whose name is longer than itself.
    &[
        0x10, 0x0C, 0xFF, 0xFF, b'M', b'Q', b'T', b'T', 0x04, 0x02, 0x00, 0x3C, 0x00, 0x00,
    ],
    b"GET / HTTP/1.1\r\n\r\n",
];

/// The crowd; it goes when this is dropped.
pub(super) struct Crowd {
    done: Arc<Done>,
    _members: JoinSet<()>,
}

/// What a crowd has done.
#[derive(Default)]
struct Done {
    /// Connections of the duel.
    duels: AtomicU64,
    /// Other connections that ended, most of them by the platform.
    others: AtomicU64,
}

impl fmt::Display for Crowd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (duels, others) = (self.done.duels.load(Relaxed), self.done.others.load(Relaxed));
        write!(
            formatter,
            "the crowd: {duels} connections of a duel, {others} others that ended"
        )
    }
}

impl Crowd {
    /// A crowd around `broker`, of clients that it admits where they have to be.
    ///
    /// # Errors
    /// When what it says cannot be written as MQTT.
    pub(super) fn gather(broker: &Broker) -> Result<Self> {
        let (mut members, done) = (JoinSet::new(), Arc::<Done>::default());
        let (target, count) = (broker.target(0), || Arc::clone(&done));
        for _ in 0..SILENT {
            members.spawn(again(count(), target.clone(), Duration::ZERO, be_silent));
        }
        for _ in 0..SLOW {
            members.spawn(again(count(), target.clone(), Duration::ZERO, speak_slowly));
        }
        for _ in 0..SIPPING {
            members.spawn(again(count(), target.clone(), Duration::ZERO, sip));
        }
        for _ in 0..UNGRATEFUL {
            members.spawn(again(count(), target.clone(), Duration::ZERO, take_all));
        }
        for nonsense in NONSENSE {
            let pause = NONSENSE_PAUSE * NONSENSE.len() as u32;
            members.spawn(again(count(), target.clone(), pause, async |target| {
                say(TcpStream::connect(target.mqtt).await?, nonsense).await
            }));
        }
        for giant in giants(target)? {
            members.spawn(again(count(), target.clone(), GIANT_PAUSE, async move |target| {
                let (wire, _) = Wire::connect(&target, Version::V5).await?;
                let (read, write) = wire.stream;
                say(read.reunite(write)?, &giant).await
            }));
        }
        members.spawn(duel(count(), target.clone()));
        Ok(Self {
            done,
            _members: members,
        })
    }
}

/// Does one thing after the other, however each ends.
async fn again(done: Arc<Done>, target: Target, pause: Duration, mut act: impl AsyncFnMut(Target) -> Result<()>) {
    let mut turns = interval(pause.max(DUEL_PAUSE));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        // That it fails is what the platform is for.
        let _ = act(target.clone()).await;
        done.others.fetch_add(1, Relaxed);
    }
}

/// Two clients of one name, each of which ends the other.
async fn duel(done: Arc<Done>, target: Target) {
    let Ok(connect) = connect(&target, "duelist") else {
        return;
    };
    let (mut turns, mut first) = (interval(DUEL_PAUSE), None);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        if let Ok(mut stream) = TcpStream::connect(target.mqtt).await
            && stream.write_all(&connect).await.is_ok()
        {
            drop(first.replace(stream));
            done.duels.fetch_add(1, Relaxed);
        }
    }
}

async fn be_silent(target: Target) -> Result<()> {
    let mut stream = TcpStream::connect(target.mqtt).await?;
    until_closed(&mut stream).await
}

async fn speak_slowly(target: Target) -> Result<()> {
    let mut stream = TcpStream::connect(target.mqtt).await?;
    stream.set_nodelay(true)?;
    let mut bytes = connect(&target, &crate::load::Plan::new_run())?;
    let publish = Packet::Publish(Publish {
        topic: text(&format!("{}/slow", target.topic))?,
        payload: Bytes::from_static(b"slow"),
        ..Publish::default()
    });
    for _ in 0..100 {
        encode(&publish, Version::V5, &mut bytes)?;
    }
    for byte in bytes {
        stream.write_all(&[byte]).await?;
        sleep(BYTE_PAUSE).await;
    }
    Ok(())
}

async fn sip(target: Target) -> Result<()> {
    let (mut wire, _) = Wire::connect(&target, Version::V5).await?;
    wire.subscribe(&format!("{}/#", target.topic), 1).await?;
    while wire.stream.0.read_u8().await.is_ok() {
        sleep(SIP_PAUSE).await;
    }
    Ok(())
}

async fn take_all(target: Target) -> Result<()> {
    let (mut wire, _) = Wire::connect(&target, Version::V5).await?;
    wire.subscribe(&format!("{}/#", target.topic), 1).await?;
    let mut room = vec![0; 64 * 1024];
    while wire.stream.0.read(&mut room).await? > 0 {}
    Ok(())
}

/// Says `bytes`, and stays until it is thrown out.
async fn say(mut stream: TcpStream, bytes: &[u8]) -> Result<()> {
    stream.write_all(bytes).await?;
    until_closed(&mut stream).await
}

async fn until_closed(stream: &mut TcpStream) -> Result<()> {
    let mut room = [0; 512];
    let closed = async {
        while stream.read(&mut room).await? > 0 {}
        Ok(())
    };
    timeout(END_WAIT, closed).await?
}

fn connect(target: &Target, client_id: &str) -> Result<BytesMut> {
    let mut bytes = BytesMut::new();
    let connect = Connect {
        client_id: text(client_id)?,
        user_name: Some(text(&target.user)?),
        password: Some(Secret::from(Bytes::from(target.password.clone()))),
        ..Connect::default()
    };
    encode(&Packet::Connect(Box::new(connect)), Version::V5, &mut bytes)?;
    Ok(bytes)
}

/// What breaks no rule but is far too large: a topic, user properties, levels of a filter.
fn giants(target: &Target) -> Result<Vec<BytesMut>> {
    let property = UserProperty {
        name: text("n")?,
        value: text("v")?,
    };
    let packets = [
        Packet::Publish(Publish {
            topic: text(&"t".repeat(usize::from(u16::MAX)))?,
            ..Publish::default()
        }),
        Packet::Publish(Publish {
            topic: text(&target.topic)?,
            properties: Some(Box::new(PublishProperties {
                user_properties: vec![property; 65_536],
                ..PublishProperties::default()
            })),
            ..Publish::default()
        }),
        Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            filters: vec![SubscribeFilter {
                filter: text(&"/".repeat(9_999))?,
                ..SubscribeFilter::default()
            }],
            properties: SubscribeProperties::default(),
        }),
    ];
    let mut encoded = Vec::with_capacity(packets.len());
    for packet in &packets {
        let mut bytes = BytesMut::new();
        encode(packet, Version::V5, &mut bytes)?;
        encoded.push(bytes);
    }
    Ok(encoded)
}
