//! MQTT over every transport, by the clients that devices have.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};

use tokio::process::Command;
use trunkline::Config;
use trunkline_rpc::server_tls::{ClientCertificate, TlsFiles};
use trunkline_testkit::{Authority, Certificate};
use trunkline_tests::{Device, Shape, World};

const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];
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
        config.mqtt.tls = Some(files);
        config.listen.mqtts = Some(([127, 0, 0, 1], 0).into());
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
        let mut command = Command::new(trunkline_testkit::tool("mosquitto_pub"));
        command.args(["-V", version, "-q", "1", "-h", "localhost", "--cafile"]);
        command.arg(self.authority);
        command.args(["-p", &self.address.port().to_string()]);
        command.args(["-u", &device.id, "-P", &device.secret, "-t", topic, "-m", payload]);
        if let Some(shown) = self.certificate {
            command.arg("--cert").arg(&shown.certificate);
            command.arg("--key").arg(&shown.key);
        }
        command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap()
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
