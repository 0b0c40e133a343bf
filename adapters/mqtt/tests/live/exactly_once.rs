//! QoS 2 both ways, over connections that break and nodes that end without a word.

use std::collections::HashSet;

use super::sessions::{lasting, open};
use super::*;

impl Broker {
    /// Ends as a process that is killed: nothing is said to anybody and nothing is saved. Gives what is on the disk.
    pub(super) async fn crash(self) -> TempDir {
        // Whatever the adapter still does, the bus takes no part in it.
        self.bus.close().await;
        end((self.cancel, self.connections), (self.stop_router, self.router)).await;
        self.folder
    }

    /// The node that comes after.
    pub(super) async fn again(folder: TempDir) -> Self {
        Self::on(open_bus(&folder).await, folder)
    }

    /// All that the log holds.
    pub(super) async fn logged(&self) -> Vec<Bytes> {
        let log = &self.bus.log;
        let mut payloads = Vec::new();
        for shard in (0..log.shards()).map(trunkline_bus::log::Shard) {
            let mut next = 1;
            loop {
                let page = log.read(shard, next, Default::default()).await.unwrap();
                if page.entries.is_empty() {
                    break;
                }
                payloads.extend(page.entries.iter().map(|entry| entry.envelope.payload.clone()));
                next = page.next;
            }
        }
        payloads
    }
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn exactly_once(number: u16, payload: &str, dup: bool) -> Packet {
    Packet::Publish(Publish {
        dup,
        qos: QoS::ExactlyOnce,
        topic: text("a"),
        packet_id: Some(id(number)),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        ..Publish::default()
    })
}

async fn subscribed(broker: &Broker, version: Version) -> Client {
    let (mut client, _) = broker.back(version, "subscriber").await;
    client.subscribe("a", QoS::ExactlyOnce).await;
    client
}

#[tokio::test]
async fn a_message_whose_pubrec_did_not_arrive_is_logged_once_over_any_number_of_connections_and_nodes() {
    for version in BOTH {
        let mut broker = Broker::start().await;
        for round in 0..3 {
            let (mut client, _) = broker.back(version, "publisher").await;
            client.send(&exactly_once(7, "one", round > 0)).await;
            assert_eq!(client.receive().await, Packet::PubRec(Ack::success(id(7))));
            // The first is a crash: nothing that only the memory knew is left.
            broker = match round {
                0 => Broker::again(broker.crash().await).await,
                _ => {
                    client.vanish().await;
                    broker
                }
            };
        }
        let (mut client, _) = broker.back(version, "publisher").await;
        for _ in 0..2 {
            client.send(&Packet::PubRel(Ack::success(id(7)))).await;
            assert!(matches!(client.receive().await, Packet::PubComp(_)));
        }
        assert_eq!(broker.logged().await, ["one"]);
        // Nor did the log have to know it again, which it does for a while only.
        assert_eq!(broker.bus.log.stats().duplicates, 0);
        broker.stop().await;
    }
}

#[tokio::test]
async fn an_id_that_is_used_again_stands_for_another_message_even_after_a_crash() {
    for version in BOTH {
        let mut broker = Broker::start().await;
        for round in ["one", "two", "three"] {
            let (mut client, _) = broker.back(version, "publisher").await;
            client.send(&exactly_once(7, round, false)).await;
            assert_eq!(client.receive().await, Packet::PubRec(Ack::success(id(7))));
            client.send(&Packet::PubRel(Ack::success(id(7)))).await;
            assert_eq!(client.receive().await, Packet::PubComp(Ack::success(id(7))));
            broker = Broker::again(broker.crash().await).await;
        }
        assert_eq!(broker.logged().await, ["one", "two", "three"]);
        broker.stop().await;
    }
}

#[tokio::test]
async fn a_subscriber_whose_node_crashes_is_sent_the_same_message_by_the_same_id() {
    for version in BOTH {
        let broker = Broker::start().await;
        let mut client = subscribed(&broker, version).await;
        let mut publisher = broker.client(Version::V5, "other").await;
        for payload in ["0;", "1;"] {
            publisher.publish("a", payload, QoS::ExactlyOnce).await;
        }
        let first = client.message().await;
        let second = client.message().await;
        let broker = Broker::again(broker.crash().await).await;
        let (mut client, is_present) = broker.back(version, "subscriber").await;
        assert!(is_present);
        for sent in [first, second] {
            let again = client.message().await;
            let expected = (sent.packet_id, &sent.payload, true);
            assert_eq!((again.packet_id, &again.payload, again.dup), expected);
        }
        client.is_quiet().await;
        broker.stop().await;
    }
}

#[tokio::test]
async fn a_subscriber_that_has_its_pubrel_is_not_sent_the_message_again_after_a_crash() {
    for version in BOTH {
        let broker = Broker::start().await;
        let mut client = subscribed(&broker, version).await;
        broker
            .client(Version::V5, "other")
            .await
            .publish("a", "0;", QoS::ExactlyOnce)
            .await;
        let message = client.message().await;
        let id = message.packet_id.unwrap();
        client.send(&Packet::PubRec(Ack::success(id))).await;
        assert_eq!(client.receive().await, Packet::PubRel(Ack::success(id)));
        let broker = Broker::again(broker.crash().await).await;
        let (mut client, _) = broker.back(version, "subscriber").await;
        assert_eq!(client.receive().await, Packet::PubRel(Ack::success(id)));
        client.send(&Packet::PubComp(Ack::success(id))).await;
        client.is_quiet().await;
        broker.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_remembers_ids_as_it_must_gets_each_message_once_over_crashes() {
    for version in BOTH {
        let mut broker = Broker::start().await;
        subscribed(&broker, version).await.vanish().await;
        let (mut held, mut numbers) = (HashSet::new(), Vec::new());
        for round in 0..4 {
            let mut publisher = broker.client(Version::V5, "other").await;
            for number in 0..5 {
                publisher
                    .publish("a", format!("{};", 5 * round + number), QoS::ExactlyOnce)
                    .await;
            }
            let (mut client, _) = broker.back(version, "subscriber").await;
            // It ends in the middle: some messages wait for PUBREC, some for PUBCOMP, and some were not sent.
            let wanted = numbers.len() + 4;
            while numbers.len() < wanted {
                match client.receive().await {
                    Packet::Publish(message) => {
                        let id = message.packet_id.unwrap();
                        if held.insert(id) {
                            numbers.push(number_of(&message));
                        }
                        client.send(&Packet::PubRec(Ack::success(id))).await;
                    }
                    Packet::PubRel(ack) => {
                        held.remove(&ack.packet_id);
                        client.send(&Packet::PubComp(Ack::success(ack.packet_id))).await;
                    }
                    other => panic!("{other:?}"),
                }
            }
            broker = Broker::again(broker.crash().await).await;
        }
        assert_eq!(numbers, (0..16).collect::<Vec<_>>());
        broker.stop().await;
    }
}

#[tokio::test]
async fn a_retained_message_under_way_is_sent_once_more_after_the_connection_broke() {
    let broker = Broker::start().await;
    let retained = Publish {
        qos: QoS::ExactlyOnce,
        retain: true,
        topic: text("a"),
        packet_id: Some(PacketId::MIN),
        payload: "kept".into(),
        ..Publish::default()
    };
    let mut publisher = broker.client(Version::V5, "other").await;
    publisher.send(&Packet::Publish(retained)).await;
    publisher.receive().await;
    let mut client = subscribed(&broker, Version::V5).await;
    let first = client.message().await;
    client.vanish().await;
    let (mut client, connack) = open(broker.stream(), Version::V5, lasting(Version::V5, "subscriber")).await;
    assert!(connack.session_present);
    let again = client.take().await;
    assert_eq!(
        (again.packet_id, again.retain, again.dup),
        (first.packet_id, true, true)
    );
    assert_eq!(again.payload, "kept");
    client.is_quiet().await;
    broker.stop().await;
}
