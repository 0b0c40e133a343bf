//! MQTT in the words of scenarios: devices of the platform on the wire, and packets with what a scenario asks for.

use bytes::BytesMut;
use trunkline_mqtt_wire::{
    Packet, Publish, PublishProperties, QoS, ReasonCode, SubscribeFilter, Utf8Bytes, Version, encode,
};
use trunkline_testkit::mqtt::{self, Client, publish_packet};
use trunkline_tests::{Device, World};

/// Both versions: what holds for one must hold for the other.
pub(crate) const BOTH: [Version; 2] = [Version::V3, Version::V5];

/// A text as packets carry it.
pub(crate) fn text(text: &str) -> Utf8Bytes {
    Utf8Bytes::try_from(text).unwrap()
}

/// A device with a connection, its own id as MQTT client id.
pub(crate) async fn log_in(world: &World, version: Version, device: &Device) -> Client {
    mqtt::Client::log_in(world.addresses.mqtt, version, &device.id, &device.secret).await
}

/// The same under an MQTT client id of its own, so that a device can have several connections.
pub(crate) async fn log_in_as(world: &World, version: Version, device: &Device, client_id: &str) -> Client {
    let connect = mqtt::connect_packet(client_id, &device.id, &device.secret);
    let (client, answer) = mqtt::Client::connect(world.addresses.mqtt, version, connect).await;
    assert_eq!(answer.reason, ReasonCode::Success, "{client_id} was not admitted");
    client
}

/// A filter at QoS 1.
pub(crate) fn filter(filter: &str) -> SubscribeFilter {
    SubscribeFilter {
        filter: text(filter),
        qos: QoS::AtLeastOnce,
        ..SubscribeFilter::default()
    }
}

/// A PUBLISH at QoS 1 with properties.
pub(crate) fn publish_with(topic: &str, payload: &str, properties: PublishProperties) -> Publish {
    Publish {
        properties: Some(Box::new(properties)),
        ..publish_packet(topic, QoS::AtLeastOnce, payload.to_owned())
    }
}

/// The bytes of a packet.
pub(crate) fn encoded(packet: &Packet, version: Version) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(packet, version, &mut bytes).unwrap();
    bytes
}

/// What the server said last, once it closed the connection: the reason of its DISCONNECT, `None` for a close without a word.
pub(crate) async fn goodbye(client: Client) -> Option<ReasonCode> {
    match client.closed().await.pop()? {
        Packet::Disconnect(disconnect) => Some(disconnect.reason),
        other => panic!("the last packet was {other:?}"),
    }
}

/// The topic and payload of a message, as text.
pub(crate) fn said(message: &Publish) -> (String, String) {
    (
        message.topic.to_string(),
        String::from_utf8_lossy(&message.payload).into_owned(),
    )
}
