//! The checker is shown each way in which a platform can break its promises, and must name it.

use uuid::Uuid;

use super::*;
use crate::ledger::Protocol;
use crate::{Content, Place};

const MESSAGES: u64 = 50;

fn place(domain: &str) -> Place {
    Place {
        domain: domain.to_owned(),
        channel: format!("channel-of-{domain}"),
    }
}

fn content(producer: u32, sequence: u64) -> Content {
    Content::new("run", producer, sequence, 1_000 + sequence, 128)
}

/// Two producers in two domains; all but the last message of each was acknowledged.
fn book() -> Book {
    let mut book = Book::default();
    book.run = "run".to_owned();
    for (id, domain) in ["one", "two"].into_iter().enumerate() {
        let id = id as u32;
        book.producers.push(Producer {
            id,
            protocol: Protocol::Mqtt5,
            qos: 1,
            place: place(domain),
            publisher: format!("client-{id}"),
        });
        let entry = |sequence| Entry {
            hash: content(id, sequence).hash(),
            sends: 1,
            outcome: if sequence + 1 < MESSAGES {
                Outcome::Kept
            } else {
                Outcome::Unknown
            },
            sent_ns: sequence,
            answered_ns: None,
            waited_ns: 1_000,
        };
        book.entries.push((0..MESSAGES).map(entry).collect());
    }
    book
}

/// What a platform without fault gives back: everything, producer by producer.
fn rows(book: &Book) -> Vec<Row> {
    let row = |producer: &Producer, sequence| {
        let Content { name, text } = content(producer.id, sequence);
        Row {
            place: producer.place.clone(),
            publisher: producer.publisher.clone(),
            protocol: "mqtt".to_owned(),
            message_id: Uuid::now_v7(),
            pack_index: 0,
            name,
            text,
        }
    };
    let of_producer = |producer| (0..MESSAGES).map(move |sequence| row(producer, sequence));
    book.producers.iter().flat_map(of_producer).collect()
}

