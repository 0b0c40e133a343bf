//! Clients over WebSocket: a client of another make, and what it may not do.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, handshake::client::Request};
use tokio_tungstenite::{WebSocketStream, client_async};
use trunkline_mqtt::transport::websocket::Origins;
use trunkline_testkit::Authority;

use super::*;
use crate::tls::{stream_to, tls_of};

async fn listen(broker: &Broker, origins: &[&str]) -> SocketAddr {
    let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
    let origins = Origins::parse(&origins).unwrap();
    broker
        .listen(|socket| Listener::from(socket).with_websocket(origins))
        .await
}

/// A request for MQTT as it should be.
fn request(path: &str) -> Request {
    let mut request = format!("ws://localhost{path}").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", HeaderValue::from_static("mqttv3.1, mqtt"));
    request
}

async fn open(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let socket = TcpStream::connect(address).await.unwrap();
    let (socket, answer) = client_async(request("/mqtt"), socket).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "mqtt");
    socket
}

/// The status that a request is refused with.
async fn refused(address: SocketAddr, request: Request) -> StatusCode {
    let socket = TcpStream::connect(address).await.unwrap();
    match client_async(request, socket).await {
        Err(Error::Http(answer)) => answer.status(),
        Err(other) => panic!("{other}"),
        Ok(_) => StatusCode::SWITCHING_PROTOCOLS,
    }
}

/// The bytes of binary messages, until there are so many.
async fn receive<S>(socket: &mut WebSocketStream<S>, count: usize) -> Vec<u8>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut received = Vec::new();
    while received.len() < count {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await;
        match message.expect("nothing is received in time").unwrap().unwrap() {
            Message::Binary(bytes) => received.extend_from_slice(&bytes),
            other => panic!("{other:?}"),
        }
    }
    received
}

/// Connects, subscribes to `a` and publishes there what is larger than any message of a WebSocket; all packets in `piece`s of bytes.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, piece: usize) {
    let filter = SubscribeFilter {
        filter: text("a"),
        ..SubscribeFilter::default()
    };
    let subscribe = Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        filters: vec![filter],
        properties: SubscribeProperties::default(),
    });
    let publish = |payload: Vec<u8>| {
        let topic = text("a");
        Packet::Publish(Publish {
            topic,
            payload: payload.into(),
            ..Publish::default()
        })
    };
    let (first, last) = (vec![b'x'; 100_000], b"last".to_vec());
    let packets = [
        Packet::Connect(Box::new(connect("client"))),
        subscribe,
        publish(first.clone()),
        publish(last.clone()),
    ];
    let bytes: Vec<u8> = packets
        .iter()
        .flat_map(|packet| encoded(packet, Version::V3).to_vec())
        .collect();
    for piece in bytes.chunks(piece) {
        socket.send(Message::binary(piece.to_vec())).await.unwrap();
    }
    let messages = [
        encoded(&publish(first), Version::V3),
        encoded(&publish(last), Version::V3),
    ]
    .concat();
    let expected = [[0x20, 2, 0, 0, 0x90, 3, 0, 1, 0].as_slice(), &messages].concat();
    assert!(receive(socket, expected.len()).await == expected);
}

