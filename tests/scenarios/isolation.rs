//! What must never meet: subtopics that only look alike, and domains that are alike inside.

use http::Method;
use serde_json::{Value, json};
use trunkline_mqtt_wire::{QoS, ReasonCode, Version};
use trunkline_testkit::mqtt::Client;
use trunkline_tests::{Device, World, scenarios};

use crate::wire::{BOTH, log_in, log_in_as, said};

scenarios!(
    a_dot_and_a_slash_make_different_subtopics,
    domains_with_equal_routes_inside_never_meet,
    a_secret_that_two_domains_have_is_looked_up_in_the_domain_of_the_topic,
);

/// Subtopics that a careless encoding would take for one another.
const LOOKALIKES: [&str; 9] = ["a.b", "a/b", "a%2Fb", "a b", "a_b", "a*b", "a>b", "*", ">"];

async fn a_dot_and_a_slash_make_different_subtopics(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let topic = plant.topic(&channel);
    let mut publisher = log_in_as(&world, Version::V3, &device, "publisher").await;
    for version in BOTH {
        let mut subscribers = Vec::new();
        for subtopic in LOOKALIKES {
            let mut subscriber = log_in_as(&world, version, &device, subtopic).await;
            let granted = subscriber
                .subscribe(&format!("{topic}/{subtopic}"), QoS::AtLeastOnce)
                .await;
            assert_eq!(granted, ReasonCode::GrantedQos1, "{subtopic}");
            subscribers.push(subscriber);
        }
        for subtopic in LOOKALIKES {
            let payload = format!("for {subtopic}");
            let answer = publisher
                .publish(&format!("{topic}/{subtopic}"), QoS::AtLeastOnce, payload)
                .await;
            assert_eq!(answer, ReasonCode::Success, "{subtopic}");
        }
        // One more for all, so that it is known that nothing else came between.
        for (subscriber, subtopic) in subscribers.iter_mut().zip(LOOKALIKES) {
            subscriber.subscribe(&format!("{topic}/last"), QoS::AtLeastOnce).await;
            let own = (format!("{topic}/{subtopic}"), format!("for {subtopic}"));
            assert_eq!(said(&subscriber.message().await), own);
        }
        publisher
            .publish(&format!("{topic}/last"), QoS::AtLeastOnce, "last")
            .await;
        for subscriber in &mut subscribers {
            assert_eq!(said(&subscriber.message().await).1, "last");
        }
    }
    plant.stored(&channel, 2 * (LOOKALIKES.len() + 1)).await;
    for subtopic in LOOKALIKES {
        let found = plant
            .records(&channel, &format!("&subtopic={}", escaped(subtopic)))
            .await;
        assert_eq!(found.len(), 2, "{subtopic}");
        assert!(found.iter().all(|record| record["subtopic"] == subtopic), "{found:?}");
    }
    world.stop().await;
}

/// A text as a query carries it.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// One of two domains that are equal but for their own names.
struct Twin {
    id: String,
    route: String,
    channel: String,
    device: Device,
    subscribers: Vec<Client>,
}

async fn twin(world: &World, route: &str) -> Twin {
    let domain = world.domain(route).await;
    let (channel, device) = domain.channel_with_device("boiler").await;
    let mut subscribers = Vec::new();
    for (index, filter) in [
        format!("m/{route}/c/boiler/#"),
        format!("m/{}/c/{channel}/#", domain.id),
    ]
    .iter()
    .enumerate()
    {
        let mut subscriber = log_in_as(world, BOTH[index], &device, &format!("subscriber-{index}")).await;
        assert_eq!(
            subscriber.subscribe(filter, QoS::AtLeastOnce).await,
            ReasonCode::GrantedQos1
        );
        subscribers.push(subscriber);
    }
    Twin {
        id: domain.id,
        route: route.to_owned(),
        channel,
        device,
        subscribers,
    }
}

async fn domains_with_equal_routes_inside_never_meet(world: World) {
    let mut twins = [twin(&world, "east").await, twin(&world, "west").await];
    for twin in &twins {
        for version in BOTH {
            let mut publisher = log_in(&world, version, &twin.device).await;
            let topic = format!("m/{}/c/boiler/temperature", twin.route);
            let answer = publisher
                .publish(&topic, QoS::AtLeastOnce, json!({ "from": twin.route }).to_string())
                .await;
            assert_eq!(answer, ReasonCode::Success);
        }
    }
    for twin in &mut twins {
        let own = json!({ "from": twin.route });
        for subscriber in &mut twin.subscribers {
            for _ in BOTH {
                let (topic, payload) = said(&subscriber.message().await);
                assert!(
                    topic.ends_with("/temperature") && serde_json::from_str::<Value>(&payload).unwrap() == own,
                    "{topic} {payload}"
                );
            }
        }
        let path = format!("/{}/channels/{}/messages", twin.id, twin.channel);
        let stored = trunkline_testkit::until_some(std::time::Duration::from_secs(10), async || {
            let page = world.admin.get(&path).await.expect(200).json();
            (page["total"].as_u64() >= Some(2)).then(|| page["messages"].clone())
        })
        .await;
        let payloads: Vec<&Value> = stored
            .as_array()
            .unwrap()
            .iter()
            .map(|record| &record["payload"])
            .collect();
        assert_eq!(payloads, [&own, &own]);
    }
    // Both have had all there is, in log order: whatever of the other's was still to come would come before this.
    for twin in &mut twins {
        for subscriber in &mut twin.subscribers {
            assert!(subscriber.settle().await.is_empty());
        }
    }
    let [east, west] = &twins;
    let crossed = format!("/{}/channels/{}/messages", east.id, west.channel);
    world.admin.get(&crossed).await.expect(404);
    world.stop().await;
}

async fn a_secret_that_two_domains_have_is_looked_up_in_the_domain_of_the_topic(world: World) {
    let secret = "one secret for two domains";
    let mut channels = Vec::new();
    for route in ["east", "west"] {
        let domain = world.domain(route).await;
        let channel = domain.channel("boiler").await;
        let body = json!({ "name": route, "credentials": { "secret": secret } });
        let created = domain
            .owner
            .post(&format!("/{}/clients", domain.id), &body)
            .await
            .expect(201);
        let device = Device {
            id: created.text_at("/id"),
            secret: secret.to_owned(),
        };
        domain.connect(&channel, &device, &["publish", "subscribe"]).await;
        channels.push((domain, channel, device));
    }
    let http = world.anonymous().with_authorization(&format!("Client {secret}"));
    for (domain, channel, _) in &channels {
        for topic in [domain.topic(channel), format!("m/{}/c/boiler", domain.route)] {
            http.send(Method::POST, &format!("/{topic}"), None, "1")
                .await
                .expect(202);
        }
    }
    for (domain, channel, device) in &channels {
        let stored = domain.stored(channel, 2).await;
        assert_eq!(stored.len(), 2);
        assert!(
            stored.iter().all(|record| record["publisher"] == json!(device.id)),
            "{stored:?}"
        );
        // The reader looks it up in the domain of its path.
        let path = format!("/{}/channels/{channel}/messages", domain.id);
        assert_eq!(http.get(&path).await.expect(200).json()["total"], 2);
        let mut client = log_in(&world, Version::V5, device).await;
        assert_eq!(
            client.publish(&domain.topic(channel), QoS::AtLeastOnce, "2").await,
            ReasonCode::Success
        );
    }
    world.stop().await;
}
