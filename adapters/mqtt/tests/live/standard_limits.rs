//! A node that takes what the standard allows also keeps it.

use trunkline_bus::embedded::Config;
use trunkline_mqtt_wire::{Limits, Will};

use super::sessions::{lasting, open};
use super::*;

/// Bytes of the largest topic, and of the largest payload of a will.
const STANDARD_BYTES_MAX: usize = 65_535;

/// A node with no limit but those of the standard, on what is in `folder`.
async fn unlimited(folder: TempDir) -> Broker {
    let payload_bytes_max = STANDARD_BYTES_MAX;
    let config = Config {
        payload_bytes_max,
        ..Config::default()
    };
    let bus = EmbeddedBus::open(folder.path(), config, Arc::new(SystemClock)).await;
    let settings = Settings {
        payload_bytes_max,
        limits: Limits::STANDARD,
        ..Settings::default()
    };
    Broker::with(settings, bus.unwrap(), folder)
}

#[tokio::test]
async fn a_session_with_a_long_filter_and_the_largest_will_outlive_a_crash() {
    let broker = unlimited(tempfile::tempdir().unwrap()).await;
    let filter = format!("{}/#", "f".repeat(30_000));
    let topic = format!("will/{}", "t".repeat(STANDARD_BYTES_MAX - 5));
    let (mut heir, _) = open(broker.stream(), Version::V5, lasting(Version::V5, "heir")).await;
    for filter in [&filter, "will/#"] {
        assert_eq!(heir.subscribe(filter, QoS::AtLeastOnce).await, ReasonCode::GrantedQos1);
    }
    heir.vanish().await;
    let mortal = Connect {
        will: Some(Will {
            qos: QoS::AtLeastOnce,
            topic: text(&topic),
            payload: vec![7; STANDARD_BYTES_MAX].into(),
            ..Will::default()
        }),
        ..connect("mortal")
    };
    let _mortal = broker.client_with(Version::V5, mortal).await;

    let broker = unlimited(broker.crash().await).await;
    let (mut heir, connack) = open(broker.stream(), Version::V5, lasting(Version::V5, "heir")).await;
    assert!(connack.session_present);
    let message = heir.take().await;
    assert_eq!((&*message.topic, message.payload.len()), (&*topic, STANDARD_BYTES_MAX));
    let mut publisher = broker.publisher().await;
    publisher
        .publish(&filter.replace('#', "a"), "found", QoS::AtLeastOnce)
        .await;
    assert_eq!(heir.take().await.payload, "found");
    broker.stop().await;
}
