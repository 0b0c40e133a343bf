//! Shared subscriptions on one node: who gets what.

use std::collections::BTreeMap;

use trunkline_mqtt_wire::SubscriptionId;
use trunkline_testkit::until;

use super::*;

const SHARE: &str = "$share/group/a/#";

/// Members of a group, by connections that end with their sessions.
async fn members<const COUNT: usize>(broker: &Broker, qos: QoS) -> [Client; COUNT] {
    let mut members = Vec::new();
    for (number, version) in (0..COUNT).zip(BOTH.into_iter().cycle()) {
        let mut member = broker.client(version, &format!("member {number}")).await;
        assert!(!member.subscribe(SHARE, qos).await.is_error());
        members.push(member);
    }
    members.try_into().unwrap_or_else(|_| panic!("as many as were made"))
}

/// A member that takes one message at a time.
async fn narrow(broker: &Broker, name: &str) -> Client {
    let mut connect = connect(name);
    connect.properties.receive_maximum = std::num::NonZeroU16::new(1);
    let mut member = broker.client_with(Version::V5, connect).await;
    member.subscribe(SHARE, QoS::AtLeastOnce).await;
    member
}

async fn publisher(broker: &Broker) -> Client {
    broker.client(Version::V5, "publisher").await
}

#[tokio::test]
async fn each_message_goes_to_one_member_in_its_turn_and_to_whoever_else_asked_for_it() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let broker = Broker::start().await;
        let mut members = members::<3>(&broker, qos).await;
        let mut other = broker.client(Version::V5, "other").await;
        other.subscribe("$share/other/a/#", qos).await;
        let mut usual = broker.client(Version::V5, "usual").await;
        usual.subscribe("a/#", qos).await;
        let mut publisher = publisher(&broker).await;
        for number in 0..9 {
            publisher.publish("a/b", format!("{number};"), qos).await;
            let message = members[number as usize % 3].take().await;
            assert_eq!(
                (number_of(&message), message.qos, &*message.topic),
                (number, qos, "a/b")
            );
            for client in [&mut other, &mut usual] {
                assert_eq!(number_of(&client.take().await), number);
            }
        }
        for client in members.iter_mut().chain([&mut other, &mut usual]) {
            client.is_quiet().await;
        }
        broker.stop().await;
    }
}

