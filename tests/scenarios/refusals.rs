//! Who is refused what, in the words of each protocol; and that nothing refused is stored or delivered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};
use trunkline_mqtt_wire::{Packet, PacketId, Publish, QoS, ReasonCode, Version};
use trunkline_testkit::http::Answer;
use trunkline_testkit::mqtt::{self, Client};
use trunkline_tests::{Device, Domain, World, scenarios};
use uuid::Uuid;

use crate::wire::{BOTH, encoded, goodbye, log_in, log_in_as, said, text};

scenarios!(
    credentials_that_are_not_valid_admit_nobody,
    what_is_disabled_admits_nobody_and_publishes_nothing,
    a_channel_that_a_client_may_not_use_is_refused_as_if_there_were_none,
    a_disabled_user_is_refused_and_the_devices_go_on,
    a_publish_topic_that_is_none_is_refused,
);

/// A channel that is watched all along by a device of its own: for the proof that nothing came and nothing was kept.
struct Watched {
    channel: String,
    device: Device,
    subscriber: Client,
}

impl Watched {
    async fn new(world: &World, domain: &Domain, route: &str) -> Self {
        let (channel, device) = domain.channel_with_device(route).await;
        let mut subscriber = log_in_as(world, Version::V5, &device, "watcher").await;
        let filter = format!("{}/#", domain.topic(&channel));
        let granted = subscriber.subscribe(&filter, QoS::AtLeastOnce).await;
        assert_eq!(granted, ReasonCode::GrantedQos1);
        Self {
            channel,
            device,
            subscriber,
        }
    }

