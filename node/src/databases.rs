//! The databases of the services that run here: opened once they can be reached, watched, closed at the end.

use trunkline_db::tenure::{Standing, Tenure};
use trunkline_db::{Db, Migrations};
use uuid::Uuid;

use crate::config::{Config, is_postgres};
use crate::error::{Error, chain};
use crate::health::{Dependency, Failure, Health};
use crate::life::Phase;
use crate::roles::{Role, Roles};
use crate::storage::Storage;

/// The migrations of a platform's service, if the role has a database of the kind that services share.
pub(crate) fn migrations_of(role: Role, platform: Uuid) -> Option<Migrations> {
    let migrations = match role {
        Role::Auth => trunkline_auth::store::MIGRATIONS,
        Role::Things => trunkline_things::MIGRATIONS,
        Role::Channels => trunkline_channels::MIGRATIONS,
        Role::Mqtt | Role::Http | Role::Writer | Role::Reader | Role::Gateway => return None,
    };
    Some(migrations.of(platform))
}

/// Open databases.
pub(crate) struct Databases {
    /// Each with the role that keeps its rows there.
    open: Vec<(Role, Db)>,
    /// The right of `auth`, which answers from memory, to do so alone; none where a data folder gives it.
    tenure: Option<Tenure>,
}

impl Databases {
    /// Opens those of `roles`. Who has a data folder is alone on the platform and brings its schemas up to date; everybody else
    /// refuses what is not.
    ///
    /// # Errors
    /// Names the database that is wrong. One that cannot be reached is waited for.
    pub(crate) async fn open(
        config: &Config,
        storage: &Storage,
        roles: &Roles,
        health: &Health,
    ) -> Result<Self, Error> {
        let data = storage.data.as_ref();
        let (mut opened, mut tenure) = (Vec::new(), None);
        for role in roles.iter() {
            let Some(migrations) = &migrations_of(role, storage.platform_id) else {
                continue;
            };
            let database = match (config.database_url(role), data) {
                (Some(url), data) => {
                    let open = || async move {
                        let opened = match data {
                            Some(_) => Db::migrate_and_open(url, migrations).await,
                            None => Db::open(url, migrations).await,
                        };
                        opened.map_err(|error| failure(role, error))
                    };
                    let database = health.reach(dependency(role), open).await?;
                    if role == Role::Auth && is_postgres(url) {
                        let database = &database;
                        let take = || async move {
                            let taken = Tenure::take(url, database, migrations).await;
                            taken.map_err(|error| failure(role, error))
                        };
                        tenure = Some(health.reach(dependency(role), take).await?);
                    }
                    database
                }
                (None, Some(data)) => {
                    let url = data.database_url(role.as_str());
                    Db::open(&url, migrations).await.map_err(Error::part(role.as_str()))?
                }
                (None, None) => return Err(Error::Configuration(format!("role `{role}` has no database"))),
            };
            opened.push((role, database));
        }
        Ok(Self { open: opened, tenure })
    }

    /// Whether `auth` may answer from its memory, at any time from now on.
    pub(crate) fn is_auth_sure(&self) -> impl Fn() -> bool + Clone + Send + Sync + use<> {
        let standing = self.tenure.as_ref().map(Tenure::standing);
        move || match &standing {
            Some(standing) => *standing.borrow() == Standing::Held,
            None => true,
        }
    }

    /// Resolves once another process has taken the place of this one.
    pub(crate) async fn deposed(&self) {
        match &self.tenure {
            Some(tenure) => tenure.lost().await,
            None => std::future::pending().await,
        }
    }

    /// The database of `role`, which runs here.
    pub(crate) fn of(&self, role: Role) -> Db {
        let found = self.open.iter().find(|(owner, _)| *owner == role);
        found
            .expect("the databases of the roles that run here are open")
            .1
            .clone()
    }

    /// Every database.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Db> {
        self.open.iter().map(|(_, database)| database)
    }

    /// Keeps an eye on those on Postgres.
    pub(crate) fn watch(&self, config: &Config, health: &Health, phase: &Phase) {
        for (role, database) in &self.open {
            if !config.database_url(*role).is_some_and(is_postgres) {
                continue;
            }
            let database = database.clone();
            let probe = move || {
                let database = database.clone();
                async move { database.probe().await.map_err(|error| chain(&error)) }
            };
            let watching = health.clone().watch(dependency(*role), probe, phase.stop.clone());
            phase.tasks.spawn(watching);
        }
    }

    /// Closes them after the work in hand.
    pub(crate) async fn close(&self) {
        for database in self.iter() {
            database.close().await;
        }
    }
}

pub(crate) fn dependency(role: Role) -> Dependency {
    Dependency {
        name: format!("database:{role}"),
        needed_by: vec![role],
        is_vital: true,
    }
}

fn failure(role: Role, error: trunkline_db::Error) -> Failure {
    match error {
        trunkline_db::Error::Unavailable(_) | trunkline_db::Error::Held { .. } => Failure::Unreachable(chain(&error)),
        error => Failure::Wrong(Error::part(role.as_str())(error)),
    }
}
