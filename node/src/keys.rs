//! The keys of a platform: files of 32 random bytes in one folder, the same for all of its processes. A process reads those that its
//! roles need and no others.

use std::fs;
use std::path::PathBuf;

use trunkline_core::digest::KEY_BYTES;
use uuid::Uuid;

use crate::error::Error;

/// File with the platform's id beside the keys of a split platform.
const PLATFORM_FILE: &str = "platform";

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// Signs access tokens; for `auth`.
    Token,
    /// Makes the digests of clients' secrets; for `things`.
    ClientSecret,
    /// Proves the platform's processes to each other; for every process of a split platform.
    Service,
}

impl Key {
    /// Every key.
    pub(crate) const ALL: [Self; 3] = [Self::Token, Self::ClientSecret, Self::Service];

    /// The name of its file.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::ClientSecret => "client-secret",
            Self::Service => "service",
        }
    }
}

/// The folder of the keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys(PathBuf);

impl Keys {
    /// Keys that are files of `folder`.
    pub(crate) const fn in_folder(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// The bytes of a key.
    ///
    /// # Errors
    /// When its file is absent, unreadable or has another length.
    pub(crate) fn read(&self, key: Key) -> Result<[u8; KEY_BYTES], Error> {
        let file = self.0.join(key.as_str());
        let unusable = |cause: String| Error::Key {
            file: file.display().to_string(),
            cause,
        };
        let bytes = fs::read(&file).map_err(|error| unusable(error.to_string()))?;
        bytes
            .try_into()
            .map_err(|bytes: Vec<u8>| unusable(format!("it has {} bytes, not {KEY_BYTES}", bytes.len())))
    }

    /// The id of the platform that the keys belong to.
    ///
    /// # Errors
    /// When its file is absent, unreadable or holds no UUID.
    pub(crate) fn platform_id(&self) -> Result<Uuid, Error> {
        let file = self.0.join(PLATFORM_FILE);
        let unusable = |cause: String| Error::Key {
            file: file.display().to_string(),
            cause,
        };
        let text = fs::read_to_string(&file).map_err(|error| unusable(error.to_string()))?;
        text.trim().parse().map_err(|_| unusable("it holds no UUID".to_owned()))
    }
}
