//! What devices are built with: mosquitto's own clients, of both versions, against the platform.

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::process::{Child, Command};
use trunkline_tests::{Device, Domain, World, scenarios};

use crate::rfc8428::{At, Resolved, examples};

scenarios!(
    the_examples_of_rfc_8428_are_read_back_as_the_rfc_resolves_them,
    what_mosquitto_publishes_and_is_no_senml_is_found_too,
    mosquitto_receives_what_mosquitto_publishes_in_the_spelling_of_its_filter,
    mosquitto_is_told_when_it_is_refused,
);

const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];

/// A tool of mosquitto's with everything that identifies a device.
fn mosquitto(world: &World, tool: &str, version: &str, device: &Device) -> Command {
    let mut command = Command::new(trunkline_testkit::tool(tool));
    command.args(["-V", version, "-q", "1", "-h", "127.0.0.1"]);
    command.args(["-p", &world.addresses.mqtt.port().to_string()]);
    command.args(["-u", &device.id, "-P", &device.secret]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Publishes a text and waits until mosquitto has its PUBACK.
async fn publish(world: &World, version: &str, device: &Device, topic: &str, payload: &str) {
    let mut command = mosquitto(world, "mosquitto_pub", version, device);
    let output = command.args(["-t", topic, "-m", payload]).output().await.unwrap();
    assert_success(&output);
}

fn assert_success(output: &Output) {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && words.is_empty(),
        "{}: {words}",
        output.status
    );
}

fn now_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_nanos()).unwrap()
}

async fn the_examples_of_rfc_8428_are_read_back_as_the_rfc_resolves_them(world: World) {
    let plant = world.domain("plant").await;
    for version in VERSIONS {
        let (channel, device) = plant.channel_with_device(version).await;
        let topic = plant.topic(&channel);
        let before = now_ns();
        for (index, (pack, _)) in examples().iter().enumerate() {
            publish(&world, version, &device, &format!("{topic}/{index}"), pack).await;
        }
        let after = now_ns();
        let count = examples().iter().map(|(_, records)| records.len()).sum();
        assert_eq!(plant.stored(&channel, count).await.len(), count);
        for (index, (pack, expected)) in examples().into_iter().enumerate() {
            let mut found = plant.records(&channel, &format!("&subtopic={index}")).await;
            found.sort_by_key(|record| record["pack_index"].as_u64());
            assert_eq!(found.len(), expected.len(), "{pack}");
            for (record, expected) in found.iter().zip(expected) {
                assert_resolved(record, expected, before..=after);
            }
        }
    }
    world.stop().await;
}

fn assert_resolved(record: &Value, expected: Resolved, received: std::ops::RangeInclusive<i64>) {
    let (name, unit, at, field, value) = expected;
    let time = record["time"].as_i64().unwrap();
    match at {
        At::Absolute(time_ns) => assert_eq!(time, time_ns, "{record}"),
        At::Received(offset_s) => assert!(received.contains(&(time - offset_s * 1_000_000_000)), "{record}"),
    }
    assert_eq!(record["name"], name, "{record}");
    assert_eq!(record.get("unit").and_then(Value::as_str), unit, "{record}");
    for other in [
        "value",
        "string_value",
        "bool_value",
        "data_value",
        "sum",
        "payload",
        "decode_error",
    ] {
        let is_expected = (other == field).then_some(&value);
        assert_eq!(record.get(other), is_expected, "{other} of {record}");
    }
    assert_eq!(record["protocol"], "mqtt");
}

async fn what_mosquitto_publishes_and_is_no_senml_is_found_too(world: World) {
    let plant = world.domain("plant").await;
    let file = world.folder().join("payload");
    std::fs::write(&file, b"\x00\xff").unwrap();
    for version in VERSIONS {
        let (channel, device) = plant.channel_with_device(version).await;
        let topic = format!("m/plant/c/{version}");
        publish(&world, version, &device, &topic, r#"{"a":1}"#).await;
        let mut command = mosquitto(&world, "mosquitto_pub", version, &device);
        let output = command.args(["-t", &topic, "-f"]).arg(&file).output().await.unwrap();
        assert_success(&output);
        let stored = plant.stored(&channel, 2).await;
        assert_eq!(stored[0]["data_value"], "AP8=");
        assert_eq!(stored[1]["payload"], json!({ "a": 1 }));
    }
    world.stop().await;
}

async fn mosquitto_receives_what_mosquitto_publishes_in_the_spelling_of_its_filter(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let by_ids = plant.topic(&channel);
    let by_routes = "m/plant/c/boiler".to_owned();
    for subscriber in VERSIONS {
        for publisher in VERSIONS {
            for (filter, published, received) in [
                (
                    format!("{by_ids}/#"),
                    format!("{by_routes}/a/b"),
                    format!("{by_ids}/a/b"),
                ),
                (
                    format!("{by_routes}/+/b"),
                    format!("{by_ids}/a/b"),
                    format!("{by_routes}/a/b"),
                ),
            ] {
                let mut command = mosquitto(&world, "mosquitto_sub", subscriber, &device);
                command.args(["-t", &filter, "-C", "1", "-F", "%t %p"]);
                let receiving = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
                let output = publish_until_received(&world, publisher, &device, &published, receiving).await;
                assert_success(&output);
                assert_eq!(
                    String::from_utf8_lossy(&output.stdout),
                    format!("{received} from {publisher}\n")
                );
            }
        }
    }
    world.stop().await;
}

/// Publishes again and again until `receiving` has had its message and is gone: mosquitto does not tell when it is subscribed.
async fn publish_until_received(
    world: &World,
    version: &str,
    device: &Device,
    topic: &str,
    receiving: Child,
) -> Output {
    let receiving = tokio::spawn(receiving.wait_with_output());
    trunkline_testkit::until(std::time::Duration::from_secs(20), || async {
        publish(world, version, device, topic, &format!("from {version}")).await;
        receiving.is_finished()
    })
    .await;
    receiving.await.unwrap().unwrap()
}

async fn mosquitto_is_told_when_it_is_refused(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let stranger = plant.device("stranger").await;
    let impostor = Device {
        id: device.id.clone(),
        secret: stranger.secret.clone(),
    };
    for version in VERSIONS {
        for (device, is_admitted) in [(&impostor, false), (&stranger, true), (&device, true)] {
            let is_allowed = device.secret != stranger.secret;
            let mut command = mosquitto(&world, "mosquitto_pub", version, device);
            let output = command
                .args(["-t", &plant.topic(&channel), "-m", version])
                .output()
                .await
                .unwrap();
            let words = String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                output.status.success() && words.is_empty(),
                is_allowed,
                "{version}: {words}"
            );
            let is_told_why = words.to_lowercase().contains("bad user name or password");
            assert_eq!(is_told_why, !is_admitted, "{version}: {words}");
        }
    }
    assert_eq!(
        stored_payloads(&plant, &channel, VERSIONS.len()).await,
        ["bXF0dHYzMTE=", "bXF0dHY1"]
    );
    world.stop().await;
}

/// What a channel holds once there are `count` records, oldest first.
async fn stored_payloads(domain: &Domain, channel: &str, count: usize) -> Vec<String> {
    let stored = domain.stored(channel, count).await;
    let payload = |record: &Value| record["data_value"].as_str().unwrap_or_default().to_owned();
    stored.iter().rev().map(payload).collect()
}
