//! Clients over TLS, and what comes before a handshake is complete.

use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use trunkline_mqtt::limits::HANDSHAKE_TIME_MAX;
use trunkline_mqtt::transport::ALPN;
use trunkline_rpc::ServerTls;
use trunkline_rpc::server_tls::{ClientCertificate, TlsFiles};
use trunkline_testkit::Authority;

use super::*;

/// TLS with a certificate for this machine, and with one of the same authority from clients if that `is_mutual`.
pub(crate) fn tls_of(authority: &Authority, is_mutual: bool, alpn: &[u8]) -> Arc<ServerTls> {
    let own = authority.issue_for_localhost();
    let files = TlsFiles {
        certificate: own.certificate,
        key: own.key,
        client_authority: is_mutual.then(|| authority.file()),
        client_certificate: ClientCertificate::Required,
        client_revocations: None,
    };
    Arc::new(ServerTls::open(files, &[alpn]).unwrap())
}

pub(crate) async fn stream_to(address: SocketAddr, connector: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    let socket = TcpStream::connect(address).await?;
    connector.connect(name, socket).await
}

#[tokio::test]
async fn a_client_over_tls_is_served_like_any_other() {
    let (broker, authority) = (Broker::start().await, Authority::new());
    let address = broker
        .listen(|socket| Listener::from(socket).over(tls_of(&authority, false, ALPN)))
        .await;
    let connector = authority.connector(None);
    for version in BOTH {
        let stream = stream_to(address, &connector).await.unwrap();
        let mut client = Client::connected(stream, version, connect("client")).await;
        client.subscribe("a", QoS::ExactlyOnce).await;
        let payload = vec![b'x'; 200_000];
        client.publish("a", payload.clone(), QoS::AtMostOnce).await;
        assert_eq!(client.take().await.payload, payload);
        if version == Version::V5 {
            broker.cancel.cancel();
            assert_eq!(client.goodbye().await, Some(ReasonCode::ServerShuttingDown));
        }
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_must_show_a_certificate_is_served_with_one_alone() {
    let (broker, authority) = (Broker::start().await, Authority::new());
    let address = broker
        .listen(|socket| Listener::from(socket).over(tls_of(&authority, true, ALPN)))
        .await;
    let shown = authority.issue("client", "DNS:client");
    let stream = stream_to(address, &authority.connector(Some(&shown))).await.unwrap();
    let mut client = Client::connected(stream, Version::V5, connect("client")).await;
    client.is_quiet().await;

    if let Ok(stream) = stream_to(address, &authority.connector(None)).await {
        let mut stranger = Client::new(stream, Version::V5);
        let packet = encoded(&Packet::Connect(Box::new(connect("stranger"))), Version::V5);
        let _ = stranger.stream.write_all(&packet).await;
        assert_eq!(stranger.next().await, None);
    }
    broker.stop().await;
}

#[tokio::test]
async fn who_speaks_something_else_where_tls_is_spoken_ends_its_own_connection_and_is_counted() {
    let (broker, authority) = (Broker::start().await, Authority::new());
    let address = broker
        .listen(|socket| Listener::from(socket).over(tls_of(&authority, false, ALPN)))
        .await;
    let mut plain = Client::new(TcpStream::connect(address).await.unwrap(), Version::V5);
    plain.send(&Packet::Connect(Box::new(connect("plain")))).await;
    let mut answer = Vec::new();
    let _ = plain.stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(&[0x20]), "CONNACK without TLS");

    let stream = stream_to(address, &authority.connector(None)).await.unwrap();
    Client::connected(stream, Version::V5, connect("client")).await;
    let counted = "trunkline_mqtt_handshakes_failed_total 1";
    assert!(broker.metrics.render().contains(counted));
    broker.stop().await;
}

#[tokio::test]
async fn a_proxy_says_whom_it_speaks_for_before_tls() {
    let (broker, authority) = (Broker::start().await, Authority::new());
    let proxies = || vec!["127.0.0.1".parse().unwrap()];
    let address = broker
        .listen(|socket| {
            Listener::from(socket)
                .behind(proxies())
                .over(tls_of(&authority, false, ALPN))
        })
        .await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket
        .write_all(b"PROXY TCP6 2001:db8::7 ::1 4660 80\r\n")
        .await
        .unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = authority.connector(None).connect(name, socket).await.unwrap();
    Client::connected(stream, Version::V5, connect("client")).await;

    assert!(stream_to(address, &authority.connector(None)).await.is_err());
    broker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn tls_and_connect_have_one_time_limit_together() {
    let (broker, authority) = (Broker::start().await, Authority::new());
    let address = broker
        .listen(|socket| Listener::from(socket).over(tls_of(&authority, false, ALPN)))
        .await;
    let half = HANDSHAKE_TIME_MAX * 6 / 10;

    let silent = TcpStream::connect(address).await.unwrap();
    let begun = Instant::now();
    assert_eq!(Client::new(silent, Version::V5).next().await, None);
    assert!(begun.elapsed() >= HANDSHAKE_TIME_MAX && begun.elapsed() < HANDSHAKE_TIME_MAX + half);

    let socket = TcpStream::connect(address).await.unwrap();
    let begun = Instant::now();
    let waited = tokio::time::timeout(half, socket.readable()).await;
    assert!(waited.is_err(), "the platform speaks first");
    let name = ServerName::try_from("localhost").unwrap();
    let stream = authority.connector(None).connect(name, socket).await.unwrap();
    assert_eq!(Client::new(stream, Version::V5).next().await, None);
    assert!(begun.elapsed() >= HANDSHAKE_TIME_MAX && begun.elapsed() < HANDSHAKE_TIME_MAX + half);
    broker.stop().await;
}
