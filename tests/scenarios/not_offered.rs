//! What MQTT has and the platform does not offer: announced where MQTT can announce it, and refused by name.

use std::num::{NonZeroU16, NonZeroU32};

use trunkline_mqtt_wire::{Auth, AuthProperties, Connect, Packet, ReasonCode, Version};
use trunkline_testkit::mqtt::{Client, connect_packet};
use trunkline_tests::{Device, World, scenarios};

use crate::wire::{goodbye, log_in, text};

scenarios!(
    connack_announces_what_is_not_offered,
    what_is_not_offered_is_refused_by_name_over_mqtt_5,
);

async fn boiler(world: &World) -> Device {
    let plant = world.domain("plant").await;
    plant.channel_with_device("boiler").await.1
}

fn connect_of(device: &Device) -> Connect {
    connect_packet("sensor", &device.id, &device.secret)
}

async fn connack_announces_what_is_not_offered(world: World) {
    let device = boiler(&world).await;
    let mut connect = connect_of(&device);
    connect.keep_alive_s = u16::MAX;
    connect.properties.session_expiry_s = Some(u32::MAX);
    connect.clean_start = false;
    let (_, connack) = Client::connect(world.addresses.mqtt, Version::V5, connect).await;
    assert!(!connack.session_present);
    let terms = connack.properties;
    assert_eq!(connack.reason, ReasonCode::Success);
    assert_eq!(terms.session_expiry_s, None, "as the client asked");
    assert_eq!(terms.maximum_qos, None, "QoS 2 is said by absence");
    assert_ne!(terms.retain_available, Some(false));
    assert_ne!(terms.shared_subscription_available, Some(false));
    assert_ne!(terms.subscription_id_available, Some(false));
    assert_ne!(terms.wildcard_subscription_available, Some(false));
    assert!(terms.receive_maximum.is_some_and(|maximum| maximum > NonZeroU16::MIN));
    assert!(
        terms
            .maximum_packet_bytes
            .is_some_and(|bytes| bytes > NonZeroU32::new(256 * 1024).unwrap())
    );
    assert!(terms.server_keep_alive_s.is_some_and(|seconds| seconds < u16::MAX));
    assert_eq!(terms.assigned_client_id, None, "the client has one of its own");
    world.stop().await;
}

async fn what_is_not_offered_is_refused_by_name_over_mqtt_5(world: World) {
    let device = boiler(&world).await;
    let mut asking = connect_of(&device);
    asking.properties.authentication_method = Some(text("SCRAM-SHA-1"));
    let (client, connack) = Client::connect(world.addresses.mqtt, Version::V5, asking).await;
    assert_eq!(connack.reason, ReasonCode::BadAuthenticationMethod);
    assert!(connack.properties.reason_string.is_some_and(|words| !words.is_empty()));
    assert!(client.closed().await.is_empty());
    let auth = AuthProperties {
        authentication_method: Some(text("SCRAM-SHA-1")),
        ..AuthProperties::default()
    };
    let packet = Packet::Auth(Box::new(Auth {
        reason: ReasonCode::ReAuthenticate,
        properties: auth,
    }));
    let mut client = log_in(&world, Version::V5, &device).await;
    client.send(&packet).await;
    assert_eq!(goodbye(client).await, Some(ReasonCode::BadAuthenticationMethod));
    world.stop().await;
}
