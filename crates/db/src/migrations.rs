//! Migrations: two folders with the same names and numbers, one per database, built into the binary.

use sqlx::migrate::{Migrate as _, MigrateError, Migration, MigrationType, Migrator};
use sqlx::{PgConnection, SqlSafeStr, SqliteConnection};
use uuid::Uuid;

use crate::Error;

/// Where it is written down which of this crate's own migrations were applied.
const GROUND_TABLE: &str = "ground_migrations";
/// Where it is written down which of the service's migrations were applied.
const SERVICE_TABLE: &str = "service_migrations";

/// The tables that every service has: the outbox, and the number of the tenure.
const GROUND: &[Step] = &[
    Step {
        name: "0001_outbox",
        sqlite: include_str!("../migrations/sqlite/0001_outbox.sql"),
        postgres: include_str!("../migrations/postgres/0001_outbox.sql"),
    },
    Step {
        name: "0002_tenures",
        sqlite: include_str!("../migrations/sqlite/0002_tenures.sql"),
        postgres: include_str!("../migrations/postgres/0002_tenures.sql"),
    },
];

/// The migrations of one service, made by [`migrations!`](crate::migrations!).
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    service: &'static str,
    /// The platform that the schema must belong to; none where that is all the same, as in tests.
    platform: Option<Uuid>,
    /// Those that this crate adds.
    ground: &'static [Step],
    steps: &'static [Step],
}

/// One migration in both dialects.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Number and name, such as `0001_clients`; the files are `<name>.sql`.
    pub name: &'static str,
    /// The text for SQLite.
    pub sqlite: &'static str,
    /// The text for Postgres.
    pub postgres: &'static str,
}

/// The migrations of a service, from `migrations/sqlite/<name>.sql` and `migrations/postgres/<name>.sql` of its package:
/// `const MIGRATIONS: Migrations = trunkline_db::migrations!("things", "0001_clients", "0002_labels");`
///
/// The first argument names the service and its Postgres schema. The outbox and the tenures are there without being declared.
#[macro_export]
macro_rules! migrations {
    ($service:literal $(, $name:literal)* $(,)?) => {
        $crate::Migrations::new($service, &[$($crate::Step {
            name: $name,
            sqlite: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres/", $name, ".sql")),
        }),*])
    };
}

impl Migrations {
    /// The migrations of `service`, a lower-case word.
    ///
    /// # Panics
    /// When the service is not a lower-case word or the steps are not numbered from `0001_` without a gap; in a constant, that
    /// does not compile.
    pub const fn new(service: &'static str, steps: &'static [Step]) -> Self {
        Self {
            ground: GROUND,
            ..Self::without_ground(service, steps)
        }
    }

    /// The same for a schema without the tables that every service has.
    ///
    /// # Panics
    /// As [`Migrations::new`].
    pub const fn without_ground(service: &'static str, steps: &'static [Step]) -> Self {
        let mut i = 0;
        while i < service.len() {
            assert!(
                service.as_bytes()[i].is_ascii_lowercase(),
                "a service's name is a lower-case word"
            );
            i += 1;
        }
        i = 0;
        while i < steps.len() {
            assert!(
                number(steps[i].name) == i + 1,
                "migrations are numbered from 0001_ without a gap"
            );
            i += 1;
        }
        Self {
            service,
            platform: None,
            ground: &[],
            steps,
        }
    }

    /// The same for one platform: a Postgres schema says whose it is from its first migration on, and that of another one is refused. A
    /// file is in the data folder, which says that already.
    #[must_use]
    pub const fn of(self, platform: Uuid) -> Self {
        Self {
            platform: Some(platform),
            ..self
        }
    }

