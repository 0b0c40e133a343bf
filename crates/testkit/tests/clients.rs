//! The clients of the testkit, each against a peer that is a few lines of bytes.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use trunkline_mqtt_wire::{
    Ack, ConnAck, Decoder, Limits, Packet, PacketId, Publish, QoS, ReasonCode, SubAck, Version, encode,
};
use trunkline_testkit::{http, mqtt};

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn say(stream: &mut TcpStream, packet: Packet) {
    let mut bytes = BytesMut::new();
    encode(&packet, Version::V5, &mut bytes).unwrap();
    stream.write_all(&bytes).await.unwrap();
}

fn delivery(payload: &'static [u8]) -> Packet {
    Packet::Publish(Publish {
        qos: QoS::AtLeastOnce,
        packet_id: PacketId::new(7),
        topic: "m/home/c/climate".try_into().unwrap(),
        payload: payload.into(),
        ..Publish::default()
    })
}

/// A broker of one connection that always delivers a message before it answers; returns what it was sent.
async fn deliver_first(listener: TcpListener) -> Vec<Packet> {
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut decoder, mut buffer) = (Decoder::server(Limits::default()), BytesMut::new());
    let mut sent = Vec::new();
    loop {
        let Some(packet) = decoder.decode(&mut buffer).unwrap() else {
            if stream.read_buf(&mut buffer).await.unwrap() == 0 {
                return sent;
            }
            continue;
        };
        match &packet {
            Packet::Connect(_) => say(&mut stream, Packet::ConnAck(Box::<ConnAck>::default())).await,
            Packet::Subscribe(subscribe) => {
                say(&mut stream, delivery(b"early")).await;
                let answer = SubAck {
                    packet_id: subscribe.packet_id,
                    reasons: vec![ReasonCode::GrantedQos1],
                    properties: Default::default(),
                };
                say(&mut stream, Packet::SubAck(answer)).await;
            }
            Packet::Publish(publish) => {
                say(&mut stream, delivery(b"before the answer")).await;
                let answer = Ack::with_reason(publish.packet_id.unwrap(), ReasonCode::NotAuthorized);
                say(&mut stream, Packet::PubAck(answer)).await;
            }
            Packet::PingReq => say(&mut stream, Packet::PingResp).await,
            Packet::Disconnect(_) => {
                sent.push(packet);
                return sent;
            }
            _ => {}
        }
        sent.push(packet);
    }
}

#[tokio::test]
async fn what_arrives_before_an_answer_is_kept_in_order() {
    let (listener, address) = listener().await;
    let test = async {
        let mut client = mqtt::Client::log_in(address, Version::V5, "t1", "s3cret").await;
        assert_eq!(
            client.subscribe("m/home/c/climate", QoS::AtLeastOnce).await,
            ReasonCode::GrantedQos1
        );
        let refused = client.publish("m/home/c/climate", QoS::AtLeastOnce, "x").await;
        assert_eq!(refused, ReasonCode::NotAuthorized);
        assert_eq!(client.message().await.payload, "early");
        assert_eq!(client.message().await.payload, "before the answer");
        assert_eq!(client.settle().await, []);
        client.disconnect().await;
    };
    let (sent, ()) = tokio::join!(deliver_first(listener), test);
    let acknowledged = sent.iter().filter(|packet| matches!(packet, Packet::PubAck(_))).count();
    assert_eq!(acknowledged, 2);
}

#[tokio::test]
async fn raw_bytes_go_out_as_they_are_and_the_end_is_seen() {
    let (listener, address) = listener().await;
    let peer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 3];
        stream.read_exact(&mut bytes).await.unwrap();
        say(&mut stream, Packet::PingResp).await;
        bytes
    };
    let test = async {
        let mut client = mqtt::Client::open(address, Version::V5).await;
        client.write(b"\x00\xff\x01").await;
        client.closed().await
    };
    let (bytes, received) = tokio::join!(peer, test);
    assert_eq!(bytes, *b"\x00\xff\x01");
    assert_eq!(received, [Packet::PingResp]);
}

#[tokio::test]
async fn a_request_carries_its_headers_and_its_answer_is_whole() {
    let (listener, address) = listener().await;
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"{\"a\":1}") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        }
        let answer = "HTTP/1.1 201 Created\r\nlocation: /x\r\ncontent-length: 19\r\n\r\n{\"id\":{\"b\":\"text\"}}";
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    };
    let client = http::Client::new(address).with_token("t0ken");
    let body = serde_json::json!({ "a": 1 });
    let (request, answer) = tokio::join!(server, client.post("/things/a%2Fb?x=1", &body));
    assert!(request.starts_with("POST /things/a%2Fb?x=1 HTTP/1.1\r\n"), "{request}");
    for header in ["authorization: Bearer t0ken\r\n", "content-type: application/json\r\n"] {
        assert!(request.contains(header), "{request}");
    }
    let answer = answer.expect(201);
    assert_eq!(
        (answer.header("location"), answer.text_at("/id/b")),
        (Some("/x"), "text".to_owned())
    );
}
