//! What a service can do about a failed statement. The drivers' codes are read here and nowhere else.

use std::error::Error as StdError;

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};
use sqlx::sqlite::SqliteError;
use trunkline_core::error::{Code, Fault, reason};

/// What lies behind an error, for the log. Callers decide by the variant alone.
pub type Source = Box<dyn StdError + Send + Sync>;

/// Reason of a change that another transaction came between.
pub const CONCURRENT_CHANGE: &str = "CONCURRENT_CHANGE";

/// Why a statement, a transaction or the opening of a database failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database does not answer in time, refuses work, or has no room. Repeating later may help.
    #[error("the database is unavailable")]
    Unavailable(#[source] Source),
    /// A unique constraint is violated.
    ///
    /// The name is the one that Postgres gives by default, on both databases: `<table>_pkey` for a primary key and
    /// `<table>_<column>_…_key` for any other. An index on an expression keeps its own name on both. [`crate::schema`] checks
    /// that the Postgres migrations keep to these names; for SQLite they are put together from the columns it reports.
    #[error("unique constraint {constraint} is violated")]
    Conflict {
        /// Name of the constraint.
        constraint: String,
    },
    /// A foreign key is violated.
    #[error("a row that is referred to does not exist, or is still referred to")]
    Foreign,
    /// Another transaction came between. [`crate::Db::write`] repeats by itself and gives this up to the caller only after
    /// [`crate::WRITE_TRIES_MAX`] tries.
    #[error("another transaction came between")]
    Serialization,
    /// The database was written by a newer version of Trunkline.
    #[error(
        "the database of {service} was written by a newer version (migration {number}); start that version, or restore a backup made before it"
    )]
    Newer {
        /// The service whose database it is.
        service: &'static str,
        /// Number of the first migration that this version does not know.
        number: i64,
    },
    /// The schema of a service is not there.
    #[error("the database has no schema for {service}; run `trunkline migrate` with the owner's credentials")]
    Missing {
        /// The service whose schema it is.
        service: &'static str,
    },
    /// The schema does not say whose it is: nobody has migrated it for a platform.
    #[error(
        "the schema of {service} says of no platform that it belongs to it; run `trunkline migrate` with the owner's credentials"
    )]
    Unclaimed {
        /// The service whose schema it is.
        service: &'static str,
    },
    /// The schema belongs to somebody else.
    #[error("the schema of {service} belongs to {found}, and this is {expected}; choose another database")]
    OtherPlatform {
        /// The service whose schema it is.
        service: &'static str,
        /// Whose it is, as the schema says.
        found: String,
        /// Who we are.
        expected: String,
    },
    /// The schema of a service was written by an older version.
    #[error(
        "the schema of {service} is of an older version (it lacks migration {number}); run `trunkline migrate` with the owner's credentials"
    )]
    Older {
        /// The service whose schema it is.
        service: &'static str,
        /// Number of the first migration that it lacks.
        number: i64,
    },
    /// The server or the database is none that Trunkline can keep its rows in.
    #[error("{reason}")]
    Unfit {
        /// One sentence.
        reason: String,
    },
    /// The database user may not read the schema of a service.
    #[error(
        "the database user has no rights in the schema of {service}; run `trunkline migrate` with the owner's credentials, which grants them"
    )]
    Ungranted {
        /// The service whose schema it is.
        service: &'static str,
    },
    /// Another process serves the database, alone.
    #[error(
        "another process serves {service} on this database, and only one may at a time; this one can begin when that one has ended"
    )]
    Held {
        /// The service.
        service: &'static str,
    },
    /// Another process has served the database since this one last did.
    #[error("another process has taken over this database; this one must end")]
    Deposed,
    /// What is stored is not what this version stores.
    #[error("the database holds something unexpected")]
    Corrupt(#[source] Source),
    /// A mistake of ours: a wrong statement, a violated CHECK or NOT NULL, a wrong address.
    #[error("the database refused the statement")]
    Defect(#[source] Source),
}

impl Error {
    /// Whether it is a violation of the unique constraint `name`.
    pub fn is_conflict(&self, name: &str) -> bool {
        matches!(self, Self::Conflict { constraint } if constraint == name)
    }

    /// What a caller is told whom no service told something better. All but what passes is a defect, told by its code alone.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unavailable(_) | Self::Held { .. } | Self::Deposed => Fault::new(
                Code::Unavailable,
                reason::DEPENDENCY_UNAVAILABLE,
                "the database is not available",
            ),
            Self::Serialization => Fault::new(
                Code::Aborted,
                CONCURRENT_CHANGE,
                "somebody else changed it meanwhile; repeat",
            ),
            Self::Conflict { .. }
            | Self::Foreign
            | Self::Newer { .. }
            | Self::Missing { .. }
            | Self::Unclaimed { .. }
            | Self::OtherPlatform { .. }
            | Self::Older { .. }
            | Self::Unfit { .. }
            | Self::Ungranted { .. }
            | Self::Corrupt(_)
            | Self::Defect(_) => Fault::internal(),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(failure) = &error {
            if let Some(failure) = failure.try_downcast_ref::<PgDatabaseError>() {
                return from_postgres(failure).unwrap_or_else(|wrap| wrap(error.into()));
            }
            if let Some(failure) = failure.try_downcast_ref::<SqliteError>() {
                return from_sqlite(failure).unwrap_or_else(|wrap| wrap(error.into()));
            }
        }
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable(error.into()),
            sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::RowNotFound => Self::Corrupt(error.into()),
            other => Self::Defect(other.into()),
        }
    }
}

