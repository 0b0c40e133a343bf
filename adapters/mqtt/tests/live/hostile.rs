//! Clients that mean harm: each ends its own connection and nobody else's.

use trunkline_mqtt_wire::{AuthProperties, Disconnect, SubAck, Unsubscribe, Will};

use super::*;

/// Every packet that a client can send, after CONNECT.
fn packets() -> Vec<Packet> {
    let id = PacketId::MIN;
    vec![
        Packet::Publish(Publish {
            qos: QoS::AtLeastOnce,
            topic: text("a/b"),
            packet_id: Some(id),
            payload: "payload".into(),
            ..Publish::default()
        }),
        Packet::PubAck(Ack::success(id)),
        Packet::PubRec(Ack::success(id)),
        Packet::PubRel(Ack::success(id)),
        Packet::PubComp(Ack::success(id)),
        Packet::Subscribe(Subscribe {
            packet_id: id,
            filters: vec![SubscribeFilter {
                filter: text("a/#"),
                ..SubscribeFilter::default()
            }],
            properties: SubscribeProperties::default(),
        }),
        Packet::Unsubscribe(Unsubscribe {
            packet_id: id,
            filters: vec![text("a/#")],
            properties: Default::default(),
        }),
        Packet::PingReq,
        Packet::Disconnect(Box::<Disconnect>::default()),
    ]
}

fn full_connect() -> Packet {
    Packet::Connect(Box::new(Connect {
        will: Some(Will {
            topic: text("a"),
            ..Will::default()
        }),
        user_name: Some(text("user")),
        password: Some(Bytes::from_static(b"secret").into()),
        ..connect("hostile")
    }))
}

/// A bystander that publishes to itself; it must notice nothing.
pub(super) struct Bystander(Client);

impl Bystander {
    pub(super) async fn of(broker: &Broker) -> Self {
        let mut client = broker.client(Version::V5, "bystander").await;
        client.subscribe("bystander", QoS::AtMostOnce).await;
        Self(client)
    }

    pub(super) async fn goes_on(&mut self) {
        self.0.publish("bystander", "1", QoS::AtMostOnce).await;
        assert_eq!(self.0.take().await.payload, "1");
    }
}

/// Whatever the platform still says, it closes.
async fn is_closed(client: &mut Client) {
    while client.next().await.is_some() {}
}

#[tokio::test]
async fn every_packet_cut_at_every_byte_ends_with_its_connection() {
    let broker = Broker::start().await;
    let mut bystander = Bystander::of(&broker).await;
    for version in BOTH {
        let connect = encoded(&full_connect(), version);
        for end in 0..connect.len() {
            let mut stream = broker.stream();
            stream.write_all(&connect[..end]).await.unwrap();
            drop(stream);
        }
        for packet in packets() {
            let bytes = encoded(&packet, version);
            for end in 1..bytes.len() {
                let mut client = broker.client(version, "hostile").await;
                client.stream.write_all(&bytes[..end]).await.unwrap();
                client.stream.shutdown().await.unwrap();
                is_closed(&mut client).await;
            }
            bystander.goes_on().await;
        }
    }
    broker.stop().await;
}

