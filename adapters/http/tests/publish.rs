//! The adapter over the embedded log: what is answered, and what the log holds afterwards.
#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;
use trunkline_bus::embedded::Config;
use trunkline_bus::log::{ReadLimit, Shard, WRITER_GROUP};
use trunkline_bus::{EmbeddedBus, Log, StoredEntry};
use trunkline_core::SystemClock;
use trunkline_gate::{Gate, OpenGate, PlatformGate};
use trunkline_http::{Deps, router};
use trunkline_proto::messages::v1::Protocol;
use trunkline_rpc::Hub;
use trunkline_telemetry::Metrics;
use trunkline_testkit::http::Answer;
use trunkline_testkit::{TempDir, free_dir};

const PAYLOAD_BYTES_MAX: usize = 1_000;
const PATH: &str = "/m/home/c/kitchen/oven";
const SECRET: &str = "Client s3cret";

/// An adapter with an open gate, its log and its metrics.
struct Adapter {
    router: Router,
    bus: EmbeddedBus,
    metrics: Metrics,
    _dir: TempDir,
}

impl Adapter {
    async fn open() -> Self {
        Self::with(Arc::new(OpenGate::new(Vec::new())), Config::default()).await
    }

    async fn with(gate: Arc<dyn Gate>, config: Config) -> Self {
        let dir = free_dir();
        let bus = EmbeddedBus::open(dir.path(), config, Arc::new(SystemClock))
            .await
            .unwrap();
        let metrics = Metrics::new();
        let router = router(Deps {
            gate,
            log: bus.log.clone(),
            clock: Arc::new(SystemClock),
            metrics: metrics.clone(),
            tracer: Default::default(),
            payload_bytes_max: PAYLOAD_BYTES_MAX,
        });
        Self {
            router,
            bus,
            metrics,
            _dir: dir,
        }
    }

    /// POSTs `body` to `path` with these headers.
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        self.send(Method::POST, path, headers, body.into()).await
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).unwrap();
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    /// Everything that the log holds.
    async fn entries(&self) -> Vec<StoredEntry> {
        entries(&*self.bus.log).await
    }
}

async fn entries(log: &dyn Log) -> Vec<StoredEntry> {
    let mut all = Vec::new();
    for shard in 0..log.shards() {
        let page = log.read(Shard(shard), 1, ReadLimit::default()).await.unwrap();
        all.extend(page.entries);
    }
    all
}

fn authorized() -> [(&'static str, &'static str); 1] {
    [("authorization", SECRET)]
}

#[tokio::test]
async fn a_202_names_the_place_at_which_the_log_holds_the_message() {
    let adapter = Adapter::open().await;
    let headers = [
        ("authorization", SECRET),
        ("content-type", "Application/SenML+json; x=1"),
    ];
    let answer = adapter.post(PATH, &headers, r#"[{"n":"t","v":1}]"#).await.expect(202);
    let entries = adapter.entries().await;
    let [entry] = &entries[..] else {
        panic!("the log holds {} entries", entries.len())
    };
    let envelope = &entry.envelope;
    assert_eq!(answer.json()["sequence"], entry.sequence);
    assert_eq!(answer.json()["tier"], "synced");
    let id = trunkline_core::MessageId::from_slice(&envelope.id).unwrap();
    assert_eq!(answer.text_at("/message_id"), id.to_string());
    assert!(answer.header("x-request-id").is_some());
    assert_eq!(envelope.payload, r#"[{"n":"t","v":1}]"#);
    assert_eq!(envelope.content_type, "Application/SenML+json; x=1");
    assert_eq!((envelope.protocol(), envelope.qos), (Protocol::Http, 1));
}

#[tokio::test]
async fn a_path_that_is_no_topic_is_400_and_nothing_is_kept() {
    let adapter = Adapter::open().await;
    for path in [
        "/m/home",
        "/m/home/c",
        "/m/home/c/",
        "/m/home/d/kitchen",
        "/m/home/c/kitchen/",
        "/m/home/c/kitchen//oven",
        "/m/home/c/kitchen/%23",
        "/m/home/c/kitchen/+",
        "/m/home/c/kitchen/%00",
        "/m/home/c/kitchen/%2F",
        "/m/home/c/kitchen/%ff",
        "/m/%24SYS/c/kitchen",
        "/m/9lives/c/kitchen",
    ] {
        let answer = adapter.post(path, &authorized(), "x").await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert_eq!(answer.text_at("/code"), "INVALID_ARGUMENT");
        assert_eq!(answer.text_at("/fields/0/field"), "topic", "{path}");
    }
    assert!(adapter.entries().await.is_empty());
}

#[tokio::test]
async fn whoever_shows_no_client_is_401_and_told_what_to_show() {
    let adapter = Adapter::open().await;
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[], "CREDENTIALS_MISSING"),
        (&[("authorization", "Bearer token")], "SCHEME_NOT_OFFERED"),
        (&[("authorization", "Basic ???")], "CREDENTIALS_INVALID"),
        (&[("authorization", "a"), ("authorization", "b")], "CREDENTIALS_INVALID"),
    ];
    for (headers, reason) in cases {
        let answer = adapter.post(PATH, headers, "x").await.expect(401);
        assert_eq!(answer.text_at("/reason"), reason);
        assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"trunkline\""));
        for field in ["/message", "/error", "/request_id"] {
            assert!(!answer.text_at(field).is_empty());
        }
    }
    assert!(adapter.entries().await.is_empty());
}

