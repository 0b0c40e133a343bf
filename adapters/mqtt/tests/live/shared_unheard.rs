//! Groups on two nodes whose writes to shared state are done without an answer, or late.

use async_trait::async_trait;
use tokio::sync::Mutex;
use trunkline_bus::State;
use trunkline_bus::feed::Feed;
use trunkline_bus::state::{Expect, Key, Lease, StateChange, StateError, Versioned};

use super::*;

const SHARE: &str = "$share/group/a";

/// Shared state as a node has it that misses answers to its writes of groups.
struct Deaf {
    state: Arc<dyn State>,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    writes: usize,
    /// A write that is on its way.
    late: Option<(Key, Expect, Bytes)>,
}

impl Deaf {
    /// The adapter of a node that has `deps` otherwise.
    fn open(deps: Deps) -> Arc<Adapter> {
        let state = Arc::new(Self {
            state: Arc::clone(&deps.state),
            calls: Mutex::default(),
        });
        Adapter::open(Deps { state, ..deps }, Settings::default())
    }
}

#[async_trait]
impl State for Deaf {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, StateError> {
        let mut calls = self.calls.lock().await;
        let found = self.state.get(key).await;
        if let Some((key, expect, value)) = calls.late.take_if(|(of, ..)| of == key) {
            // Nobody hears of it.
            let _ = self.state.compare_and_swap(&key, expect, value).await;
        }
        found
    }

    async fn list(&self, prefix: &Key) -> Result<Vec<(Key, Versioned)>, StateError> {
        self.state.list(prefix).await
    }

    async fn compare_and_swap(&self, key: &Key, expect: Expect, value: Bytes) -> Result<u64, StateError> {
        if !Key::durable("mqtt.shared").covers(key) {
            return self.state.compare_and_swap(key, expect, value).await;
        }
        let mut calls = self.calls.lock().await;
        calls.writes += 1;
        let unheard = || StateError::Unavailable("no answer".to_owned());
        match calls.writes % 4 {
            1 => {
                let _ = self.state.compare_and_swap(key, expect, value).await;
                Err(unheard())
            }
            3 => {
                calls.late = Some((key.clone(), expect, value));
                Err(unheard())
            }
            _ => self.state.compare_and_swap(key, expect, value).await,
        }
    }

    async fn delete(&self, key: &Key, revision: u64) -> Result<u64, StateError> {
        self.state.delete(key, revision).await
    }

    async fn watch(&self, prefix: &Key) -> Result<Feed<StateChange>, StateError> {
        self.state.watch(prefix).await
    }

    async fn renew(&self, key: &Key, value: Bytes, length: Duration) -> Result<(), StateError> {
        self.state.renew(key, value, length).await
    }

    async fn release(&self, key: &Key) -> Result<(), StateError> {
        self.state.release(key).await
    }

    async fn leases(&self, prefix: &Key) -> Result<Vec<Lease>, StateError> {
        self.state.leases(prefix).await
    }

    fn is_in_process(&self) -> bool {
        self.state.is_in_process()
    }
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
    let broker = Broker::of(Deaf::open, open_bus(&folder).await, folder);
    let other = Deaf::open(deps(&broker.bus, &broker.metrics));
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (other, stop) = (Arc::clone(&other), stop.clone());
        async move { other.run(stop).await }
    });
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
    end((broker.cancel.clone(), broker.connections.clone()), (stop, running)).await;
    broker.stop().await;
}
