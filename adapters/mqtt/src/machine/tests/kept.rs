//! A session that outlives its connection: what waits until it is saved, and what is sent once more.

use super::*;
use crate::limits::GENERATION_RUNS_MAX;

/// A machine that goes on with `kept`.
fn resumed(version: Version, kept: Kept) -> Bench {
    let mut bench = Bench::new(version);
    let mut connect = connect();
    connect.clean_start = false;
    bench.send(&Packet::Connect(Box::new(connect)));
    let opened = Opened {
        is_present: true,
        kept: Some(Box::new(kept)),
    };
    assert!(matches!(
        bench.machine.admitted(Ok(opened), &mut bench.out),
        Step::Continue
    ));
    assert!(bench.connack().session_present);
    bench
}

impl Bench {
    /// Saves what there is to be saved, and tells what that is.
    fn save(&mut self) -> Kept {
        let kept = self.machine.begin_save();
        self.machine.saved(&mut self.out);
        kept
    }

    fn message(&mut self) -> Option<Publish> {
        match self.received() {
            Some(Packet::Publish(publish)) => Some(publish),
            None => None,
            other => panic!("expected PUBLISH, got {other:?}"),
        }
    }

    /// The client sends a message at QoS 2, and the log takes it.
    fn publish_qos2(&mut self, id: u16) {
        let publish = Publish {
            qos: QoS::ExactlyOnce,
            packet_id: Some(packet_id(id)),
            ..publish_at_qos1(id)
        };
        assert!(matches!(self.send(&Packet::Publish(publish)), Step::Publish(_)));
        self.machine.awaiting(packet_id(id), QoS::ExactlyOnce);
        self.machine.appended(Ok(()), &mut self.out);
        assert_eq!(self.received(), Some(Packet::PubRec(Ack::success(packet_id(id)))));
    }
}

fn publish_at_qos1(id: u16) -> Publish {
    match publish(id) {
        Packet::Publish(publish) => publish,
        other => panic!("{other:?}"),
    }
}

fn sent(id: u16, awaits: Awaits, sequence: u64) -> Sent {
    Sent {
        id: packet_id(id),
        awaits,
        source: Source::Log(sequence),
    }
}

#[test]
fn a_message_at_qos_2_leaves_once_its_id_is_saved_and_none_overtakes_it() {
    for version in BOTH {
        let mut bench = resumed(version, Kept::default());
        bench.deliver(QoS::AtLeastOnce);
        assert_eq!(bench.message().unwrap().qos, QoS::AtLeastOnce);
        assert!(!bench.machine.wants_save());
        bench.deliver(QoS::ExactlyOnce);
        bench.deliver(QoS::AtLeastOnce);
        assert_eq!(bench.received(), None);
        assert!(bench.machine.wants_save());
        let kept = bench.machine.begin_save();
        let awaits: Vec<_> = kept.sent.iter().map(|sent| (sent.id.get(), sent.awaits)).collect();
        assert_eq!(awaits, [(1, Awaits::Ack), (2, Awaits::Received), (3, Awaits::Ack)]);
        // What comes while it is being saved waits for the next save, or behind what does.
        bench.deliver(QoS::ExactlyOnce);
        bench.deliver(QoS::AtMostOnce);
        assert_eq!(bench.received(), None);
        bench.machine.saved(&mut bench.out);
        let ids = [2, 3].map(|_| bench.message().unwrap().packet_id.unwrap().get());
        assert_eq!(ids, [2, 3]);
        assert_eq!(bench.received(), None);
        bench.save();
        assert_eq!(bench.message().unwrap().packet_id, Some(packet_id(4)));
        assert_eq!(bench.message().unwrap().qos, QoS::AtMostOnce);
        assert!(!bench.machine.wants_save());
    }
}

#[test]
fn pubrel_leaves_once_it_is_saved_that_pubrec_came() {
    for version in BOTH {
        let mut bench = resumed(version, Kept::default());
        bench.deliver(QoS::ExactlyOnce);
        bench.save();
        let id = bench.message().unwrap().packet_id.unwrap();
        bench.send(&Packet::PubRec(Ack::success(id)));
        assert_eq!(bench.received(), None);
        assert_eq!(bench.machine.begin_save().sent, [sent(1, Awaits::Completed, 1)]);
        bench.machine.saved(&mut bench.out);
        assert_eq!(bench.received(), Some(Packet::PubRel(Ack::success(id))));
    }
}

#[test]
fn pubcomp_leaves_once_it_is_saved_that_the_next_message_by_the_id_is_another() {
    for version in BOTH {
        let mut bench = resumed(version, Kept::default());
        bench.publish_qos2(7);
        let id = packet_id(7);
        assert_eq!(bench.machine.kept().received, [id]);
        assert_eq!(bench.machine.generation(id), 0);
        bench.send(&Packet::PubRel(Ack::success(id)));
        assert_eq!(bench.received(), None);
        let kept = bench.save();
        assert_eq!((kept.received.len(), kept.generations.of(id)), (0, 1));
        assert_eq!(bench.received(), Some(Packet::PubComp(Ack::success(id))));
    }
}

#[test]
fn an_id_that_is_released_after_a_crash_forgot_it_stands_for_another_message_too() {
    let mut bench = resumed(Version::V5, Kept::default());
    bench.send(&Packet::PubRel(Ack::success(packet_id(7))));
    assert_eq!(bench.save().generations.of(packet_id(7)), 1);
    let answer = Ack::with_reason(packet_id(7), ReasonCode::PacketIdentifierNotFound);
    assert_eq!(bench.received(), Some(Packet::PubComp(answer)));
}