    /// The service's name, also that of its Postgres schema.
    pub const fn service(&self) -> &'static str {
        self.service
    }

    /// The platform that the schema must belong to, if that matters.
    pub(crate) const fn platform(&self) -> Option<Uuid> {
        self.platform
    }

    pub(crate) async fn run_sqlite(&self, connection: &mut SqliteConnection) -> Result<(), Error> {
        for (table, steps) in self.parts() {
            let outcome = migrator(table, steps, |step| step.sqlite)
                .run_direct(None, connection, false)
                .await;
            outcome.map_err(|error| self.refused(error))?;
        }
        Ok(())
    }

    /// sqlx holds an advisory lock meanwhile, so that several processes may start at once.
    pub(crate) async fn run_postgres(&self, connection: &mut PgConnection) -> Result<(), Error> {
        for (table, steps) in self.parts() {
            let mut migrator = migrator(table, steps, |step| step.postgres);
            migrator.create_schema(self.service);
            let outcome = migrator.run_direct(None, connection, false).await;
            outcome.map_err(|error| self.refused(error))?;
        }
        Ok(())
    }

    /// Refuses a schema that is not of exactly this version. Reads only.
    pub(crate) async fn check_postgres(&self, connection: &mut PgConnection) -> Result<(), Error> {
        for (table, steps) in self.parts() {
            let applied = connection.list_applied_migrations(table).await;
            let applied = applied.map_err(|error| self.unreadable(error))?;
            for (known, applied) in migrator(table, steps, |step| step.postgres).iter().zip(&applied) {
                if (known.version, &known.checksum) != (applied.version, &applied.checksum) {
                    return Err(Error::Corrupt(MigrateError::VersionMismatch(applied.version).into()));
                }
            }
            if let Some(newer) = applied.get(steps.len()) {
                return Err(self.refused(MigrateError::VersionMissing(newer.version)));
            }
            if applied.len() < steps.len() {
                return Err(Error::Older {
                    service: self.service,
                    number: number(steps[applied.len()].name) as i64,
                });
            }
        }
        Ok(())
    }

    /// The tables in which it is written down what was applied.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &'static str> {
        self.parts().map(|(table, _)| table)
    }

    fn parts(&self) -> impl Iterator<Item = (&'static str, &'static [Step])> + use<> {
        let parts = [(GROUND_TABLE, self.ground), (SERVICE_TABLE, self.steps)];
        parts.into_iter().filter(|(_, steps)| !steps.is_empty())
    }

    /// Why it cannot be read what was applied.
    fn unreadable(&self, error: MigrateError) -> Error {
        let service = self.service;
        let MigrateError::Execute(sqlx::Error::Database(failure)) = &error else {
            return self.refused(error);
        };
        match failure.code().as_deref() {
            Some("42P01") => Error::Missing { service },
            Some("42501") => Error::Ungranted { service },
            _ => self.refused(error),
        }
    }

    fn refused(&self, error: MigrateError) -> Error {
        match error {
            MigrateError::VersionMissing(number) => Error::Newer {
                service: self.service,
                number,
            },
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Error::from(error),
            other => Error::Corrupt(other.into()),
        }
    }
}

/// The number before the first underscore of a step's name; 0 when there is none.
const fn number(name: &str) -> usize {
    let bytes = name.as_bytes();
    let mut value = 0;
    let mut i = 0;
    while i < 4 {
        if i >= bytes.len() || !bytes[i].is_ascii_digit() {
            return 0;
        }
        value = value * 10 + (bytes[i] - b'0') as usize;
        i += 1;
    }
    if bytes.len() > 4 && bytes[4] == b'_' { value } else { 0 }
}

fn migrator(table: &'static str, steps: &'static [Step], text: fn(&Step) -> &'static str) -> Migrator {
    let migrations = steps
        .iter()
        .enumerate()
        .map(|(i, step)| {
            let number = i64::try_from(i + 1).expect("a service has few migrations");
            Migration::new(
                number,
                step.name.into(),
                MigrationType::Simple,
                text(step).into_sql_str(),
                false,
            )
        })
        .collect();
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.dangerous_set_table_name(table);
    migrator
}
