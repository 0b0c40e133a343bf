//! What operators and load balancers ask: `/health`, `/ready` and `/metrics`. Never RPC.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::json;
use trunkline_bus::Log;
use trunkline_core::NodeId;
use trunkline_telemetry::Metrics;
use uuid::Uuid;

/// What the answers are made of.
#[derive(Clone)]
pub(crate) struct Ops {
    log: Arc<dyn Log>,
    metrics: Metrics,
    platform: Uuid,
    instance: NodeId,
    started_s: u64,
    is_ready: Arc<AtomicBool>,
}

impl Ops {
    /// Answers for a node that is not ready yet.
    pub(crate) fn new(log: Arc<dyn Log>, metrics: Metrics, platform: Uuid, instance: NodeId) -> Self {
        let started_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self {
            log,
            metrics,
            platform,
            instance,
            started_s,
            is_ready: Arc::default(),
        }
    }

    /// Says whether the node takes work.
    pub(crate) fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Release);
    }

    /// `/health` for public listeners.
    pub(crate) fn health_router(&self) -> Router {
        let ops = self.clone();
        Router::new().route(
            "/health",
            get(async move || ops.health()).fallback(trunkline_gateway::method_not_allowed),
        )
    }

    /// Everything, for the operator's listener.
    pub(crate) fn router(&self) -> Router {
        let (ready, metrics) = (self.clone(), self.clone());
        self.health_router()
            .route("/ready", get(async move || ready.ready()))
            .route("/metrics", get(async move || metrics.metrics_text()))
    }

    fn health(&self) -> Response {
        let durability = self.log.durability();
        let stats = self.log.stats();
        let body = json!({
            "status": "pass",
            "version": env!("CARGO_PKG_VERSION"),
            "commit": option_env!("TRUNKLINE_COMMIT").unwrap_or("unknown"),
            "description": "trunkline",
            "build_time": "unknown",
            "platform_id": self.platform.to_string(),
            "instance_id": self.instance.to_string(),
            "started_at_s": self.started_s,
            "tier": durability.tier.to_string(),
            "copies": durability.copies,
            "log": { "entries": stats.entries, "bytes": stats.bytes, "queued": stats.queued },
        });
        ([(CONTENT_TYPE, "application/health+json")], body.to_string()).into_response()
    }

    fn ready(&self) -> Response {
        if self.is_ready.load(Ordering::Acquire) {
            (StatusCode::OK, "ready\n").into_response()
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "starting or draining\n").into_response()
        }
    }

    fn metrics_text(&self) -> Response {
        self.count_log();
        ([(CONTENT_TYPE, "text/plain; version=0.0.4")], self.metrics.render()).into_response()
    }

    /// Brings the log's own numbers into the metrics. They only change when somebody looks.
    fn count_log(&self) {
        let stats = self.log.stats();
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
            let counter = self.metrics.counter(name, help, &[]);
            counter.add(value.saturating_sub(counter.value()));
        }
        let gauges: [(&'static str, &str, u64); 3] = [
            ("trunkline_log_queued", "Entries waiting to be committed.", stats.queued),
            ("trunkline_log_entries", "Entries held.", stats.entries),
            ("trunkline_log_bytes", "Envelope bytes held.", stats.bytes),
        ];
        for (name, help, value) in gauges {
            self.metrics
                .gauge(name, help, &[])
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}
