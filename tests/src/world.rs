//! A platform in the test process, and what tests make in it.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use trunkline::{Config, Shape};
use trunkline_telemetry::traces::Config as Telemetry;
use trunkline_testkit::http::Client;

use crate::platform::{ADMIN, PASSWORD, Platform, Process};

/// A running platform. Dropping it without [`World::stop`] ends it without grace.
pub struct World {
    /// Where it listens.
    pub addresses: Addresses,
    /// HTTP as the platform's administrator.
    pub admin: Client,
    /// Its processes, in the order in which they stop.
    processes: Vec<Process>,
    platform: Platform,
}

/// Where a platform listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// API and messages over HTTP.
    pub http: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
    /// MQTT.
    pub mqtt: SocketAddr,
    /// MQTT on another node, where there is one; else the same.
    pub mqtt_beside: SocketAddr,
    /// MQTT over TLS, where that was configured.
    pub mqtts: Option<SocketAddr>,
    /// API and messages over HTTPS, where that was configured.
    pub https: Option<SocketAddr>,
    /// MQTT over WebSocket and TLS, where that was configured.
    pub wss: Option<SocketAddr>,
    /// MQTT over WebSocket, where it was configured.
    pub ws: Option<SocketAddr>,
}

/// A domain with the HTTP client of its creator.
pub struct Domain {
    /// Its id.
    pub id: String,
    /// Its route.
    pub route: String,
    /// HTTP as the user that created it.
    pub owner: Client,
}

/// A client of the platform with its secret.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl World {
    /// Starts a platform in which there is nobody but its administrator.
    pub async fn start(shape: Shape) -> Self {
        Self::configured(shape, |_| {}).await
    }

    /// The same for a platform that tells a collector what became of messages and calls.
    pub async fn recorded(shape: Shape, telemetry: Telemetry) -> Self {
        Self::configured(shape, |config| config.telemetry = telemetry).await
    }

    /// The same for a platform whose configuration `adjust` has the last word on.
    pub async fn configured(shape: Shape, adjust: impl FnOnce(&mut Config)) -> Self {
        Self::run(Box::pin(Platform::make(shape, adjust)).await).await
    }

    async fn run(platform: Platform) -> Self {
        let processes = platform.start().await;
        let found_if = |address: fn(&trunkline::Addresses) -> Option<SocketAddr>| {
            processes.iter().find_map(|process| address(&process.addresses))
        };
        let found = |address| found_if(address).expect("a platform has every public listener");
        let addresses = Addresses {
            http: found(|all| all.http),
            grpc: found(|all| all.grpc),
            mqtt: found(|all| all.mqtt),
            mqtt_beside: processes
                .iter()
                .rev()
                .find_map(|process| process.addresses.mqtt)
                .expect("a platform has every public listener"),
            mqtts: found_if(|all| all.mqtts),
            https: found_if(|all| all.https),
            wss: found_if(|all| all.wss),
            ws: found_if(|all| all.ws),
        };
        let anonymous = Client::new(addresses.http);
        let admin = anonymous.with_token(&token(&anonymous, ADMIN).await);
        Self {
            addresses,
            admin,
            processes,
            platform,
        }
    }

    /// HTTP as nobody.
    pub fn anonymous(&self) -> Client {
        Client::new(self.addresses.http)
    }

    /// What an acknowledgement promises, as `/health` says.
    pub async fn tier(&self) -> String {
        self.anonymous().get("/health").await.expect(200).text_at("/tier")
    }

    /// A folder for files of the test.
    pub fn folder(&self) -> &Path {
        self.platform.folder().path()
    }

    /// Stops the platform as SIGTERM does, and waits until it is gone.
    pub async fn stop(self) {
        self.stop_and_keep().await;
    }

    /// Stops the platform and starts it again with what it keeps, on new ports.
    pub async fn restart(self) -> Self {
        Self::run(self.stop_and_keep().await).await
    }

    async fn stop_and_keep(self) -> Platform {
        for process in self.processes {
            process.stop().await;
        }
        self.platform
    }

    /// Creates a user and logs in; returns its id and HTTP as that user.
    pub async fn user(&self, name: &str) -> (String, Client) {
        let email = format!("{name}@example.com");
        let body = json!({ "email": email, "credentials": { "username": name, "secret": PASSWORD } });
        let id = self.admin.post("/users", &body).await.expect(201).text_at("/id");
        let anonymous = self.anonymous();
        (id, anonymous.with_token(&token(&anonymous, &email).await))
    }

    /// Creates a domain with a fresh user as its administrator.
    pub async fn domain(&self, route: &str) -> Domain {
        let (_, owner) = self.user(&format!("owner-of-{route}")).await;
        let body = json!({ "name": format!("Domain {route}"), "route": route });
        let id = owner.post("/domains", &body).await.expect(201).text_at("/id");
        Domain {
            id,
            route: route.to_owned(),
            owner,
        }
    }
}

impl Domain {
    /// Creates a channel and returns its id.
    pub async fn channel(&self, route: &str) -> String {
        let body = json!({ "name": format!("Channel {route}"), "route": route });
        self.owner
            .post(&format!("/{}/channels", self.id), &body)
            .await
            .expect(201)
            .text_at("/id")
    }

    /// Creates a client.
    pub async fn device(&self, name: &str) -> Device {
        let answer = self
            .owner
            .post(&format!("/{}/clients", self.id), &json!({ "name": name }))
            .await
            .expect(201);
        Device {
            id: answer.text_at("/id"),
            secret: answer.text_at("/credentials/secret"),
        }
    }

    /// Connects a client to a channel for `types`, such as `publish`.
    pub async fn connect(&self, channel: &str, device: &Device, types: &[&str]) {
        let body = json!({ "client_ids": [device.id], "types": types });
        self.owner
            .post(&format!("/{}/channels/{channel}/connect", self.id), &body)
            .await
            .expect(201);
    }

    /// Disconnects a client from a channel.
    pub async fn disconnect(&self, channel: &str, device: &Device, types: &[&str]) {
        let body = json!({ "client_ids": [device.id], "types": types });
        self.owner
            .post(&format!("/{}/channels/{channel}/disconnect", self.id), &body)
            .await
            .expect(204);
    }

    /// A channel, and a client that may publish to it and receive from it.
    pub async fn channel_with_device(&self, route: &str) -> (String, Device) {
        let channel = self.channel(route).await;
        let device = self.device(&format!("device-of-{route}")).await;
        self.connect(&channel, &device, &["publish", "subscribe"]).await;
        (channel, device)
    }

    /// The topic of a channel, by ids.
    pub fn topic(&self, channel: &str) -> String {
        format!("m/{}/c/{channel}", self.id)
    }

    /// Every stored record of a channel, latest first, at most 1,000; `query` is appended, such as `&subtopic=a`.
    pub async fn records(&self, channel: &str, query: &str) -> Vec<Value> {
        let path = format!("/{}/channels/{channel}/messages?limit=1000{query}", self.id);
        let page = self.owner.get(&path).await.expect(200).json();
        page["messages"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until a channel has `count` stored records, and returns them latest first.
    pub async fn stored(&self, channel: &str, count: usize) -> Vec<Value> {
        trunkline_testkit::until_some(std::time::Duration::from_secs(15), || async {
            let found = self.records(channel, "").await;
            (found.len() >= count).then_some(found)
        })
        .await
    }
}

async fn token(anonymous: &Client, name: &str) -> String {
    let login = json!({ "username": name, "password": PASSWORD });
    anonymous
        .post("/users/tokens/issue", &login)
        .await
        .expect(201)
        .text_at("/access_token")
}