#[tokio::test]
async fn packets_in_fragments_of_one_byte_are_packets() {
    let broker = Broker::start().await;
    for version in BOTH {
        let mut client = Client::new(broker.stream(), version);
        let mut bytes = encoded(&Packet::Connect(Box::new(connect("slowly"))), version).to_vec();
        bytes.extend(encoded(&packets()[0], version));
        for byte in bytes {
            client.stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert!(matches!(client.receive().await, Packet::ConnAck(connack) if connack.reason == ReasonCode::Success));
        assert!(matches!(client.receive().await, Packet::PubAck(ack) if ack.reason == ReasonCode::Success));
    }
    broker.stop().await;
}

#[tokio::test]
async fn packets_that_only_servers_send_end_the_connection() {
    let broker = Broker::start().await;
    let mut bystander = Bystander::of(&broker).await;
    let suback = SubAck {
        packet_id: PacketId::MIN,
        reasons: vec![ReasonCode::Success],
        properties: Default::default(),
    };
    let packets = [
        Packet::ConnAck(Box::default()),
        Packet::SubAck(suback.clone()),
        Packet::UnsubAck(suback),
        Packet::PingResp,
    ];
    for version in BOTH {
        for packet in &packets {
            let mut client = broker.client(version, "hostile").await;
            client.send(packet).await;
            let expected = (version == Version::V5).then_some(ReasonCode::ProtocolError);
            assert_eq!(client.goodbye().await, expected);

            let mut stranger = Client::new(broker.stream(), version);
            stranger.send(packet).await;
            assert_eq!(stranger.next().await, None);
            bystander.goes_on().await;
        }
    }
    broker.stop().await;
}

#[tokio::test]
async fn lengths_that_lie_are_refused_from_the_header() {
    let broker = Broker::start().await;
    let mut bystander = Bystander::of(&broker).await;
    for version in BOTH {
        let mut stranger = Client::new(broker.stream(), version);
        stranger
            .stream
            .write_all(&[0x10, 0xff, 0xff, 0xff, 0x7f])
            .await
            .unwrap();
        assert_eq!(stranger.next().await, None);

        let table: [(&[u8], ReasonCode); 3] = [
            (&[0x30, 0xff, 0xff, 0xff, 0x7f], ReasonCode::PacketTooLarge),
            (&[0x30, 0xff, 0xff, 0xff, 0xff, 0x01], ReasonCode::MalformedPacket),
            (&[0x32, 0x05, 0xff, 0xff, b'a', 0, 1], ReasonCode::MalformedPacket),
        ];
        for (bytes, reason) in table {
            let mut client = broker.client(version, "hostile").await;
            client.stream.write_all(bytes).await.unwrap();
            assert_eq!(client.goodbye().await, (version == Version::V5).then_some(reason));
        }
        bystander.goes_on().await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn an_authentication_that_nobody_asked_for_is_refused() {
    let broker = Broker::start().await;
    let mut client = broker.client(Version::V5, "hostile").await;
    let auth = trunkline_mqtt_wire::Auth {
        reason: ReasonCode::ReAuthenticate,
        properties: AuthProperties {
            authentication_method: Some(text("SCRAM")),
            ..AuthProperties::default()
        },
    };
    client.send(&Packet::Auth(Box::new(auth))).await;
    assert_eq!(client.goodbye().await, Some(ReasonCode::BadAuthenticationMethod));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_keeps_nobody_out_for_long() {
    keeps_nobody_out(Listener::from, b"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_behind_a_proxy_keeps_nobody_out_for_long() {
    let behind = |socket| Listener::from(socket).behind(vec!["127.0.0.1".parse().unwrap()]);
    keeps_nobody_out(behind, b"PROXY TCP4 192.0.2.7 198.51.100.1 4660 80\r\n").await;
}

/// As many connections as may be without an answer to CONNECT say nothing after `header`, and somebody comes after them.
async fn keeps_nobody_out(on: impl FnOnce(TcpListener) -> Listener, header: &[u8]) {
    use trunkline_mqtt::limits::{HANDSHAKE_TIME_MAX, HANDSHAKES_MAX};
    let broker = Broker::start().await;
    let address = broker.listen(on).await;
    let begun = tokio::time::Instant::now();
    let stream = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(header).await.unwrap();
        stream
    };
    let mut silent = Vec::new();
    for _ in 0..HANDSHAKES_MAX {
        silent.push(stream().await);
    }
    let mut client = Client::connected(stream().await, Version::V5, connect("client")).await;
    // By then those that came first would have had their time.
    assert!(begun.elapsed() < HANDSHAKE_TIME_MAX, "{:?}", begun.elapsed());
    client.is_quiet().await;
    drop(silent);
    broker.stop().await;
}