#[tokio::test]
async fn packets_span_messages_and_messages_hold_packets() {
    let broker = Broker::start().await;
    let address = listen(&broker, &[]).await;
    for piece in [1_000, 7_919, 1 << 20] {
        converse(&mut open(address).await, piece).await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_client_over_tls_has_a_websocket_too() {
    let (broker, authority) = (Broker::start().await, Authority::new());
    let tls = tls_of(&authority, false, b"http/1.1");
    let address = broker
        .listen(|socket| Listener::from(socket).over(tls).with_websocket(Origins::default()))
        .await;
    let stream = stream_to(address, &authority.connector(None)).await.unwrap();
    let (mut socket, _) = client_async(request("/mqtt"), stream).await.unwrap();
    converse(&mut socket, 1 << 20).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_ping_has_its_pong_and_a_close_its_close() {
    let broker = Broker::start().await;
    let mut socket = open(listen(&broker, &[]).await).await;
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    let pong = socket.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong("are you there".into()));
    socket.close(None).await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
    broker.stop().await;
}

#[tokio::test]
async fn a_text_message_closes_the_connection_and_no_other() {
    let broker = Broker::start().await;
    let address = listen(&broker, &[]).await;
    let (mut bystander, mut socket) = (open(address).await, open(address).await);
    socket.send(Message::text("{}")).await.unwrap();
    match socket.next().await {
        Some(Ok(Message::Close(Some(close)))) => assert_eq!(close.code, CloseCode::Unsupported),
        other => panic!("{other:?}"),
    }
    converse(&mut bystander, 1 << 20).await;
    broker.stop().await;
}

#[tokio::test]
async fn the_end_of_the_platform_is_said_in_mqtt_and_in_websocket() {
    let broker = Broker::start().await;
    let mut socket = open(listen(&broker, &[]).await).await;
    let connect = encoded(&Packet::Connect(Box::new(connect("client"))), Version::V5);
    socket.send(Message::Binary(connect)).await.unwrap();
    receive(&mut socket, 4).await;
    broker.cancel.cancel();
    let goodbye = receive(&mut socket, 2).await;
    assert_eq!((goodbye[0], goodbye[2]), (0xe0, ReasonCode::ServerShuttingDown as u8));
    match socket.next().await {
        Some(Ok(Message::Close(Some(close)))) => assert_eq!(close.code, CloseCode::Normal),
        other => panic!("{other:?}"),
    }
    broker.stop().await;
}

#[tokio::test]
async fn who_does_not_ask_for_mqtt_is_refused_by_a_status_that_says_why() {
    let broker = Broker::start().await;
    let address = listen(&broker, &["https://app.example"]).await;
    let with = |name: &'static str, value: &'static str| {
        let mut request = request("/mqtt");
        request.headers_mut().insert(name, HeaderValue::from_static(value));
        request
    };
    let mut without_protocol = request("/mqtt");
    without_protocol.headers_mut().remove("sec-websocket-protocol");
    for (request, status) in [
        (request("/"), StatusCode::NOT_FOUND),
        (without_protocol, StatusCode::BAD_REQUEST),
        (with("sec-websocket-protocol", "mqttv3.1"), StatusCode::BAD_REQUEST),
        (with("sec-websocket-protocol", "MQTT"), StatusCode::BAD_REQUEST),
        (with("origin", "https://evil.example"), StatusCode::FORBIDDEN),
        (with("origin", "null"), StatusCode::FORBIDDEN),
        (with("origin", "https://app.example.evil"), StatusCode::FORBIDDEN),
        (with("origin", "https://App.example"), StatusCode::SWITCHING_PROTOCOLS),
        (with("origin", "http://localhost"), StatusCode::SWITCHING_PROTOCOLS),
    ] {
        let told = format!("{:?}", request.headers());
        assert_eq!(refused(address, request).await, status, "{told}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn what_is_no_request_for_a_websocket_is_answered_in_http() {
    let broker = Broker::start().await;
    let address = listen(&broker, &[]).await;
    let upgrade = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Protocol: mqtt\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let good = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\n";
    for (request, beginning) in [
        (format!("{good}\r\n"), "HTTP/1.1 426"),
        (
            format!("{good}{upgrade}{key}Sec-WebSocket-Version: 8\r\n\r\n"),
            "HTTP/1.1 426",
        ),
        (
            format!("{good}{upgrade}Sec-WebSocket-Version: 13\r\n\r\n"),
            "HTTP/1.1 400",
        ),
        (
            format!("{good}{upgrade}Sec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13\r\n\r\n"),
            "HTTP/1.1 400",
        ),
        (
            format!("{good}{upgrade}{key}{key}Sec-WebSocket-Version: 13\r\n\r\n"),
            "HTTP/1.1 400",
        ),
        (
            "POST /mqtt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "HTTP/1.1 405",
        ),
        (format!("{good}X: {}\r\n\r\n", "x".repeat(64 * 1024)), "HTTP/1.1 431"),
        (
            format!("{good}{upgrade}{key}Sec-WebSocket-Version: 13\r\n\r\n"),
            "HTTP/1.1 101",
        ),
    ] {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let _ = socket.write_all(request.as_bytes()).await;
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), beginning, "{request:.300}");
        if beginning.ends_with("101") {
            // The proof of RFC 6455 section 1.3.
            let mut rest = vec![0; 1_024];
            let count = socket.read(&mut rest).await.unwrap();
            let rest = String::from_utf8_lossy(&rest[..count]).into_owned();
            assert!(rest.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{rest}");
        }
    }
    broker.stop().await;
}
