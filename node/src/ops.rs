//! What operators and load balancers ask: `/health`, `/ready` and `/metrics`. Never RPC.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};
use trunkline_bus::Log;
use trunkline_core::NodeId;
use trunkline_telemetry::Metrics;
use uuid::Uuid;

use crate::health::Health;
use crate::storage::Storage;

/// What the answers are made of, cheap to clone. It answers from the first moment; what is not known yet is left out.
#[derive(Clone)]
pub(crate) struct Ops(Arc<Inner>);

struct Inner {
    health: Health,
    metrics: Metrics,
    instance: NodeId,
    started_s: u64,
    is_ready: AtomicBool,
    platform: OnceLock<Uuid>,
    log: OnceLock<Arc<dyn Log>>,
}

impl Ops {
    /// Answers for a node that is not ready yet.
    pub(crate) fn new(health: Health, metrics: Metrics, instance: NodeId) -> Self {
        Self(Arc::new(Inner {
            health,
            metrics,
            instance,
            started_s: since_epoch().as_secs(),
            is_ready: AtomicBool::new(false),
            platform: OnceLock::new(),
            log: OnceLock::new(),
        }))
    }

    /// Tells from now on which platform this is, and how its log stands.
    pub(crate) fn describe(&self, storage: &Storage) {
        let _ = self.0.platform.set(storage.platform_id);
        if let Some(bus) = &storage.bus {
            let _ = self.0.log.set(bus.log.clone());
        }
    }

    /// Says whether the node takes work.
    pub(crate) fn set_ready(&self, is_ready: bool) {
        self.0.is_ready.store(is_ready, Ordering::Release);
    }

    /// `/health` for public listeners: without the causes, which are the operator's.
    pub(crate) fn public_router(&self) -> Router {
        let ops = self.clone();
        Router::new().route(
            "/health",
            get(async move || ops.health(Map::new())).fallback(trunkline_gateway::method_not_allowed),
        )
    }

    /// Everything, for the operator's listener.
    pub(crate) fn router(&self) -> Router {
        let (health, ready, metrics) = (self.clone(), self.clone(), self.clone());
        Router::new()
            .route(
                "/health",
                get(async move || health.health(health.details())).fallback(trunkline_gateway::method_not_allowed),
            )
            .route("/ready", get(async move || ready.ready()))
            .route("/metrics", get(async move || metrics.metrics_text()))
    }

    fn health(&self, details: Map<String, Value>) -> Response {
        let Inner { health, log, .. } = &*self.0;
        // Who only calls a service that is away is no worse than others of his kind, and stays where he is.
        let (code, status) = match (health.first_fault(), health.first_vital_fault()) {
            (_, Some(_)) => (StatusCode::SERVICE_UNAVAILABLE, "fail"),
            (Some(_), None) => (StatusCode::OK, "warn"),
            (None, None) => (StatusCode::OK, "pass"),
        };
        let mut body = json!({
            "status": status,
            "version": env!("CARGO_PKG_VERSION"),
            "commit": option_env!("TRUNKLINE_COMMIT").unwrap_or("unknown"),
            "description": "trunkline",
            "build_time": "unknown",
            "instance_id": self.0.instance.to_string(),
            "started_at_s": self.0.started_s,
            "time_ms": since_epoch().as_millis() as u64,
        });
        if let Some(platform) = self.0.platform.get() {
            body["platform_id"] = json!(platform.to_string());
        }
        if let Some(log) = log.get() {
            let (durability, stats) = (log.durability(), log.stats());
            body["tier"] = json!(durability.tier.to_string());
            body["copies"] = json!(durability.copies);
            body["log"] = json!({ "entries": stats.entries, "bytes": stats.bytes, "queued": stats.queued });
        }
        if let Some(body) = body.as_object_mut() {
            body.extend(details);
        }
        (code, [(CONTENT_TYPE, "application/health+json")], body.to_string()).into_response()
    }

    /// Every role, and every dependency with what is wrong with it.
    fn details(&self) -> Map<String, Value> {
        let (roles, checks) = self.0.health.describe();
        Map::from_iter([("roles".to_owned(), roles), ("checks".to_owned(), checks)])
    }

    fn ready(&self) -> Response {
        let waits_for = self.0.health.first_vital_fault();
        match (self.0.is_ready.load(Ordering::Acquire), waits_for) {
            (true, None) => (StatusCode::OK, "ready\n").into_response(),
            (_, Some(fault)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{fault}\n")).into_response(),
            (false, None) => (StatusCode::SERVICE_UNAVAILABLE, "starting or draining\n").into_response(),
        }
    }

    fn metrics_text(&self) -> Response {
        if let Some(log) = self.0.log.get() {
            self.count_log(log.as_ref());
        }
        ([(CONTENT_TYPE, "text/plain; version=0.0.4")], self.0.metrics.render()).into_response()
    }

    /// Brings the log's own numbers into the metrics. They only change when somebody looks.
    fn count_log(&self, log: &dyn Log) {
        let stats = log.stats();
        let totals: [(&'static str, &str, u64); 6] = [
            (
                "trunkline_log_appended_total",
                "Entries appended durably.",
                stats.appended,
            ),
            (
                "trunkline_log_commits_total",
                "Commits that made them durable.",
                stats.commits,
            ),
            (
                "trunkline_log_duplicates_total",
                "Appends that were duplicates.",
                stats.duplicates,
            ),
            ("trunkline_log_refused_total", "Appends refused.", stats.refused),
            (
                "trunkline_log_dropped_total",
                "Unacknowledged appends dropped.",
                stats.dropped,
            ),
            ("trunkline_log_trimmed_total", "Entries trimmed.", stats.trimmed),
        ];
        for (name, help, value) in totals {
            let counter = self.0.metrics.counter(name, help, &[]);
            counter.add(value.saturating_sub(counter.value()));
        }
        let gauges: [(&'static str, &str, u64); 3] = [
            ("trunkline_log_queued", "Entries waiting to be committed.", stats.queued),
            ("trunkline_log_entries", "Entries held.", stats.entries),
            ("trunkline_log_bytes", "Envelope bytes held.", stats.bytes),
        ];
        for (name, help, value) in gauges {
            self.0
                .metrics
                .gauge(name, help, &[])
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
