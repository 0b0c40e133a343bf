//! Rows of users.

use trunkline_core::attributes::{Metadata, Tags};
use trunkline_core::{Timestamp, UserId};
use trunkline_db::{Error, Row, params};

use super::Store;
use crate::user::{Email, PlatformRole, User, Username};

const INSERT: &str = "
    INSERT INTO users (
        id, email, username, password_hash, first_name, last_name, tags, metadata, private_metadata, profile_picture,
        status, role, verified_at, created_at, updated_at, updated_by, revision
    )
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 1)";

const BY_ID: &str = "
    SELECT id, email, username, first_name, last_name, tags, metadata, private_metadata, profile_picture,
           status, role, verified_at, created_at, updated_at, updated_by
    FROM users
    WHERE id = $1";

const LOGIN: &str = "
    SELECT id, password_hash
    FROM users
    WHERE email = $1 OR username = $1";

const ENABLE: &str = "
    UPDATE users
    SET status = 'enabled', updated_at = $2, updated_by = $3, revision = revision + 1
    WHERE id = $1 AND status <> 'enabled'";

const DISABLE: &str = "
    UPDATE users
    SET status = 'disabled', updated_at = $2, updated_by = $3, revision = revision + 1
    WHERE id = $1 AND status <> 'disabled'
      AND EXISTS (SELECT 1 FROM users o WHERE o.id <> $1 AND o.role = 'admin' AND o.status = 'enabled')";

const COUNT_KNOWN: &str = "
    SELECT COUNT(*) AS known
    FROM users
    WHERE id = $1";

const ANY: &str = "
    SELECT id
    FROM users
    LIMIT 1";

impl Store {
    /// Whether there is any user.
    pub async fn has_users(&self) -> Result<bool, Error> {
        let found = self
            .db
            .fetch_optional(ANY, params![], |row| row.get::<UserId>("id"))
            .await?;
        Ok(found.is_some())
    }

    /// Adds a user.
    ///
    /// # Errors
    /// A conflict on `users_email_key`, `users_username_key` or `users_pkey`.
    pub async fn insert_user(&self, user: &User, password_hash: &str) -> Result<(), Error> {
        let values = params![
            user.id,
            user.email.as_str(),
            user.username.as_str(),
            password_hash,
            user.first_name.clone(),
            user.last_name.clone(),
            user.tags.to_json(),
            user.metadata.as_ref().map(Metadata::as_str),
            user.private_metadata.as_ref().map(Metadata::as_str),
            user.profile_picture.clone(),
            status_text(user.is_enabled),
            user.role.as_str(),
            user.verified_at,
            user.created_at,
            user.updated_at,
            user.updated_by,
        ];
        self.db.execute(INSERT, values).await.map(drop)
    }

    /// The user with this id.
    pub async fn user(&self, id: UserId) -> Result<Option<User>, Error> {
        self.db.fetch_optional(BY_ID, params![id], user_of).await
    }

    /// Whether there is a user with this id.
    pub async fn is_user(&self, id: UserId) -> Result<bool, Error> {
        self.db
            .fetch_one(COUNT_KNOWN, params![id], |row| Ok(row.get::<i64>("known")? > 0))
            .await
    }

    /// Id and password hash of the user with this e-mail address or user name, given in lower case.
    pub async fn login(&self, name: &str) -> Result<Option<(UserId, String)>, Error> {
        self.db
            .fetch_optional(LOGIN, params![name], |row| {
                Ok((row.get("id")?, row.get("password_hash")?))
            })
            .await
    }

    /// Enables a user, or disables one as long as another enabled administrator is left. Without effect when it is so already.
    pub async fn set_user_status(&self, id: UserId, enabled: bool, now: Timestamp, by: UserId) -> Result<(), Error> {
        let statement = if enabled { ENABLE } else { DISABLE };
        self.db.execute(statement, params![id, now, by]).await.map(drop)
    }
}

const fn status_text(is_enabled: bool) -> &'static str {
    if is_enabled { "enabled" } else { "disabled" }
}

fn user_of(row: &Row) -> Result<User, Error> {
    let damaged = |column: &str| Error::Corrupt(format!("users.{column} is not what was written").into());
    let email: String = row.get("email")?;
    let username: String = row.get("username")?;
    let role: String = row.get("role")?;
    Ok(User {
        id: row.get("id")?,
        email: Email::parse("email", &email).map_err(|_| damaged("email"))?,
        username: Username::parse("username", &username).map_err(|_| damaged("username"))?,
        first_name: row.get("first_name")?,
        last_name: row.get("last_name")?,
        tags: Tags::from_json(&row.get::<String>("tags")?),
        metadata: row.get::<Option<String>>("metadata")?.map(Metadata::trusted),
        private_metadata: row.get::<Option<String>>("private_metadata")?.map(Metadata::trusted),
        profile_picture: row.get("profile_picture")?,
        is_enabled: row.get::<String>("status")? == status_text(true),
        role: if role == PlatformRole::Admin.as_str() {
            PlatformRole::Admin
        } else {
            PlatformRole::User
        },
        verified_at: row.get("verified_at")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        updated_by: row.get("updated_by")?,
    })
}
