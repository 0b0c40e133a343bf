//! What must be there before the bus on NATS opens, and what is said when it is not.

#![allow(clippy::unwrap_used)]

mod on_nats;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::FutureExt as _;
use on_nats::Platform;
use serde_json::{Value, json};
use trunkline_bus::conformance::{entry, in_time};
use trunkline_bus::embedded::ConfiguredTier;
use trunkline_bus::log::Tier;
use trunkline_bus::nats::{NatsConfig, NatsError, Trimming};
use trunkline_core::DomainId;
use trunkline_testkit::{Nats, Proxy, throughout};
use uuid::Uuid;

async fn refusal(platform: &Platform) -> NatsError {
    let opened = platform.try_open(Trimming::Elsewhere).await;
    opened.map(drop).expect_err("the bus does not open")
}

/// Asks JetStream as its owner would, without any of our code.
async fn administer(nats: &Nats, subject: String, question: &Value) -> Value {
    let client = async_nats::connect(nats.url()).await.unwrap();
    let answer = client.request(subject, question.to_string().into()).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

/// Changes a stream's configuration by deleting it and making it anew, since the server refuses some changes.
async fn remake(platform: &Platform, stream: &str, change: impl FnOnce(&mut Value)) {
    let info = administer(&platform.nats, format!("$JS.API.STREAM.INFO.{stream}"), &json!({})).await;
    let mut config = info["config"].clone();
    change(&mut config);
    administer(&platform.nats, format!("$JS.API.STREAM.DELETE.{stream}"), &json!({})).await;
    let made = administer(&platform.nats, format!("$JS.API.STREAM.CREATE.{stream}"), &config).await;
    assert_eq!(made["error"], Value::Null);
}

#[tokio::test]
async fn a_platform_that_was_not_provisioned_is_told_to_migrate() {
    let platform = Platform::bare();
    let refusal = refusal(&platform).await;
    assert_eq!(
        refusal.to_string(),
        "the stream `KV_trunkline_durable` is missing on NATS; run `trunkline migrate` first"
    );
    assert!(!refusal.is_passing());
}

#[tokio::test]
async fn two_who_provision_at_once_do_it_once() {
    let platform = Platform::bare();
    let (one, other) = tokio::join!(platform.provision(), platform.provision());
    // The server takes the same stream twice as one, so both may say that it was missing.
    let missing: BTreeSet<String> = [one.unwrap(), other.unwrap()].concat().into_iter().collect();
    assert_eq!(missing.len(), 7, "{missing:?}");
    assert_eq!(platform.provision().await, Ok(Vec::new()));
    platform.adapter().await.close().await;
}

#[tokio::test]
async fn streams_of_another_platform_are_left_alone() {
    let mut platform = Platform::start().await;
    let owner = std::mem::replace(&mut platform.id, Uuid::now_v7());
    for refused in [refusal(&platform).await, platform.provision().await.unwrap_err()] {
        let expected = format!(
            "the stream `KV_trunkline_durable` on NATS belongs to platform {owner}, and this is platform {}; choose another prefix",
            platform.id
        );
        assert_eq!(refused.to_string(), expected);
    }
    platform.config.prefix = "other".to_owned();
    platform.provision().await.unwrap();
    platform.adapter().await.close().await;
}

#[tokio::test]
async fn a_stream_that_would_lose_messages_is_refused() {
    let cases: [(&str, Value, &str); 6] = [
        ("discard", json!("old"), "it must discard new messages"),
        ("persist_mode", json!("async"), "its persist mode must not be `async`"),
        ("retention", json!("interest"), "its retention must be `limits`"),
        ("max_age", json!(3_600_000_000_000_u64), "its `max_age` must be"),
        (
            "duplicate_window",
            json!(100_000_000_u64),
            "its `duplicate_window` must be",
        ),
        ("allow_rollup_hdrs", json!(true), "it must not allow rollups"),
    ];
    for (key, value, expected) in cases {
        let platform = Platform::start().await;
        remake(&platform, "trunkline_messages_1", |config| config[key] = value).await;
        let refusal = refusal(&platform).await.to_string();
        assert!(
            refusal.contains("trunkline_messages_1") && refusal.contains(expected),
            "{refusal}"
        );
    }
}

#[tokio::test]
async fn another_number_of_shards_is_refused_and_none_keeps_what_is_there() {
    let mut platform = Platform::start().await;
    platform.config.shards = Some(3);
    assert!(
        refusal(&platform)
            .await
            .to_string()
            .contains("it was made with 2 shards")
    );
    platform.config.shards = None;
    let bus = platform.adapter().await;
    assert_eq!(bus.log.shards(), 2);
    bus.close().await;
}

#[tokio::test]
async fn a_server_without_jetstream_is_named_as_such() {
    let platform = Platform::on(Nats::start_with(""));
    assert_eq!(refusal(&platform).await, NatsError::NoJetStream);
    assert_eq!(platform.provision().await, Err(NatsError::NoJetStream));
}

#[tokio::test]
async fn a_server_that_is_not_there_may_come() {
    let mut platform = Platform::start().await;
    platform.nats.kill();
    let refused = refusal(&platform).await;
    assert!(
        matches!(refused, NatsError::Unreachable { .. }) && refused.is_passing(),
        "{refused}"
    );
    platform.nats.restart();
    platform.adapter().await.close().await;
}

#[tokio::test]
async fn wrong_credentials_are_no_matter_of_waiting() {
    let users = r#"jetstream: { store_dir: $STORE }
        authorization: { users: [{ user: "adapter", password: "right" }] }"#;
    let mut platform = Platform::on(Nats::start_with(users));
    platform.config.user = Some("adapter".to_owned());
    platform.config.password = Some("wrong".to_owned());
    let refused = refusal(&platform).await;
    assert!(
        matches!(refused, NatsError::Refused(_)) && !refused.is_passing(),
        "{refused}"
    );
    platform.config.password = Some("right".to_owned());
    platform.provision().await.unwrap();
}

#[tokio::test]
async fn synced_counts_only_when_monitoring_proves_it() {
    let always = Nats::start_with(SYNCED);
    for (nats, proven) in [(Nats::start(), Tier::Written), (always, Tier::Synced)] {
        let mut platform = Platform::on(nats);
        platform.provision().await.unwrap();
        let bus = platform.adapter().await;
        assert_eq!(
            bus.log.durability().tier,
            Tier::Written,
            "nothing is proven without monitoring"
        );
        bus.close().await;
        platform.config.monitoring_urls = vec![platform.nats.monitoring_url()];
        let bus = platform.adapter().await;
        assert_eq!(bus.log.durability().tier, proven);
        bus.close().await;
        platform.config.tier = Some(ConfiguredTier::Synced);
        let opened = platform.try_open(Trimming::Elsewhere).await.map(drop);
        assert_eq!(opened.is_ok(), proven == Tier::Synced, "{opened:?}");
    }
}

const SYNCED: &str = "jetstream: { store_dir: $STORE, sync_interval: always }";

/// A server that syncs each write, and a platform that knows where its monitoring is.
async fn synced() -> Platform {
    let mut platform = Platform::on(Nats::start_with(SYNCED));
    platform.provision().await.unwrap();
    platform.config.monitoring_urls = vec![platform.nats.monitoring_url()];
    platform
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_without_syncing_ends_the_log() {
    let mut platform = synced().await;
    let bus = platform.adapter().await;
    assert_eq!(bus.log.durability().tier, Tier::Synced);
    platform.nats.restart_with("jetstream: { store_dir: $STORE }");
    let sentence = in_time("the end of the log", bus.log.failed()).await;
    assert!(
        sentence.contains("does not give the tier `synced` any more") && sentence.contains("`sync_interval: always`"),
        "{sentence}"
    );
    bus.close().await;
    let bus = platform.adapter().await;
    assert_eq!(
        bus.log.durability().tier,
        Tier::Written,
        "a restart tells what is given"
    );
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn monitoring_that_is_away_for_a_moment_ends_nothing() {
    let mut platform = synced().await;
    let monitoring = platform.nats.monitoring_url();
    let proxy = Proxy::before(monitoring.trim_start_matches("http://")).await;
    platform.config.monitoring_urls = vec![format!("http://{}", proxy.address())];
    let bus = platform.adapter().await;
    assert_eq!(bus.log.durability().tier, Tier::Synced);
    proxy.hold();
    platform.nats.restart();
    let is_going_on = async || bus.log.failed().now_or_never().is_none();
    // Longer than one question may take.
    throughout(Duration::from_secs(5), is_going_on).await;
    proxy.heal();
    let entry = || entry(DomainId::new(), "after");
    let receipt = bus.log.append(entry()).await.unwrap();
    assert_eq!(in_time("the receipt", receipt).await.unwrap().tier, Tier::Synced);
    throughout(Duration::from_secs(3), is_going_on).await;
    platform.nats.restart_with("jetstream: { store_dir: $STORE }");
    in_time("the end of the log", bus.log.failed()).await;
    bus.close().await;
}

#[test]
fn an_unknown_key_of_the_configuration_is_refused() {
    let parsed = serde_json::from_value::<NatsConfig>(json!({ "url": "nats://x" }));
    assert!(parsed.unwrap_err().to_string().contains("unknown field `url`"));
}
