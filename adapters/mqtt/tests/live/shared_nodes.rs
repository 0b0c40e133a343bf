//! Groups with members on two nodes.

use trunkline_bus::state::{Expect, Key, Versioned};
use trunkline_testkit::until;

use super::nodes::{Ground, Node};
use super::*;

const SHARE: &str = "$share/group/a";

impl Node {
    /// The record of the only group, if there is one.
    async fn group(&self) -> Option<(Key, Versioned)> {
        let groups = self.bus.state.list(&Key::durable("mqtt.shared")).await;
        groups.unwrap().pop()
    }
}

async fn member(node: &Node, name: &str, receive_max: u16) -> Client {
    let mut connect = connect(name);
    connect.properties.receive_maximum = std::num::NonZeroU16::new(receive_max);
    let mut member = Client::connected(node.stream(), Version::V5, connect).await;
    assert!(!member.subscribe(SHARE, QoS::AtLeastOnce).await.is_error());
    member
}

/// The next message of either, and which of the two had it.
async fn either(one: &mut Client, other: &mut Client) -> (usize, Publish) {
    tokio::select! {
        message = one.message() => (0, message),
        message = other.message() => (1, message),
    }
}

fn ack(message: &Publish) -> Packet {
    Packet::PubAck(Ack::success(message.packet_id.unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_on_two_nodes_share_the_messages_and_none_comes_twice() {
    const COUNT: u32 = 600;
    let ground = Ground::start().await;
    let (here, there) = (ground.node().await, ground.node().await);
    let (mut one, mut other) = (member(&here, "one", 100).await, member(&there, "other", 100).await);
    let mut publisher = there.publisher().await;
    let mut numbers = [Vec::new(), Vec::new()];
    // The one that deals hears of the other soon.
    let mut first = 0;
    while numbers.iter().any(Vec::is_empty) {
        publisher.publish("a", format!("{first};"), QoS::AtLeastOnce).await;
        let (who, message) = either(&mut one, &mut other).await;
        [&mut one, &mut other][who].send(&ack(&message)).await;
        numbers[who].push(number_of(&message));
        first += 1;
        assert!(first < 50_000, "one member gets everything");
    }
    let publishing = tokio::spawn(async move {
        for number in first..first + COUNT {
            publisher.publish("a", format!("{number};"), QoS::AtLeastOnce).await;
        }
    });
    for _ in 0..COUNT {
        let (who, message) = either(&mut one, &mut other).await;
        [&mut one, &mut other][who].send(&ack(&message)).await;
        numbers[who].push(number_of(&message));
    }
    publishing.await.unwrap();
    for member in [&mut one, &mut other] {
        member.is_quiet().await;
    }
    assert!(numbers.iter().all(|numbers| numbers.is_sorted()), "{numbers:?}");
    let mut all = numbers.concat();
    all.sort_unstable();
    assert_eq!(all, (0..first + COUNT).collect::<Vec<_>>());
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_has_no_room_for_is_another_nodes() {
    let ground = Ground::start().await;
    let (here, there) = (ground.node().await, ground.node().await);
    let (mut slow, mut quick) = (member(&here, "slow", 1).await, member(&there, "quick", 100).await);
    let mut publisher = here.publisher().await;
    let mut stuck = None;
    for number in 0..40 {
        publisher.publish("a", format!("{number};"), QoS::AtLeastOnce).await;
        let (who, message) = either(&mut slow, &mut quick).await;
        assert_eq!(number_of(&message), number);
        match who {
            0 => assert!(stuck.replace(message).is_none(), "it takes one at a time"),
            _ => quick.send(&ack(&message)).await,
        }
    }
    let stuck = stuck.expect("the slow one has its turn, too");
    let number = number_of(&stuck);
    slow.vanish().await;
    assert_eq!(number_of(&quick.take().await), number);
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_members_have_on_a_node_that_is_lost_goes_to_members_on_another() {
    let ground = Ground::start().await;
    let (lost, there) = (ground.node().await, ground.node().await);
    let mut gone = member(&lost, "gone", 100).await;
    let mut publisher = there.publisher().await;
    for number in 0..3 {
        publisher.publish("a", format!("{number};"), QoS::AtLeastOnce).await;
        assert_eq!(number_of(&gone.message().await), number);
    }
    lost.crash().await;
    publisher.publish("a", "3;", QoS::AtLeastOnce).await;
    let mut other = member(&there, "other", 100).await;
    for number in 0..4 {
        assert_eq!(number_of(&other.take().await), number);
    }
    other.is_quiet().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_session_has_at_qos_2_is_nobody_elses_when_it_goes_on_before_its_node_counts_for_gone() {
    let ground = Ground::start().await;
    let lost = ground.node().await;
    let lease = lost
        .bus
        .state
        .leases(&Key::volatile("mqtt.node"))
        .await
        .unwrap()
        .remove(0)
        .key;
    let there = ground.node().await;
    let (mut first, _) = lost.back("first").await;
    first.subscribe(SHARE, QoS::ExactlyOnce).await;
    let before = there.group().await.unwrap().1;
    let mut publisher = there.publisher().await;
    publisher.publish("a", "0;", QoS::ExactlyOnce).await;
    let id = first.message().await.packet_id.unwrap();
    first.send(&Packet::PubRec(Ack::success(id))).await;
    assert_eq!(first.receive().await, Packet::PubRel(Ack::success(id)));
    lost.crash().await;
    let state = &there.bus.state;
    state.renew(&lease, Bytes::new(), PATIENCE).await.unwrap();
    // As if the session had been the last that the node wrote.
    let (key, now) = there.group().await.unwrap();
    let expect = Expect::Revision(now.revision);
    state.compare_and_swap(&key, expect, before.value).await.unwrap();
    let (mut first, is_present) = there.back("first").await;
    assert!(is_present);
    assert_eq!(first.receive().await, Packet::PubRel(Ack::success(id)));
    first.send(&Packet::PubComp(Ack::success(id))).await;
    // The record of the session is written, and knows nothing of the message any more.
    first.subscribe("b", QoS::AtMostOnce).await;
    state.release(&lease).await.unwrap();
    let (mut other, _) = there.back("other").await;
    other.subscribe(SHARE, QoS::ExactlyOnce).await;
    publisher.publish("a", "1;", QoS::ExactlyOnce).await;
    let next = tokio::select! {
        next = first.take() => next,
        next = other.take() => next,
    };
    assert_eq!(number_of(&next), 1);
    for member in [&mut first, &mut other] {
        member.is_quiet().await;
    }
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_members_have_stays_theirs_when_their_node_is_back_later_than_another_from_an_outage() {
    let ground = Ground::start().await;
    let one = ground.node().await;
    let (other, line) = ground.node_on_a_line().await;
    let mut holder = member(&other, "holder", 100).await;
    let mut publisher = one.publisher().await;
    publisher.publish("a", "0;", QoS::AtLeastOnce).await;
    let held = holder.message().await;
    let mut robber = member(&one, "robber", 100).await;
    ground.be_away(&one, &line).await;
    robber.is_quiet().await;
    line.heal();
    until(PATIENCE, async || one.sees_running(2).await).await;
    holder.send(&ack(&held)).await;
    publisher.publish("a", "1;", QoS::AtLeastOnce).await;
    let (_, next) = either(&mut holder, &mut robber).await;
    assert_eq!(number_of(&next), 1);
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_ends_in_order_leaves_its_turn_and_what_its_members_have() {
    let ground = Ground::start().await;
    let (here, there) = (ground.node().await, ground.node().await);
    let mut gone = member(&here, "gone", 100).await;
    let mut publisher = there.publisher().await;
    publisher.publish("a", "0;", QoS::AtLeastOnce).await;
    assert_eq!(number_of(&gone.message().await), 0);
    let mut other = member(&there, "other", 100).await;
    here.stop().await;
    assert_eq!(number_of(&other.take().await), 0);
    publisher.publish("a", "1;", QoS::AtLeastOnce).await;
    assert_eq!(number_of(&other.take().await), 1);
    other.is_quiet().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_finds_its_group_on_another_node() {
    let ground = Ground::start().await;
    let (here, there) = (ground.node().await, ground.node().await);
    let (mut away, _) = here.back("away").await;
    away.subscribe(SHARE, QoS::AtLeastOnce).await;
    away.leave_with(Some(3_600)).await;
    let mut publisher = here.publisher().await;
    for number in 0..3 {
        publisher.publish("a", format!("{number};"), QoS::AtLeastOnce).await;
    }
    let (mut away, is_present) = there.back("away").await;
    assert!(is_present);
    for number in 0..3 {
        assert_eq!(number_of(&away.take().await), number);
    }
    away.is_quiet().await;
    here.stop().await;
    there.stop().await;
}
