//! Passwords at rest: argon2id, on a bounded number of threads.
//!
//! One hash takes 19 MiB for tens of milliseconds, so at most [`CONCURRENCY_MAX`] are worked on at once, and callers beyond
//! [`WAITING_MAX`] are turned away: a flood of logins costs neither memory nor the threads that others need.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use trunkline_core::error::{Code, Fault, reason};

use crate::error::Error;
use crate::user::Password;

/// Hashes that are worked on at once.
const CONCURRENCY_MAX: usize = 2;
/// Callers that may wait for their turn.
const WAITING_MAX: usize = 256;
/// Memory of one hash in KiB, passes over it, lanes (reliability.md C3, "Standing numbers").
const COST: (u32, u32, u32) = (19 * 1_024, 2, 1);

/// Hashes and verifies passwords.
#[derive(Clone)]
pub(crate) struct Hasher {
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// A hash that no password has: verifying against it takes as long as against a real one.
    decoy: Arc<str>,
}

impl Hasher {
    /// A hasher; makes its decoy, which takes one hash.
    ///
    /// # Errors
    /// When the cost parameters are refused.
    pub(crate) fn new() -> Result<Self, Error> {
        let nobody = trunkline_core::Secret::generate();
        let decoy = hash(nobody.expose())?.into();
        Ok(Self {
            turns: Arc::new(Semaphore::new(CONCURRENCY_MAX)),
            waiting: Arc::default(),
            decoy,
        })
    }

    /// The hash of a password as a PHC string.
    ///
    /// # Errors
    /// [`Error::Refused`] with OVERLOADED when too many wait.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, Error> {
        self.in_turn(move || hash(password.expose())).await?
    }

    /// Whether `password` is the one of `known`, in the same time whether there is a hash to compare with or not.
    ///
    /// # Errors
    /// [`Error::Refused`] with OVERLOADED when too many wait.
    pub(crate) async fn verify(&self, password: String, known: Option<String>) -> Result<bool, Error> {
        let is_known = known.is_some();
        let hash = known.unwrap_or_else(|| self.decoy.to_string());
        let password = trunkline_core::Secret::new(password);
        let matches = self.in_turn(move || verify(password.expose(), &hash)).await?;
        Ok(matches && is_known)
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let place = Place::take(&self.waiting)?;
        let turn = self
            .turns
            .clone()
            .acquire_owned()
            .await
            .map_err(|error| Error::Crypto(error.to_string()))?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop((turn, place));
            done
        });
        done.await.map_err(|error| Error::Crypto(error.to_string()))
    }
}

/// A place in the queue, given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(waiting: &Arc<AtomicUsize>) -> Result<Self, Error> {
        let place = Self(waiting.clone());
        if waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            let fault = Fault::new(
                Code::Unavailable,
                reason::OVERLOADED,
                "too many logins at once; repeat later",
            );
            return Err(Error::Refused(fault.retry_after(Duration::from_secs(1))));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn argon2() -> Result<Argon2<'static>, Error> {
    let (memory_kib, passes, lanes) = COST;
    let params = Params::new(memory_kib, passes, lanes, None).map_err(|error| Error::Crypto(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<String, Error> {
    let salt = trunkline_core::secret::random_bytes::<16>();
    let hash = argon2()?.hash_password_with_salt(password.as_bytes(), &salt);
    hash.map(|hash| hash.to_string())
        .map_err(|error| Error::Crypto(error.to_string()))
}

fn verify(password: &str, hash: &str) -> bool {
    let (Ok(argon2), Ok(hash)) = (argon2(), PasswordHash::new(hash)) else {
        return false;
    };
    argon2.verify_password(password.as_bytes(), &hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_verifies() {
        let hasher = Hasher::new().unwrap();
        let hash = hasher
            .hash(Password::parse("password", "correct horse").unwrap())
            .await
            .unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(hasher.verify("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify("battery staple".into(), Some(hash)).await.unwrap());
        assert!(!hasher.verify("correct horse".into(), None).await.unwrap());
    }
}
