//! `trunkline migrate`: makes what the processes of a split platform find or refuse to start: keys, streams and buckets, schemas and
//! rights. It runs with owners' credentials, as often as one likes, also twice at once.

use trunkline_bus::nats::provision;
use trunkline_core::SystemClock;
use trunkline_db::Db;
use trunkline_store::PostgresStore;
use uuid::Uuid;

use crate::config::{Config, is_postgres};
use crate::databases::migrations_of;
use crate::error::Error;
use crate::keys::Keys;
use crate::roles::Role;

/// Makes what is missing, brings what is old up to date, and says in a line each what there is now.
///
/// # Errors
/// One sentence that names what could not be made. Nothing is undone; the next run goes on.
pub async fn migrate(config: &Config) -> Result<Vec<String>, Error> {
    let missing =
        |key: &str| Error::Configuration(format!("{key} is missing; `trunkline migrate` makes a split platform"));
    let folder = config
        .keys
        .folder
        .clone()
        .ok_or_else(|| missing("`folder` under [keys]"))?;
    let nats = config.nats.as_ref().ok_or_else(|| missing("[nats]"))?;
    let url_of = |role: Role| {
        let url = config.database_url(role).filter(|url| is_postgres(url));
        url.ok_or_else(|| missing(&format!("a `postgres://…` address for `{role}`")))
    };
    for role in [Role::Auth, Role::Things, Role::Channels, Role::Writer] {
        url_of(role)?;
    }

    let (keys, were_made) = Keys::make(&folder)?;
    let platform = keys.platform_id()?;
    let mut done = vec![format!("platform {platform}")];
    done.push(match were_made {
        true => format!("keys made in {}; every process needs them", folder.display()),
        false => format!("keys are in {}", folder.display()),
    });
    // NATS first: it knows whose it is, so that keys that went missing are noticed before anything is changed.
    let made = provision(nats, platform, &SystemClock)
        .await
        .map_err(Error::part("NATS"))?;
    done.push(match made.as_slice() {
        [] => "NATS has every stream and bucket".to_owned(),
        made => format!("NATS has new {}", made.join(", ")),
    });
    for role in [Role::Auth, Role::Things, Role::Channels] {
        done.push(migrate_service(config, platform, role, url_of(role)?).await?);
    }
    done.push(migrate_messages(config, platform, url_of(Role::Writer)?).await?);
    Ok(done)
}

async fn migrate_service(config: &Config, platform: Uuid, role: Role, url: &str) -> Result<String, Error> {
    let refused = Error::part::<trunkline_db::Error>(role.as_str());
    let Some(migrations) = &migrations_of(role, platform) else {
        return Ok(String::new());
    };
    Db::migrate(url, migrations).await.map_err(refused)?;
    let mut line = format!("schema {} is up to date", migrations.service());
    if let Some(user) = config.grants.user(role) {
        let refused = Error::part(role.as_str());
        Db::grant(url, migrations, user).await.map_err(refused)?;
        line += &format!(", for {user}");
    }
    Ok(line)
}

async fn migrate_messages(config: &Config, platform: Uuid, url: &str) -> Result<String, Error> {
    let refused = |error| Error::part("the message store")(error);
    PostgresStore::migrate(url, platform).await.map_err(refused)?;
    let mut line = "schema messages is up to date".to_owned();
    if let Some(user) = config.grants.user(Role::Writer) {
        PostgresStore::grant_writer(url, user).await.map_err(refused)?;
        line += &format!(", for {user} to write");
    }
    if let Some(user) = config.grants.user(Role::Reader) {
        PostgresStore::grant_reader(url, user).await.map_err(refused)?;
        line += &format!(", for {user} to read");
    }
    Ok(line)
}