#[tokio::test]
async fn a_group_is_of_its_filter_and_each_member_gets_by_its_own_options() {
    let broker = Broker::start().await;
    let mut publisher = publisher(&broker).await;
    let retained = Publish {
        qos: QoS::AtLeastOnce,
        packet_id: Some(PacketId::MIN),
        retain: true,
        topic: text("a/b"),
        payload: "retained".into(),
        ..Publish::default()
    };
    publisher.send(&Packet::Publish(retained)).await;
    publisher.receive().await;
    let mut member = broker.client(Version::V5, "member").await;
    for (filter, qos, id) in [("a/#", QoS::AtMostOnce, 7), ("a/b", QoS::AtLeastOnce, 9)] {
        let filter = SubscribeFilter {
            filter: text(&format!("$share/group/{filter}")),
            qos,
            ..SubscribeFilter::default()
        };
        let mut subscribe = Subscribe {
            packet_id: PacketId::MIN,
            filters: vec![filter],
            properties: SubscribeProperties::default(),
        };
        subscribe.properties.subscription_id = SubscriptionId::new(id);
        member.send(&Packet::Subscribe(subscribe)).await;
        assert!(matches!(member.receive().await, Packet::SubAck(_)));
    }
    member.is_quiet().await;
    publisher.publish("a/b", "0;", QoS::ExactlyOnce).await;
    // Once for each group: two groups of one name are two.
    let mut got = BTreeMap::new();
    for _ in 0..2 {
        let message = member.take().await;
        let ids = message.properties.unwrap().subscription_ids;
        got.insert(ids, message.qos);
    }
    let expected = [(7, QoS::AtMostOnce), (9, QoS::AtLeastOnce)];
    let expected = expected.map(|(id, qos)| (vec![SubscriptionId::new(id).unwrap()], qos));
    assert_eq!(got, BTreeMap::from(expected));
    member.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_member_without_room_is_passed_over_and_goes_on_when_it_has_some() {
    let broker = Broker::start().await;
    let (mut slow, mut quick) = (narrow(&broker, "slow").await, narrow(&broker, "quick").await);
    let mut publisher = publisher(&broker).await;
    publisher.publish("a/b", "0;", QoS::AtLeastOnce).await;
    let stuck = slow.message().await;
    for number in 1..20 {
        publisher.publish("a/b", format!("{number};"), QoS::AtLeastOnce).await;
        assert_eq!(number_of(&quick.take().await), number);
    }
    publisher.publish("a/b", "20;", QoS::AtLeastOnce).await;
    let held = quick.message().await;
    publisher.publish("a/b", "21;", QoS::AtLeastOnce).await;
    for member in [&mut slow, &mut quick] {
        member.is_quiet().await;
    }
    slow.send(&Packet::PubAck(Ack::success(stuck.packet_id.unwrap()))).await;
    assert_eq!(number_of(&slow.take().await), 21);
    quick.send(&Packet::PubAck(Ack::success(held.packet_id.unwrap()))).await;
    broker.stop().await;
}

#[tokio::test]
async fn what_a_member_has_not_acknowledged_goes_to_another_when_it_is_gone() {
    let broker = Broker::start().await;
    let [mut gone, mut other] = members(&broker, QoS::AtLeastOnce).await;
    let mut publisher = publisher(&broker).await;
    for number in 0..6 {
        publisher.publish("a/b", format!("{number};"), QoS::AtLeastOnce).await;
    }
    assert_eq!(number_of(&gone.take().await), 0);
    for number in [2, 4] {
        assert_eq!(number_of(&gone.message().await), number);
    }
    for number in [1, 3, 5] {
        assert_eq!(number_of(&other.take().await), number);
    }
    gone.is_quiet().await;
    gone.vanish().await;
    for number in [2, 4] {
        let again = other.take().await;
        assert_eq!(
            (number_of(&again), again.dup),
            (number, false),
            "it is new to this client"
        );
    }
    other.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_message_at_qos_2_that_has_begun_to_be_delivered_goes_to_nobody_else() {
    for is_kept in [true, false] {
        let broker = Broker::start().await;
        let mut gone = match is_kept {
            true => broker.back(Version::V5, "gone").await.0,
            false => broker.client(Version::V5, "gone").await,
        };
        gone.subscribe(SHARE, QoS::ExactlyOnce).await;
        let mut publisher = publisher(&broker).await;
        for number in 0..2 {
            publisher.publish("a/b", format!("{number};"), QoS::ExactlyOnce).await;
            assert_eq!(number_of(&gone.message().await), number);
        }
        gone.vanish().await;
        let mut other = broker.client(Version::V5, "other").await;
        other.subscribe(SHARE, QoS::ExactlyOnce).await;
        publisher.publish("a/b", "2;", QoS::ExactlyOnce).await;
        assert_eq!(number_of(&other.take().await), 2);
        other.is_quiet().await;
        let (mut back, is_present) = broker.back(Version::V5, "gone").await;
        assert_eq!(is_present, is_kept);
        if is_kept {
            for number in 0..2 {
                let again = back.message().await;
                assert_eq!((number_of(&again), again.dup), (number, true));
            }
        }
        back.is_quiet().await;
        broker.stop().await;
    }
}

#[tokio::test]
async fn who_unsubscribes_still_acknowledges_what_it_was_sent_and_gets_no_more() {
    let broker = Broker::start().await;
    let [mut first, mut second] = members(&broker, QoS::AtLeastOnce).await;
    let mut publisher = publisher(&broker).await;
    publisher.publish("a/b", "0;", QoS::AtLeastOnce).await;
    let sent = first.message().await;
    assert_eq!(first.unsubscribe(SHARE).await, ReasonCode::Success);
    for number in 1..4 {
        publisher.publish("a/b", format!("{number};"), QoS::AtLeastOnce).await;
        assert_eq!(number_of(&second.take().await), number);
    }
    first.send(&Packet::PubAck(Ack::success(sent.packet_id.unwrap()))).await;
    first.is_quiet().await;
    first.vanish().await;
    second.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_client_leaves_a_group_once_it_has_unsubscribed_and_has_nothing_of_it() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let broker = Broker::start().await;
        let (mut member, _) = broker.back(Version::V5, "member").await;
        member.subscribe(SHARE, qos).await;
        let mut publisher = publisher(&broker).await;
        publisher.publish("a/b", "0;", qos).await;
        let id = member.message().await.packet_id.unwrap();
        assert_eq!(member.unsubscribe(SHARE).await, ReasonCode::Success);
        publisher.is_quiet().await;
        assert_eq!(broker.groups().await, 1, "it still has a message");
        if qos == QoS::AtLeastOnce {
            member.send(&Packet::PubAck(Ack::success(id))).await;
        } else {
            member.send(&Packet::PubRec(Ack::success(id))).await;
            assert_eq!(member.receive().await, Packet::PubRel(Ack::success(id)));
            member.send(&Packet::PubComp(Ack::success(id))).await;
        }
        until(PATIENCE, async || broker.groups().await == 0).await;
        member.is_quiet().await;
        broker.stop().await;
    }
}

#[tokio::test]
async fn a_group_that_is_behind_reads_the_log_and_loses_nothing() {
    let broker = Broker::start().await;
    let [mut first, mut second] = members(&broker, QoS::AtLeastOnce).await;
    let mut publisher = publisher(&broker).await;
    publisher.publish_numbers(0..4_000, QoS::AtLeastOnce).await;
    let mut numbers = [Vec::new(), Vec::new()];
    for _ in 0..4_000 {
        let (turn, message) = tokio::select! {
            message = first.message() => (0, message),
            message = second.message() => (1, message),
        };
        let ack = Packet::PubAck(Ack::success(message.packet_id.unwrap()));
        [&mut first, &mut second][turn].send(&ack).await;
        numbers[turn].push(number_of(&message));
    }
    assert!(numbers.iter().all(|numbers| numbers.is_sorted()), "in their order");
    let mut all = numbers.concat();
    all.sort_unstable();
    assert_eq!(all, (0..4_000).collect::<Vec<_>>());
    for member in [&mut first, &mut second] {
        member.is_quiet().await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn no_local_is_no_option_of_a_share() {
    let broker = Broker::start().await;
    let mut client = broker.client(Version::V5, "client").await;
    // By hand: the codec does not write it.
    let mut packet = encoded(
        &Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            filters: vec![SubscribeFilter {
                filter: text(SHARE),
                ..SubscribeFilter::default()
            }],
            properties: SubscribeProperties::default(),
        }),
        Version::V5,
    )
    .to_vec();
    *packet.last_mut().unwrap() |= 0b100;
    client.stream.write_all(&packet).await.unwrap();
    assert_eq!(client.goodbye().await, Some(ReasonCode::ProtocolError));
    broker.stop().await;
}

#[tokio::test]
async fn what_a_member_acknowledges_with_its_goodbye_is_nobody_elses() {
    let broker = Broker::start().await;
    let [mut one, mut two] = members::<2>(&broker, QoS::AtLeastOnce).await;
    publisher(&broker).await.publish("a/b", "0;", QoS::AtLeastOnce).await;
    let id = one.message().await.packet_id.unwrap();
    // Both at once: neither side waits between them.
    let mut last = encoded(&Packet::PubAck(Ack::success(id)), one.version).to_vec();
    last.extend_from_slice(&encoded(&Packet::Disconnect(Box::default()), one.version));
    one.stream.write_all(&last).await.unwrap();
    assert_eq!(one.next().await, None);
    two.is_quiet().await;
    publisher(&broker).await.publish("a/b", "1;", QoS::AtLeastOnce).await;
    assert_eq!(number_of(&two.take().await), 1);
    broker.stop().await;
}
