//! The right to serve a database alone, for a service that answers from a memory which follows its own writes.
//!
//! On Postgres it is an advisory lock of a session that lives as long as the process, so that another process takes over when this one
//! dies. A lock can be lost without a word, when the server restarts or the network breaks; therefore each tenure has a number, and a
//! write that finds another number than its own changes nothing. On SQLite the data folder is locked already.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::database::Backend;
use crate::postgres::{PROBE_WAIT, connect, within};
use crate::{Db, Error, Migrations, Tx, params};

/// How often the holder makes sure that the lock is still its own, and another process asks whether it is free.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long the holder may have been unsure before it says so. Far below the time after which the server lets go of a session that it
/// cannot reach.
pub const UNSURE_AFTER: Duration = Duration::from_secs(5);

/// The first half of the lock's key; the second is of the schema's name.
const LOCK_CLASS: i32 = 0x7472_6b6c;

const TRY_LOCK: &str = "SELECT pg_try_advisory_lock($1, hashtext($2))";

const BEGIN_TENURE: &str = "
    UPDATE tenures
    SET number = number + 1
    RETURNING number";

const LAST_TENURE: &str = "
    SELECT number
    FROM tenures";

const IS_MINE: &str = "
    SELECT number
    FROM tenures
    WHERE number = $1
    FOR SHARE";

/// How a tenure stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No other process serves.
    Held,
    /// The database has not answered for [`UNSURE_AFTER`]: by and by another process may serve, so nothing should be answered from
    /// memory.
    Unsure,
    /// Another process has served. What is in memory is no longer true; the process must end.
    Lost,
}

/// The right itself. Dropped, it is given up, and nothing more can be written through its database.
#[derive(Debug)]
pub struct Tenure {
    standing: watch::Receiver<Standing>,
    keeper: Option<JoinHandle<()>>,
}

impl Tenure {
    /// Takes the right to serve the database of `db` alone, which was opened from `url`; read into memory after it. From now on `db` and
    /// its clones write only while they have it.
    ///
    /// # Errors
    /// [`Error::Held`] while another process has it.
    pub async fn take(url: &str, db: &Db, migrations: &Migrations) -> Result<Tenure, Error> {
        let (sender, standing) = watch::channel(Standing::Held);
        let keeper = match &db.backend {
            // The sender goes; the last it said is what holds.
            Backend::Sqlite(_) => None,
            Backend::Postgres(_) => {
                let mut session = connect(url, migrations).await?;
                lock(&mut session, migrations).await?;
                let number = sqlx::query_scalar(BEGIN_TENURE).fetch_one(&mut session).await?;
                db.tenure.set(number);
                let keeper = Keeper {
                    url: url.to_owned(),
                    migrations: *migrations,
                    number,
                    standing: sender,
                };
                Some(tokio::spawn(keeper.keep(session)))
            }
        };
        Ok(Tenure { standing, keeper })
    }

    /// The same, waiting for another process to end; says once that it waits.
    ///
    /// # Errors
    /// Those of [`Tenure::take`], but for [`Error::Held`].
    pub async fn await_turn(url: &str, db: &Db, migrations: &Migrations) -> Result<Tenure, Error> {
        let mut has_said = false;
        loop {
            match Self::take(url, db, migrations).await {
                Err(held @ Error::Held { .. }) => {
                    if !has_said {
                        tracing::warn!(reason = %held, "waiting for the other process to end");
                    }
                    has_said = true;
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
                taken => return taken,
            }
        }
    }

    /// How it stands, and whenever that changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Resolves once it is lost for good; never on SQLite.
    pub async fn lost(&self) {
        let mut standing = self.standing.clone();
        if standing.wait_for(|standing| *standing == Standing::Lost).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        if let Some(keeper) = &self.keeper {
            keeper.abort();
        }
    }
}

/// The tenure in which a database is written to, shared by its clones; none unless one was taken.
#[derive(Debug, Clone)]
pub(crate) struct Number(Arc<AtomicI64>);

/// Stands for no tenure; the first has number 1.
const NONE: i64 = 0;

impl Number {
    pub(crate) fn none() -> Number {
        Number(Arc::new(AtomicI64::new(NONE)))
    }

    fn set(&self, number: i64) {
        self.0.store(number, Ordering::Release);
    }

    /// Refuses the transaction when another process has served since. The row is locked, so that none can begin to before the commit.
    pub(crate) async fn check(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let number = self.0.load(Ordering::Acquire);
        if number == NONE {
            return Ok(());
        }
        let mine = tx.fetch_optional(IS_MINE, params![number], |row| row.get::<i64>("number"));
        mine.await?.map(drop).ok_or(Error::Deposed)
    }
}

/// Holds the lock's session and looks after it.
struct Keeper {
    url: String,
    migrations: Migrations,
    number: i64,
    standing: watch::Sender<Standing>,
}

impl Keeper {
    async fn keep(self, mut session: PgConnection) {
        let mut sure_at = Instant::now();
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let asked_at = Instant::now();
            if self.is_alive(&mut session).await {
                sure_at = asked_at;
            } else {
                match self.take_again().await {
                    Ok(again) => (session, sure_at) = (again, asked_at),
                    Err(Error::Deposed) => break,
                    Err(_) if sure_at.elapsed() < UNSURE_AFTER => continue,
                    Err(_) => {
                        self.standing.send_replace(Standing::Unsure);
                        continue;
                    }
                }
            }
            self.standing
                .send_if_modified(|standing| std::mem::replace(standing, Standing::Held) != Standing::Held);
        }
        self.standing.send_replace(Standing::Lost);
    }

    async fn is_alive(&self, session: &mut PgConnection) -> bool {
        within(PROBE_WAIT, async { session.ping().await.map_err(Error::from) })
            .await
            .is_ok()
    }

    /// The lock anew, if no other process has had it. [`Error::Held`] tells nothing of that: after a stall it is mostly our own former
    /// session that still has it on the server. Only another number proves that another process has served.
    async fn take_again(&self) -> Result<PgConnection, Error> {
        within(PROBE_WAIT, async {
            let mut session = connect(&self.url, &self.migrations).await?;
            let locked = lock(&mut session, &self.migrations).await;
            let last: i64 = sqlx::query_scalar(LAST_TENURE).fetch_one(&mut session).await?;
            if last == self.number {
                locked.map(|()| session)
            } else {
                Err(Error::Deposed)
            }
        })
        .await
    }
}

/// Has `session` take the lock; [`Error::Held`] when another session has it.
async fn lock(session: &mut PgConnection, migrations: &Migrations) -> Result<(), Error> {
    let service = migrations.service();
    let is_free: bool = sqlx::query_scalar(TRY_LOCK)
        .bind(LOCK_CLASS)
        .bind(service)
        .fetch_one(session)
        .await?;
    if is_free { Ok(()) } else { Err(Error::Held { service }) }
}