#[tokio::test]
async fn a_message_of_the_largest_size_is_taken_and_one_byte_more_is_413() {
    let adapter = Adapter::open().await;
    let largest = Bytes::from(vec![b'x'; PAYLOAD_BYTES_MAX]);
    adapter.post(PATH, &authorized(), largest.clone()).await.expect(202);
    let one_more = Bytes::from(vec![b'x'; PAYLOAD_BYTES_MAX + 1]);
    let declared = adapter.post(PATH, &authorized(), one_more).await.expect(413);
    assert_eq!(declared.text_at("/reason"), "PAYLOAD_TOO_LARGE");
    let pieces = [largest, Bytes::from_static(b"x")].map(Ok::<_, io::Error>);
    let streamed = Body::from_stream(stream::iter(pieces));
    adapter.post(PATH, &authorized(), streamed).await.expect(413);
    assert_eq!(adapter.entries().await.len(), 1);
}

#[tokio::test]
async fn a_body_is_read_only_as_far_as_the_limit() {
    let adapter = Adapter::open().await;
    // It never ends: only an answer before its end is an answer.
    let endless = stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from_static(&[b'x'; 100])));
    let answer = adapter.post(PATH, &authorized(), Body::from_stream(endless)).await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn an_empty_or_broken_body_is_400() {
    let adapter = Adapter::open().await;
    let empty = adapter.post(PATH, &authorized(), "").await.expect(400);
    assert_eq!(empty.text_at("/reason"), "EMPTY_MESSAGE");
    let pieces = [Ok(Bytes::from_static(b"half")), Err(io::Error::other("reset"))];
    let broken = Body::from_stream(stream::iter(pieces));
    let broken = adapter.post(PATH, &authorized(), broken).await.expect(400);
    assert_eq!(broken.text_at("/reason"), "BODY_INCOMPLETE");
    assert!(adapter.entries().await.is_empty());
}

#[tokio::test]
async fn other_methods_are_405_and_allow_names_post() {
    let adapter = Adapter::open().await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
        let answer = adapter
            .send(method, PATH, &authorized(), Body::empty())
            .await
            .expect(405);
        assert_eq!(answer.text_at("/reason"), "METHOD_NOT_ALLOWED");
        let allow: Vec<_> = answer.headers.get_all("allow").iter().collect();
        assert_eq!(allow, ["POST"]);
    }
}

#[tokio::test]
async fn a_full_log_is_507_with_a_time_to_repeat() {
    let config = Config {
        domain_bytes_max: 4_000,
        ..Config::default()
    };
    let adapter = Adapter::with(Arc::new(OpenGate::new(Vec::new())), config).await;
    // Nothing of a required group that reads nothing may be dropped.
    adapter.bus.log.join(WRITER_GROUP, true).await.unwrap();
    let payload = Bytes::from(vec![b'x'; PAYLOAD_BYTES_MAX]);
    let mut accepted = 0;
    let refused = loop {
        let answer = adapter.post(PATH, &authorized(), payload.clone()).await;
        if answer.status != 202 {
            break answer;
        }
        accepted += 1;
        assert!(accepted < 10, "the log takes more than it may hold");
    };
    let refused = refused.expect(507);
    assert_eq!(refused.text_at("/reason"), "LOG_FULL");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(adapter.entries().await.len(), accepted);
}

#[tokio::test]
async fn what_cannot_be_checked_or_kept_now_is_503_with_a_time_to_repeat() {
    let unreachable = Arc::new(PlatformGate::new(&Hub::default()));
    let adapter = Adapter::with(unreachable, Config::default()).await;
    let answer = adapter.post(PATH, &authorized(), "x").await.expect(503);
    assert_eq!(answer.text_at("/reason"), "DEPENDENCY_UNAVAILABLE");
    assert_eq!(answer.header("retry-after"), Some("1"));

    let Adapter {
        router,
        bus,
        metrics,
        _dir,
    } = Adapter::open().await;
    let log = bus.log.clone();
    bus.close().await;
    let request = Request::post(PATH)
        .header("authorization", SECRET)
        .body(Body::from("x"));
    let response = router.oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(log.stats().appended, 0);
    assert!(
        metrics
            .render()
            .contains(r#"trunkline_http_publishes_total{outcome="unavailable"} 1"#)
    );
}

#[tokio::test]
async fn publishes_are_counted_by_outcome() {
    let adapter = Adapter::open().await;
    adapter.post(PATH, &authorized(), "x").await.expect(202);
    adapter.post(PATH, &authorized(), "x").await.expect(202);
    adapter.post(PATH, &[], "x").await.expect(401);
    let text = adapter.metrics.render();
    for line in [
        r#"trunkline_http_publishes_total{outcome="accepted"} 2"#,
        r#"trunkline_http_publishes_total{outcome="unauthenticated"} 1"#,
        "trunkline_http_publish_seconds_count 2",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn an_error_body_has_the_fields_of_the_edge() {
    let adapter = Adapter::open().await;
    let body = adapter.post("/m/home", &authorized(), "x").await.json();
    let Value::Object(body) = body else { panic!("{body}") };
    let names: Vec<_> = body.keys().map(String::as_str).collect();
    let mut expected = ["message", "error", "code", "reason", "request_id", "fields"];
    expected.sort_unstable();
    let mut names = names;
    names.sort_unstable();
    assert_eq!(names, expected);
}
