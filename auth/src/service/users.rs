//! Use cases about users and their tokens.

use trunkline_core::attributes::bounded_text;
use trunkline_core::error::{Code, reason};
use trunkline_core::{Secret, UserId};
use trunkline_rpc::UserCaller;

use super::Service;
use crate::error::{Error, reasons};
use crate::user::{NewUser, User, Username};

/// Longest name that is looked up for a login, in bytes.
const LOGIN_BYTES_MAX: usize = 1_024;

impl Service {
    /// Creates a user on behalf of an administrator; such users count as verified.
    ///
    /// # Errors
    /// EMAIL_TAKEN or USERNAME_TAKEN.
    pub async fn create_user(&self, caller: &UserCaller, new: NewUser) -> Result<User, Error> {
        self.add_user(new, Some(caller.id)).await
    }

    /// Whether the platform has any user.
    ///
    /// # Errors
    /// That the database failed.
    pub async fn has_users(&self) -> Result<bool, Error> {
        self.store.has_users().await.map_err(Error::database("counting users"))
    }

    /// Creates the platform's first administrator.
    ///
    /// # Errors
    /// EMAIL_TAKEN or USERNAME_TAKEN when there is one already.
    pub async fn create_first_admin(&self, new: NewUser) -> Result<User, Error> {
        self.add_user(new, None).await
    }

    async fn add_user(&self, new: NewUser, by: Option<UserId>) -> Result<User, Error> {
        let id = UserId::new();
        let now = self.clock.now();
        let hash = self.hasher.hash(new.password).await?;
        let user = User {
            id,
            email: new.email,
            username: new.username.map_or_else(|| username_of(id), Ok)?,
            first_name: new.first_name,
            last_name: new.last_name,
            tags: new.tags,
            metadata: new.metadata,
            private_metadata: new.private_metadata,
            profile_picture: new.profile_picture,
            is_enabled: true,
            role: new.role,
            verified_at: Some(now),
            created_at: now,
            updated_at: now,
            updated_by: by,
        };
        self.store.insert_user(&user, &hash).await.map_err(|error| {
            if error.is_conflict("users_email_key") {
                return Error::refused(Code::AlreadyExists, reasons::EMAIL_TAKEN, "email id already registered");
            }
            if error.is_conflict("users_username_key") {
                return Error::refused(Code::AlreadyExists, reasons::USERNAME_TAKEN, "username not available");
            }
            Error::database("creating a user")(error)
        })?;
        Ok(user)
    }

    /// The calling user.
    ///
    /// # Errors
    /// NOT_FOUND when he was removed meanwhile.
    pub async fn profile(&self, caller: &UserCaller) -> Result<User, Error> {
        self.user(caller.id).await
    }

    /// Enables a user. Enabling one that is enabled changes nothing.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn enable_user(&self, caller: &UserCaller, id: UserId) -> Result<User, Error> {
        self.set_user_status(caller, id, true).await
    }

    /// Disables a user: his tokens are refused from then on.
    ///
    /// # Errors
    /// NOT_FOUND, or LAST_ADMIN when nobody could administer the platform any more.
    pub async fn disable_user(&self, caller: &UserCaller, id: UserId) -> Result<User, Error> {
        let user = self.set_user_status(caller, id, false).await?;
        if user.is_enabled {
            let message = "this is the last enabled administrator of the platform; make another one first";
            return Err(Error::refused(Code::FailedPrecondition, reasons::LAST_ADMIN, message));
        }
        Ok(user)
    }

    async fn set_user_status(&self, caller: &UserCaller, id: UserId, enabled: bool) -> Result<User, Error> {
        self.user(id).await?;
        let changed = self
            .store
            .set_user_status(id, enabled, self.clock.now(), caller.id)
            .await;
        // Also after a failure, whose commit may have come through.
        self.decider.forget(id);
        changed.map_err(Error::database("changing a user's status"))?;
        self.user(id).await
    }

    /// Issues an access token for a user name or e-mail address and its password.
    ///
    /// # Errors
    /// UNAUTHENTICATED: one message and one duration for unknown names and wrong passwords; USER_DISABLED only for who knows the
    /// password.
    pub async fn issue_token(&self, name: &str, password: String) -> Result<Secret, Error> {
        bounded_text("username", name, LOGIN_BYTES_MAX)?;
        let known = self
            .store
            .login(&name.trim().to_lowercase())
            .await
            .map_err(Error::database("reading a login"))?;
        let (id, hash) = known.map_or((None, None), |(id, hash)| (Some(id), Some(hash)));
        let matches = self.hasher.verify(password, hash).await?;
        let (Some(id), true) = (id, matches) else {
            return Err(Error::refused(
                Code::Unauthenticated,
                reason::CREDENTIALS_INVALID,
                "invalid credentials",
            ));
        };
        let user = self.user(id).await?;
        if !user.is_enabled {
            return Err(Error::refused(
                Code::Unauthenticated,
                reasons::USER_DISABLED,
                "failed to login in disabled user",
            ));
        }
        self.tokens
            .issue(id, user.role, user.verified_at.is_some(), self.clock.now())
    }

    async fn user(&self, id: UserId) -> Result<User, Error> {
        let user = self.store.user(id).await.map_err(Error::database("reading a user"))?;
        user.ok_or_else(|| Error::not_found("user"))
    }
}

/// The user name of somebody who chose none: `user-` and the random end of his id.
fn username_of(id: UserId) -> Result<Username, Error> {
    let text = id.uuid().simple().to_string();
    Ok(Username::parse(
        "user.credentials.username",
        &format!("user-{}", &text[14..]),
    )?)
}
