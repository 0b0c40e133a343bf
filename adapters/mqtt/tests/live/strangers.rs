//! What strangers make the node hold who stop halfway, at whatever layer below CONNECT. `greedy.rs` has those over plain TCP.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::ReadBuf;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use trunkline_mqtt::limits::{CONNECT_BYTES_MAX, WEBSOCKET_REQUEST_BYTES_MAX};
use trunkline_mqtt::transport::ALPN;
use trunkline_mqtt::transport::websocket::Origins;
use trunkline_mqtt_wire::Will;
use trunkline_rpc::server_tls::HANDSHAKE_BYTES_MAX;
use trunkline_testkit::{Authority, until};

use super::greedy::{STRANGER_BYTES_MAX, connections_of, is_alone, unfinished_connect};
use super::*;
use crate::tls::{stream_to, tls_of};

/// Strangers that have come before the memory is looked at for the first time, and those that come then: all within the time that a
/// handshake may take.
const STRANGERS_BEFORE: usize = 50;
const STRANGERS: usize = 200;
/// The largest record of TLS.
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// A request for MQTT but for the line that ends it.
const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n";

/// Has strangers come who `stop` halfway. Each has said about as many bytes as `costs` begins with, and costs less than it ends with.
async fn strangers_cost<S>(
    broker: &Broker,
    address: SocketAddr,
    costs: Range<usize>,
    stop: impl AsyncFn(SocketAddr) -> S,
) {
    let (mut streams, mut before) = (Vec::new(), 0);
    for count in [STRANGERS_BEFORE, STRANGERS] {
        before = heap_bytes();
        for _ in 0..count {
            streams.push(stop(address).await);
        }
        until(PATIENCE, || async { connections_of(address) == (streams.len(), 0) }).await;
    }
    let each = heap_bytes().saturating_sub(before) / STRANGERS;
    println!("a stranger costs {each} bytes");
    assert_eq!(broker.connections.len(), 1, "the listener has ended");
    if is_alone() {
        // What it said is held; a figure below that would be one of something else.
        assert!(each > costs.start / 2, "{each} bytes");
        assert!(each < costs.end, "{each} bytes");
    }
}

/// Bytes of this process that are in memory and of no file: code is read in as it is needed, whoever comes.
fn heap_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// All of a ClientHello that a handshake may take, but for a byte: it says to be larger.
fn unfinished_hello() -> Vec<u8> {
    let mut hello = vec![1, 0, 0xFF, 0xFF];
    hello.resize(HANDSHAKE_BYTES_MAX, b'x');
    let record = |part: &[u8]| {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[22, 3, 1], &length[..], part].concat()
    };
    let mut records: Vec<u8> = hello.chunks(RECORD_BYTES_MAX).flat_map(record).collect();
    records.truncate(HANDSHAKE_BYTES_MAX - 1);
    records
}

/// The largest request, but for its end.
fn unfinished_request() -> Vec<u8> {
    let mut request = format!("{REQUEST}X: ").into_bytes();
    request.resize(WEBSOCKET_REQUEST_BYTES_MAX - 1, b'x');
    request
}

/// A socket that lets so many bytes out and no more.
struct Halting {
    socket: TcpStream,
    left: Arc<AtomicUsize>,
}

impl AsyncRead for Halting {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(context, room)
    }
}

