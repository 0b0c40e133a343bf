//! How connections begin and end: assigned ids, takeovers, keep alive, a second CONNECT, and a platform that stops.

use std::time::{Duration, Instant};

use trunkline_mqtt_wire::{Connect, Packet, QoS, ReasonCode, Version};
use trunkline_testkit::mqtt::{Client, connect_packet};
use trunkline_tests::{World, scenarios};

use crate::wire::{BOTH, goodbye, log_in, log_in_as, said};

scenarios!(
    a_client_without_an_id_is_given_one_that_nobody_has,
    an_equal_client_id_takes_the_session_of_the_same_device_alone,
    a_second_connect_ends_the_connection,
    a_silent_client_is_closed_after_one_and_a_half_keep_alives,
    a_platform_that_stops_says_so_and_keeps_what_it_acknowledged,
);

async fn a_client_without_an_id_is_given_one_that_nobody_has(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let connect = || connect_packet("", &device.id, &device.secret);
    let (mut first, one) = Client::connect(world.addresses.mqtt, Version::V5, connect()).await;
    let (mut second, other) = Client::connect(world.addresses.mqtt, Version::V5, connect()).await;
    let (mut third, _) = Client::connect(world.addresses.mqtt, Version::V3, connect()).await;
    let assigned = one.properties.assigned_client_id;
    assert!(assigned.as_ref().is_some_and(|id| !id.is_empty()));
    assert_ne!(assigned, other.properties.assigned_client_id);
    for client in [&mut first, &mut second, &mut third] {
        let answer = client.publish(&plant.topic(&channel), QoS::AtLeastOnce, "1").await;
        assert_eq!(answer, ReasonCode::Success, "nobody took anybody's session");
    }
    world.stop().await;
}

async fn an_equal_client_id_takes_the_session_of_the_same_device_alone(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let other = plant.device("other").await;
    let topic = plant.topic(&channel);
    let mut bystander = log_in_as(&world, Version::V5, &other, "sensor").await;
    for version in BOTH {
        let mut first = log_in_as(&world, version, &device, "sensor").await;
        first.subscribe(&topic, QoS::AtLeastOnce).await;
        let mut second = log_in_as(&world, Version::V5, &device, "sensor").await;
        let expected = (version == Version::V5).then_some(ReasonCode::SessionTakenOver);
        assert_eq!(goodbye(first).await, expected);
        let answer = second.publish(&topic, QoS::AtLeastOnce, "1").await;
        assert_eq!(answer, ReasonCode::Success);
        assert!(
            second.settle().await.is_empty(),
            "a clean start inherits no subscription"
        );
    }
    assert!(bystander.settle().await.is_empty());
    world.stop().await;
}

async fn a_second_connect_ends_the_connection(world: World) {
    let plant = world.domain("plant").await;
    let device = plant.device("sensor").await;
    for version in BOTH {
        let mut client = log_in(&world, version, &device).await;
        let again = connect_packet(&device.id, &device.id, &device.secret);
        client.send(&Packet::Connect(Box::new(again))).await;
        let expected = (version == Version::V5).then_some(ReasonCode::ProtocolError);
        assert_eq!(goodbye(client).await, expected);
    }
    world.stop().await;
}

async fn a_silent_client_is_closed_after_one_and_a_half_keep_alives(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    for version in BOTH {
        let connect = Connect {
            keep_alive_s: 1,
            ..connect_packet("sensor", &device.id, &device.secret)
        };
        let (mut client, _) = Client::connect(world.addresses.mqtt, version, connect).await;
        // A client that speaks is not silent, whatever it says and however long that takes.
        let began = Instant::now();
        let mut spoke = began;
        while began.elapsed() < Duration::from_secs(2) {
            spoke = Instant::now();
            client.publish(&plant.topic(&channel), QoS::AtLeastOnce, "1").await;
        }
        let expected = (version == Version::V5).then_some(ReasonCode::KeepAliveTimeout);
        assert_eq!(goodbye(client).await, expected);
        let silence = spoke.elapsed();
        assert!(silence >= Duration::from_millis(1_500), "closed after {silence:?}");
    }
    world.stop().await;
}

async fn a_platform_that_stops_says_so_and_keeps_what_it_acknowledged(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let topic = plant.topic(&channel);
    let mut new = log_in_as(&world, Version::V5, &device, "new").await;
    let mut old = log_in_as(&world, Version::V3, &device, "old").await;
    for client in [&mut new, &mut old] {
        let answer = client.publish(&topic, QoS::AtLeastOnce, r#"{"a":1}"#).await;
        assert_eq!(answer, ReasonCode::Success);
    }
    let (world, reason, silence) = tokio::join!(world.restart(), goodbye(new), goodbye(old));
    assert_eq!((reason, silence), (Some(ReasonCode::ServerShuttingDown), None));
    let mut reader = log_in(&world, Version::V5, &device).await;
    reader.subscribe(&topic, QoS::AtLeastOnce).await;
    reader.publish(&topic, QoS::AtLeastOnce, "after").await;
    assert_eq!(said(&reader.message().await).1, "after");
    let path = format!("/{}/channels/{channel}/messages", plant.id);
    trunkline_testkit::until(Duration::from_secs(10), async || {
        world.admin.get(&path).await.expect(200).json()["total"] == 3
    })
    .await;
    world.stop().await;
}
