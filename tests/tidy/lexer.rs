//! Splits Rust (and proto) text into code and comments, line by line, so that a rule about code is not broken by a
//! comment or a string that mentions it. Not a parser: it knows comments, string and character literals, nothing else.

/// One line of a file.
#[derive(Default, Debug, PartialEq)]
pub(crate) struct Line {
    /// The code, with the insides of string literals left out.
    pub code: String,
    /// The text of its comments.
    pub comment: String,
}

/// What the reader is inside of.
enum Inside {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Text,
    RawText { hashes: usize },
}

/// The lines of a text.
pub(crate) fn lines(text: &str) -> Vec<Line> {
    let mut inside = Inside::Code;
    text.lines()
        .map(|raw| {
            if matches!(inside, Inside::LineComment) {
                inside = Inside::Code;
            }
            let mut line = Line::default();
            let mut rest = raw;
            while !rest.is_empty() {
                rest = step(rest, &mut inside, &mut line);
            }
            line
        })
        .collect()
}

/// Reads one piece of a line and returns what follows it.
fn step<'text>(rest: &'text str, inside: &mut Inside, line: &mut Line) -> &'text str {
    match inside {
        Inside::Code => step_in_code(rest, inside, line),
        Inside::LineComment => {
            line.comment.push_str(rest);
            ""
        }
        Inside::BlockComment { depth } => {
            if let Some(after) = rest.strip_prefix("*/") {
                *depth -= 1;
                if *depth == 0 {
                    *inside = Inside::Code;
                }
                return after;
            }
            if let Some(after) = rest.strip_prefix("/*") {
                *depth += 1;
                return after;
            }
            take_one(rest, &mut line.comment)
        }
        Inside::Text => {
            if rest.starts_with('\\') {
                return rest.get(2..).unwrap_or("");
            }
            if rest.starts_with('"') {
                *inside = Inside::Code;
                return take_one(rest, &mut line.code);
            }
            take_one(rest, &mut String::new())
        }
        Inside::RawText { hashes } => {
            let end = format!("\"{}", "#".repeat(*hashes));
            if let Some(after) = rest.strip_prefix(&end) {
                *inside = Inside::Code;
                line.code.push('"');
                return after;
            }
            take_one(rest, &mut String::new())
        }
    }
}

fn step_in_code<'text>(rest: &'text str, inside: &mut Inside, line: &mut Line) -> &'text str {
    if let Some(after) = rest.strip_prefix("//") {
        *inside = Inside::LineComment;
        return after;
    }
    if let Some(after) = rest.strip_prefix("/*") {
        *inside = Inside::BlockComment { depth: 1 };
        return after;
    }
    let is_word_before = line.code.ends_with(|last: char| last.is_alphanumeric() || last == '_');
    if let Some(after) = rest
        .strip_prefix('r')
        .filter(|_| !is_word_before || line.code.ends_with('b'))
    {
        let hashes = after.len() - after.trim_start_matches('#').len();
        if let Some(text) = after[hashes..].strip_prefix('"') {
            *inside = Inside::RawText { hashes };
            line.code.push('"');
            return text;
        }
    }
    if rest.starts_with('"') {
        *inside = Inside::Text;
        return take_one(rest, &mut line.code);
    }
    if let Some(after) = character_literal(rest) {
        line.code.push_str("''");
        return after;
    }
    take_one(rest, &mut line.code)
}

/// What follows a character literal such as `'"'` or `'\''`; nothing if this is a lifetime.
fn character_literal(rest: &str) -> Option<&str> {
    let body = rest.strip_prefix('\'')?;
    if let Some(escaped) = body.strip_prefix('\\') {
        let after_first = escaped.chars().next()?.len_utf8();
        return escaped[after_first..].split_once('\'').map(|(_, after)| after);
    }
    let after_first = body.chars().next()?.len_utf8();
    body[after_first..].strip_prefix('\'')
}

fn take_one<'text>(rest: &'text str, into: &mut String) -> &'text str {
    let mut characters = rest.chars();
    into.extend(characters.next());
    characters.as_str()
}

/// Whether `code` has `word` standing alone, followed by `after`.
pub(crate) fn has_word(code: &str, word: &str, after: &str) -> bool {
    code.match_indices(word).any(|(start, _)| {
        let is_part_of_word = code[..start].ends_with(|last: char| last.is_alphanumeric() || last == '_');
        !is_part_of_word && code[start + word.len()..].starts_with(after)
    })
}

#[cfg(test)]
fn code(text: &str) -> Vec<String> {
    lines(text).into_iter().map(|line| line.code).collect()
}

#[test]
fn comments_and_strings_are_not_code() {
    assert_eq!(code("let a = \"sqlx::\"; // sqlx::\nb"), ["let a = \"\"; ", "b"]);
    assert_eq!(code("a /* sqlx::\n /* x */ sqlx:: */ b"), ["a ", " b"]);
    assert_eq!(
        code("r#\"a \" sqlx::\"# + br\"x\" + \"\\\"y\""),
        ["\"\" + b\"\" + \"\""]
    );
    assert_eq!(
        code("const A: &str = \"one\nsqlx::\n\"; b"),
        ["const A: &str = \"", "", "\"; b"]
    );
}

#[test]
fn a_quote_character_opens_no_string_and_a_lifetime_no_character() {
    assert_eq!(code("split('\"').a('\\'') sqlx::"), ["split('').a('') sqlx::"]);
    assert_eq!(code("fn a<'b>(c: &'b str) 'é'"), ["fn a<'b>(c: &'b str) ''"]);
}

#[test]
fn comments_are_kept_apart() {
    assert_eq!(
        lines("a // b")[0],
        Line {
            code: "a ".to_owned(),
            comment: " b".to_owned()
        }
    );
}

#[test]
fn a_word_is_found_only_alone() {
    assert!(has_word("use sqlx::query", "sqlx", "::") && has_word("{sqlx::a}", "sqlx", "::"));
    assert!(!has_word("my_sqlx::query", "sqlx", "::") && !has_word("sqlx_core::a", "sqlx", "::"));
}