/// A variant that still wants its source.
type Wrap = fn(Source) -> Error;

/// By SQLSTATE, PostgreSQL manual, appendix A.
fn from_postgres(failure: &PgDatabaseError) -> Result<Error, Wrap> {
    match failure.code() {
        "23505" => Ok(Error::Conflict {
            constraint: failure.constraint().unwrap_or_default().to_owned(),
        }),
        "23503" => Ok(Error::Foreign),
        "40001" | "40P01" => Ok(Error::Serialization),
        // Operator intervention: the server stops or starts, or the database was dropped under us.
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" => Err(Error::Unavailable),
        // A standby, a lock or a statement that took too long, a transaction that idled.
        "25006" | "55P03" | "57014" | "25P03" => Err(Error::Unavailable),
        "XX001" | "XX002" => Err(Error::Corrupt),
        code => match code.get(..2) {
            // Connection exceptions, insufficient resources, system errors.
            Some("08" | "53" | "58") => Err(Error::Unavailable),
            // What is wrong with an address will not pass: its user, its database.
            Some("28" | "3D") => Err(Error::Defect),
            _ if is_end_of_session(failure) => Err(Error::Unavailable),
            _ => Err(Error::Defect),
        },
    }
}

/// The server took the connection away, or did not let one in.
fn is_end_of_session(failure: &PgDatabaseError) -> bool {
    matches!(failure.severity(), PgSeverity::Fatal | PgSeverity::Panic)
}

const SQLITE_CONSTRAINT_PRIMARYKEY: i32 = 1555;
const SQLITE_CONSTRAINT_UNIQUE: i32 = 2067;
const SQLITE_CONSTRAINT_ROWID: i32 = 2579;
/// Foreign keys that are checked at once, and those that a trigger or a RESTRICT raises.
const SQLITE_CONSTRAINT_FOREIGNKEY: i32 = 787;
const SQLITE_CONSTRAINT_TRIGGER: i32 = 1811;

/// By result code, sqlite.org/rescode.html: the low byte is the primary code.
fn from_sqlite(failure: &SqliteError) -> Result<Error, Wrap> {
    let code = failure
        .code()
        .and_then(|code| code.parse::<i32>().ok())
        .unwrap_or_default();
    match code {
        SQLITE_CONSTRAINT_PRIMARYKEY | SQLITE_CONSTRAINT_ROWID => Ok(Error::Conflict {
            constraint: primary_key_name(failure.message()),
        }),
        SQLITE_CONSTRAINT_UNIQUE => Ok(Error::Conflict {
            constraint: unique_name(failure.message()),
        }),
        SQLITE_CONSTRAINT_FOREIGNKEY | SQLITE_CONSTRAINT_TRIGGER => Ok(Error::Foreign),
        _ => match code & 0xff {
            // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN.
            5..=10 | 13 | 14 => Err(Error::Unavailable),
            // CORRUPT, NOTADB.
            11 | 26 => Err(Error::Corrupt),
            _ => Err(Error::Defect),
        },
    }
}

/// The columns of `UNIQUE constraint failed: clients.domain_id, clients.name`.
fn reported_columns(message: &str) -> &str {
    message.split_once(": ").map_or(message, |(_, columns)| columns)
}

fn primary_key_name(message: &str) -> String {
    let columns = reported_columns(message);
    let table = columns.split_once('.').map_or(columns, |(table, _)| table);
    format!("{table}_pkey")
}

fn unique_name(message: &str) -> String {
    let columns = reported_columns(message);
    if let Some(index) = columns.strip_prefix("index '") {
        return index.trim_end_matches('\'').to_owned();
    }
    let mut name = String::new();
    for (i, column) in columns.split(", ").enumerate() {
        match column.split_once('.') {
            Some((table, column)) if i == 0 => name.extend([table, "_", column]),
            Some((_, column)) => name.extend(["_", column]),
            None => name.extend(["_", column]),
        }
    }
    name + "_key"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_that_sqlite_reports_become_the_name_that_postgres_gives() {
        assert_eq!(
            unique_name("UNIQUE constraint failed: clients.domain_id, clients.name"),
            "clients_domain_id_name_key"
        );
        assert_eq!(
            unique_name("UNIQUE constraint failed: index 'users_email_folded'"),
            "users_email_folded"
        );
        assert_eq!(primary_key_name("UNIQUE constraint failed: clients.id"), "clients_pkey");
    }
}