impl AsyncWrite for Halting {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let left = this.left.load(Ordering::Relaxed);
        if left == 0 {
            return Poll::Pending;
        }
        let written = Pin::new(&mut this.socket).poll_write(context, &bytes[..bytes.len().min(left)]);
        if let Poll::Ready(Ok(count)) = written {
            this.left.store(left - count, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

/// Begins a handshake, and stops when that has taken so many bytes. Gives the socket, which stays open.
async fn stop_in_handshake(address: SocketAddr, connector: &TlsConnector, bytes: usize) -> std::net::TcpStream {
    let socket = TcpStream::connect(address).await.unwrap().into_std().unwrap();
    let (kept, left) = (socket.try_clone().unwrap(), Arc::new(AtomicUsize::new(bytes)));
    let halting = Halting {
        socket: TcpStream::from_std(socket).unwrap(),
        left: Arc::clone(&left),
    };
    let name = ServerName::try_from("localhost").unwrap();
    tokio::select! {
        _ = connector.connect(name, halting) => panic!("the handshake is over"),
        () = until(PATIENCE, async || left.load(Ordering::Relaxed) == 0) => {}
    }
    kept
}

/// Says everything over a stream that is open.
async fn say(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
}

/// Opens a WebSocket, and says there what is left of a CONNECT.
async fn stop_in_websocket(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    say(stream, format!("{REQUEST}\r\n").as_bytes()).await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    let connect = unfinished_connect();
    let length = u16::try_from(connect.len()).unwrap().to_be_bytes();
    // Binary, masked with zeros.
    let frame = [&[0x82, 0x80 | 126], &length[..], &[0; 4], &connect].concat();
    say(stream, &frame).await;
}

/// Goes on without the client's part of TLS, which is not the node's to hold.
fn socket_of(stream: TlsStream<TcpStream>) -> TcpStream {
    stream.into_inner().0
}

fn with_websocket(listener: Listener) -> Listener {
    listener.with_websocket(Origins::parse(&[]).unwrap())
}

#[tokio::test]
async fn a_stranger_who_stops_in_a_tls_handshake_costs_less_than_64_kib() {
    let (broker, authority) = (Broker::start().await, Authority::new());
    let address = broker
        .listen(|socket| Listener::from(socket).over(tls_of(&authority, false, ALPN)))
        .await;
    strangers_cost(
        &broker,
        address,
        HANDSHAKE_BYTES_MAX..STRANGER_BYTES_MAX,
        async |address| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            say(&mut stream, &unfinished_hello()).await;
            stream
        },
    )
    .await;
    broker.stop().await;
}

#[tokio::test]
async fn a_stranger_who_stops_in_its_certificate_costs_less_than_64_kib() {
    let (broker, authority) = (Broker::start().await, Authority::new());
    let address = broker
        .listen(|socket| Listener::from(socket).over(tls_of(&authority, true, ALPN)))
        .await;
    // The certificate is larger than what is sent of it.
    let names = vec![format!("DNS:{}", "n".repeat(250)); HANDSHAKE_BYTES_MAX / 250].join(",");
    let connector = authority.connector(Some(&authority.issue("large", &names)));
    strangers_cost(
        &broker,
        address,
        HANDSHAKE_BYTES_MAX..STRANGER_BYTES_MAX,
        async |address| stop_in_handshake(address, &connector, HANDSHAKE_BYTES_MAX - 1).await,
    )
    .await;
    broker.stop().await;
}

#[tokio::test]
async fn a_stranger_who_stops_in_connect_over_tls_costs_less_than_64_kib() {
    let (broker, authority) = (Broker::start().await, Authority::new());
    let address = broker
        .listen(|socket| Listener::from(socket).over(tls_of(&authority, false, ALPN)))
        .await;
    let connector = authority.connector(None);
    strangers_cost(
        &broker,
        address,
        CONNECT_BYTES_MAX as usize..STRANGER_BYTES_MAX,
        async |address| {
            let mut stream = stream_to(address, &connector).await.unwrap();
            say(&mut stream, &unfinished_connect()).await;
            socket_of(stream)
        },
    )
    .await;
    broker.stop().await;
}

#[tokio::test]
async fn a_stranger_who_stops_in_a_request_for_a_websocket_costs_less_than_64_kib() {
    let broker = Broker::start().await;
    let address = broker.listen(|socket| with_websocket(Listener::from(socket))).await;
    strangers_cost(
        &broker,
        address,
        WEBSOCKET_REQUEST_BYTES_MAX..STRANGER_BYTES_MAX,
        async |address| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            say(&mut stream, &unfinished_request()).await;
            stream
        },
    )
    .await;
    broker.stop().await;
}

#[tokio::test]
async fn a_stranger_who_stops_in_connect_over_a_websocket_costs_less_than_64_kib() {
    let broker = Broker::start().await;
    let address = broker.listen(|socket| with_websocket(Listener::from(socket))).await;
    strangers_cost(
        &broker,
        address,
        CONNECT_BYTES_MAX as usize..STRANGER_BYTES_MAX,
        async |address| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stop_in_websocket(&mut stream).await;
            stream
        },
    )
    .await;
    broker.stop().await;
}

