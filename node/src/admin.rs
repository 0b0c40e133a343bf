//! The first administrator: made when the platform has no user yet, with a password that nobody but the operator sees.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use trunkline_auth::Service;
use trunkline_auth::user::{Email, NewUser, Password, PlatformRole, Username};
use trunkline_core::Secret;
use trunkline_core::attributes::Tags;

use crate::config::{Admin, is_postgres};
use crate::data::DataFolder;
use crate::databases::dependency;
use crate::error::{Error, chain};
use crate::health::Failure;
use crate::roles::Role;
use crate::services::Ground;

/// File in the data folder with a password that was made and could not be shown on a terminal.
const PASSWORD_FILE: &str = "admin-password";

/// Where the operator finds the password of the first administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FirstAdmin {
    /// There were users already.
    Exists,
    /// In the file that he gave.
    Given(PathBuf),
    /// It was shown on the terminal, once.
    Shown,
    /// In a file of the data folder.
    Written(PathBuf),
}

/// Refuses an e-mail address or password that could not be used, before a first start makes anything.
///
/// # Errors
/// When either is refused, or the password's file cannot be read.
pub(crate) fn check(admin: &Admin) -> Result<(), Error> {
    parse_email(admin)?;
    admin
        .password_file
        .as_ref()
        .map(|file| read_password(file))
        .transpose()
        .map(drop)
}

/// Makes the administrator if there is no user yet. After a crash before that, the next start does it. A database server that is away is
/// waited for.
///
/// # Errors
/// When the e-mail address or the password is refused, or the password can be read from nowhere.
pub(crate) async fn ensure(ground: &Ground<'_>, service: &Service) -> Result<FirstAdmin, Error> {
    if reach(ground, || service.has_users()).await? {
        return Ok(FirstAdmin::Exists);
    }
    let (admin, data) = (&ground.config.admin, ground.storage.data.as_ref());
    let email = parse_email(admin)?;
    let (password, place) = password(admin, data)?;
    let username = Username::parse("username", "admin").map_err(|fault| Error::Admin(fault.to_string()))?;
    let new = NewUser {
        email,
        username: Some(username),
        password,
        first_name: None,
        last_name: None,
        tags: Tags::default(),
        metadata: None,
        private_metadata: None,
        profile_picture: None,
        role: PlatformRole::Admin,
    };
    let make = || async {
        // An attempt whose answer was lost may have made him.
        if !service.has_users().await? {
            service.create_first_admin(new.clone()).await?;
        }
        Ok(())
    };
    reach(ground, make).await?;
    Ok(place)
}

/// Asks `auth` for something, again while the server of its database is away.
async fn reach<T, F>(ground: &Ground<'_>, attempt: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, trunkline_auth::Error>>,
{
    let refused = |error: trunkline_auth::Error| Error::Admin(chain(&error));
    if !ground.config.database_url(Role::Auth).is_some_and(is_postgres) {
        return attempt().await.map_err(refused);
    }
    let attempt = || async {
        attempt().await.map_err(|error| match error {
            trunkline_auth::Error::Database {
                source: trunkline_db::Error::Unavailable(_),
                ..
            } => Failure::Unreachable(chain(&error)),
            error => Failure::Wrong(refused(error)),
        })
    };
    ground.health.reach(dependency(Role::Auth), attempt).await
}

/// The password, and where the operator finds it.
fn password(admin: &Admin, data: Option<&DataFolder>) -> Result<(Password, FirstAdmin), Error> {
    if let Some(file) = &admin.password_file {
        return Ok((read_password(file)?, FirstAdmin::Given(file.clone())));
    }
    let made = Secret::generate();
    let password = parse_password(made.expose())?;
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        let line = format!(
            "administrator {} has the password {} (shown once)",
            admin.email,
            made.expose()
        );
        writeln!(terminal, "{line}").map_err(|error| Error::Admin(error.to_string()))?;
        return Ok((password, FirstAdmin::Shown));
    }
    let data = data.ok_or_else(|| {
        Error::Admin("there is no terminal to show its password on; give one with --admin-password-file".to_owned())
    })?;
    let file = data.write_secret(PASSWORD_FILE, made.expose())?;
    Ok((password, FirstAdmin::Written(file)))
}

/// The password in a file, without its trailing newline.
fn read_password(file: &Path) -> Result<Password, Error> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Error::Admin(format!("the password file {} cannot be read: {error}", file.display())))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    parse_password(text.strip_suffix('\r').unwrap_or(text))
}

fn parse_password(text: &str) -> Result<Password, Error> {
    Password::parse("password", text).map_err(|fault| Error::Admin(fault.to_string()))
}

fn parse_email(admin: &Admin) -> Result<Email, Error> {
    Email::parse("admin email", &admin.email).map_err(|fault| Error::Admin(fault.to_string()))
}
