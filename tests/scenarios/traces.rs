//! Traces as a device and an operator see them: whose trace a message is in, and what is told of it.

use http::Method;
use trunkline_mqtt_wire::{Publish, PublishProperties, QoS, ReasonCode, UserProperty, Utf8Bytes, Version};
use trunkline_telemetry::traces::Config;
use trunkline_testkit::collector::{Collector, Span};
use trunkline_testkit::mqtt::{Client, publish_packet};
use trunkline_tests::{Shape, World};

const SHAPES: [Shape; 3] = [Shape::Whole, Shape::WholeOverSockets, Shape::Split];

/// A device's own trace, which it does not record.
const OUTSIDE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const OUTSIDE_PLACE: (&str, &str) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");

/// A platform of which everything is told to `collector`.
async fn recorded(shape: Shape, collector: &Collector) -> World {
    let telemetry = Config {
        otlp_endpoint: Some(collector.url()),
        sampling_ratio: 1.0,
        ..Config::default()
    };
    World::recorded(shape, telemetry).await
}

/// A message of so many bytes, by which its span is found, with these traces of its own.
fn message(topic: &str, bytes: usize, traceparents: &[&str]) -> Publish {
    let text = |text: &str| Utf8Bytes::try_from(text).unwrap();
    let property = |value: &&str| UserProperty {
        name: text("traceparent"),
        value: text(value),
    };
    Publish {
        properties: Some(Box::new(PublishProperties {
            user_properties: traceparents.iter().map(property).collect(),
            ..PublishProperties::default()
        })),
        ..publish_packet(topic, QoS::AtLeastOnce, vec![b'x'; bytes])
    }
}

async fn publish_of(collector: &Collector, name: &str, bytes: usize) -> Span {
    let bytes = bytes.to_string();
    let is_it = |span: &Span| span.name == name && span.attributes.get("payload.bytes") == Some(&bytes);
    collector.span(&format!("the {name} of {bytes} bytes"), is_it).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_goes_on_with_the_trace_that_it_brings_if_that_is_one() {
    for shape in SHAPES {
        let collector = Collector::start().await;
        let world = recorded(shape, &collector).await;
        let plant = world.domain("plant").await;
        let (channel, device) = plant.channel_with_device("boiler").await;
        let topic = plant.topic(&channel);

        for (bytes, traceparent) in [(11, OUTSIDE), (12, "00-nonsense-01")] {
            let client = world.anonymous().with_authorization(&device.secret);
            let client = client.with_header("traceparent", traceparent);
            let path = format!("/{topic}");
            client
                .send(Method::POST, &path, None, vec![b'x'; bytes])
                .await
                .expect(202);
        }
        let mut client = Client::log_in(world.addresses.mqtt, Version::V5, &device.id, &device.secret).await;
        for (bytes, traceparents) in [
            (13, &[OUTSIDE][..]),
            (14, &[OUTSIDE, OUTSIDE]),
            (15, &["00"]),
            (16, &[]),
        ] {
            let answer = client.publish_packet(message(&topic, bytes, traceparents)).await;
            assert_eq!(answer, ReasonCode::Success);
        }
        client.disconnect().await;
        world.stop().await;

        for (name, bytes) in [("http publish", 11), ("mqtt publish", 13)] {
            let publish = publish_of(&collector, name, bytes).await;
            assert_eq!(
                (&*publish.trace, &*publish.parent),
                OUTSIDE_PLACE,
                "{shape:?}: {publish:?}"
            );
            assert_eq!(publish.attributes["channel.id"], channel);
            assert_eq!(publish.attributes["client.id"], device.id);
        }
        for (name, bytes) in [
            ("http publish", 12),
            ("mqtt publish", 14),
            ("mqtt publish", 15),
            ("mqtt publish", 16),
        ] {
            let publish = publish_of(&collector, name, bytes).await;
            assert_ne!(publish.trace, OUTSIDE_PLACE.0, "{shape:?}: {publish:?}");
            assert_eq!(publish.parent, "", "{shape:?}: {publish:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_that_is_refused_says_why_in_its_span_and_has_no_append() {
    for shape in SHAPES {
        let collector = Collector::start().await;
        let world = recorded(shape, &collector).await;
        let plant = world.domain("plant").await;
        let channel = plant.channel("boiler").await;
        let stranger = plant.device("stranger").await;
        let mut client = Client::log_in(world.addresses.mqtt, Version::V5, &stranger.id, &stranger.secret).await;
        let answer = client.publish(&plant.topic(&channel), QoS::AtLeastOnce, "x").await;
        assert_eq!(answer, ReasonCode::NotAuthorized);
        client.disconnect().await;
        world.stop().await;

        let publish = collector.span("the publish", |span| span.name == "mqtt publish").await;
        assert_eq!(publish.failure.as_deref(), Some("NOT_AUTHORIZED"), "{shape:?}");
        let is_part = |span: &Span| span.trace == publish.trace && span.name == "append";
        assert!(!collector.spans().iter().any(is_part), "{shape:?}");
    }
}
