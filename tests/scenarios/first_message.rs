//! The main job: a device's message goes from a protocol adapter through the log and the writer to the reader.

use serde_json::json;
use trunkline_mqtt_wire::{QoS, ReasonCode, Version};
use trunkline_testkit::mqtt;
use trunkline_tests::{World, scenarios};

scenarios!(
    a_senml_pack_over_mqtt_is_read_back_resolved,
    what_is_no_senml_is_found_too,
    stored_messages_are_there_after_a_restart,
);

async fn a_senml_pack_over_mqtt_is_read_back_resolved(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    for (version, topic) in [
        (Version::V3, plant.topic(&channel)),
        (Version::V5, "m/plant/c/boiler".to_owned()),
    ] {
        let mut client = mqtt::Client::log_in(world.addresses.mqtt, version, &device.id, &device.secret).await;
        let pack = r#"[{"bn":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#;
        assert_eq!(
            client.publish(&topic, QoS::AtLeastOnce, pack).await,
            ReasonCode::Success
        );
        client.disconnect().await;
    }
    for record in plant.stored(&channel, 2).await {
        assert_eq!(record["name"], "urn:dev:ow:10e2073a01080063");
        assert_eq!(record["unit"], "Cel");
        assert_eq!(record["value"], json!(23.1));
        assert_eq!(record["publisher"], json!(device.id));
        assert_eq!(record["protocol"], "mqtt");
        assert!(record["time"].is_i64());
    }
    world.stop().await;
}

async fn what_is_no_senml_is_found_too(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let mut client = mqtt::Client::log_in(world.addresses.mqtt, Version::V5, &device.id, &device.secret).await;
    let topic = plant.topic(&channel);
    assert_eq!(
        client.publish(&topic, QoS::AtLeastOnce, r#"{"a":1}"#).await,
        ReasonCode::Success
    );
    assert_eq!(
        client.publish(&topic, QoS::AtLeastOnce, &b"\x00\xff"[..]).await,
        ReasonCode::Success
    );
    let stored = plant.stored(&channel, 2).await;
    assert_eq!(stored[0]["data_value"], "AP8=");
    assert_eq!(stored[1]["payload"], json!({ "a": 1 }));
    world.stop().await;
}

async fn stored_messages_are_there_after_a_restart(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let mut client = mqtt::Client::log_in(world.addresses.mqtt, Version::V3, &device.id, &device.secret).await;
    assert_eq!(
        client
            .publish(&plant.topic(&channel), QoS::AtLeastOnce, r#"{"a":1}"#)
            .await,
        ReasonCode::Success
    );
    let world = world.restart().await;
    let path = format!("/{}/channels/{channel}/messages", plant.id);
    trunkline_testkit::until(std::time::Duration::from_secs(10), async || {
        world.admin.get(&path).await.expect(200).json()["total"] == 1
    })
    .await;
    world.stop().await;
}
