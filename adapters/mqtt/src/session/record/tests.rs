//! Records read back, whatever is in them, and are due when they say.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::limits::{CONNECT_BYTES_MAX, TOPIC_BYTES_MAX, WILL_BYTES_MAX};
use crate::will::tests::{any_will, large_will, will_after};

fn packet_ids() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).unwrap())
}

fn stored() -> impl Strategy<Value = Stored> {
    let options = (
        0_u8..3,
        any::<bool>(),
        any::<bool>(),
        proptest::option::of(1_u32..1_000_000),
    );
    let unsent = proptest::option::of((any::<u64>(), proptest::option::of("[a-z/é]{0,9}")));
    let group = proptest::option::of(any::<u64>());
    let stored = ("[a-z/#+é]{1,40}", options, any::<u64>(), unsent, group);
    stored.prop_map(|(filter, options, since, unsent, group)| Stored {
        filter: filter.into(),
        options: Options {
            qos: QoS::from_u8(options.0).unwrap(),
            no_local: options.1,
            retain_as_published: options.2,
            id: options.3.and_then(SubscriptionId::new),
        },
        since,
        unsent: unsent.map(|(up_to, after)| Unsent {
            up_to,
            after: after.map(Into::into),
        }),
        group,
    })
}

fn sent() -> impl Strategy<Value = Sent> {
    let awaits = prop_oneof![Just(Awaits::Ack), Just(Awaits::Received), Just(Awaits::Completed)];
    let retained =
        (any::<[u8; 16]>(), any::<[u8; 32]>(), any::<u64>()).prop_map(|(channel, digest, sequence)| Source::Retained {
            channel_id: ChannelId::from_uuid(Uuid::from_bytes(channel)),
            digest,
            sequence,
        });
    let shared = any::<(u64, u64)>().prop_map(|(group, sequence)| Source::Shared { group, sequence });
    let source = prop_oneof![any::<u64>().prop_map(Source::Log), shared, retained];
    (packet_ids(), awaits, source).prop_map(|(id, awaits, source)| Sent { id, awaits, source })
}

fn kept() -> impl Strategy<Value = Kept> {
    let runs = btree_map(1..=u16::MAX, 1_u32.., 0..40).prop_map(|runs| {
        let runs = runs.into_iter().map(|(first, generation)| Run { first, generation });
        Generations::of_runs(runs).unwrap()
    });
    (vec(sent(), 0..30), any::<u16>(), btree_set(packet_ids(), 0..30), runs).prop_map(
        |(sent, last_id, received, generations)| Kept {
            sent,
            last_id,
            received: received.into_iter().collect(),
            generations,
        },
    )
}

prop_compose! {
    fn record()(
        owner in proptest::option::of(any::<[u8; 16]>()), session in any::<[u8; 16]>(), epoch in any::<u64>(),
        expiry_s in any::<u32>(), left_at_ms in any::<i64>(), incarnation in any::<i64>(), (position, head) in any::<(u64, u64)>(),
        (subscriptions, kept) in (vec(stored(), 0..20), kept()),
        (was_left, will) in (any::<bool>(), proptest::option::of(any_will())),
    ) -> Record {
        Record {
            session_id: SessionId::from_uuid(Uuid::from_bytes(session)),
            owner: owner.map(|owner| NodeId::from_uuid(Uuid::from_bytes(owner))),
            epoch, left_at_ms, was_left, incarnation: Incarnation(incarnation),
            content: Content { expiry_s, position, head, subscriptions, kept, will: will.map(Arc::new) },
        }
    }
}

proptest! {
    #[test]
    fn a_record_reads_back_and_no_part_of_it_does(record in record(), cut in any::<prop::sample::Index>()) {
        let value = record.encode();
        prop_assert_eq!(Record::decode(&value[..cut.index(value.len())]), None);
        prop_assert_eq!(Record::decode(&value), Some(record));
    }

    #[test]
    fn any_bytes_are_a_record_or_not(mut value in vec(any::<u8>(), 0..400), record in record(), flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        Record::decode(&value);
        value = record.encode().to_vec();
        for (at, byte) in flips {
            let at = at.index(value.len());
            value[at] = byte;
        }
        Record::decode(&value);
    }

    #[test]
    fn messages_have_equal_ids_only_when_all_is_equal(
        first in (0_u128..3, 1_u16..4, 0_u32..4), second in (0_u128..3, 1_u16..4, 0_u32..4),
    ) {
        let id = |(session, packet, generation): (u128, u16, u32)| {
            let session_id = SessionId::from_uuid(Uuid::from_u128(session << 90));
            message_id(session_id, PacketId::new(packet).unwrap(), generation)
        };
        prop_assert_eq!(id(first) == id(second), first == second);
    }
}

