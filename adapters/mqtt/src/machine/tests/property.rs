//! No sequence of events makes the machine panic.

use proptest::prelude::*;

use super::*;

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

/// Packets as a client may send them, sensible or not.
fn packets() -> impl Strategy<Value = Packet> {
    let id = (1..5_u16).prop_map(packet_id);
    let publish =
        (qos(), id.clone(), any::<bool>(), prop::option::of(1..3_u16)).prop_map(|(qos, id, retain, alias)| {
            Packet::Publish(Publish {
                qos,
                retain,
                packet_id: (qos != QoS::AtMostOnce).then_some(id),
                properties: alias.map(|alias| {
                    Box::new(PublishProperties {
                        topic_alias: NonZeroU16::new(alias),
                        ..PublishProperties::default()
                    })
                }),
                ..message()
            })
        });
    prop_oneof![
        Just(Packet::Connect(Box::new(connect()))),
        publish,
        id.clone().prop_map(|id| Packet::PubAck(Ack::success(id))),
        id.clone().prop_map(|id| Packet::PubRec(Ack::success(id))),
        id.clone().prop_map(|id| Packet::PubRel(Ack::success(id))),
        id.clone().prop_map(|id| Packet::PubComp(Ack::success(id))),
        Just(Packet::Subscribe(subscribe())),
        id.prop_map(|packet_id| Packet::Unsubscribe(Unsubscribe {
            packet_id,
            filters: vec![text("a")],
            properties: Default::default(),
        })),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        Just(Packet::ConnAck(Box::default())),
        Just(Packet::Disconnect(Box::<Disconnect>::default())),
    ]
}

/// What happens around a machine.
#[derive(Debug, Clone)]
enum Happening {
    Sent(Packet),
    Garbage(Vec<u8>),
    Admitted(bool),
    Appended(bool),
    Delivered(QoS),
    Ticked(u64),
    TakenOver,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        8 => packets().prop_map(Happening::Sent),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Happening::Garbage),
        2 => any::<bool>().prop_map(Happening::Admitted),
        2 => any::<bool>().prop_map(Happening::Appended),
        2 => qos().prop_map(Happening::Delivered),
        1 => (0..200_u64).prop_map(Happening::Ticked),
        1 => Just(Happening::TakenOver),
    ];
    prop::collection::vec(one, 0..40)
}

proptest! {
    #[test]
    fn no_sequence_makes_it_panic_or_say_what_a_client_cannot_read(
        version in prop_oneof![Just(Version::V3), Just(Version::V5)],
        begins in any::<bool>(),
        happenings in happenings(),
    ) {
        let mut bench = if begins { Bench::open(version) } else { Bench::new(version) };
        let mut has_ended = false;
        for happening in happenings {
            let step = match happening {
                Happening::Sent(packet) => bench.send(&packet),
                Happening::Garbage(bytes) => {
                    bench.machine.next(&mut BytesMut::from(&bytes[..]), Duration::ZERO, &mut bench.out)
                }
                Happening::Admitted(is_admitted) => match bench.machine.is_open() {
                    true => Step::Continue,
                    false => bench.admit(is_admitted.then_some(()).ok_or(Refusal::BadCredentials)),
                },
                Happening::Appended(is_kept) => match is_kept {
                    true => bench.machine.appended(Ok(()), &mut bench.out),
                    false => bench.machine.appended(Err(&full()), &mut bench.out),
                },
                Happening::Delivered(qos) => {
                    if bench.machine.is_open() {
                        bench.deliver(qos);
                    }
                    Step::Continue
                }
                Happening::Ticked(seconds) => bench.machine.tick(Duration::from_secs(seconds), &mut bench.out),
                Happening::TakenOver => bench.machine.taken_over(&mut bench.out),
            };
            if let Step::Publish(Publish { packet_id: Some(id), qos, .. }) = step {
                bench.machine.awaiting(id, qos);
            }
            while bench.received().is_some() {
                prop_assert!(!has_ended, "something is said after the end");
            }
            has_ended |= matches!(step, Step::Close(_));
        }
    }
}
