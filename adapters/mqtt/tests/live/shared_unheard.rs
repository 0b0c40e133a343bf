//! Groups whose writes to shared state are done without an answer, or late.

use futures_util::future::join_all;
use trunkline_bus::state::{Expect, Key};
use trunkline_core::DomainId;
use trunkline_mqtt::limits::SHARED_GROUPS_MAX;
use uuid::Uuid;

use super::line::{Call, Fate, Line};
use super::*;

const SHARE: &str = "$share/group/a";

/// A line on which every other write of a group is done without an answer, or late.
fn deaf(bus: &EmbeddedBus) -> Arc<Line> {
    let line = Line::new(bus);
    let mut writes = 0;
    line.judge(move |key, call| {
        let Call::Write(_) = call else { return Fate::Heard };
        if !Key::durable("mqtt.shared").covers(key) {
            return Fate::Heard;
        }
        writes += 1;
        match writes % 4 {
            1 => Fate::Unheard,
            3 => Fate::Late,
            _ => Fate::Heard,
        }
    });
    line
}

/// A member that takes a few messages at a time.
async fn member(stream: DuplexStream, name: &str) -> Client {
    let mut connect = connect(name);
    connect.properties.receive_maximum = std::num::NonZeroU16::new(4);
    let mut member = Client::connected(stream, Version::V5, connect).await;
    assert!(!member.subscribe(SHARE, QoS::ExactlyOnce).await.is_error());
    member
}

/// Answers the next packet to a member. Gives the number of a message.
async fn work(member: &mut Client) -> Option<u32> {
    match member.receive().await {
        Packet::Publish(message) => {
            let ack = Ack::success(message.packet_id.unwrap());
            member.send(&Packet::PubRec(ack)).await;
            Some(number_of(&message))
        }
        Packet::PubRel(ack) => {
            member.send(&Packet::PubComp(Ack::success(ack.packet_id))).await;
            None
        }
        Packet::PingResp => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_had_once_though_nodes_do_not_hear_whether_they_wrote() {
    const COUNT: u32 = 300;
    let folder = tempfile::tempdir().unwrap();
    let bus = open_bus(&folder).await;
    let line = deaf(&bus);
    let broker = Broker::of(|deps| line.open(deps), bus, folder);
    let other = deaf(&broker.bus).open(deps(&broker.bus, &broker.metrics));
    let run_of_other = run(&other);
    let mut here = member(broker.stream(), "here").await;
    let mut there = member(broker.stream_to(&other), "there").await;
    let mut publisher = broker.publisher().await;
    let publishing = tokio::spawn(async move {
        for number in 0..COUNT {
            publisher.publish("a", format!("{number};"), QoS::ExactlyOnce).await;
        }
    });
    let mut had = [Vec::new(), Vec::new()];
    // What is dealt again goes before what is new: the last one comes after it.
    while had
        .iter()
        .flatten()
        .copied()
        .collect::<std::collections::BTreeSet<_>>()
        .len()
        < COUNT as usize
    {
        tokio::select! {
            number = work(&mut here) => had[0].extend(number),
            number = work(&mut there) => had[1].extend(number),
        }
    }
    publishing.await.unwrap();
    assert!(had.iter().all(|had| !had.is_empty()), "each has its turns");
    let mut all = had.concat();
    all.sort_unstable();
    assert_eq!(all, (0..COUNT).collect::<Vec<_>>());
    end((broker.cancel.clone(), broker.connections.clone()), run_of_other).await;
    broker.stop().await;
}

#[tokio::test]
async fn the_last_group_that_a_domain_may_have_has_its_member_though_its_first_write_is_late() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open_bus(&folder).await;
    let line = Line::new(&bus);
    let broker = Broker::of(|deps| line.open(deps), bus, folder);
    let groups = Key::durable(format!("mqtt.shared.{}", DomainId::from_uuid(Uuid::nil())));
    let group = |number| Key::durable(format!("{}.{number}", groups.name()));
    let others = (1..SHARED_GROUPS_MAX).map(|number| {
        let state = broker.bus.state.clone();
        let key = group(number);
        async move { state.compare_and_swap(&key, Expect::Absent, "?".into()).await.unwrap() }
    });
    join_all(others).await;
    let mut is_first = true;
    line.judge(move |key, call| match call {
        // It is there when the node counts the groups.
        Call::Write(_) if groups.covers(key) && std::mem::take(&mut is_first) => Fate::Late,
        _ => Fate::Heard,
    });
    let mut member = broker.client(Version::V5, "member").await;
    assert!(!member.subscribe(SHARE, QoS::AtLeastOnce).await.is_error());
    broker.publisher().await.publish("a", "0;", QoS::AtLeastOnce).await;
    assert_eq!(number_of(&member.take().await), 0);
    let refused = member.subscribe("$share/other/a", QoS::AtLeastOnce).await;
    assert_eq!(refused, ReasonCode::QuotaExceeded);
    broker.stop().await;
}