    /// Publishes a last message, which must be the first that is delivered and the only one that is stored.
    async fn has_had_nothing(mut self, world: &World, domain: &Domain) {
        let mut publisher = log_in_as(world, Version::V5, &self.device, "last").await;
        let topic = domain.topic(&self.channel);
        let answer = publisher.publish(&topic, QoS::AtLeastOnce, r#"{"last":1}"#).await;
        assert_eq!(answer, ReasonCode::Success);
        let delivered = self.subscriber.message().await;
        assert_eq!(said(&delivered), (topic, r#"{"last":1}"#.to_owned()));
        let stored = domain.stored(&self.channel, 1).await;
        assert_eq!(stored.len(), 1, "{stored:?}");
        assert_eq!(stored[0]["payload"], json!({ "last": 1 }));
    }
}

/// The answer to a CONNECT with these credentials.
async fn connack(world: &World, version: Version, id: &str, secret: &str) -> ReasonCode {
    let connect = mqtt::connect_packet("", id, secret);
    let (client, answer) = Client::connect(world.addresses.mqtt, version, connect).await;
    assert!(
        client.closed().await.is_empty(),
        "something came after a refusing CONNACK"
    );
    answer.reason
}

async fn post(world: &World, authorization: &str, topic: &str) -> Answer {
    let client = world.anonymous().with_authorization(authorization);
    client.send(Method::POST, &format!("/{topic}"), None, "refused").await
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn with_secret(secret: &str) -> String {
    format!("Client {secret}")
}

/// A refusal says why, in words and in a stable reason.
fn assert_refused(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    let body = answer.json();
    for field in ["message", "error", "code", "reason", "request_id"] {
        assert!(
            body[field].as_str().is_some_and(|text| !text.is_empty()),
            "{field} of {body}, {what}"
        );
    }
}

/// Publishes at QoS 1 where that is refused: by a PUBACK on MQTT 5, by closing on 3.1.1.
async fn refused_publish(mut client: Client, version: Version, publish: Publish) -> ReasonCode {
    if version == Version::V5 {
        return client.publish_packet(publish).await;
    }
    client
        .send(&Packet::Publish(Publish {
            packet_id: Some(PacketId::MIN),
            ..publish
        }))
        .await;
    assert!(
        client.closed().await.is_empty(),
        "3.1.1 has no words for a refused PUBLISH"
    );
    ReasonCode::NotAuthorized
}

async fn credentials_that_are_not_valid_admit_nobody(world: World) {
    let plant = world.domain("plant").await;
    let boiler = Watched::new(&world, &plant, "boiler").await;
    let (device, topic) = (&boiler.device, plant.topic(&boiler.channel));
    let other = plant.device("other").await;
    let unknown = Uuid::now_v7().to_string();
    let cases = [
        ("a wrong secret", device.id.as_str(), "not-the-secret"),
        ("another client's secret", device.id.as_str(), other.secret.as_str()),
        ("an unknown client", unknown.as_str(), device.secret.as_str()),
        ("a user name that is no id", "boiler", device.secret.as_str()),
        ("a name of everybody", "#", device.secret.as_str()),
    ];
    for (what, id, secret) in cases {
        for version in BOTH {
            let reason = connack(&world, version, id, secret).await;
            assert_eq!(reason, ReasonCode::BadUserNameOrPassword, "{what}");
        }
        assert_refused(&post(&world, &basic(id, secret), &topic).await, 401, what);
    }
    for version in BOTH {
        assert_eq!(
            connack(&world, version, "", "").await,
            ReasonCode::BadUserNameOrPassword
        );
        assert_eq!(
            connack(&world, version, &device.id, "").await,
            ReasonCode::BadUserNameOrPassword
        );
    }
    for authorization in [
        with_secret("not-the-secret"),
        "not-the-secret".to_owned(),
        "Bearer x".to_owned(),
    ] {
        assert_refused(&post(&world, &authorization, &topic).await, 401, &authorization);
    }
    let nobody = world
        .anonymous()
        .send(Method::POST, &format!("/{topic}"), None, "refused")
        .await;
    assert_refused(&nobody, 401, "no credentials");
    let reader = world.anonymous().with_authorization(&with_secret("not-the-secret"));
    let path = format!("/{}/channels/{}/messages", plant.id, boiler.channel);
    assert_refused(&reader.get(&path).await, 401, "the reader");
    boiler.has_had_nothing(&world, &plant).await;
    world.stop().await;
}

async fn what_is_disabled_admits_nobody_and_publishes_nothing(world: World) {
    let plant = world.domain("plant").await;
    let boiler = Watched::new(&world, &plant, "boiler").await;
    let device = plant.device("second").await;
    plant.connect(&boiler.channel, &device, &["publish", "subscribe"]).await;
    let topic = plant.topic(&boiler.channel);
    let switch = async |path: &str, status: u16| {
        plant.owner.post(path, &json!({})).await.expect(status);
    };
    let reads = format!("/{}/channels/{}/messages", plant.id, boiler.channel);
    let client = format!("/{}/clients/{}", plant.id, device.id);
    switch(&format!("{client}/disable"), 200).await;
    for version in BOTH {
        let reason = connack(&world, version, &device.id, &device.secret).await;
        assert_eq!(reason, ReasonCode::NotAuthorized, "a disabled client");
    }
    for authorization in [basic(&device.id, &device.secret), with_secret(&device.secret)] {
        assert_refused(&post(&world, &authorization, &topic).await, 403, "a disabled client");
        let reader = world.anonymous().with_authorization(&with_secret(&device.secret));
        let answer = reader.get(&reads).await;
        assert!(
            [401, 403].contains(&answer.status),
            "a disabled client reads: {}",
            answer.text()
        );
    }
    switch(&format!("{client}/enable"), 200).await;

    let channel = format!("/{}/channels/{}", plant.id, boiler.channel);
    switch(&format!("{channel}/disable"), 200).await;
    for version in BOTH {
        may_not(&world, version, &device, &topic).await;
    }
    assert_refused(
        &post(&world, &with_secret(&device.secret), &topic).await,
        403,
        "a disabled channel",
    );
    switch(&format!("{channel}/enable"), 200).await;

    let domain = format!("/domains/{}", plant.id);
    switch(&format!("{domain}/disable"), 200).await;
    for version in BOTH {
        let reason = connack(&world, version, &device.id, &device.secret).await;
        assert_eq!(reason, ReasonCode::NotAuthorized, "a client of a disabled domain");
    }
    assert_refused(
        &post(&world, &basic(&device.id, &device.secret), &topic).await,
        403,
        "a disabled domain",
    );
    switch(&format!("{domain}/enable"), 200).await;

    // The watcher lost its session with the domain; what it would have been sent is not in the store either.
    let mut last = log_in(&world, Version::V5, &device).await;
    assert_eq!(
        last.publish(&topic, QoS::AtLeastOnce, r#"{"last":1}"#).await,
        ReasonCode::Success
    );
    let stored = plant.stored(&boiler.channel, 1).await;
    assert_eq!(stored.len(), 1, "{stored:?}");
    let delivered = boiler.subscriber.closed().await;
    assert!(
        !delivered.iter().any(|packet| matches!(packet, Packet::Publish(_))),
        "{delivered:?}"
    );
    world.stop().await;
}

/// Neither publishes to `topic` nor subscribes to it, at any QoS.
async fn may_not(world: &World, version: Version, device: &Device, topic: &str) {
    let mut client = log_in(world, version, device).await;
    let expected = match version {
        Version::V3 => ReasonCode::UnspecifiedError,
        Version::V5 => ReasonCode::NotAuthorized,
    };
    for filter in [topic.to_owned(), format!("{topic}/#")] {
        assert_eq!(client.subscribe(&filter, QoS::AtLeastOnce).await, expected, "{filter}");
    }
    if version == Version::V5 {
        client.publish(topic, QoS::AtMostOnce, "refused").await;
        assert!(
            client.settle().await.is_empty(),
            "MQTT 5 answers a refused QoS 0 by silence"
        );
    }
    let publish = mqtt::publish_packet(topic, QoS::AtLeastOnce, "refused");
    assert_eq!(
        refused_publish(client, version, publish).await,
        ReasonCode::NotAuthorized,
        "{topic}"
    );
    if version == Version::V3 {
        let mut client = log_in(world, version, device).await;
        client.publish(topic, QoS::AtMostOnce, "refused").await;
        assert_eq!(goodbye(client).await, None, "3.1.1 closes over QoS 0 as well");
    }
}

async fn a_channel_that_a_client_may_not_use_is_refused_as_if_there_were_none(world: World) {
    let (plant, office) = (world.domain("plant").await, world.domain("office").await);
    let boiler = Watched::new(&world, &plant, "boiler").await;
    let device = plant.device("unconnected").await;
    let foreigner = office.device("foreigner").await;
    let missing = Uuid::now_v7().to_string();
    let topics = [
        plant.topic(&boiler.channel),
        "m/plant/c/boiler".to_owned(),
        plant.topic(&missing),
        "m/plant/c/nothing".to_owned(),
        format!("m/{missing}/c/{}", boiler.channel),
        "m/nowhere/c/boiler".to_owned(),
    ];
    let mut bodies = Vec::new();
    for topic in &topics {
        for version in BOTH {
            may_not(&world, version, &device, topic).await;
            may_not(&world, version, &foreigner, topic).await;
        }
        for device in [&device, &foreigner] {
            let answer = post(&world, &basic(&device.id, &device.secret), topic).await;
            assert_refused(&answer, 403, topic);
            bodies.push(without_request_id(answer.json()));
        }
    }
    assert!(
        bodies.iter().all(|body| *body == bodies[0]),
        "the answers tell channels apart: {bodies:?}"
    );
    let foreign_secret = post(&world, &with_secret(&foreigner.secret), &topics[0]).await;
    assert_refused(&foreign_secret, 401, "a secret of another domain");
    readers_are_refused_alike(&world, &plant, &boiler, &device, &missing).await;
    one_way_connections_are_one_way(&world, &plant, &boiler).await;
    boiler.has_had_nothing(&world, &plant).await;
    world.stop().await;
}

fn without_request_id(mut body: Value) -> Value {
    body.as_object_mut().unwrap().remove("request_id");
    body
}

async fn readers_are_refused_alike(world: &World, plant: &Domain, boiler: &Watched, device: &Device, missing: &str) {
    let reader = world.anonymous().with_authorization(&with_secret(&device.secret));
    let mut bodies = Vec::new();
    for channel in [boiler.channel.as_str(), missing] {
        let answer = reader.get(&format!("/{}/channels/{channel}/messages", plant.id)).await;
        assert_refused(&answer, 403, "the reader");
        bodies.push(without_request_id(answer.json()));
    }
    assert_eq!(bodies[0], bodies[1]);
}

async fn one_way_connections_are_one_way(world: &World, plant: &Domain, boiler: &Watched) {
    let topic = plant.topic(&boiler.channel);
    let sender = plant.device("sender").await;
    plant.connect(&boiler.channel, &sender, &["publish"]).await;
    let listener = plant.device("listener").await;
    plant.connect(&boiler.channel, &listener, &["subscribe"]).await;
    let mut client = log_in(world, Version::V5, &sender).await;
    assert_eq!(
        client.subscribe(&topic, QoS::AtLeastOnce).await,
        ReasonCode::NotAuthorized
    );
    let mut client = log_in(world, Version::V5, &listener).await;
    assert_eq!(
        client.subscribe(&topic, QoS::AtLeastOnce).await,
        ReasonCode::GrantedQos1
    );
    assert_eq!(
        client.publish(&topic, QoS::AtLeastOnce, "refused").await,
        ReasonCode::NotAuthorized
    );
    assert_refused(
        &post(world, &with_secret(&listener.secret), &topic).await,
        403,
        "a listener publishes",
    );
    let path = format!("/{}/channels/{}/messages", plant.id, boiler.channel);
    let reads = async |device: &Device| {
        let reader = world.anonymous().with_authorization(&with_secret(&device.secret));
        reader.get(&path).await
    };
    assert_refused(&reads(&sender).await, 403, "a sender reads");
    assert_eq!(reads(&listener).await.expect(200).json()["total"], 0);
}

async fn a_disabled_user_is_refused_and_the_devices_go_on(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let topic = plant.topic(&channel);
    let mut connected = log_in(&world, Version::V3, &device).await;
    let owner = plant.owner.get("/users/profile").await.expect(200).text_at("/id");
    world
        .admin
        .post(&format!("/users/{owner}/disable"), &json!({}))
        .await
        .expect(200);
    for path in [
        "/users/profile".to_owned(),
        format!("/{}/channels/{channel}/messages", plant.id),
    ] {
        assert_refused(&plant.owner.get(&path).await, 401, "a disabled user");
    }
    assert_eq!(
        connected.publish(&topic, QoS::AtLeastOnce, "1").await,
        ReasonCode::Success
    );
    let mut arriving = log_in_as(&world, Version::V5, &device, "second").await;
    assert_eq!(
        arriving.publish(&topic, QoS::AtLeastOnce, "2").await,
        ReasonCode::Success
    );
    post(&world, &with_secret(&device.secret), &topic).await.expect(202);
    let reader = world.anonymous().with_authorization(&with_secret(&device.secret));
    let path = format!("/{}/channels/{channel}/messages", plant.id);
    trunkline_testkit::until(std::time::Duration::from_secs(10), async || {
        reader.get(&path).await.expect(200).json()["total"] == 3
    })
    .await;
    world.stop().await;
}

async fn a_publish_topic_that_is_none_is_refused(world: World) {
    let plant = world.domain("plant").await;
    let boiler = Watched::new(&world, &plant, "boiler").await;
    let topic = plant.topic(&boiler.channel);
    // What the standard forbids ends the connection; the codec of the tests would not send it, so a good level is spoilt.
    for spoilt in [b'+', b'#', 0] {
        for version in BOTH {
            let mut client = log_in(&world, version, &boiler.device).await;
            client.write(&with_last_byte(&topic, spoilt, version)).await;
            let expected = (version == Version::V5).then_some(ReasonCode::MalformedPacket);
            assert_eq!(goodbye(client).await, expected, "{spoilt}");
        }
    }
    for refused in [
        format!("{topic}/"),
        format!("{topic}//a"),
        format!("//{topic}"),
        format!("{topic}/tab\tulator"),
        format!("$SYS/{topic}"),
        format!("$share/group/{topic}"),
        "m/plant/boiler".to_owned(),
        "m/plant/c".to_owned(),
        "boiler".to_owned(),
    ] {
        for version in BOTH {
            let client = log_in(&world, version, &boiler.device).await;
            let publish = mqtt::publish_packet(&refused, QoS::AtLeastOnce, "refused");
            let reason = refused_publish(client, version, publish).await;
            let is_told = version == Version::V3 || reason == ReasonCode::TopicNameInvalid;
            assert!(is_told, "{refused}: {reason}");
        }
    }
    for level in ["+", "%23", "a%2Bb", "%00", "a//b", "a%2Fb", "", "%09", "%ff", "%"] {
        let answer = post(&world, &with_secret(&boiler.device.secret), &format!("{topic}/{level}")).await;
        assert_refused(&answer, 400, level);
    }
    boiler.has_had_nothing(&world, &plant).await;
    world.stop().await;
}

/// A PUBLISH to a level below `topic` of which the last byte is `spoilt`.
fn with_last_byte(topic: &str, spoilt: u8, version: Version) -> Vec<u8> {
    let publish = Publish {
        topic: text(&format!("{topic}/a~")),
        qos: QoS::AtLeastOnce,
        packet_id: Some(PacketId::MIN),
        ..Publish::default()
    };
    let mut bytes = encoded(&Packet::Publish(publish), version).to_vec();
    let place = bytes.iter().position(|byte| *byte == b'~').unwrap();
    bytes[place] = spoilt;
    bytes
}
