//! Retained messages of the platform: who is given them, and who is not any more.

use trunkline_mqtt_wire::{Publish, QoS, ReasonCode, Version};
use trunkline_testkit::mqtt::{Client, publish_packet};
use trunkline_tests::{World, scenarios};

use crate::wire::{BOTH, log_in, log_in_as, said};

scenarios!(
    a_retained_message_is_given_in_the_spelling_of_the_filter,
    a_retained_message_stays_in_its_domain_and_with_those_who_may_subscribe,
    a_retained_message_is_there_after_a_restart,
);

async fn retain(client: &mut Client, topic: &str, payload: &str) {
    let message = Publish {
        retain: true,
        ..publish_packet(topic, QoS::AtLeastOnce, payload.to_owned())
    };
    assert_eq!(client.publish_packet(message).await, ReasonCode::Success);
}

async fn a_retained_message_is_given_in_the_spelling_of_the_filter(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let by_id = plant.topic(&channel);
    let by_route = format!("m/{}/c/boiler", plant.id);
    for version in BOTH {
        let mut publisher = log_in_as(&world, version, &device, "publisher").await;
        retain(&mut publisher, &format!("{by_id}/upper"), "71.5").await;
        for topic in [&by_id, &by_route] {
            let mut subscriber = log_in_as(&world, version, &device, "subscriber").await;
            subscriber.subscribe(&format!("{topic}/#"), QoS::AtLeastOnce).await;
            let message = subscriber.message().await;
            assert_eq!(said(&message), (format!("{topic}/upper"), "71.5".to_owned()));
            assert!(message.retain);
            assert!(subscriber.settle().await.is_empty());
        }
    }
    world.stop().await;
}

async fn a_retained_message_stays_in_its_domain_and_with_those_who_may_subscribe(world: World) {
    let (plant, other) = (world.domain("plant").await, world.domain("other").await);
    let (channel, device) = plant.channel_with_device("boiler").await;
    let (other_channel, stranger) = other.channel_with_device("boiler").await;
    let topic = plant.topic(&channel);
    retain(&mut log_in(&world, Version::V5, &device).await, &topic, "71.5").await;

    let mut stranger = log_in(&world, Version::V5, &stranger).await;
    let own = other.topic(&other_channel);
    assert_eq!(
        stranger.subscribe(&format!("{own}/#"), QoS::AtLeastOnce).await,
        ReasonCode::GrantedQos1
    );
    assert_eq!(
        stranger.subscribe(&topic, QoS::AtLeastOnce).await,
        ReasonCode::NotAuthorized
    );
    assert!(stranger.settle().await.is_empty());

    let guest = plant.device("guest").await;
    plant.connect(&channel, &guest, &["subscribe"]).await;
    let mut guest_client = log_in(&world, Version::V5, &guest).await;
    guest_client.subscribe(&topic, QoS::AtLeastOnce).await;
    assert_eq!(said(&guest_client.message().await).1, "71.5");
    plant.disconnect(&channel, &guest, &["subscribe"]).await;
    assert_eq!(
        guest_client.subscribe(&topic, QoS::AtLeastOnce).await,
        ReasonCode::NotAuthorized
    );
    assert!(guest_client.settle().await.is_empty());
    world.stop().await;
}

async fn a_retained_message_is_there_after_a_restart(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let topic = plant.topic(&channel);
    let mut publisher = log_in(&world, Version::V5, &device).await;
    retain(&mut publisher, &format!("{topic}/stays"), "71.5").await;
    retain(&mut publisher, &format!("{topic}/goes"), "48").await;
    retain(&mut publisher, &format!("{topic}/goes"), "").await;
    let world = world.restart().await;
    let mut subscriber = log_in(&world, Version::V5, &device).await;
    subscriber.subscribe(&format!("{topic}/#"), QoS::AtLeastOnce).await;
    assert_eq!(
        said(&subscriber.message().await),
        (format!("{topic}/stays"), "71.5".to_owned())
    );
    assert!(subscriber.settle().await.is_empty());
    world.stop().await;
}
