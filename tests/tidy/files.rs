//! How files look: short, introduced, finished; tests that wait for conditions and never sleep; and databases that are
//! migrated in step.

use std::collections::BTreeSet;

use crate::lexer::has_word;
use crate::repository::{self, File};
use crate::{Finding, assert_none, lines};

/// More than a reader holds in mind.
const FILE_LINES_MAX: usize = 500;

fn too_long(file: &File) -> Vec<Finding> {
    let count = file.text.lines().count();
    let advice = format!("{count} lines; split it by noun into files of at most {FILE_LINES_MAX}");
    if count > FILE_LINES_MAX {
        vec![Finding::new(&file.path, count, advice)]
    } else {
        Vec::new()
    }
}

fn without_introduction(file: &File) -> Vec<Finding> {
    let is_introduced = file.text.starts_with("//! ");
    let advice = "open with `//!`: what this file is, and what it is not";
    if is_introduced {
        Vec::new()
    } else {
        vec![Finding::new(&file.path, 1, advice)]
    }
}

fn unfinished(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.lines().into_iter().enumerate() {
        let mut find = |advice: &str| findings.push(Finding::new(&file.path, index + 1, advice));
        if ["todo", "unimplemented"]
            .iter()
            .any(|name| has_word(&line.code, name, "!"))
        {
            find("write it or leave it out; a stub is neither");
        }
        if line.code.contains("#[ignore") {
            find("an ignored test says nothing; mend it or delete it");
        }
        let is_marked = ["TODO", "FIXME", "XXX"]
            .iter()
            .any(|mark| has_word(&line.comment, mark, ""));
        if is_marked && !names_an_issue(&line.comment) {
            find("a mark carries the number of its issue, as `(#123)`");
        }
    }
    findings
}

fn names_an_issue(comment: &str) -> bool {
    comment.split("(#").skip(1).any(|rest| {
        rest.split_once(')')
            .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

fn sleeping_tests(file: &File) -> Vec<Finding> {
    let is_test_file = file.is_under("tests") || file.is_under("benches") || file.name() == "tests.rs";
    let file_lines = file.lines();
    let test_module = file_lines.windows(3).position(|three| {
        three[0].code.contains("#[cfg(test)]")
            && three[1..]
                .iter()
                .any(|line| has_word(&line.code, "mod", " ") && line.code.contains('{'))
    });
    let first_test_line = if is_test_file { Some(0) } else { test_module };
    let tests = file_lines
        .iter()
        .enumerate()
        .skip(first_test_line.unwrap_or(usize::MAX));
    let sleeping = tests.filter(|(_, line)| {
        ["sleep", "sleep_until", "sleep_ms"]
            .iter()
            .any(|name| has_word(&line.code, name, "("))
    });
    let advice = "wait for a condition with `trunkline_testkit::until`; a sleep is too long or too short";
    sleeping
        .map(|(index, _)| Finding::new(&file.path, index + 1, advice))
        .collect()
}

/// Migration files that one database has and its sibling lacks.
fn out_of_step(migrations: &[File]) -> Vec<Finding> {
    let paths: BTreeSet<&str> = migrations.iter().map(|file| file.path.as_str()).collect();
    let siblings = [
        ("/migrations/sqlite/", "/migrations/postgres/"),
        ("/migrations/postgres/", "/migrations/sqlite/"),
    ];
    let missing = siblings.into_iter().flat_map(|(one, other)| {
        let paths = &paths;
        let twins = paths
            .iter()
            .filter(move |path| path.contains(one))
            .map(move |path| (*path, path.replace(one, other)));
        twins.filter(|(_, twin)| !paths.contains(twin.as_str()))
    });
    missing
        .map(|(path, twin)| Finding::new(path, 1, format!("its twin {twin} is missing")))
        .collect()
}

fn check_all(endings: &[&str], check: fn(&File) -> Vec<Finding>) {
    let findings: Vec<Finding> = repository::files(endings).iter().flat_map(check).collect();
    assert_none(&findings);
}

#[test]
fn no_file_is_longer_than_a_reader_holds_in_mind() {
    check_all(&[".rs", ".proto"], too_long);
}

#[test]
fn every_file_says_what_it_is() {
    check_all(&[".rs"], without_introduction);
}

#[test]
fn nothing_is_left_unfinished() {
    check_all(&[".rs", ".proto"], unfinished);
}

#[test]
fn no_test_sleeps() {
    check_all(&[".rs"], sleeping_tests);
}

#[test]
fn both_databases_have_the_same_migrations() {
    assert_none(&out_of_step(&repository::files(&[".sql", "Cargo.toml"])));
}

#[test]
fn a_long_file_is_found() {
    assert_eq!(lines(&too_long(&File::new("a.rs", &"\n".repeat(500)))), []);
    assert_eq!(lines(&too_long(&File::new("a.rs", &"\n".repeat(501)))), [501]);
}

#[test]
fn a_file_without_introduction_is_found() {
    assert_eq!(lines(&without_introduction(&File::new("a.rs", "//! A.\nuse b;"))), []);
    assert_eq!(lines(&without_introduction(&File::new("a.rs", "use b;\n//! A."))), [1]);
}

#[test]
fn unfinished_work_is_found() {
    let text = "todo!();\nunimplemented!(\"a\");\n// TODO later\n// TODO(#123) later\n/// FIXME\n#[ignore]\n#[ignore = \"a\"]\n\"todo!()\"\n// XXX (#a)";
    assert_eq!(lines(&unfinished(&File::new("a.rs", text))), [1, 2, 3, 5, 6, 7, 9]);
}

#[test]
fn a_sleeping_test_is_found() {
    let found = |path: &str, text: &str| lines(&sleeping_tests(&File::new(path, text)));
    let product = "fn a() { sleep(b); }";
    let test_module = "#[cfg(test)]\n#[allow(clippy::unwrap_used)]\nmod tests {\n tokio::time::sleep(b).await;\n}";
    assert_eq!(found("auth/src/lib.rs", &format!("{product}\n{test_module}")), [5]);
    assert_eq!(found("auth/src/lib.rs", product), []);
    assert_eq!(
        found("auth/src/lib.rs", &format!("#[cfg(test)]\nmod tests;\n{product}")),
        []
    );
    assert_eq!(found("auth/tests/api.rs", product), [1]);
    assert_eq!(found("auth/src/tests.rs", "// sleep(\nsleep_until(c)"), [2]);
}

#[test]
fn a_migration_without_its_twin_is_found() {
    let file = |path: &str| File::new(path, "");
    let in_step = [
        file("a/migrations/sqlite/0001_a.sql"),
        file("a/migrations/postgres/0001_a.sql"),
    ];
    let out = [
        file("a/migrations/sqlite/0001_a.sql"),
        file("a/migrations/postgres/0002_a.sql"),
    ];
    assert_eq!(out_of_step(&in_step).len(), 0);
    assert_eq!(out_of_step(&out).len(), 2);
}