#[tokio::test]
async fn a_stranger_who_stops_in_a_request_for_a_websocket_over_tls_costs_less_than_64_kib() {
    let (broker, authority) = (Broker::start().await, Authority::new());
    let over_tls = |socket| Listener::from(socket).over(tls_of(&authority, false, b"http/1.1"));
    let address = broker.listen(|socket| with_websocket(over_tls(socket))).await;
    let connector = authority.connector(None);
    strangers_cost(
        &broker,
        address,
        WEBSOCKET_REQUEST_BYTES_MAX..STRANGER_BYTES_MAX,
        async |address| {
            let mut stream = stream_to(address, &connector).await.unwrap();
            say(&mut stream, &unfinished_request()).await;
            socket_of(stream)
        },
    )
    .await;
    broker.stop().await;
}

#[tokio::test]
async fn a_stranger_who_stops_in_connect_over_a_websocket_over_tls_costs_less_than_64_kib() {
    let (broker, authority) = (Broker::start().await, Authority::new());
    let over_tls = |socket| Listener::from(socket).over(tls_of(&authority, false, b"http/1.1"));
    let address = broker.listen(|socket| with_websocket(over_tls(socket))).await;
    let connector = authority.connector(None);
    strangers_cost(
        &broker,
        address,
        CONNECT_BYTES_MAX as usize..STRANGER_BYTES_MAX,
        async |address| {
            let mut stream = stream_to(address, &connector).await.unwrap();
            stop_in_websocket(&mut stream).await;
            socket_of(stream)
        },
    )
    .await;
    broker.stop().await;
}

#[tokio::test]
async fn a_stranger_who_stops_at_every_layer_at_once_costs_no_more_than_a_record_of_tls_besides() {
    let (broker, authority) = (Broker::start().await, Authority::new());
    let over_tls = |socket| Listener::from(socket).over(tls_of(&authority, false, b"http/1.1"));
    let address = broker.listen(|socket| with_websocket(over_tls(socket))).await;
    let connector = authority.connector(None);
    let bytes_max = STRANGER_BYTES_MAX + RECORD_BYTES_MAX;
    strangers_cost(
        &broker,
        address,
        CONNECT_BYTES_MAX as usize..bytes_max,
        async |address| {
            let mut stream = stream_to(address, &connector).await.unwrap();
            stop_in_websocket(&mut stream).await;
            let mut socket = socket_of(stream);
            let length = u16::try_from(RECORD_BYTES_MAX).unwrap().to_be_bytes();
            let record = [&[23, 3, 3], &length[..], &[0; RECORD_BYTES_MAX - 1]].concat();
            say(&mut socket, &record).await;
            socket
        },
    )
    .await;
    broker.stop().await;
}

#[tokio::test]
async fn a_client_over_tls_may_say_at_once_whatever_it_has_to_say() {
    let (broker, authority) = (Broker::start().await, Authority::new());
    let address = broker
        .listen(|socket| Listener::from(socket).over(tls_of(&authority, false, ALPN)))
        .await;
    let will = Will {
        topic: text("will"),
        payload: vec![b'w'; 15_000].into(),
        ..Will::default()
    };
    let connect = Connect {
        will: Some(will),
        ..connect("client")
    };
    let publish = Publish {
        qos: QoS::AtLeastOnce,
        topic: text("a"),
        packet_id: Some(PacketId::MIN),
        payload: vec![b'x'; 200_000].into(),
        ..Publish::default()
    };
    let packets = [Packet::Connect(Box::new(connect)), Packet::Publish(publish)];
    let all = packets.map(|packet| encoded(&packet, Version::V5)).concat();
    let mut client = Client::new(
        stream_to(address, &authority.connector(None)).await.unwrap(),
        Version::V5,
    );
    client.stream.write_all(&all).await.unwrap();
    assert!(matches!(client.receive().await, Packet::ConnAck(answer) if !answer.reason.is_error()));
    assert!(matches!(client.receive().await, Packet::PubAck(answer) if !answer.reason.is_error()));
    broker.stop().await;
}
