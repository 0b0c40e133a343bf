//! One subscriber that stops reading costs the others nothing, and the platform bounded memory; when it reads on, it gets what it was
//! promised.

use std::num::NonZeroU16;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use trunkline_mqtt_wire::{Packet, Publish, QoS, ReasonCode, Version};
use trunkline_testkit::mqtt::{Client, publish_packet};
use trunkline_tests::{Device, World, scenarios};

use crate::wire::{BOTH, log_in_as};

scenarios!(one_that_stops_reading_costs_the_others_nothing_and_misses_no_qos_1_message);

/// Subscribers that read.
const READERS: usize = 10;
/// Messages of a round, every second one at QoS 1.
const COUNT: usize = 6_000;
/// Rounds in which everybody reads. Memory grows by up to 10 MiB in the second of them, and by up to 5 MiB in the third, whoever reads.
const WARM_UP_ROUNDS: usize = 5;
/// Bytes of a message: a round is far more than mailboxes, windows and socket buffers hold.
const BYTES: usize = 4 * 1024;
/// Messages that the publisher is ahead of the slowest reader at most, well below what waits for one session.
const LEAD: usize = 200;
/// Messages at QoS 1 that the publisher sends before it waits for their answers.
const WINDOW: u16 = 50;
/// Growth that is no backlog. Kept in memory, that would be `COUNT * BYTES` or 24 MiB; a third of it is for what else goes on in a
/// process with a store, twelve clients and a publisher.
const GROWTH_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The number that a message begins with.
fn number_of(publish: &Publish) -> usize {
    std::str::from_utf8(&publish.payload[..8]).unwrap().parse().unwrap()
}

fn qos_of(number: usize) -> QoS {
    if number.is_multiple_of(2) {
        QoS::AtLeastOnce
    } else {
        QoS::AtMostOnce
    }
}

/// A subscriber that reads all along and tells how far it is; it ends after `last`.
fn read(mut client: Client, last: usize) -> (watch::Receiver<usize>, JoinHandle<()>) {
    let (progress, seen) = watch::channel(0);
    let reading = tokio::spawn(async move {
        // QoS 0 is delivered ahead of the sync and QoS 1 after it, so there is an order within each and none between them.
        let mut next = [0, 1];
        while next[0] <= last || next[1] <= last {
            let message = client.message().await;
            let number = number_of(&message);
            assert_eq!(message.qos, qos_of(number));
            assert_eq!(number, next[number % 2], "a reader missed a message");
            next[number % 2] += 2;
            progress.send_replace(next[0].min(next[1]));
        }
    });
    (seen, reading)
}

/// Publishes `COUNT` messages from `first`, never far ahead of the slowest reader.
async fn publish(client: &mut Client, topic: &str, first: usize, readers: &mut [watch::Receiver<usize>]) {
    let filling = "x".repeat(BYTES - 8);
    let mut unanswered = 0;
    for number in first..first + COUNT {
        for reader in readers.iter_mut() {
            reader.wait_for(|seen| seen + LEAD > number).await.unwrap();
        }
        let mut message = publish_packet(topic, qos_of(number), format!("{number:08}{filling}"));
        if message.qos == QoS::AtLeastOnce {
            unanswered += 1;
            message.packet_id = NonZeroU16::new(unanswered);
        }
        client.send(&Packet::Publish(message)).await;
        if unanswered == WINDOW {
            answered(client, WINDOW).await;
            unanswered = 0;
        }
    }
    answered(client, unanswered).await;
}

/// Waits for the PUBACKs of `count` messages.
async fn answered(client: &mut Client, count: u16) {
    for _ in 0..count {
        let answer = client.receive().await;
        assert!(
            matches!(&answer, Packet::PubAck(ack) if ack.reason == ReasonCode::Success),
            "{answer:?}"
        );
    }
}

/// Bytes of this process that are in memory.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Whether this test has a process of its own; else the memory of the process tells nothing of it.
fn is_alone() -> bool {
    std::env::var("NEXTEST_EXECUTION_MODE").is_ok_and(|mode| mode == "process-per-test")
}

async fn subscriber(world: &World, device: &Device, topic: &str, version: Version, name: &str) -> Client {
    let mut client = log_in_as(world, version, device, name).await;
    assert!(!client.subscribe(topic, QoS::AtLeastOnce).await.is_error());
    client
}

async fn one_that_stops_reading_costs_the_others_nothing_and_misses_no_qos_1_message(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let topic = plant.topic(&channel);
    let first = WARM_UP_ROUNDS * COUNT;
    let last = first + COUNT - 1;
    let (mut progress, mut reading) = (Vec::new(), Vec::new());
    for index in 0..READERS {
        let version = BOTH[index % 2];
        let client = subscriber(&world, &device, &topic, version, &format!("reader-{index}")).await;
        let (seen, task) = read(client, last);
        progress.push(seen);
        reading.push(task);
    }
    let mut publisher = log_in_as(&world, Version::V5, &device, "publisher").await;
    // These rounds fill every cache, so that the last one shows what the one that does not read costs.
    for round in 0..WARM_UP_ROUNDS {
        publish(&mut publisher, &topic, round * COUNT, &mut progress).await;
    }
    let mut stalled = subscriber(&world, &device, &topic, Version::V5, "stalled").await;
    let before = resident_bytes();
    publish(&mut publisher, &topic, first, &mut progress).await;
    let growth = resident_bytes().saturating_sub(before);
    for task in reading {
        task.await.unwrap();
    }
    assert!(
        !is_alone() || growth < GROWTH_BYTES_MAX,
        "memory grew by {growth} bytes"
    );

    let mut expected = first;
    let mut last_unpromised = 0;
    while expected <= last {
        let message = stalled.message().await;
        let number = number_of(&message);
        if message.qos == QoS::AtLeastOnce {
            assert_eq!(number, expected, "the stalled subscriber missed a QoS 1 message");
            expected += 2;
        } else {
            assert!(number > last_unpromised, "QoS 0 messages came out of order");
            last_unpromised = number;
        }
    }
    let rest = stalled.settle().await;
    assert!(
        rest.iter()
            .all(|packet| matches!(packet, Packet::Publish(publish) if publish.qos == QoS::AtMostOnce))
    );
    world.stop().await;
}
