//! What is recorded, what comes to a collector, and what happens while there is none.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use trunkline_telemetry::Metrics;
use trunkline_telemetry::traces::{
    Config, Export, FLUSH_WAIT_MAX, Kind, LINKS_MAX, QUEUE_SPANS_MAX, Resource, TRACEPARENT, TraceContext, Tracer,
    child, traceparent_of, within,
};
use trunkline_testkit::collector::{Code, Collector};
use trunkline_testkit::{Proxy, until};

const OUTSIDE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OUTSIDE_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const DROPPED: &str = "trunkline_spans_dropped_total";
const EXPORTED: &str = "trunkline_spans_exported_total";
const PATIENCE: Duration = Duration::from_secs(20);

fn open(endpoint: &str, sampling_ratio: f64, follow_outside: bool) -> (Tracer, Export, Metrics) {
    let config = Config {
        otlp_endpoint: Some(endpoint.to_owned()),
        sampling_ratio,
        follow_outside,
    };
    let resource = Resource {
        service: "trunkline-test".to_owned(),
        ..Resource::default()
    };
    let metrics = Metrics::new();
    let (tracer, export) = Tracer::open(&config, &resource, &metrics).unwrap();
    (tracer, export.unwrap(), metrics)
}

fn count(metrics: &Metrics, name: &'static str) -> u64 {
    metrics.counter(name, "", &[]).value()
}

#[tokio::test]
async fn a_span_comes_with_its_parent_its_process_and_what_is_told_of_it() {
    let collector = Collector::start().await;
    let (tracer, export, _) = open(&collector.url(), 1.0, false);
    let mut whole = tracer.admit(Kind::Server, "whole", || Some(OUTSIDE)).unwrap();
    whole.text("message.id", "m1");
    whole.number("bytes", 7);
    let mut part = within(Some(whole.scope()), async { child(Kind::Client, || "part").unwrap() }).await;
    part.fail("DENIED");
    drop(part);
    drop(whole);
    export.finish().await;

    let [part, whole] = collector.spans().try_into().unwrap();
    assert_eq!((&*whole.name, &*whole.service), ("whole", "trunkline-test"));
    assert_eq!((&*whole.trace, &*whole.parent), (OUTSIDE_TRACE, "b7ad6b7169203331"));
    assert_eq!(
        (&*whole.attributes["message.id"], &*whole.attributes["bytes"]),
        ("m1", "7")
    );
    assert_eq!(whole.failure, None);
    assert_eq!((&part.trace, &part.parent), (&whole.trace, &whole.id));
    assert_eq!(part.failure.as_deref(), Some("DENIED"));
    assert!(whole.time.0 <= part.time.0 && part.time.0 <= part.time.1 && part.time.1 <= whole.time.1);
}

#[tokio::test]
async fn a_trace_goes_on_in_another_process_and_is_linked_from_a_third() {
    let collector = Collector::start().await;
    let (here, first, _) = open(&collector.url(), 1.0, false);
    let (there, second, _) = open(&collector.url(), 0.0, false);
    let sent = here.admit(Kind::Producer, "sent", || None).unwrap();
    let carried = TraceContext::parse(&sent.context().to_string()).unwrap();
    drop(there.follow(Kind::Server, "received", carried).unwrap());
    drop(
        there
            .join(Kind::Consumer, "joined", &vec![carried; LINKS_MAX + 5])
            .unwrap(),
    );
    assert!(there.join(Kind::Consumer, "nothing", &[]).is_none());
    drop(sent);
    first.finish().await;
    second.finish().await;

    let sent = collector.span("the first", |span| span.name == "sent").await;
    let received = collector.span("the second", |span| span.name == "received").await;
    let joined = collector.span("the third", |span| span.name == "joined").await;
    assert_eq!((&received.trace, &received.parent), (&sent.trace, &sent.id));
    assert_ne!(joined.trace, sent.trace);
    assert_eq!(joined.links, vec![(sent.trace, sent.id); LINKS_MAX]);
}

#[test]
fn two_headers_are_not_guessed_between() {
    let mut headers = HeaderMap::new();
    assert_eq!(traceparent_of(&headers), None);
    headers.append(TRACEPARENT, HeaderValue::from_static(OUTSIDE));
    assert_eq!(traceparent_of(&headers), Some(OUTSIDE));
    headers.append(TRACEPARENT, HeaderValue::from_static(OUTSIDE));
    assert_eq!(traceparent_of(&headers), None);
}

