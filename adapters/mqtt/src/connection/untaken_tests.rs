//! How far a client is, counted in bytes and saves.

use trunkline_core::Secret;
use trunkline_gate::{Action, Credentials, Gate as _, OpenGate};
use trunkline_mqtt_wire::{Ack, Packet, PacketId, Publish, QoS, Version, encode};

use super::*;
use crate::subscription::Options;

/// Subscriptions, and how to withdraw the grant of each.
async fn subscriptions<const COUNT: usize>() -> [(Arc<Subscription>, OpenGate); COUNT] {
    let mut made = Vec::new();
    for _ in 0..COUNT {
        let gate = OpenGate::new(Vec::new());
        let anybody = Credentials::of_client("", Secret::new(String::new()));
        let session = gate.connect(anybody).await.unwrap();
        let permit = gate.may(&session, Action::Subscribe, "a").await.unwrap();
        let options = Options {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            id: None,
        };
        made.push((Arc::new(Subscription::new("a", &permit, options)), gate));
    }
    made.try_into().ok().unwrap()
}

/// Writes a message with a payload of so many bytes.
fn put_message(output: &mut BytesMut, bytes: usize) {
    let message = Publish {
        topic: "a".try_into().unwrap(),
        payload: vec![b'x'; bytes].into(),
        ..Publish::default()
    };
    encode(&Packet::Publish(message), Version::V5, output).unwrap();
}

fn put_answer(output: &mut BytesMut) {
    encode(&Packet::PubAck(Ack::success(PacketId::MIN)), Version::V5, output).unwrap();
}

/// Has the stream take the first `count` bytes of the output, and hold nothing back.
fn give(untaken: &mut Untaken, output: &mut BytesMut, count: usize) {
    untaken.gave(output, count);
    let _ = output.split_to(count);
    untaken.flushed();
}

#[tokio::test]
async fn a_subscription_is_forgotten_once_its_last_message_is_certainly_taken() {
    let [(first, gate), (second, _)] = subscriptions().await;
    let (mut untaken, mut output) = (Untaken::default(), BytesMut::new());
    for subscription in [&first, &second, &first, &second] {
        put_message(&mut output, 94);
        untaken.add(subscription, output.len(), false);
    }
    assert_eq!(output.len(), 4 * 100);
    give(&mut untaken, &mut output, 299);
    untaken.forget_taken(0);
    assert!(untaken.has(&first) && untaken.has(&second));
    gate.withdraw();
    assert!(!untaken.is_granted());
    give(&mut untaken, &mut output, 1);
    untaken.forget_taken(1);
    assert!(untaken.has(&first), "the system may have a byte of it");
    untaken.forget_taken(0);
    assert!(!untaken.has(&first) && untaken.has(&second) && untaken.is_granted());
    give(&mut untaken, &mut output, 100);
    untaken.forget_taken(0);
    assert!(!untaken.has_any());
}

#[tokio::test]
async fn what_the_stream_holds_back_is_not_taken() {
    let [(subscription, _)] = subscriptions().await;
    let (mut untaken, mut output) = (Untaken::default(), BytesMut::new());
    put_message(&mut output, 10);
    untaken.add(&subscription, output.len(), false);
    untaken.gave(&output, output.len());
    untaken.forget_taken(0);
    assert!(untaken.has_any() && !untaken.is_flushed());
    untaken.flushed();
    untaken.forget_taken(0);
    assert!(!untaken.has_any() && untaken.is_flushed());
}

#[tokio::test]
async fn what_waits_for_a_save_is_remembered_until_it_has_left_after_that() {
    let [(first, _), (second, _), (third, _)] = subscriptions().await;
    let (mut untaken, mut output) = (Untaken::default(), BytesMut::new());
    untaken.add(&first, 0, true);
    untaken.begin_save();
    untaken.add(&second, 0, true);
    // An answer overtakes both.
    put_answer(&mut output);
    let count = output.len();
    give(&mut untaken, &mut output, count);
    untaken.forget_taken(0);
    assert!(untaken.has(&first) && untaken.has(&second));
    put_message(&mut output, 94);
    untaken.saved(output.len(), false);
    give(&mut untaken, &mut output, 100);
    untaken.forget_taken(0);
    assert!(!untaken.has(&first) && untaken.has(&second));
    put_message(&mut output, 94);
    untaken.begin_save();
    untaken.add(&third, 0, true);
    put_message(&mut output, 94);
    untaken.saved(output.len(), true);
    give(&mut untaken, &mut output, 199);
    untaken.forget_taken(0);
    assert!(untaken.has(&second) && untaken.has(&third));
    give(&mut untaken, &mut output, 1);
    untaken.forget_taken(0);
    assert!(!untaken.has_any());
}

#[tokio::test]
async fn what_leaves_is_judged_also_where_a_later_message_of_its_subscription_waits_for_a_save() {
    let [(subscription, gate)] = subscriptions().await;
    let (mut untaken, mut output) = (Untaken::default(), BytesMut::new());
    put_message(&mut output, 94);
    untaken.add(&subscription, output.len(), false);
    untaken.add(&subscription, output.len(), true);
    gate.withdraw();
    assert!(!untaken.is_granted());
}

#[test]
fn messages_are_left_out_where_none_was_begun() {
    // So long that its length takes several bytes.
    for bytes in [0, 200, 20_000] {
        let (mut written, mut answers) = (BytesMut::new(), BytesMut::new());
        for _ in 0..2 {
            put_answer(&mut written);
            put_message(&mut written, bytes);
            put_answer(&mut answers);
        }
        let (answer, message) = (answers.len() / 2, written.len() / 2 - answers.len() / 2);
        for given in 0..=written.len() {
            let (mut untaken, mut output) = (Untaken::default(), written.clone());
            // In two pieces.
            give(&mut untaken, &mut output, given / 2);
            give(&mut untaken, &mut output, given - given / 2);
            let begun = given % (answer + message);
            let is_in_message = begun > answer;
            let left = output.clone();
            assert_eq!(untaken.leave_out_messages(&mut output), !is_in_message, "{given}");
            if is_in_message {
                assert_eq!(output, left);
                continue;
            }
            let rounds = given / (answer + message);
            assert_eq!(output, answers[(rounds * answer + begun).min(2 * answer)..], "{given}");
        }
    }
}

#[test]
fn nothing_is_left_out_behind_what_the_stream_holds_back() {
    let (mut untaken, mut output) = (Untaken::default(), BytesMut::new());
    put_answer(&mut output);
    untaken.gave(&output, output.len());
    assert!(!untaken.leave_out_messages(&mut BytesMut::new()));
}
