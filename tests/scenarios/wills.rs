//! Wills on the platform: authorized when they are left and again when they are fired.

use serde_json::json;
use trunkline_mqtt_wire::{Connect, QoS, ReasonCode, Version, Will};
use trunkline_testkit::mqtt::{Client, connect_packet};
use trunkline_tests::{Device, Domain, World, scenarios};

use crate::wire::{BOTH, log_in, said, text};

scenarios!(
    a_will_reaches_those_who_subscribe,
    a_will_to_where_its_client_may_not_publish_refuses_the_connect,
    a_will_is_not_published_after_a_revocation,
    a_will_that_waits_is_authorized_when_it_is_due,
    the_will_of_a_client_that_is_no_longer_enabled_is_not_published,
);

fn with_will(device: &Device, topic: &str) -> Connect {
    let will = Will {
        qos: QoS::AtLeastOnce,
        topic: text(topic),
        payload: "gone".into(),
        ..Will::default()
    };
    Connect {
        will: Some(will),
        ..connect_packet("mortal", &device.id, &device.secret)
    }
}

async fn a_will_reaches_those_who_subscribe(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let topic = plant.topic(&channel);
    let mut heir = log_in(&world, Version::V5, &device).await;
    heir.subscribe(&format!("{topic}/#"), QoS::AtLeastOnce).await;
    for version in BOTH {
        let will = with_will(&device, &format!("{topic}/will"));
        let (mortal, answer) = Client::connect(world.addresses.mqtt, version, will).await;
        assert_eq!(answer.reason, ReasonCode::Success);
        drop(mortal);
        assert_eq!(
            said(&heir.message().await),
            (format!("{topic}/will"), "gone".to_owned())
        );
        let will = with_will(&device, &format!("{topic}/will"));
        let (mortal, _) = Client::connect(world.addresses.mqtt, version, will).await;
        mortal.disconnect().await;
    }
    assert!(heir.settle().await.is_empty(), "a goodbye takes the will back");
    world.stop().await;
}

async fn a_will_to_where_its_client_may_not_publish_refuses_the_connect(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let guest = plant.device("guest").await;
    plant.connect(&channel, &guest, &["subscribe"]).await;
    let other = world.domain("other").await;
    let (elsewhere, _) = other.channel_with_device("boiler").await;
    for (device, topic) in [(&guest, plant.topic(&channel)), (&device, other.topic(&elsewhere))] {
        for version in BOTH {
            let (client, answer) = Client::connect(world.addresses.mqtt, version, with_will(device, &topic)).await;
            assert_eq!(answer.reason, ReasonCode::NotAuthorized);
            assert!(client.closed().await.is_empty());
        }
    }
    world.stop().await;
}

async fn a_will_is_not_published_after_a_revocation(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let topic = plant.topic(&channel);
    let guest = plant.device("guest").await;
    plant.connect(&channel, &guest, &["publish"]).await;
    let mut heir = log_in(&world, Version::V5, &device).await;
    heir.subscribe(&topic, QoS::AtLeastOnce).await;
    let (mortal, answer) = Client::connect(world.addresses.mqtt, Version::V5, with_will(&guest, &topic)).await;
    assert_eq!(answer.reason, ReasonCode::Success);
    plant.disconnect(&channel, &guest, &["publish"]).await;
    drop(mortal);
    // The will of one that may still publish, fired after the other.
    let (mortal, _) = Client::connect(world.addresses.mqtt, Version::V5, with_will(&device, &topic)).await;
    drop(mortal);
    assert_eq!(said(&heir.message().await).1, "gone");
    assert!(heir.settle().await.is_empty(), "only one of the two");
    world.stop().await;
}

async fn a_will_that_waits_is_authorized_when_it_is_due(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let topic = plant.topic(&channel);
    let mut heir = log_in(&world, Version::V5, &device).await;
    heir.subscribe(&topic, QoS::AtLeastOnce).await;
    for (number, may_publish) in [(0, false), (1, true)] {
        let guest = plant.device(&format!("guest-{number}")).await;
        plant.connect(&channel, &guest, &["publish"]).await;
        let mut connect = with_will(&guest, &topic);
        connect.properties.session_expiry_s = Some(100);
        let will = connect.will.as_mut().unwrap();
        will.properties.will_delay_s = Some(1);
        will.payload = number.to_string().into();
        let (mortal, answer) = Client::connect(world.addresses.mqtt, Version::V5, connect).await;
        assert_eq!(answer.reason, ReasonCode::Success);
        drop(mortal);
        if !may_publish {
            plant.disconnect(&channel, &guest, &["publish"]).await;
        }
    }
    // They were due in this order.
    assert_eq!(said(&heir.message().await).1, "1");
    assert!(heir.settle().await.is_empty(), "only one of the two");
    world.stop().await;
}

/// Disables a client, or deletes it.
async fn end(plant: &Domain, device: &Device, is_deleted: bool) {
    let path = format!("/{}/clients/{}", plant.id, device.id);
    match is_deleted {
        true => plant.owner.delete(&path).await.expect(204),
        false => plant
            .owner
            .post(&format!("{path}/disable"), &json!({}))
            .await
            .expect(200),
    };
}

async fn the_will_of_a_client_that_is_no_longer_enabled_is_not_published(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let topic = plant.topic(&channel);
    let mut heir = log_in(&world, Version::V5, &device).await;
    heir.subscribe(&topic, QoS::AtLeastOnce).await;
    for (number, (is_deleted, delay_s)) in [(false, 0), (true, 0), (false, 1), (true, 1)].into_iter().enumerate() {
        let mortal = async |name: &str| {
            let guest = plant.device(&format!("{name}-{number}")).await;
            plant.connect(&channel, &guest, &["publish"]).await;
            let mut connect = with_will(&guest, &topic);
            connect.properties.session_expiry_s = Some(100);
            let will = connect.will.as_mut().unwrap();
            will.properties.will_delay_s = Some(delay_s);
            will.payload = format!("{name} {number}").into();
            let (client, answer) = Client::connect(world.addresses.mqtt, Version::V5, connect).await;
            assert_eq!(answer.reason, ReasonCode::Success);
            (guest, client)
        };
        let (ended, client) = mortal("ended").await;
        let (enabled, other) = mortal("enabled").await;
        // One whose will waits is away when it is ended.
        if delay_s > 0 {
            drop(client);
            end(&plant, &ended, is_deleted).await;
        } else {
            end(&plant, &ended, is_deleted).await;
            client.closed().await;
        }
        drop((other, enabled));
        // They were due in this order.
        assert_eq!(said(&heir.message().await).1, format!("enabled {number}"));
    }
    assert!(heir.settle().await.is_empty());
    world.stop().await;
}
