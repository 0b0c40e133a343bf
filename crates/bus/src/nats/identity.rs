//! Who we are to NATS: a user with a password, or the holder of a credentials file.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use async_nats::{Auth, AuthError, ConnectOptions};
use nkeys::KeyPair;

use super::{NatsConfig, NatsError};

/// How a connection proves who it is, with all that files say of it read.
#[derive(Clone)]
pub(super) enum Identity {
    Nobody,
    User { name: String, password: String },
    Holder { jwt: String, seed: Arc<KeyPair> },
}

/// How often a connection may present itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lives {
    /// It comes back when it broke, and sends what it still held first.
    Many,
    /// When it broke, what it held is gone with it.
    One,
}

impl Identity {
    pub(super) async fn read(config: &NatsConfig) -> Result<Self, NatsError> {
        if let Some(file) = &config.credentials_file {
            return credentials(&text(file).await?).map_err(|cause| unreadable(file, cause));
        }
        let Some(name) = config.user.clone() else {
            return Ok(Self::Nobody);
        };
        let password = match (&config.password, &config.password_file) {
            (Some(password), _) => password.clone(),
            (None, Some(file)) => text(file).await?.lines().next().unwrap_or_default().to_owned(),
            (None, None) => String::new(),
        };
        Ok(Self::User { name, password })
    }

    /// Options of a connection that presents itself so.
    pub(super) fn options(self, lives: Lives) -> ConnectOptions {
        let is_spent = AtomicBool::new(false);
        ConnectOptions::with_auth_callback(move |nonce| {
            let is_over = is_spent.swap(true, Relaxed) && lives == Lives::One;
            std::future::ready(match is_over {
                true => Err(AuthError::new("a broken connection is not mended")),
                false => self.answer(&nonce),
            })
        })
    }

    /// What the server is told, which asked with `nonce`.
    fn answer(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let mut auth = Auth::new();
        match self {
            Self::Nobody => {}
            Self::User { name, password } => {
                auth.username = Some(name.clone());
                auth.password = Some(password.clone());
            }
            Self::Holder { jwt, seed } => {
                auth.jwt = Some(jwt.clone());
                auth.signature = Some(seed.sign(nonce).map_err(AuthError::new)?);
            }
        }
        Ok(auth)
    }
}

/// Takes the JWT and the seed of a user out of a credentials file: each stands alone in its line, behind a line that names it.
fn credentials(text: &str) -> Result<Identity, String> {
    let part = |name: &str| {
        let mut lines = text.lines().map(str::trim);
        lines.find(|line| line.starts_with("---") && line.contains("BEGIN") && line.contains(name))?;
        lines
            .find(|line| !line.is_empty())
            .filter(|line| !line.starts_with("---"))
    };
    let jwt = part("JWT").ok_or("it has no user JWT")?.to_owned();
    let seed = part("SEED").ok_or("it has no nkey seed")?;
    let seed = KeyPair::from_seed(seed).map_err(|error| format!("its nkey seed is wrong: {error}"))?;
    Ok(Identity::Holder {
        jwt,
        seed: Arc::new(seed),
    })
}

async fn text(file: &Path) -> Result<String, NatsError> {
    tokio::fs::read_to_string(file)
        .await
        .map_err(|cause| unreadable(file, cause.to_string()))
}

fn unreadable(file: &Path, cause: String) -> NatsError {
    NatsError::File {
        file: file.display().to_string(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decorated(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\nKeep this secret.\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }

    #[test]
    fn a_credentials_file_gives_its_jwt_and_signs_what_the_server_asks_with() {
        let user = KeyPair::new_user();
        let identity = credentials(&decorated("header.claims.signature", &user.seed().unwrap()));
        let auth = identity.unwrap().answer(b"nonce").unwrap();
        assert_eq!(auth.jwt.as_deref(), Some("header.claims.signature"));
        assert!(user.verify(b"nonce", &auth.signature.unwrap()).is_ok());
    }

    #[test]
    fn what_a_credentials_file_lacks_is_named() {
        let refusal = |text: &str| credentials(text).err().unwrap();
        assert_eq!(refusal(""), "it has no user JWT");
        assert_eq!(refusal("-----BEGIN NATS USER JWT-----\na.b.c\n"), "it has no nkey seed");
        let empty = "-----BEGIN NATS USER JWT-----\n------END NATS USER JWT------\n";
        assert_eq!(refusal(empty), "it has no user JWT");
        assert!(refusal(&decorated("a.b.c", "SUWRONG")).starts_with("its nkey seed is wrong"));
    }
}
