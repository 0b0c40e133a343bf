//! Clients that want more than their share: of memory, of a client id, of patience. See also `hostile.rs`.

use std::net::SocketAddr;

use trunkline_mqtt::limits::{CONNECT_BYTES_MAX, WINDOW_MAX};
use trunkline_mqtt_wire::{PublishProperties, UserProperty};
use trunkline_testkit::until;

use super::hostile::Bystander;
use super::*;

/// What a connection may cost before its client is admitted.
pub(super) const STRANGER_BYTES_MAX: usize = 64 * 1024;
/// Strangers that have come before the memory is looked at for the first time, and those that come then.
const STRANGERS_BEFORE: usize = 100;
const STRANGERS: usize = 400;
/// Connections that two clients of one name make, each ending the one before.
const DUEL: usize = 1_000;
/// Messages that a subscriber misses by not acknowledging; more than any window.
const MISSED: u32 = WINDOW_MAX as u32 + 100;

/// Bytes of this process that are in memory.
pub(super) fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Whether this test has a process of its own; else the memory of the process tells nothing of it.
pub(super) fn is_alone() -> bool {
    std::env::var("NEXTEST_EXECUTION_MODE").is_ok_and(|mode| mode == "process-per-test")
}

/// Of the connections to `address` that the node has: how many are open, and how many of these have bytes that it has not read.
pub(super) fn connections_of(address: SocketAddr) -> (usize, usize) {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", address.port());
    let is_open_here = |fields: &Vec<&str>| fields[1].ends_with(&port) && fields[3] == "01";
    let lines = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let open: Vec<_> = lines.filter(is_open_here).collect();
    let unread = open.iter().filter(|fields| !fields[4].ends_with(":00000000"));
    (open.len(), unread.count())
}

/// The largest CONNECT but for its last byte.
pub(super) fn unfinished_connect() -> Vec<u8> {
    // Header and length are three bytes.
    let length = CONNECT_BYTES_MAX as usize - 3;
    let mut connect = vec![0x10, length as u8 | 0x80, (length >> 7) as u8];
    connect.resize(CONNECT_BYTES_MAX as usize - 1, b'x');
    connect
}

/// Connections that have said all of the largest CONNECT but its last byte, and the node has read it.
async fn strangers(address: SocketAddr, count: usize, before: usize) -> Vec<TcpStream> {
    let connect = unfinished_connect();
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&connect).await.unwrap();
        streams.push(stream);
    }
    until(PATIENCE, || async { connections_of(address) == (before + count, 0) }).await;
    streams
}

#[tokio::test]
async fn a_stranger_makes_the_node_hold_less_than_64_kib() {
    let broker = Broker::start().await;
    let address = broker.listen(Listener::from).await;
    let first = strangers(address, STRANGERS_BEFORE, 0).await;
    let before = resident_bytes();
    let second = strangers(address, STRANGERS, STRANGERS_BEFORE).await;
    let each = resident_bytes().saturating_sub(before) / STRANGERS;
    println!("a stranger costs {each} bytes, with the client's end");
    if is_alone() {
        // What it said is held; a figure below that would be one of something else.
        assert!(each > CONNECT_BYTES_MAX as usize / 2, "{each} bytes");
        assert!(each < STRANGER_BYTES_MAX, "{each} bytes");
    }
    drop((first, second));
    broker.stop().await;
}

#[tokio::test]
async fn what_is_far_too_large_ends_its_own_connection_with_a_reason() {
    let broker = Broker::start().await;
    let mut bystander = Bystander::of(&broker).await;
    let publish = |topic: &str, count| {
        let user_properties = vec![UserProperty::default(); count];
        Packet::Publish(Publish {
            topic: text(topic),
            properties: Some(Box::new(PublishProperties {
                user_properties,
                ..PublishProperties::default()
            })),
            ..Publish::default()
        })
    };
    let levels = SubscribeFilter {
        filter: text(&"/".repeat(9_999)),
        ..SubscribeFilter::default()
    };
    let levels = Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        filters: vec![levels],
        properties: SubscribeProperties::default(),
    });
    for (packet, reason) in [
        (publish(&"t".repeat(65_535), 0), ReasonCode::TopicNameInvalid),
        (publish("t", 50_000), ReasonCode::QuotaExceeded),
        (publish("t", 65_536), ReasonCode::PacketTooLarge),
        (levels, ReasonCode::TopicFilterInvalid),
    ] {
        let mut client = broker.client(Version::V5, "hostile").await;
        let bytes = encoded(&packet, Version::V5);
        let (mut reading, mut writing) = tokio::io::split(client.stream);
        // It is still sending when it is told.
        let sending = tokio::spawn(async move { writing.write_all(&bytes).await });
        let mut said = BytesMut::new();
        while reading.read_buf(&mut said).await.unwrap_or(0) > 0 {}
        let _ = sending.await.unwrap();
        let goodbye = client.decoder.decode(&mut said).unwrap();
        assert!(
            matches!(&goodbye, Some(Packet::Disconnect(disconnect)) if disconnect.reason == reason),
            "{goodbye:?} instead of {reason}"
        );
        bystander.goes_on().await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_duel_for_a_client_id_is_between_the_two() {
    let broker = Broker::start().await;
    let mut bystander = Bystander::of(&broker).await;
    let mut others = [None, None];
    for round in 0..DUEL {
        let duelist = broker.client(Version::V5, "duelist").await;
        if let Some(mut beaten) = others[round % 2].replace(duelist)
            && round % 100 == 0
        {
            assert_eq!(beaten.goodbye().await, Some(ReasonCode::SessionTakenOver));
        }
        bystander.goes_on().await;
    }
    // Who came last has it, and works.
    let mut last = others[(DUEL - 1) % 2].take().unwrap();
    last.subscribe("a", QoS::AtLeastOnce).await;
    last.publish("a", "mine", QoS::AtMostOnce).await;
    assert_eq!(last.take().await.payload, "mine");
    broker.stop().await;
}

#[tokio::test]
async fn one_that_never_acknowledges_or_reads_a_byte_at_a_time_waits_alone() {
    let broker = Broker::start().await;
    let mut silent = broker.client(Version::V5, "silent").await;
    let mut sipping = broker.client(Version::V5, "sipping").await;
    let mut quick = broker.client(Version::V5, "quick").await;
    for client in [&mut silent, &mut sipping, &mut quick] {
        client.subscribe("a/b", QoS::AtLeastOnce).await;
    }
    let mut publisher = broker.client(Version::V5, "publisher").await;
    let mut sips = [0];
    for number in 0..MISSED {
        publisher.publish_numbers(number..number + 1, QoS::AtLeastOnce).await;
        assert_eq!(number_of(&quick.take().await), number);
        sipping.stream.read_exact(&mut sips).await.unwrap();
    }
    for number in 0..u32::from(WINDOW_MAX) {
        assert_eq!(number_of(&silent.message().await), number);
    }
    // It has what it may have, is answered, and gets more for what it acknowledges.
    silent.is_quiet().await;
    silent.send(&Packet::PubAck(Ack::success(PacketId::MIN))).await;
    assert_eq!(number_of(&silent.message().await), u32::from(WINDOW_MAX));
    silent.is_quiet().await;
    broker.stop().await;
}
