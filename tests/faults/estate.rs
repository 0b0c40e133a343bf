//! What clients leave behind over faults: wills, each published once, and the message that was retained last.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use trunkline_bench::load::Target;
use trunkline_bench::{Place, Row};
use trunkline_mqtt_wire::{Publish, QoS, ReasonCode, Utf8Bytes, Version, Will};
use trunkline_testkit::mqtt::{Client as Mqtt, connect_packet, publish_packet};
use trunkline_testkit::until;

use crate::trial::PROBE_NAME;

/// How long a will may take from the end of its client to the store, on a busy machine.
const WAIT: Duration = Duration::from_secs(60);
/// Seconds for which a session outlives its connection.
const LASTS_S: u32 = 3_600;

/// The estate of one client of the platform.
pub(crate) struct Estate {
    target: Target,
    wills: Vec<String>,
    retained: String,
}

impl Estate {
    pub(crate) fn new(target: &Target) -> Self {
        Self {
            target: target.clone(),
            wills: Vec::new(),
            retained: String::new(),
        }
    }

    /// Retains a message and connects two clients with wills: one is due with the end of its connection, one a second later, when its
    /// client is not back.
    pub(crate) async fn enter(&mut self, round: u64) -> [Mqtt; 2] {
        let now = self.mortal(&format!("now-{round}"), None).await;
        let late = self.mortal(&format!("late-{round}"), Some(1)).await;
        let mut publisher = self.log_in(&format!("publisher-{round}")).await;
        let text = format!("kept-{round}");
        let publish = Publish {
            retain: true,
            ..publish_packet(&self.retained_topic(), QoS::AtLeastOnce, probe(&text))
        };
        assert_eq!(publisher.publish_packet(publish).await, ReasonCode::Success);
        self.retained = text;
        [now, late]
    }

    /// Asserts that every will was stored once, and that who subscribes now gets what was retained last.
    pub(crate) async fn assert_whole(&self, rows: impl AsyncFn(&Place) -> Vec<Row>) {
        let counts = async || {
            let mut counts = HashMap::<String, u32>::new();
            for row in rows(&self.target.place).await {
                *counts.entry(row.text).or_default() += u32::from(row.name == PROBE_NAME);
            }
            counts
        };
        until(WAIT, async || {
            let counts = counts().await;
            self.wills.iter().all(|will| counts.contains_key(will))
        })
        .await;
        let counts = counts().await;
        let repeated: Vec<_> = self.wills.iter().filter(|will| counts[*will] != 1).collect();
        assert!(repeated.is_empty(), "published more than once: {repeated:?}");
        let mut heir = self.log_in("heir").await;
        let topic = self.retained_topic();
        assert_eq!(heir.subscribe(&topic, QoS::AtLeastOnce).await, ReasonCode::GrantedQos1);
        assert_eq!(heir.message().await.payload, probe(&self.retained));
    }

    async fn mortal(&mut self, name: &str, delay_s: Option<u32>) -> Mqtt {
        let Target { user, password, .. } = &self.target;
        let mut connect = connect_packet(name, user, password);
        let mut will = Will {
            qos: QoS::AtLeastOnce,
            topic: Utf8Bytes::try_from(self.target.topic.as_str()).unwrap(),
            payload: probe(name).into(),
            ..Will::default()
        };
        will.properties.will_delay_s = delay_s;
        connect.will = Some(will);
        connect.properties.session_expiry_s = delay_s.map(|_| LASTS_S);
        let (client, answer) = Mqtt::connect(self.target.mqtt, Version::V5, connect).await;
        assert_eq!(answer.reason, ReasonCode::Success);
        self.wills.push(name.to_owned());
        client
    }

    async fn log_in(&self, name: &str) -> Mqtt {
        let Target { user, password, .. } = &self.target;
        let connect = connect_packet(name, user, password);
        let (client, answer) = Mqtt::connect(self.target.mqtt, Version::V5, connect).await;
        assert_eq!(answer.reason, ReasonCode::Success);
        client
    }

    fn retained_topic(&self) -> String {
        format!("{}/kept", self.target.topic)
    }
}

/// What the ledger does not know.
fn probe(text: &str) -> String {
    json!([{ "n": PROBE_NAME, "vs": text }]).to_string()
}