/// The verdict after `damage` was done to the rows, with its forbidden counts.
fn damaged(damage: impl FnOnce(&mut Vec<Row>)) -> (Verdict, Vec<(&'static str, u64)>) {
    let book = book();
    let mut rows = rows(&book);
    damage(&mut rows);
    let verdict = check(&book, &rows);
    let found: Vec<_> = verdict
        .forbidden()
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect();
    assert_eq!(verdict.is_clean(), found.is_empty());
    assert_eq!(
        verdict.examples.is_empty(),
        found.is_empty(),
        "each finding is described"
    );
    (verdict, found)
}

#[test]
fn a_faultless_platform_is_clean() {
    let (verdict, found) = damaged(|_| {});
    assert_eq!(found, []);
    assert_eq!((verdict.sent, verdict.acknowledged), (100, 98));
    assert_eq!((verdict.unknown_present, verdict.unknown_absent), (2, 0));
    assert!(verdict.to_string().ends_with("ledger: clean"), "{verdict}");
}

#[test]
fn an_acknowledged_row_that_is_gone_is_lost() {
    let (verdict, found) = damaged(|rows| drop(rows.remove(7)));
    assert_eq!(found, [("lost", 1)]);
    assert!(verdict.to_string().contains("lost: run/0/7"), "{verdict}");
    assert!(verdict.to_string().ends_with("ledger: BROKEN"), "{verdict}");
}

#[test]
fn a_row_without_acknowledgement_may_be_gone() {
    let (verdict, found) = damaged(|rows| drop(rows.remove(49)));
    assert_eq!(found, []);
    assert_eq!((verdict.unknown_present, verdict.unknown_absent), (1, 1));
}

#[test]
fn a_message_that_was_neither_answered_nor_cut_off_in_time_is_late_whatever_came_of_it() {
    let mut book = book();
    let rows = rows(&book);
    let bound_ns = u64::try_from(ANSWER_TIME_MAX.as_nanos()).unwrap();
    book.entries[0][7].waited_ns = bound_ns - 1;
    assert!(check(&book, &rows).is_clean());
    // One was acknowledged in the end, and one has no answer.
    book.entries[0][7].waited_ns = bound_ns;
    book.entries[1][49].waited_ns = 2 * bound_ns;
    let verdict = check(&book, &rows);
    assert_eq!((verdict.late, verdict.is_clean()), (2, false), "{verdict}");
    let words = ["late: run/0/7 waited for 30s", "late: run/1/49 waited for 60s"];
    assert_eq!(verdict.examples, words);
}

#[test]
fn a_row_that_is_doubled_is_a_forbidden_duplicate() {
    let (_, found) = damaged(|rows| rows.push(rows[7].clone()));
    assert_eq!(found, [("duplicated (forbidden)", 1)]);
}

#[test]
fn a_message_that_was_appended_twice_is_a_forbidden_duplicate() {
    let (_, found) = damaged(|rows| {
        let message_id = Uuid::now_v7();
        rows.insert(
            8,
            Row {
                message_id,
                ..rows[7].clone()
            },
        );
    });
    assert_eq!(found, [("duplicated (forbidden)", 1)]);
}

#[test]
fn a_message_that_was_repeated_for_want_of_an_answer_may_be_there_twice() {
    let mut book = book();
    book.entries[0][7].sends = 2;
    let mut rows = rows(&book);
    let message_id = Uuid::now_v7();
    rows.push(Row {
        message_id,
        ..rows[7].clone()
    });
    let verdict = check(&book, &rows);
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(verdict.duplicated_allowed, 1);
    let message_id = Uuid::now_v7();
    rows.push(Row {
        message_id,
        ..rows[7].clone()
    });
    assert_eq!(check(&book, &rows).duplicated_forbidden, 1, "three for two");
}

#[test]
fn a_flipped_bit_is_corruption() {
    let (_, found) = damaged(|rows| {
        let flipped = rows[7]
            .text
            .bytes()
            .rev()
            .enumerate()
            .map(|(i, byte)| if i == 0 { byte ^ 1 } else { byte });
        let flipped: Vec<u8> = flipped.collect();
        rows[7].text = flipped.into_iter().rev().map(char::from).collect();
    });
    assert_eq!(found, [("corrupted", 1)]);
}

#[test]
fn a_flipped_bit_in_the_name_is_a_loss_and_a_phantom() {
    let (_, found) = damaged(|rows| rows[7].name = rows[7].name.replace("run", "ruo"));
    assert_eq!(found, [("lost", 1), ("phantom", 1)]);
}

#[test]
fn another_publisher_channel_protocol_or_place_in_the_pack_is_corruption() {
    let damages: [fn(&mut Row); 4] = [
        |row| row.publisher = "client-1".to_owned(),
        |row| row.place.channel = "elsewhere".to_owned(),
        |row| row.protocol = "http".to_owned(),
        |row| row.pack_index = 1,
    ];
    for damage in damages {
        assert_eq!(damaged(|rows| damage(&mut rows[7])).1, [("corrupted", 1)]);
    }
}

#[test]
fn two_rows_that_are_swapped_are_reordered() {
    let (verdict, found) = damaged(|rows| rows.swap(7, 8));
    assert_eq!(found, [("reordered", 1)]);
    assert!(verdict.examples[0].contains("run/0/7 stands behind 8"), "{verdict}");
}

#[test]
fn a_row_that_is_moved_to_another_domain_is_leaked() {
    let (verdict, found) = damaged(|rows| rows[7].place = place("two"));
    assert_eq!(found, [("lost", 1), ("leaked", 1)]);
    assert!(
        verdict.to_string().contains("leaked: run/0/7 of domain one is in two"),
        "{verdict}"
    );
}

#[test]
fn what_was_never_sent_is_a_phantom() {
    for name in ["run/0/50", "run/2/0", "other/0/0", ""] {
        let (_, found) = damaged(|rows| {
            let (message_id, name) = (Uuid::now_v7(), name.to_owned());
            rows.push(Row {
                message_id,
                name,
                ..rows[0].clone()
            });
        });
        assert_eq!(found, [("phantom", 1)], "{name}");
    }
}

#[test]
fn what_was_refused_must_not_be_there() {
    let mut book = book();
    book.entries[0][7].outcome = Outcome::Refused;
    let rows = rows(&book);
    assert_eq!(check(&book, &rows).phantom, 1);
}

#[test]
fn findings_beyond_a_few_are_counted_and_not_described() {
    let (verdict, found) = damaged(|rows| drop(rows.drain(..20)));
    assert_eq!(found, [("lost", 20)]);
    assert_eq!(verdict.examples.len() as u64, EXAMPLES_MAX);
}
