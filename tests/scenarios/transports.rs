//! MQTT over every transport, by the clients that devices have.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, client_async};
use trunkline::Config;
use trunkline_mqtt_wire::{Connect, Packet, PacketId, QoS, Version, encode};
use trunkline_rpc::server_tls::{ClientCertificate, TlsFiles};
use trunkline_testkit::mqtt::{connect_packet, publish_packet};
use trunkline_testkit::{Authority, Certificate};
use trunkline_tests::{Device, Shape, World};
use uuid::Uuid;

const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];
/// Time after which something that must happen has not happened.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a client of 3.1.1 that connects and publishes once at QoS 1 is told.
const CONNACK_AND_PUBACK: [u8; 8] = [0x20, 2, 0, 0, 0x40, 2, 0, 1];
const SHAPES: [Shape; 2] = [Shape::Whole, Shape::Split];

/// Has the platform speak TLS, and ask for certificates of `authority` if that `is_mutual`.
fn over_tls(authority: &Authority, is_mutual: bool) -> impl FnOnce(&mut Config) {
    let own = authority.issue_for_localhost();
    let files = TlsFiles {
        certificate: own.certificate,
        key: own.key,
        client_authority: is_mutual.then(|| authority.file()),
        client_certificate: ClientCertificate::Required,
        client_revocations: None,
    };
    move |config| {
        config.http.tls = Some(TlsFiles {
            client_authority: None,
            ..files.clone()
        });
        config.listen.https = Some(([127, 0, 0, 1], 0).into());
        config.mqtt.tls = Some(files);
        config.listen.mqtts = Some(([127, 0, 0, 1], 0).into());
        config.listen.wss = Some(([127, 0, 0, 1], 0).into());
    }
}

/// How mosquitto comes: to this address, trusting the authority in this file, and showing this certificate.
struct Way<'a> {
    address: SocketAddr,
    authority: &'a Path,
    certificate: Option<&'a Certificate>,
}