#[tokio::test]
async fn the_ratio_decides_what_is_recorded_whatever_an_outside_trace_says() {
    let (none, _export, _) = open("http://127.0.0.1:1", 0.0, false);
    assert!(none.admit(Kind::Server, "x", || Some(OUTSIDE)).is_none());
    let (all, _export, _) = open("http://127.0.0.1:1", 1.0, false);
    let unsampled = OUTSIDE.replace("-01", "-00");
    let span = all.admit(Kind::Server, "x", || Some(&unsampled)).unwrap();
    assert!(span.context().to_string().contains(OUTSIDE_TRACE) && span.context().is_sampled());
    let unsampled = TraceContext::parse(&unsampled).unwrap();
    assert!(
        all.follow(Kind::Server, "x", unsampled).is_none(),
        "inside, the flag decides"
    );

    let (quarter, _export, _) = open("http://127.0.0.1:1", 0.25, false);
    let recorded = (0..10_000).filter(|_| quarter.admit(Kind::Server, "x", || None).is_some());
    let recorded = recorded.count();
    assert!(
        (2_250..=2_750).contains(&recorded),
        "{recorded} is more than 5 deviations off"
    );
}

#[tokio::test]
async fn an_outside_trace_may_decide_where_the_operator_lets_it() {
    let (none, _export, _) = open("http://127.0.0.1:1", 0.0, true);
    assert!(none.admit(Kind::Server, "x", || Some(OUTSIDE)).is_some());
    assert!(none.admit(Kind::Server, "x", || None).is_none());
    let (all, _export, _) = open("http://127.0.0.1:1", 1.0, true);
    let unsampled = OUTSIDE.replace("-01", "-00");
    assert!(all.admit(Kind::Server, "x", || Some(&unsampled)).is_none());
    let own = all.admit(Kind::Server, "x", || Some("00-nonsense")).unwrap();
    assert!(!own.context().to_string().contains(OUTSIDE_TRACE));
}

#[tokio::test]
async fn without_a_collector_nothing_is_recorded_and_nobody_asks_what_came_along() {
    let (tracer, export) = Tracer::open(&Config::default(), &Resource::default(), &Metrics::new()).unwrap();
    assert!(export.is_none() && !tracer.is_on());
    let unasked = || -> Option<&str> { panic!("nobody reads a traceparent that counts for nothing") };
    assert!(tracer.admit(Kind::Server, "x", unasked).is_none());
    let context = TraceContext::parse(OUTSIDE).unwrap();
    assert!(tracer.follow(Kind::Server, "x", context).is_none());
    assert!(tracer.join(Kind::Server, "x", &[context]).is_none());
    assert!(child(Kind::Client, || panic!("there is nothing to be below")).is_none());
}

#[tokio::test]
async fn a_collector_that_hangs_costs_spans_and_nobodys_time() {
    let collector = Collector::start().await;
    let proxy = Proxy::before(&collector.address().to_string()).await;
    proxy.hold();
    let (tracer, export, metrics) = open(&format!("http://{}", proxy.address()), 1.0, false);
    let started = Instant::now();
    for _ in 0..4 * QUEUE_SPANS_MAX {
        drop(tracer.admit(Kind::Server, "lost", || None));
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let lost = count(&metrics, DROPPED);
    assert!(lost >= 2 * QUEUE_SPANS_MAX as u64, "{lost} of {}", 4 * QUEUE_SPANS_MAX);
    let started = Instant::now();
    export.finish().await;
    assert!(
        started.elapsed() < FLUSH_WAIT_MAX + Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(collector.spans(), []);
    drop(tracer.admit(Kind::Server, "late", || None));
    assert_eq!(
        count(&metrics, DROPPED),
        lost + 1,
        "after the end everything is dropped"
    );
}

#[tokio::test]
async fn spans_wait_for_a_collector_that_is_busy() {
    let collector = Collector::start().await;
    collector.refuse_with(Some(Code::Unavailable));
    let (tracer, _export, metrics) = open(&collector.url(), 1.0, false);
    drop(tracer.admit(Kind::Server, "patient", || None));
    until(PATIENCE, async || collector.refused() > 0).await;
    collector.refuse_with(None);
    collector
        .span("the span that waited", |span| span.name == "patient")
        .await;
    until(PATIENCE, async || count(&metrics, EXPORTED) == 1).await;
    assert_eq!(count(&metrics, DROPPED), 0);
}

#[tokio::test]
async fn what_a_collector_refuses_for_what_it_is_holds_up_nothing() {
    let collector = Collector::start().await;
    collector.refuse_with(Some(Code::InvalidArgument));
    let (tracer, _export, metrics) = open(&collector.url(), 1.0, false);
    drop(tracer.admit(Kind::Server, "refused", || None));
    until(PATIENCE, async || count(&metrics, DROPPED) == 1).await;
    collector.refuse_with(None);
    drop(tracer.admit(Kind::Server, "next", || None));
    collector.span("the next span", |span| span.name == "next").await;
    assert_eq!(collector.spans().len(), 1);
}
