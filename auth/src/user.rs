//! Users: who they are, and the names and passwords that they may have.

use trunkline_core::attributes::{Metadata, Tags, bounded_text};
use trunkline_core::{Fault, Secret, Timestamp, UserId};

/// Longest e-mail address in bytes (RFC 5321 section 4.5.3.1.3).
const EMAIL_BYTES_MAX: usize = 254;
/// Longest user name in characters (magistrala.md 0, "Username regex").
const USERNAME_BYTES_MAX: usize = 32;
/// Shortest and longest password in bytes.
const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=1_024;

/// An e-mail address, kept in lower case: addresses that differ by case alone are one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

impl Email {
    /// Parses an address of the form `local@domain.tld`; what the mail server makes of it shows when mail is sent.
    ///
    /// # Errors
    /// INVALID_ARGUMENT that names `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self, Fault> {
        bounded_text(field, text, EMAIL_BYTES_MAX)?;
        let is_plausible = text.split_once('@').is_some_and(|(local, domain)| {
            let labels_are_fine = domain
                .split('.')
                .all(|label| !label.is_empty() && !label.starts_with('-'));
            !local.is_empty() && domain.contains('.') && !domain.contains('@') && labels_are_fine
        });
        if !is_plausible || text.contains(char::is_whitespace) {
            return Err(Fault::invalid(
                field,
                "is no e-mail address; one looks like `name@example.com`",
            ));
        }
        Ok(Self(text.to_lowercase()))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A user name, kept in lower case: a letter or digit, then letters, digits, single `-` and single `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Username(String);

impl Username {
    /// Parses a user name.
    ///
    /// # Errors
    /// INVALID_ARGUMENT that names `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self, Fault> {
        let starts_well = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        let has_only = text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_'));
        let is_doubled = text.contains("__") || text.contains("--");
        if !starts_well || !has_only || is_doubled || text.len() > USERNAME_BYTES_MAX {
            let rule =
                "is no user name; one is a letter or digit, then up to 31 letters, digits, single `-` and single `_`";
            return Err(Fault::invalid(field, rule));
        }
        Ok(Self(text.to_lowercase()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A password that is long enough and not too long.
#[derive(Debug, Clone)]
pub struct Password(Secret);

impl Password {
    /// Parses a password.
    ///
    /// # Errors
    /// INVALID_ARGUMENT that names `field`, never the password.
    pub fn parse(field: &str, text: &str) -> Result<Self, Fault> {
        if !PASSWORD_BYTES.contains(&text.len()) {
            let (least, most) = (PASSWORD_BYTES.start(), PASSWORD_BYTES.end());
            return Err(Fault::invalid(
                field,
                format!("has {} bytes; a password has {least} to {most}", text.len()),
            ));
        }
        Ok(Self(Secret::new(text.to_owned())))
    }

    /// The password's text.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// A user's place on the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlatformRole {
    /// An ordinary user.
    User,
    /// An administrator, who may do everything in every domain.
    Admin,
}

impl PlatformRole {
    /// The text that databases keep.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

/// A user as the database has it.
#[derive(Debug, Clone)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its e-mail address.
    pub email: Email,
    /// Its user name.
    pub username: Username,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Labels.
    pub tags: Tags,
    /// Free JSON that others see.
    pub metadata: Option<Metadata>,
    /// Free JSON that the user and administrators see.
    pub private_metadata: Option<Metadata>,
    /// Address of a picture.
    pub profile_picture: Option<String>,
    /// Whether it may log in.
    pub is_enabled: bool,
    /// Its place on the platform.
    pub role: PlatformRole,
    /// When its e-mail address was verified.
    pub verified_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Who changed it last.
    pub updated_by: Option<UserId>,
}

/// A user to create.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Its e-mail address.
    pub email: Email,
    /// Its user name; made from its id when absent.
    pub username: Option<Username>,
    /// Its password.
    pub password: Password,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Labels.
    pub tags: Tags,
    /// Free JSON that others see.
    pub metadata: Option<Metadata>,
    /// Free JSON that the user and administrators see.
    pub private_metadata: Option<Metadata>,
    /// Address of a picture.
    pub profile_picture: Option<String>,
    /// Its place on the platform.
    pub role: PlatformRole,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_differ_by_case_are_one() {
        assert_eq!(
            Email::parse("email", "Ann@Example.com"),
            Email::parse("email", "ann@example.COM")
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "ann",
            "@example.com",
            "ann@",
            "ann@localhost",
            "a b@example.com",
            "ann@a@b.c",
            "ann@.com",
            "a\r\n@b.c",
        ] {
            assert!(Email::parse("email", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn user_names_follow_the_reference() {
        assert!(Username::parse("username", "ann-2_b").is_ok());
        for bad in ["", "-ann", "a__b", "a--b", "ann@example.com", &"a".repeat(33)] {
            assert!(Username::parse("username", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_refused_password_is_not_repeated_in_the_error() {
        let fault = Password::parse("password", "hunter2").unwrap_err();
        assert!(!fault.to_string().contains("hunter2"));
    }
}
