//! Wills: when they are published, as what, and when not.

use trunkline_bus::state::{Expect, Key};
use trunkline_mqtt_wire::{Disconnect, PublishProperties, UserProperty, Will, WillProperties};
use trunkline_testkit::until;

use super::*;

fn will(topic: &str) -> Will {
    Will {
        qos: QoS::AtLeastOnce,
        topic: text(topic),
        payload: Bytes::from_static(b"gone"),
        ..Will::default()
    }
}

fn with_will(will: Will) -> Connect {
    Connect {
        will: Some(will),
        ..connect("mortal")
    }
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Goodbye,
    GoodbyeWithWill,
    Break,
    Nonsense,
    Takeover,
}

async fn end(broker: &Broker, mut client: Client, end: End) {
    let mut goodbye = Disconnect::default();
    match end {
        End::Break => drop(client),
        End::Goodbye => client.send(&Packet::Disconnect(Box::new(goodbye))).await,
        End::GoodbyeWithWill => {
            goodbye.reason = ReasonCode::DisconnectWithWill;
            client.send(&Packet::Disconnect(Box::new(goodbye))).await;
        }
        End::Nonsense => client.send(&Packet::Connect(Box::new(connect("mortal")))).await,
        End::Takeover => drop(broker.client(Version::V5, "mortal").await),
    }
}

