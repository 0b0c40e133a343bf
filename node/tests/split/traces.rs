//! Traces of a platform of several processes: one from a publish to its append, links from the writer, and no harm by a collector.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use trunkline_testkit::Collector;
use trunkline_testkit::collector::Span;
use trunkline_testkit::http::Client;

use crate::refused;
use crate::site::{Process, Site, address};

const ADAPTERS: &str = "trunkline-mqtt-http";
const AUTHORIZE: &str = "trunkline.channels.v1.ChannelsService/Authorize";
const CHECK_OBJECTS: &str = "trunkline.auth.v1.AuthService/CheckObjects";
const LIST_DOMAINS: &str = "trunkline.domains.v1.DomainsService/ListDomains";
const ALL_ROLES: &str = "auth,things,channels,mqtt,http,writer,reader,gateway";

/// What a process takes to end by itself, the flush of its spans included.
const END_WAIT_MAX: Duration = Duration::from_secs(10);

fn recording(endpoint: &str) -> String {
    format!("[telemetry]\notlp_endpoint = {endpoint:?}\nsampling_ratio = 1.0\n")
}

/// Makes a first message go through the platform whose addresses these are.
fn demo(site: &Site, http: &str, mqtt: &str) {
    let [http, mqtt] = [(http, "http"), (mqtt, "mqtt")].map(|(line, name)| address(line, name).unwrap());
    let (succeeded, told) = site.ask("demo", http, mqtt, &[]);
    assert!(succeeded && told.contains("read them back"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_goes_from_a_publish_through_all_who_are_asked_to_its_append_and_the_writer_links_to_it() {
    let collector = Collector::start().await;
    let mut site = Site::migrated().await;
    site.telemetry = recording(&collector.url());
    let _auth = site.start("auth");
    let _registry = site.start("things,channels");
    let _store = site.start("writer,reader");
    let mut adapters = Process::spawn(&mut site.serve("mqtt,http"));
    let mqtt = adapters.ready();
    let mut gateway = Process::spawn(&mut site.serve("gateway"));
    demo(&site, &gateway.ready(), &mqtt);

    let is = |span: &Span, service: &str, name: &str| span.service == service && span.name == name;
    let publish = collector
        .span("the publish", |span| is(span, ADAPTERS, "mqtt publish"))
        .await;
    assert_eq!((&*publish.parent, &publish.failure), ("", &None));
    let mut above = publish.clone();
    for (service, name) in [
        (ADAPTERS, AUTHORIZE),
        ("trunkline-things-channels", AUTHORIZE),
        ("trunkline-things-channels", CHECK_OBJECTS),
        ("trunkline-auth", CHECK_OBJECTS),
    ] {
        let below = |span: &Span| is(span, service, name) && (&span.trace, &span.parent) == (&above.trace, &above.id);
        above = collector.span(&format!("{name} in {service}"), below).await;
    }
    let below =
        |span: &Span| is(span, ADAPTERS, "append") && (&span.trace, &span.parent) == (&publish.trace, &publish.id);
    let append = collector.span("the append", below).await;
    assert!(publish.time.0 <= append.time.0 && append.time.1 <= publish.time.1);
    let link = (append.trace, append.id);
    let stored = |span: &Span| is(span, "trunkline-writer-reader", "store") && span.links.contains(&link);
    let stored = collector
        .span("the writer's batch with a link to the append", stored)
        .await;
    assert_ne!(stored.trace, publish.trace);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_from_outside_goes_on_with_the_trace_that_it_brings() {
    let collector = Collector::start().await;
    let mut site = Site::migrated().await;
    site.telemetry = recording(&collector.url());
    let _core = site.start("auth,things,channels,reader");
    let mut gateway = Process::spawn(&mut site.serve("gateway"));
    let http: SocketAddr = address(&gateway.ready(), "http").unwrap();
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let client = Client::new(http).with_header("traceparent", traceparent);
    client.get("/domains").await.expect(401);

    let mut above = traceparent[36..52].to_owned();
    for service in [
        "trunkline-gateway",
        "trunkline-gateway",
        "trunkline-auth-things-channels-reader",
    ] {
        let below = |span: &Span| {
            span.service == service
                && span.trace == traceparent[3..35]
                && span.parent == above
                && span.name == LIST_DOMAINS
        };
        above = collector.span(&format!("the call in {service}"), below).await.id;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_holds_up_neither_messages_nor_the_end() {
    // It lets connections in, as far as the system does by itself, and answers nothing.
    let hanging = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut site = Site::migrated().await;
    site.telemetry = recording(&format!("http://{}", hanging.local_addr().unwrap()));
    let mut whole = Process::spawn(&mut site.serve(ALL_ROLES));
    let line = whole.ready();
    demo(&site, &line, &line);
    let started = Instant::now();
    assert!(whole.stopped().success());
    assert!(started.elapsed() < END_WAIT_MAX, "{:?}", started.elapsed());
    hanging.set_nonblocking(true).unwrap();
    assert!(hanging.accept().is_ok(), "the collector was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_collector_in_the_configuration_nothing_connects_to_one() {
    let tempting = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", tempting.local_addr().unwrap());
    let site = Site::migrated().await;
    let mut serve = site.serve(ALL_ROLES);
    for name in ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] {
        serve.env(name, &url);
    }
    let mut whole = Process::spawn(&mut serve);
    let line = whole.ready();
    demo(&site, &line, &line);
    assert!(whole.stopped().success());
    tempting.set_nonblocking(true).unwrap();
    let came = tempting.accept().map(|_| "somebody connected");
    assert_eq!(came.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_collector_that_cannot_be_one_is_refused_in_one_sentence() {
    let mut site = Site::migrated().await;
    site.telemetry = recording("127.0.0.1:4317");
    refused(
        &mut site.serve(ALL_ROLES),
        &[
            "[telemetry]",
            "`otlp_endpoint` is `127.0.0.1:4317`",
            "http://127.0.0.1:4317",
        ],
    );
}
