//! A subscriber that does not read, beside others that do.

use super::*;

use trunkline_testkit::until;

/// More than a mailbox, the buffers and a window hold together.
const COUNT: u32 = 4_000;

async fn publish_all(broker: &Broker, qos: QoS) {
    let mut publisher = broker.client(Version::V5, "publisher").await;
    publisher.publish_numbers(0..COUNT, qos).await;
}

#[tokio::test]
async fn one_that_reads_on_gets_every_qos_1_message_in_order_and_then_those_that_follow() {
    let broker = Broker::start().await;
    let mut slow = broker.client(Version::V5, "slow").await;
    let mut quick = broker.client(Version::V5, "quick").await;
    slow.subscribe("a/#", QoS::AtLeastOnce).await;
    quick.subscribe("a/#", QoS::AtLeastOnce).await;
    let reading = tokio::spawn(async move {
        for number in 0..COUNT {
            assert_eq!(number_of(&quick.take().await), number);
        }
        quick
    });
    publish_all(&broker, QoS::AtLeastOnce).await;
    let mut quick = reading.await.unwrap();
    for number in 0..COUNT {
        assert_eq!(number_of(&slow.take().await), number);
    }
    let mut publisher = broker.client(Version::V5, "publisher").await;
    publisher.publish("a/b", COUNT.to_string(), QoS::AtLeastOnce).await;
    assert_eq!(number_of(&slow.take().await), COUNT);
    assert_eq!(number_of(&quick.take().await), COUNT);
    slow.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn one_that_catches_up_while_others_publish_misses_and_repeats_nothing() {
    let broker = Broker::start().await;
    let mut slow = broker.client(Version::V5, "slow").await;
    slow.subscribe("a/#", QoS::AtLeastOnce).await;
    publish_all(&broker, QoS::AtLeastOnce).await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    let publishing = tokio::spawn(async move {
        publisher.publish_numbers(COUNT..2 * COUNT, QoS::AtLeastOnce).await;
    });
    for number in 0..2 * COUNT {
        assert_eq!(number_of(&slow.take().await), number);
    }
    publishing.await.unwrap();
    slow.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn one_that_does_not_read_loses_qos_0_messages_and_each_is_counted() {
    let broker = Broker::start().await;
    let mut slow = broker.client(Version::V5, "slow").await;
    slow.subscribe("a/#", QoS::AtMostOnce).await;
    publish_all(&broker, QoS::AtLeastOnce).await;
    let mut received = 0;
    let mut last = None;
    slow.send(&Packet::PingReq).await;
    while let Packet::Publish(message) = slow.receive().await {
        assert!(last.is_none_or(|last| last < number_of(&message)));
        last = Some(number_of(&message));
        received += 1;
    }
    let lost = "trunkline_mqtt_undelivered_total{cause=\"queue_full\"} ";
    let metrics = broker.metrics.render();
    let lost: u32 = metrics
        .lines()
        .find_map(|line| line.strip_prefix(lost))
        .unwrap()
        .parse()
        .unwrap();
    assert!(lost > 0);
    while received + lost < COUNT {
        slow.message().await;
        received += 1;
    }
    assert_eq!(received + lost, COUNT);
    slow.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_flood_at_qos_0_is_held_back_where_the_log_has_no_room_and_none_of_it_is_dropped() {
    // Together several times what may wait to be committed, and each large: they come faster than they are written.
    const FLOOD: u32 = 400;
    const BYTES: usize = 200 * 1024;
    let broker = Broker::start().await;
    let mut flooding = broker.client(Version::V5, "flooding").await;
    let before = broker.bus.log.stats();
    for _ in 0..FLOOD {
        flooding.publish("a/b", vec![b'.'; BYTES], QoS::AtMostOnce).await;
    }
    let is_kept = async || broker.bus.log.stats().appended == before.appended + u64::from(FLOOD);
    until(PATIENCE, is_kept).await;
    assert_eq!(broker.bus.log.stats().dropped, 0);
    broker.stop().await;
}