#[tokio::test]
async fn a_will_is_published_by_every_end_but_a_goodbye() {
    let broker = Broker::start().await;
    let mut heir = broker.client(Version::V5, "heir").await;
    heir.subscribe("will", QoS::ExactlyOnce).await;
    for version in BOTH {
        for how in [End::Break, End::Nonsense, End::Takeover, End::GoodbyeWithWill] {
            if version == Version::V3 && how == End::GoodbyeWithWill {
                continue;
            }
            let mortal = broker.client_with(version, with_will(will("will"))).await;
            end(&broker, mortal, how).await;
            let message = heir.take().await;
            assert_eq!(
                (&message.payload[..], message.qos),
                (&b"gone"[..], QoS::AtLeastOnce),
                "{how:?}"
            );
        }
        let mortal = broker.client_with(version, with_will(will("will"))).await;
        end(&broker, mortal, End::Goodbye).await;
    }
    // A will that came after a goodbye would come before this.
    let mut publisher = broker.client(Version::V5, "publisher").await;
    publisher.publish("will", "alive", QoS::AtLeastOnce).await;
    assert_eq!(&heir.take().await.payload[..], b"alive");
    heir.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_will_says_all_that_its_client_said_of_it() {
    let broker = Broker::start().await;
    let mut heir = broker.client(Version::V5, "heir").await;
    heir.subscribe("will", QoS::ExactlyOnce).await;
    let user_properties = vec![UserProperty {
        name: text("n"),
        value: text("v"),
    }];
    let given = Will {
        qos: QoS::ExactlyOnce,
        properties: WillProperties {
            payload_is_utf8: Some(true),
            content_type: Some(text("text/plain")),
            response_topic: Some(text("answers")),
            correlation_data: Some(Bytes::from_static(b"7")),
            user_properties: user_properties.clone(),
            ..WillProperties::default()
        },
        ..will("will")
    };
    drop(broker.client_with(Version::V5, with_will(given)).await);
    let message = heir.take().await;
    let expected = PublishProperties {
        payload_is_utf8: Some(true),
        content_type: Some(text("text/plain")),
        response_topic: Some(text("answers")),
        correlation_data: Some(Bytes::from_static(b"7")),
        user_properties,
        ..PublishProperties::default()
    };
    assert_eq!(message.qos, QoS::ExactlyOnce);
    assert_eq!(message.properties.as_deref(), Some(&expected));
    broker.stop().await;
}

#[tokio::test]
async fn a_will_may_be_retained_and_its_expiry_counts_from_when_it_is_published() {
    let broker = Broker::start().await;
    let mut witness = broker.client(Version::V5, "witness").await;
    witness.subscribe("will", QoS::AtLeastOnce).await;
    let mut given = Will {
        retain: true,
        ..will("will")
    };
    given.properties.message_expiry_s = Some(1_000);
    drop(broker.client_with(Version::V5, with_will(given)).await);
    let message = witness.take().await;
    assert_eq!(message.properties.unwrap().message_expiry_s, Some(1_000));
    let mut heir = broker.client(Version::V5, "heir").await;
    heir.subscribe("will", QoS::AtLeastOnce).await;
    let message = heir.take().await;
    assert!(message.retain);
    broker.stop().await;
}

#[tokio::test]
async fn a_node_that_drains_publishes_the_wills_of_those_it_sends_away() {
    let broker = Broker::start().await;
    let _mortal = broker
        .client_with(
            Version::V5,
            with_will(Will {
                retain: true,
                ..will("will")
            }),
        )
        .await;
    let folder = broker.stop().await;
    let broker = Broker::on(open_bus(&folder).await, folder);
    let mut heir = broker.client(Version::V5, "heir").await;
    heir.subscribe("will", QoS::AtLeastOnce).await;
    assert_eq!(&heir.take().await.payload[..], b"gone");
    broker.stop().await;
}

/// A CONNECT with a will that is due `delay_s` after its connection, of a session that lasts for `expiry_s` beyond it.
fn delayed(delay_s: u32, expiry_s: u32) -> Connect {
    let mut will = will("will");
    will.properties.will_delay_s = Some(delay_s);
    let mut connect = with_will(will);
    connect.clean_start = false;
    connect.properties.session_expiry_s = Some(expiry_s);
    connect
}

impl Broker {
    /// A client that subscribed to the will, in a session that outlives the node.
    async fn heir(&self) -> Client {
        let (mut heir, is_present) = self.back(Version::V5, "heir").await;
        if !is_present {
            heir.subscribe("will", QoS::AtLeastOnce).await;
        }
        heir
    }

    async fn mortal(&self, connect: Connect) -> Client {
        self.client_with(Version::V5, connect).await
    }
}

impl Client {
    /// Nothing comes before what somebody else publishes now.
    async fn has_got_nothing(&mut self, broker: &Broker) {
        let mut publisher = broker.client(Version::V5, "publisher").await;
        publisher.publish("will", "alive", QoS::AtLeastOnce).await;
        assert_eq!(self.take().await.payload, "alive");
        self.is_quiet().await;
    }
}

#[tokio::test]
async fn a_will_waits_for_its_delay() {
    let broker = Broker::start().await;
    let mut heir = broker.heir().await;
    let left = tokio::time::Instant::now();
    broker.mortal(delayed(1, 100)).await.vanish().await;
    heir.has_got_nothing(&broker).await;
    assert_eq!(heir.take().await.payload, "gone");
    assert!(left.elapsed() >= Duration::from_secs(1));
    // Once: what else comes is from those who live.
    heir.has_got_nothing(&broker).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_will_does_not_wait_beyond_the_end_of_its_session() {
    let broker = Broker::start().await;
    let mut heir = broker.heir().await;
    for expiry_s in [0, 1] {
        broker.mortal(delayed(3_600, expiry_s)).await.vanish().await;
        assert_eq!(heir.take().await.payload, "gone");
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_is_back_in_time_takes_its_will_back() {
    let broker = Broker::start().await;
    let mut heir = broker.heir().await;
    broker.mortal(delayed(2, 100)).await.vanish().await;
    let (client, is_present) = broker.back(Version::V5, "mortal").await;
    assert!(is_present);
    // Longer than the delay, and the will of another says so.
    let mut later = delayed(3, 100);
    (later.client_id, later.will.as_mut().unwrap().payload) = (text("later"), "later".into());
    broker.mortal(later).await.vanish().await;
    assert_eq!(heir.take().await.payload, "later");
    client.vanish().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_clean_start_ends_the_session_and_publishes_its_will_first() {
    let broker = Broker::start().await;
    let mut heir = broker.heir().await;
    broker.mortal(delayed(3_600, 7_200)).await.vanish().await;
    let client = broker.client(Version::V5, "mortal").await;
    assert_eq!(heir.take().await.payload, "gone");
    client.vanish().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_takeover_within_the_delay_publishes_nothing_and_a_clean_one_does() {
    let broker = Broker::start().await;
    let mut heir = broker.heir().await;
    let mut first = broker.mortal(delayed(3_600, 7_200)).await;
    let mut second = broker.mortal(delayed(3_600, 7_200)).await;
    assert_eq!(first.goodbye().await, Some(ReasonCode::SessionTakenOver));
    heir.has_got_nothing(&broker).await;
    let third = broker.client(Version::V5, "mortal").await;
    assert_eq!(second.goodbye().await, Some(ReasonCode::SessionTakenOver));
    assert_eq!(heir.take().await.payload, "gone");
    third.vanish().await;
    heir.has_got_nothing(&broker).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_will_has_a_record_while_its_client_is_connected_and_no_longer() {
    let broker = Broker::start().await;
    for version in BOTH {
        for how in [End::Goodbye, End::Break] {
            let mortal = broker.client_with(version, with_will(will("will"))).await;
            assert_eq!(broker.kept().await, 1);
            end(&broker, mortal, how).await;
            until(PATIENCE, async || broker.kept().await == 0).await;
        }
    }
    broker.stop().await;
}

#[tokio::test]
async fn the_will_of_a_process_that_is_killed_is_published_by_the_next() {
    for version in BOTH {
        let broker = Broker::start().await;
        broker.heir().await.vanish().await;
        let _mortal = broker.client_with(version, with_will(will("will"))).await;
        let broker = Broker::again(broker.crash().await).await;
        let mut heir = broker.heir().await;
        assert_eq!(heir.take().await.payload, "gone");
        until(PATIENCE, async || broker.kept().await == 1).await;
        assert_eq!(broker.logged().await, ["gone"]);
        broker.stop().await;
    }
}

#[tokio::test]
async fn a_will_that_waits_outlives_processes_that_stop_and_that_are_killed() {
    let broker = Broker::start().await;
    broker.heir().await.vanish().await;
    broker.mortal(delayed(1, 100)).await.vanish().await;
    let broker = Broker::again(broker.stop().await).await;
    let mut heir = broker.heir().await;
    assert_eq!(heir.take().await.payload, "gone");
    heir.vanish().await;
    broker.mortal(delayed(1, 100)).await.vanish().await;
    let broker = Broker::again(broker.crash().await).await;
    let mut heir = broker.heir().await;
    // Nothing but this one, or the first one again since its PUBACK was not saved.
    until(PATIENCE, async || broker.logged().await.len() == 2).await;
    assert_eq!(heir.take().await.payload, "gone");
    broker.stop().await;
}

#[tokio::test]
async fn a_goodbye_takes_the_will_back_for_every_process() {
    let broker = Broker::start().await;
    broker.heir().await.vanish().await;
    for (number, mut connect) in [with_will(will("will")), delayed(0, 100)].into_iter().enumerate() {
        connect.client_id = text(&number.to_string());
        let mortal = broker.mortal(connect).await;
        end(&broker, mortal, End::Goodbye).await;
    }
    until(PATIENCE, async || broker.kept().await == 2).await;
    let broker = Broker::again(broker.crash().await).await;
    // The will of one who is killed with the second process comes after those of the first.
    let _mortal = broker.mortal(with_will(will("will"))).await;
    let broker = Broker::again(broker.crash().await).await;
    let mut heir = broker.heir().await;
    assert_eq!(heir.take().await.payload, "gone");
    assert_eq!(broker.logged().await, ["gone"]);
    broker.stop().await;
}

#[tokio::test]
async fn a_will_that_is_published_again_is_one_message() {
    let broker = Broker::start().await;
    let mut heir = broker.heir().await;
    let prefix = Key::durable("mqtt.session");
    let mortal = broker.mortal(with_will(will("will"))).await;
    let records = broker.bus.state.list(&prefix).await.unwrap();
    mortal.vanish().await;
    assert_eq!(heir.take().await.payload, "gone");
    until(PATIENCE, async || broker.kept().await == 1).await;
    // As if the process had been killed when the log had the message and the record was still there.
    for (key, found) in records {
        let _ = broker
            .bus
            .state
            .compare_and_swap(&key, Expect::Absent, found.value)
            .await;
    }
    assert_eq!(broker.kept().await, 2);
    let broker = Broker::again(broker.crash().await).await;
    until(PATIENCE, async || broker.kept().await == 1).await;
    assert_eq!(broker.logged().await, ["gone"]);
    assert_eq!(trunkline_bus::Log::stats(broker.bus.log.as_ref()).duplicates, 1);
    broker.stop().await;
}