#[test]
fn a_message_that_a_session_received_is_not_published_again_over_another_connection() {
    for version in BOTH {
        let mut bench = resumed(version, Kept::default());
        bench.publish_qos2(7);
        let mut bench = resumed(version, bench.machine.kept());
        let again = Publish {
            dup: true,
            qos: QoS::ExactlyOnce,
            ..publish_at_qos1(7)
        };
        assert!(matches!(bench.send(&Packet::Publish(again)), Step::Continue));
        assert_eq!(bench.received(), Some(Packet::PubRec(Ack::success(packet_id(7)))));
    }
}

#[test]
fn ids_of_too_many_generations_are_levelled_and_nothing_is_read_until_that_is_saved() {
    let mut bench = resumed(Version::V5, Kept::default());
    bench.publish_qos2(9);
    // Every other id is used once: no two neighbours are alike.
    let mut id = 11;
    while !bench.machine.is_stopped() {
        bench.send(&Packet::PubRel(Ack::success(packet_id(id))));
        id += 2;
    }
    assert!(usize::from(id) >= GENERATION_RUNS_MAX);
    assert!(!bench.machine.may_read());
    let kept = bench.machine.begin_save();
    assert!(!bench.machine.may_read());
    bench.machine.saved(&mut bench.out);
    assert!(bench.machine.may_read());
    assert_eq!(kept.generations.of(packet_id(9)), 0, "it may come again");
    assert!(
        [1, 10, 11, u16::MAX]
            .into_iter()
            .all(|id| kept.generations.of(packet_id(id)) == 2)
    );
}

#[test]
fn what_was_under_way_is_sent_once_more_in_its_order_within_the_window_of_the_client() {
    let kept = Kept {
        sent: vec![
            sent(5, Awaits::Completed, 1),
            sent(6, Awaits::Received, 2),
            sent(7, Awaits::Ack, 3),
        ],
        last_id: 7,
        ..Kept::default()
    };
    for version in BOTH {
        let mut bench = resumed(version, kept.clone());
        let first = bench.machine.next_unsent().unwrap();
        assert_eq!(first, sent(5, Awaits::Completed, 1));
        bench.machine.resend_release(first.id, &mut bench.out);
        assert_eq!(bench.received(), Some(Packet::PubRel(Ack::success(first.id))));
        for (id, qos) in [(6, QoS::ExactlyOnce), (7, QoS::AtLeastOnce)] {
            let next = bench.machine.next_unsent().unwrap();
            assert!(bench.machine.resend(next, &Offer { qos, ..offer() }, 0, &mut bench.out));
            let message = bench.message().unwrap();
            assert_eq!(
                (message.packet_id, message.dup, message.qos),
                (Some(packet_id(id)), true, qos)
            );
        }
        assert!(!bench.machine.has_unsent());
        bench.deliver(QoS::AtLeastOnce);
        let message = bench.message().unwrap();
        assert_eq!((message.packet_id, message.dup), (Some(packet_id(8)), false));
        bench.send(&Packet::PubRec(Ack::success(packet_id(6))));
        bench.save();
        assert_eq!(bench.received(), Some(Packet::PubRel(Ack::success(packet_id(6)))));
    }
}

#[test]
fn a_client_that_takes_one_message_at_a_time_is_sent_one_at_a_time_after_it_came_back() {
    let mut bench = Bench::new(Version::V5);
    let mut connect = connect();
    connect.properties.receive_maximum = NonZeroU16::new(1);
    bench.send(&Packet::Connect(Box::new(connect)));
    let kept = Kept {
        sent: vec![sent(1, Awaits::Ack, 1), sent(2, Awaits::Ack, 2)],
        ..Kept::default()
    };
    let opened = Opened {
        is_present: true,
        kept: Some(Box::new(kept)),
    };
    bench.machine.admitted(Ok(opened), &mut bench.out);
    bench.connack();
    let at_qos1 = Offer {
        qos: QoS::AtLeastOnce,
        ..offer()
    };
    let first = bench.machine.next_unsent().unwrap();
    assert!(bench.machine.resend(first, &at_qos1, 0, &mut bench.out));
    assert_eq!(bench.machine.next_unsent(), None);
    assert!(bench.machine.has_unsent());
    bench.send(&Packet::PubAck(Ack::success(packet_id(1))));
    assert_eq!(bench.machine.next_unsent(), Some(sent(2, Awaits::Ack, 2)));
}

#[test]
fn an_id_whose_message_is_gone_is_given_back_by_the_client_before_it_is_used_again() {
    let kept = Kept {
        sent: vec![sent(1, Awaits::Ack, 1), sent(2, Awaits::Received, 2)],
        last_id: u16::MAX,
        ..Kept::default()
    };
    let mut bench = resumed(Version::V5, kept);
    while let Some(gone) = bench.machine.next_unsent() {
        bench.machine.give_up(gone, &mut bench.out);
    }
    bench.save();
    assert_eq!(bench.received(), Some(Packet::PubRel(Ack::success(packet_id(2)))));
    let ids = [1, 3].map(|id| {
        bench.deliver(QoS::AtLeastOnce);
        (bench.message().unwrap().packet_id, Some(packet_id(id)))
    });
    assert!(ids.iter().all(|(id, expected)| id == expected), "{ids:?}");
}

#[test]
fn answers_about_subscriptions_leave_once_they_are_saved() {
    let mut bench = resumed(Version::V5, Kept::default());
    bench
        .machine
        .subscribed(packet_id(1), vec![ReasonCode::GrantedQos1], &mut bench.out);
    bench.machine.unsubscribed(packet_id(2), &[true], &mut bench.out);
    assert_eq!(bench.received(), None);
    bench.save();
    assert!(matches!(bench.received(), Some(Packet::SubAck(_))));
    assert!(matches!(bench.received(), Some(Packet::UnsubAck(_))));
}
