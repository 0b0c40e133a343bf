//! A peer that breaks the promise: it stands before the platform's MQTT and acknowledges each message before the platform has it, as a
//! platform would that acknowledges before it appends. It shows that the judgement of the kills can fail.

use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use trunkline_mqtt_wire::{Ack, Decoder, Limits, Packet, Version, encode};

/// A liar that runs until it is dropped.
pub(crate) struct Liar {
    pub(crate) address: SocketAddr,
    _running: JoinSet<()>,
}

impl Liar {
    pub(crate) async fn before(platform: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                // The client is let down when the platform is gone, and comes back.
                connections.spawn(async move { lie(client, platform).await.unwrap_or_default() });
            }
        });
        Self {
            address,
            _running: running,
        }
    }
}

async fn lie(mut client: TcpStream, platform: SocketAddr) -> std::io::Result<()> {
    let mut server = TcpStream::connect(platform).await?;
    let (mut from_client, mut from_server) = (BytesMut::new(), BytesMut::new());
    let mut sent = Decoder::server(Limits::STANDARD);
    let mut answered = Decoder::client(Version::V5, Limits::STANDARD);
    loop {
        let (mut to_client, mut to_server) = (BytesMut::new(), BytesMut::new());
        tokio::select! {
            read = client.read_buf(&mut from_client) => if read? == 0 { return Ok(()) },
            read = server.read_buf(&mut from_server) => if read? == 0 { return Ok(()) },
        }
        while let Some(packet) = sent.decode(&mut from_client).unwrap() {
            if let Packet::Publish(publish) = &packet {
                let id = publish.packet_id.unwrap();
                encode(&Packet::PubAck(Ack::success(id)), Version::V5, &mut to_client).unwrap();
            }
            encode(&packet, Version::V5, &mut to_server).unwrap();
        }
        while let Some(packet) = answered.decode(&mut from_server).unwrap() {
            if !matches!(packet, Packet::PubAck(_)) {
                encode(&packet, Version::V5, &mut to_client).unwrap();
            }
        }
        client.write_all(&to_client).await?;
        server.write_all(&to_server).await?;
    }
}