impl Way<'_> {
    /// Publishes with mosquitto and waits for its PUBACK.
    async fn publish(&self, version: &str, device: &Device, topic: &str, payload: &str) -> Output {
        let mut command = self.command(version, topic, payload);
        command.args(["-u", &device.id, "-P", &device.secret]);
        command.output().await.unwrap()
    }

    /// The same without user name and password.
    async fn publish_as_certified(&self, version: &str, topic: &str, payload: &str) -> Output {
        self.command(version, topic, payload).output().await.unwrap()
    }

    fn command(&self, version: &str, topic: &str, payload: &str) -> Command {
        let mut command = Command::new(trunkline_testkit::tool("mosquitto_pub"));
        command.args(["-V", version, "-q", "1", "-h", "localhost", "--cafile"]);
        command.arg(self.authority);
        command.args(["-p", &self.address.port().to_string()]);
        command.args(["-t", topic, "-m", payload]);
        if let Some(shown) = self.certificate {
            command.arg("--cert").arg(&shown.certificate);
            command.arg("--key").arg(&shown.key);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

fn is_success(output: &Output) -> bool {
    output.status.success() && output.stderr.is_empty()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_mosquitto_publishes_over_tls_is_stored() {
    for shape in SHAPES {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let world = World::configured(shape, over_tls(&authority, false)).await;
        let plant = world.domain("plant").await;
        let (channel, device) = plant.channel_with_device("boiler").await;
        let mut way = Way {
            address: world.addresses.mqtts.unwrap(),
            authority: &authority.file(),
            certificate: None,
        };
        for version in VERSIONS {
            let output = way.publish(version, &device, &plant.topic(&channel), version).await;
            assert!(is_success(&output), "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(plant.stored(&channel, VERSIONS.len()).await.len(), VERSIONS.len());

        let other = stranger.file();
        way.authority = &other;
        let output = way.publish("mqttv5", &device, &plant.topic(&channel), "5").await;
        assert!(!output.status.success(), "mosquitto took the platform for another");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_certificate_is_asked_for_mosquitto_needs_one_and_its_secret() {
    for shape in SHAPES {
        let authority = Authority::new();
        let world = World::configured(shape, over_tls(&authority, true)).await;
        let plant = world.domain("plant").await;
        let (channel, device) = plant.channel_with_device("boiler").await;
        let shown = authority.issue("device", "DNS:device");
        let mut way = Way {
            address: world.addresses.mqtts.unwrap(),
            authority: &authority.file(),
            certificate: Some(&shown),
        };
        let topic = plant.topic(&channel);
        for version in VERSIONS {
            let output = way.publish(version, &device, &topic, version).await;
            assert!(is_success(&output), "{}", String::from_utf8_lossy(&output.stderr));
            let impostor = Device {
                secret: "no secret of anybody".to_owned(),
                ..device.clone()
            };
            let output = way.publish(version, &impostor, &topic, "-").await;
            assert!(!is_success(&output), "a certificate alone was enough");
        }
        way.certificate = None;
        let output = way.publish("mqttv5", &device, &topic, "-").await;
        assert!(!is_success(&output), "the secret alone was enough");
        assert_eq!(plant.stored(&channel, VERSIONS.len()).await.len(), VERSIONS.len());
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_admits_the_client_that_it_names_without_a_secret_and_nobody_else() {
    for shape in SHAPES {
        let authority = Authority::new();
        let world = World::configured(shape, over_tls(&authority, true)).await;
        let plant = world.domain("plant").await;
        let (channel, device) = plant.channel_with_device("boiler").await;
        let other = plant.device("other").await;
        let topic = plant.topic(&channel);
        let shown = authority.issue("device", &format!("DNS:device,URI:urn:uuid:{}", device.id));
        let mut way = Way {
            address: world.addresses.mqtts.unwrap(),
            authority: &authority.file(),
            certificate: Some(&shown),
        };
        for version in VERSIONS {
            let output = way.publish_as_certified(version, &topic, version).await;
            assert!(is_success(&output), "{}", String::from_utf8_lossy(&output.stderr));
            let as_other = way.publish(version, &other, &topic, "-").await;
            assert!(!is_success(&as_other), "it came in as somebody else");
        }
        let unknown = Uuid::now_v7();
        let stranger = authority.issue("stranger", &format!("URI:urn:uuid:{unknown}"));
        way.certificate = Some(&stranger);
        assert!(!is_success(&way.publish_as_certified("mqttv5", &topic, "-").await));
        let nameless = authority.issue("nameless", "DNS:device");
        way.certificate = Some(&nameless);
        assert!(!is_success(&way.publish_as_certified("mqttv5", &topic, "-").await));
        let stored = plant.stored(&channel, VERSIONS.len()).await;
        assert!(
            stored.iter().all(|record| record["publisher"] == device.id),
            "{stored:?}"
        );
        assert_eq!(stored.len(), VERSIONS.len());
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_disabled_is_out_and_stays_out_whatever_its_certificate() {
    for shape in SHAPES {
        let authority = Authority::new();
        let world = World::configured(shape, over_tls(&authority, true)).await;
        let plant = world.domain("plant").await;
        let device = plant.device("boiler").await;
        let shown = authority.issue("device", &format!("URI:urn:uuid:{}", device.id));
        let address = world.addresses.mqtts.unwrap();
        let (mut stream, answer) = connack(address, &authority, &shown).await;
        assert_eq!(answer, [0x20, 2, 0, 0]);

        let path = format!("/{}/clients/{}/disable", plant.id, device.id);
        plant.owner.post(&path, &json!({})).await.expect(200);
        let ended = tokio::time::timeout(PATIENCE, stream.read(&mut [0])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
        let (_, answer) = connack(address, &authority, &shown).await;
        assert_eq!(answer, [0x20, 2, 0, 5], "not authorized");
        world.stop().await;
    }
}

/// The answer to a CONNECT of 3.1.1 over TLS that shows a certificate and nothing else.
async fn connack(address: SocketAddr, authority: &Authority, shown: &Certificate) -> (TlsStream<TcpStream>, [u8; 4]) {
    let mut stream = connect(address, authority, Some(shown)).await;
    let packet = Connect {
        clean_start: true,
        ..Connect::default()
    };
    let mut bytes = BytesMut::new();
    encode(&Packet::Connect(Box::new(packet)), Version::V3, &mut bytes).unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    (stream, answer)
}

/// A connection over TLS.
async fn connect(address: SocketAddr, authority: &Authority, shown: Option<&Certificate>) -> TlsStream<TcpStream> {
    secured(TcpStream::connect(address).await.unwrap(), authority, shown).await
}

async fn secured(socket: TcpStream, authority: &Authority, shown: Option<&Certificate>) -> TlsStream<TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    authority.connector(shown).connect(name, socket).await.unwrap()
}

/// Connects over WebSocket and publishes; gives all that the platform says up to its PUBACK.
async fn publish_over_websocket<S>(stream: S, device: &Device, topic: &str) -> (Vec<u8>, WebSocketStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
    let protocol = HeaderValue::from_static("mqtt");
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    let (mut socket, _) = client_async(request, stream).await.unwrap();
    let mut publish = publish_packet(topic, QoS::AtLeastOnce, "over websocket");
    publish.packet_id = Some(PacketId::MIN);
    let connect = connect_packet("page", &device.id, &device.secret);
    let mut bytes = BytesMut::new();
    for packet in [Packet::Connect(Box::new(connect)), Packet::Publish(publish)] {
        encode(&packet, Version::V3, &mut bytes).unwrap();
    }
    socket.send(Message::Binary(bytes.freeze())).await.unwrap();
    let mut said = Vec::new();
    while said.len() < 8 {
        match socket.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => said.extend_from_slice(&bytes),
            other => panic!("{other:?}"),
        }
    }
    (said, socket)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_through_a_load_balancer_is_stored_and_nothing_that_does_not() {
    const TEXT: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4660 80\r\n";
    // Version 2, PROXY, TCP over IPv4, 12 bytes of addresses and ports.
    const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x34\0\x50";
    for shape in SHAPES {
        let authority = Authority::new();
        let speak = over_tls(&authority, false);
        let configure = |config: &mut Config| {
            speak(config);
            config.listen.ws = Some(([127, 0, 0, 1], 0).into());
            let proxies = json!({ "listeners": ["ws", "wss"], "trusted_peers": ["127.0.0.1"] });
            config.mqtt.proxy_protocol = serde_json::from_value(proxies).unwrap();
        };
        let world = World::configured(shape, configure).await;
        let plant = world.domain("plant").await;
        let (channel, device) = plant.channel_with_device("boiler").await;
        let topic = plant.topic(&channel);
        let (ws, wss) = (world.addresses.ws.unwrap(), world.addresses.wss.unwrap());
        let after = async |header: &[u8], address| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(header).await.unwrap();
            stream
        };
        for header in [TEXT, BINARY] {
            let (said, _) = publish_over_websocket(after(header, ws).await, &device, &topic).await;
            assert_eq!(said, CONNACK_AND_PUBACK);
            let stream = secured(after(header, wss).await, &authority, None).await;
            let (said, _) = publish_over_websocket(stream, &device, &topic).await;
            assert_eq!(said, CONNACK_AND_PUBACK);
        }
        let request = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let mut stream = after(request, ws).await;
        let ended = tokio::time::timeout(PATIENCE, stream.read(&mut [0])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
        assert_eq!(plant.stored(&channel, 4).await.len(), 4);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_page_publishes_over_websocket_is_stored() {
    for shape in SHAPES {
        let authority = Authority::new();
        let world = World::configured(shape, over_tls(&authority, false)).await;
        let plant = world.domain("plant").await;
        let (channel, device) = plant.channel_with_device("boiler").await;
        let topic = plant.topic(&channel);
        let mut count = 1;
        let stream = connect(world.addresses.wss.unwrap(), &authority, None).await;
        let (said, _) = publish_over_websocket(stream, &device, &topic).await;
        assert_eq!(said, CONNACK_AND_PUBACK);
        if shape == Shape::Whole {
            // Where one process has both, MQTT is on the port of HTTP as well.
            let stream = TcpStream::connect(world.addresses.http).await.unwrap();
            let (said, _) = publish_over_websocket(stream, &device, &topic).await;
            assert_eq!(said, CONNACK_AND_PUBACK);
            let stream = connect(world.addresses.https.unwrap(), &authority, None).await;
            let (said, _) = publish_over_websocket(stream, &device, &topic).await;
            assert_eq!(said, CONNACK_AND_PUBACK);
            count += 2;
        }
        assert_eq!(plant.stored(&channel, count).await.len(), count);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_answers_over_tls() {
    for shape in SHAPES {
        let authority = Authority::new();
        let world = World::configured(shape, over_tls(&authority, false)).await;
        let mut stream = connect(world.addresses.https.unwrap(), &authority, None).await;
        let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        drop(stream);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_on_the_port_of_http_is_closed_with_the_platform_and_holds_nobody_up() {
    let world = World::start(Shape::Whole).await;
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let stream = TcpStream::connect(world.addresses.http).await.unwrap();
    let (_, mut socket) = publish_over_websocket(stream, &device, &plant.topic(&channel)).await;
    let stopping = tokio::spawn(world.stop());
    match tokio::time::timeout(PATIENCE, socket.next()).await {
        Ok(Some(Ok(Message::Close(Some(close))))) => assert_eq!(close.code, CloseCode::Normal),
        other => panic!("{other:?}"),
    }
    drop(socket);
    tokio::time::timeout(PATIENCE, stopping).await.unwrap().unwrap();
}
