//! Groups that outlive their members' connections and their node.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use trunkline_bus::state::Key;
use trunkline_mqtt::limits::{NODE_STEADY_TIME, SUBSCRIPTIONS_MAX};
use trunkline_testkit::until;

use super::*;

const SHARE: &str = "$share/group/a";

impl Broker {
    /// The groups that `State` keeps.
    pub(super) async fn groups(&self) -> usize {
        let prefix = Key::durable("mqtt.shared");
        self.bus.state.list(&prefix).await.unwrap().len()
    }

    async fn member(&self, name: &str, qos: QoS) -> Client {
        let (mut member, is_present) = self.back(Version::V5, name).await;
        assert!(!is_present);
        assert!(!member.subscribe(SHARE, qos).await.is_error());
        member
    }
}

#[tokio::test]
async fn what_is_published_while_all_members_are_away_waits_for_the_group_even_over_a_crash() {
    let broker = Broker::start().await;
    for name in ["one", "other"] {
        broker.member(name, QoS::AtLeastOnce).await.vanish().await;
    }
    let mut publisher = broker.publisher().await;
    for number in 0..4 {
        publisher.publish("a", format!("{number};"), QoS::AtLeastOnce).await;
        publisher.publish("a", "waits for nobody", QoS::AtMostOnce).await;
    }
    publisher.is_quiet().await;
    let broker = Broker::again(broker.crash().await).await;
    let (mut one, is_present) = broker.back(Version::V5, "one").await;
    assert!(is_present);
    for number in 0..4 {
        assert_eq!(number_of(&one.take().await), number);
    }
    let (mut other, _) = broker.back(Version::V5, "other").await;
    for member in [&mut one, &mut other] {
        member.is_quiet().await;
    }
    let mut publisher = broker.publisher().await;
    for (number, member) in [(4, &mut one), (5, &mut other)] {
        publisher.publish("a", format!("{number};"), QoS::AtLeastOnce).await;
        assert_eq!(number_of(&member.take().await), number);
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_group_ends_with_its_last_member() {
    let broker = Broker::start().await;
    let mut short = broker.client(Version::V5, "short").await;
    short.subscribe(SHARE, QoS::AtLeastOnce).await;
    assert_eq!(broker.groups().await, 1);
    short.vanish().await;
    until(PATIENCE, async || broker.groups().await == 0).await;
    let mut lasting = broker.member("lasting", QoS::AtLeastOnce).await;
    assert_eq!(lasting.unsubscribe(SHARE).await, ReasonCode::Success);
    lasting.vanish().await;
    until(PATIENCE, async || broker.groups().await == 0).await;
    let mut ending = broker.member("ending", QoS::AtLeastOnce).await;
    ending.is_quiet().await;
    ending.leave_with(Some(0)).await;
    until(PATIENCE, async || broker.groups().await == 0).await;
    let away = broker.member("away", QoS::AtLeastOnce).await;
    away.vanish().await;
    let broker = Broker::again(broker.stop().await).await;
    assert_eq!(broker.groups().await, 1, "it waits for its member");
    broker.stop().await;
}

#[tokio::test]
async fn a_group_does_not_wait_for_a_client_that_was_refused() {
    let broker = Broker::start().await;
    let (mut client, _) = broker.back(Version::V5, "greedy").await;
    for number in 0..SUBSCRIPTIONS_MAX {
        client.subscribe(&format!("b/{number}"), QoS::AtMostOnce).await;
    }
    let answer = client.subscribe(SHARE, QoS::AtLeastOnce).await;
    assert_eq!(answer, ReasonCode::QuotaExceeded);
    until(PATIENCE, async || broker.groups().await == 0).await;
    client.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn what_was_not_acknowledged_before_a_crash_goes_to_whoever_comes_back_first() {
    let broker = Broker::start().await;
    let mut gone = broker.member("gone", QoS::AtLeastOnce).await;
    let mut publisher = broker.publisher().await;
    for number in 0..3 {
        publisher.publish("a", format!("{number};"), QoS::AtLeastOnce).await;
        assert_eq!(number_of(&gone.message().await), number);
    }
    let broker = Broker::again(broker.crash().await).await;
    let restarted = Instant::now();
    let mut other = broker.client(Version::V5, "other").await;
    other.subscribe(SHARE, QoS::AtLeastOnce).await;
    for number in 0..3 {
        assert_eq!(number_of(&other.take().await), number);
    }
    // Nobody else can have the state that is in a process, so nobody is waited for.
    assert!(restarted.elapsed() < NODE_STEADY_TIME);
    let (mut gone, _) = broker.back(Version::V5, "gone").await;
    gone.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn at_qos_2_a_crash_gives_what_a_member_has_to_nobody_else() {
    for (is_released, is_completed) in [(false, false), (true, false), (true, true)] {
        let broker = Broker::start().await;
        let mut first = broker.member("first", QoS::ExactlyOnce).await;
        let mut publisher = broker.publisher().await;
        publisher.publish("a", "0;", QoS::ExactlyOnce).await;
        let message = first.message().await;
        let id = message.packet_id.unwrap();
        if is_released {
            first.send(&Packet::PubRec(Ack::success(id))).await;
            assert_eq!(first.receive().await, Packet::PubRel(Ack::success(id)));
        }
        if is_completed {
            first.send(&Packet::PubComp(Ack::success(id))).await;
            // The record of the session is written, and knows nothing of the message any more.
            first.subscribe("b", QoS::AtMostOnce).await;
        }
        let broker = Broker::again(broker.crash().await).await;
        let mut other = broker.client(Version::V5, "other").await;
        other.subscribe(SHARE, QoS::ExactlyOnce).await;
        let mut publisher = broker.publisher().await;
        publisher.publish("a", "1;", QoS::ExactlyOnce).await;
        assert_eq!(number_of(&other.take().await), 1);
        other.is_quiet().await;
        let (mut first, _) = broker.back(Version::V5, "first").await;
        match (is_released, is_completed) {
            (false, _) => {
                let again = first.message().await;
                assert_eq!((again.packet_id, number_of(&again), again.dup), (Some(id), 0, true));
            }
            (true, false) => assert_eq!(first.receive().await, Packet::PubRel(Ack::success(id))),
            (true, true) => first.is_quiet().await,
        }
        broker.stop().await;
    }
}

/// A member with what it remembers: the ids at QoS 2 that it holds, and how often it had each number.
struct Worker {
    name: &'static str,
    held: HashSet<PacketId>,
    had: BTreeMap<u32, u32>,
}

impl Worker {
    /// Takes `count` new messages, and answers all but the last few to the end.
    async fn work(&mut self, client: &mut Client, count: usize) {
        let mut taken = 0;
        while taken < count {
            match client.receive().await {
                Packet::Publish(message) if message.qos == QoS::ExactlyOnce => {
                    let id = message.packet_id.unwrap();
                    if self.held.insert(id) {
                        *self.had.entry(number_of(&message)).or_default() += 1;
                        taken += 1;
                    }
                    client.send(&Packet::PubRec(Ack::success(id))).await;
                }
                Packet::Publish(message) => {
                    *self.had.entry(number_of(&message)).or_default() += 1;
                    taken += 1;
                    client
                        .send(&Packet::PubAck(Ack::success(message.packet_id.unwrap())))
                        .await;
                }
                Packet::PubRel(ack) => {
                    self.held.remove(&ack.packet_id);
                    client.send(&Packet::PubComp(Ack::success(ack.packet_id))).await;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn over_ten_crashes_nothing_is_lost_and_at_qos_2_each_message_is_had_by_one_member_once() {
    const ROUNDS: u32 = 10;
    const EACH: u32 = 12;
    let mut broker = Broker::start().await;
    let mut workers = ["one", "other"].map(|name| Worker {
        name,
        held: HashSet::new(),
        had: BTreeMap::new(),
    });
    for worker in &workers {
        broker.member(worker.name, QoS::ExactlyOnce).await.vanish().await;
    }
    for round in 0..ROUNDS {
        let mut publisher = broker.client(Version::V5, "publisher").await;
        for number in round * EACH..(round + 1) * EACH {
            let qos = if number % 3 == 0 {
                QoS::AtLeastOnce
            } else {
                QoS::ExactlyOnce
            };
            publisher.publish("a", format!("{number};"), qos).await;
        }
        // They take a part, and the crash comes while the rest is under way.
        let [one, other] = &mut workers;
        let (mut first, _) = broker.back(Version::V5, one.name).await;
        one.work(&mut first, 4).await;
        let (mut second, _) = broker.back(Version::V5, other.name).await;
        tokio::join!(one.work(&mut first, 1), other.work(&mut second, 0));
        broker = Broker::again(broker.crash().await).await;
    }
    let total = (ROUNDS * EACH) as usize;
    let [one, other] = &mut workers;
    let (mut first, _) = broker.back(Version::V5, one.name).await;
    let (mut second, _) = broker.back(Version::V5, other.name).await;
    let everything =
        |one: &Worker, other: &Worker| one.had.keys().chain(other.had.keys()).collect::<HashSet<_>>().len();
    while everything(one, other) < total {
        tokio::select! {
            () = one.work(&mut first, 1) => {}
            () = other.work(&mut second, 1) => {}
        }
    }
    for number in (0..total as u32).filter(|number| number % 3 != 0) {
        let had = workers.iter().map(|worker| worker.had.get(&number).unwrap_or(&0));
        assert_eq!(had.sum::<u32>(), 1, "{number} at QoS 2");
    }
    broker.stop().await;
}
