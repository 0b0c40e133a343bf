//! Which errors of the drivers are about the rows themselves, or about how many there are. All others may pass with time, also those that only an operator can
//! mend: a table that is gone, a right that was taken, a disk that is full. Nothing is given up for them.

use sqlx::postgres::PgDatabaseError;

/// Classes of SQLSTATE (PostgreSQL manual, appendix A): data exceptions, violated constraints, a view's check, limits of the
/// program, and what a trigger raises.
const POSTGRES_CLASSES: [&str; 5] = ["22", "23", "44", "54", "P0"];

/// Primary result codes of SQLite: TOOBIG, CONSTRAINT, MISMATCH.
const SQLITE_CODES: [i32; 3] = [18, 19, 20];

/// A statement and a lock that took longer than the session allows.
const TOO_SLOW: [&str; 2] = ["57014", "55P03"];

const UNIQUE_VIOLATION: &str = "23505";

/// Whether the database refused what a row holds.
pub(super) fn is_of_content(error: &sqlx::Error) -> bool {
    let Some(failure) = error.as_database_error() else {
        return false;
    };
    let code = failure.code().unwrap_or_default();
    if failure.try_downcast_ref::<PgDatabaseError>().is_some() {
        return POSTGRES_CLASSES.iter().any(|class| code.starts_with(class));
    }
    let code: i32 = code.parse().unwrap_or_default();
    SQLITE_CODES.contains(&(code & 0xff))
}

/// Whether Postgres gave a statement up since it took too long, or waited too long for a lock.
pub(super) fn is_too_slow(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|failure| failure.code());
    code.is_some_and(|code| TOO_SLOW.contains(&&*code))
}

/// Whether Postgres found a row there already.
pub(super) fn is_duplicate(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|failure| failure.code());
    code.is_some_and(|code| code == UNIQUE_VIOLATION)
}