/// The largest record of a node that takes topics of so many bytes, with a will of so many.
fn largest(topic_bytes: usize, will_bytes: usize) -> Record {
    let filters = crate::limits::SESSION_FILTER_BYTES_MAX / SUBSCRIPTIONS_MAX;
    let stored = Stored {
        filter: "f".repeat(filters).into(),
        options: Options {
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            id: SubscriptionId::new(268_435_455),
        },
        since: u64::MAX,
        unsent: Some(Unsent {
            up_to: u64::MAX,
            after: None,
        }),
        group: Some(u64::MAX),
    };
    let mut subscriptions = vec![stored; SUBSCRIPTIONS_MAX];
    // One at a time is under way.
    let after = "t".repeat(topic_bytes);
    subscriptions[0].unsent = Some(Unsent {
        up_to: u64::MAX,
        after: Some(after.into()),
    });
    let sent = Sent {
        id: PacketId::MAX,
        awaits: Awaits::Completed,
        source: Source::Retained {
            channel_id: ChannelId::new(),
            digest: [7; 32],
            sequence: u64::MAX,
        },
    };
    let runs = (0..=GENERATION_RUNS_MAX).map(|i| Run {
        first: u16::try_from(2 * i + 1).unwrap(),
        generation: u32::MAX - u32::from(i % 2 == 0),
    });
    Record {
        session_id: SessionId::new(),
        owner: Some(NodeId::new()),
        epoch: u64::MAX,
        left_at_ms: i64::MAX,
        was_left: true,
        incarnation: Incarnation(i64::MAX),
        content: Content {
            expiry_s: u32::MAX,
            position: u64::MAX,
            head: u64::MAX,
            subscriptions,
            kept: Kept {
                sent: vec![sent; WINDOW_MAX.into()],
                last_id: u16::MAX,
                received: (1..)
                    .filter_map(PacketId::new)
                    .take(RECEIVED_KEPT_MAX + RECEIVED_SLACK)
                    .collect(),
                generations: Generations::of_runs(runs).unwrap(),
            },
            will: Some(Arc::new(large_will(topic_bytes, will_bytes))),
        },
    }
}

#[test]
fn the_largest_record_is_within_its_limit() {
    // With the product's limits, and with none but the standard's.
    let product = (TOPIC_BYTES_MAX.into(), CONNECT_BYTES_MAX as usize + 1_024, 128 * 1024);
    let standard = (SESSION_TOPIC_BYTES_MAX, WILL_BYTES_MAX, SESSION_BYTES_MAX);
    for (topic_bytes, will_bytes, bytes_max) in [product, standard] {
        let record = largest(topic_bytes, will_bytes);
        let value = record.encode();
        assert!(value.len() <= bytes_max, "{}", value.len());
        assert_eq!(Record::decode(&value), Some(record));
    }
}

fn left(owner: Option<NodeId>, expiry_s: u32, delay_s: Option<u32>) -> Record {
    Record {
        session_id: SessionId::new(),
        owner,
        epoch: 1,
        left_at_ms: 10_000,
        was_left: true,
        incarnation: Incarnation(1),
        content: Content {
            expiry_s,
            will: delay_s.map(|delay_s| Arc::new(will_after(delay_s))),
            ..Content::default()
        },
    }
}

#[test]
fn a_session_expires_when_it_was_left_for_long_enough() {
    assert!(!left(None, 5, None).has_expired(14_999));
    assert!(left(None, 5, None).has_expired(15_000));
    assert!(!left(Some(NodeId::new()), 5, None).has_expired(i64::MAX));
    assert!(!left(None, EXPIRY_NEVER_S, None).has_expired(i64::MAX));
}

#[test]
fn a_will_is_due_after_its_delay_or_with_the_end_of_the_session() {
    let due = |expiry_s, delay_s| left(None, expiry_s, Some(delay_s)).due_at_ms();
    assert_eq!(due(5, 3), Some(13_000));
    assert_eq!(due(3, 5), Some(13_000));
    assert_eq!(due(0, 5), Some(10_000));
    assert_eq!(due(EXPIRY_NEVER_S, 5), Some(15_000));
    assert_eq!(left(Some(NodeId::new()), 5, Some(0)).due_at_ms(), None);
    assert_eq!(left(None, EXPIRY_NEVER_S, None).due_at_ms(), None);
}

#[test]
fn a_connection_is_over_once() {
    let owned = left(Some(NodeId::new()), 5, None);
    assert_eq!(owned.clone().left(20_000).left_at_ms, 10_000);
    let connected = Record { left_at_ms: 0, ..owned };
    assert_eq!(connected.left(20_000).left_at_ms, 20_000);
}
