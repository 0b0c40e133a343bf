//! Searching for text inside text, where `%` and `_` stand for themselves.

use sea_query::LikeExpr;

/// The sign that takes the meaning from the one after it.
const ESCAPE: char = '\\';

/// The pattern for LIKE that any text containing `text` matches. Fold the case of both before: SQLite folds ASCII by itself, Postgres
/// nothing.
pub fn containing(text: &str) -> LikeExpr {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | ESCAPE) {
            pattern.push(ESCAPE);
        }
        pattern.push(letter);
    }
    pattern.push('%');
    LikeExpr::new(pattern).escape(ESCAPE)
}
