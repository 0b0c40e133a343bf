//! CONFORMANCE.md names every statement of both standards once, and tests that are there.

#![allow(
    clippy::unwrap_used,
    reason = "a test says that something does not hold by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Where the tests are that the table names, from this package.
const TESTS: [&str; 4] = ["src", "tests", "../../crates/mqtt-wire/tests", "../../tests/scenarios"];
/// Statements that nothing proves yet. It only shrinks.
const OPEN: usize = 0;

/// A section of a standard, with the numbers of its first and its last statement.
type Section = (&'static str, u32, u32);

/// Appendix B of MQTT 3.1.1.
#[rustfmt::skip]
const V3: [Section; 39] = [
    ("1.5.3", 1, 3), ("2.2.2", 1, 2), ("2.3.1", 1, 7), ("3.1.0", 1, 2), ("3.1.2", 1, 24), ("3.1.3", 1, 11),
    ("3.1.4", 1, 5), ("3.2.0", 1, 1), ("3.2.2", 1, 6), ("3.3.1", 1, 12), ("3.3.2", 1, 3), ("3.3.4", 1, 1),
    ("3.3.5", 1, 2), ("3.6.1", 1, 1), ("3.8.1", 1, 1), ("3.8.3", 1, 4), ("3.8.4", 1, 6), ("3.9.3", 1, 2),
    ("3.10.1", 1, 1), ("3.10.3", 1, 2), ("3.10.4", 1, 6), ("3.12.4", 1, 1), ("3.14.1", 1, 1), ("3.14.4", 1, 3),
    ("4.1.0", 1, 2), ("4.3.1", 1, 1), ("4.3.2", 1, 2), ("4.3.3", 1, 2), ("4.4.0", 1, 1), ("4.5.0", 1, 2),
    ("4.6.0", 1, 6), ("4.7.1", 1, 3), ("4.7.2", 1, 1), ("4.7.3", 1, 4), ("4.8.0", 1, 2), ("6.0.0", 1, 4),
    ("7.0.0", 1, 2), ("7.1.1", 1, 1), ("7.1.2", 1, 1),
];

/// Appendix B of MQTT 5.0.
#[rustfmt::skip]
const V5: [Section; 56] = [
    ("1.5.4", 1, 3), ("1.5.5", 1, 1), ("1.5.7", 1, 1), ("2.1.3", 1, 1), ("2.2.1", 2, 6), ("2.2.2", 1, 1),
    ("3.1.0", 1, 2), ("3.1.2", 1, 30), ("3.1.3", 1, 12), ("3.1.4", 1, 6), ("3.2.0", 1, 2), ("3.2.2", 1, 22),
    ("3.3.1", 1, 13), ("3.3.2", 1, 20), ("3.3.4", 1, 10), ("3.4.2", 1, 3), ("3.5.2", 1, 3), ("3.6.1", 1, 1),
    ("3.6.2", 1, 3), ("3.7.2", 1, 3), ("3.8.1", 1, 1), ("3.8.3", 1, 5), ("3.8.4", 1, 8), ("3.9.2", 1, 2),
    ("3.9.3", 1, 2), ("3.10.1", 1, 1), ("3.10.3", 1, 2), ("3.10.4", 1, 6), ("3.11.2", 1, 2), ("3.11.3", 1, 2),
    ("3.12.4", 1, 1), ("3.14.0", 1, 1), ("3.14.1", 1, 1), ("3.14.2", 1, 4), ("3.14.4", 1, 3), ("3.15.1", 1, 1),
    ("3.15.2", 1, 3), ("4.1.0", 1, 2), ("4.2.0", 1, 1), ("4.3.1", 1, 1), ("4.3.2", 1, 5), ("4.3.3", 1, 13),
    ("4.4.0", 1, 2), ("4.5.0", 1, 2), ("4.6.0", 1, 6), ("4.7.0", 1, 1), ("4.7.1", 1, 2), ("4.7.2", 1, 1),
    ("4.7.3", 1, 4), ("4.8.2", 1, 6), ("4.9.0", 1, 3), ("4.12.0", 1, 7), ("4.12.1", 1, 2), ("4.13.1", 1, 1),
    ("4.13.2", 1, 1), ("6.0.0", 1, 4),
];

/// One line of a table: the number of a statement, and its last column.
type Row<'a> = (&'a str, &'a str);

/// The tables, 3.1.1 first.
fn tables(text: &str) -> Vec<Vec<Row<'_>>> {
    let standards = text.split("\n## MQTT ").skip(1);
    let row = |line| -> Option<Row<'_>> {
        let cells: Vec<&str> = str::split(line, '|').map(str::trim).collect();
        let &["", id, _, proof, ""] = &cells[..] else {
            return None;
        };
        id.starts_with(|first: char| first.is_ascii_digit())
            .then_some((id, proof))
    };
    standards.map(|table| table.lines().filter_map(row).collect()).collect()
}

/// The names of all tests and scenarios, and of all claims in tables of claims, below `folder`.
fn names_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            let mut is_test = false;
            for line in text.lines() {
                is_test |= line.trim_start().starts_with("#[test]") || line.trim_start().starts_with("#[tokio::test");
                names.extend(name_in(line, is_test));
                is_test &= !line.contains("fn ");
            }
        }
    }
}

/// What a line names: the function of a test, `fn name(`; a scenario, `fn name(world: World`; or `name: …` in a table.
fn name_in(line: &str, is_test: bool) -> Option<String> {
    let line = line.trim_start();
    let is_name =
        |name: &&str| name.contains('_') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let function = line.strip_prefix("async fn ").or(line.strip_prefix("fn "));
    let named = function
        .and_then(|rest| rest.split_once('('))
        .filter(|(_, parameters)| {
            is_test || parameters.starts_with("world: World") || parameters.starts_with("mut world")
        });
    let claimed = line
        .split_once(": ")
        .filter(|_| line.contains("=>") || line.ends_with(';'));
    named
        .or(claimed)
        .map(|(name, _)| name)
        .filter(is_name)
        .map(str::to_owned)
}

#[test]
fn every_statement_of_both_standards_is_listed_once() {
    let text = fs::read_to_string("CONFORMANCE.md").unwrap();
    let tables = tables(&text);
    assert_eq!(tables.len(), 2);
    for (table, sections) in tables.iter().zip([&V3[..], &V5[..]]) {
        let wanted = sections.iter().flat_map(|(section, first, last)| {
            let numbers = *first..=*last;
            numbers.map(move |number| format!("{section}-{number}"))
        });
        let listed: Vec<_> = table.iter().map(|(id, _)| (*id).to_owned()).collect();
        assert_eq!(listed, wanted.collect::<Vec<_>>());
    }
}

#[test]
fn every_statement_has_a_test_that_is_there_or_a_reason() {
    let mut names = BTreeSet::new();
    for folder in TESTS {
        names_below(Path::new(folder), &mut names);
    }
    let text = fs::read_to_string("CONFORMANCE.md").unwrap();
    let (mut faults, mut open) = (Vec::new(), 0);
    for (id, proof) in tables(&text).concat() {
        let reason = proof.strip_prefix("not ours: ");
        if proof == "client's" || reason.is_some_and(|reason| !reason.is_empty()) {
            continue;
        }
        if proof.starts_with("open: ") {
            open += 1;
            continue;
        }
        let tests: Vec<_> = proof.split(' ').map(|name| name.trim_matches('`')).collect();
        if let Some(name) = tests.iter().find(|name| !names.contains(**name)) {
            faults.push(format!("{id}: there is no test {name:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(open, OPEN, "statements that nothing proves");
}
