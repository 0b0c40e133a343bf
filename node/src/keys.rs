//! The keys of a platform: files of 32 random bytes in one folder, the same for all of its processes. A process reads those that its
//! roles need and no others.

use std::fs;
use std::path::{Path, PathBuf};

use trunkline_core::digest::KEY_BYTES;
use trunkline_core::secret::random_bytes;
use uuid::Uuid;

use crate::error::Error;
use crate::files::{lock_file, make_folder, write_whole};

/// File with the platform's id beside the keys of a split platform.
const PLATFORM_FILE: &str = "platform";

/// File that is locked while keys are made.
const LOCK_FILE: &str = "lock";

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

    /// The keys of a split platform in `folder` and its id, made if there is no platform yet; and whether they were. Two at once do it
    /// once. A key that goes missing later is not replaced in silence.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub(crate) fn make(folder: &Path) -> Result<(Self, bool), Error> {
        let unusable = |error: std::io::Error| unusable(folder, error.to_string());
        make_folder(folder).map_err(unusable)?;
        let lock = lock_file(&folder.join(LOCK_FILE)).map_err(unusable)?;
        lock.lock().map_err(unusable)?;
        let keys = Self(folder.to_owned());
        let platform = folder.join(PLATFORM_FILE);
        if platform.exists() {
            return Ok((keys, false));
        }
        keys.make_missing().map_err(unusable)?;
        // The last of them: it says that all are there.
        let id = format!("{}\n", Uuid::now_v7());
        write_whole(&platform, id.as_bytes()).map_err(unusable)?;
        Ok((keys, true))
    }

    /// Makes the keys that are not there.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn make_missing(&self) -> std::io::Result<()> {
        make_folder(&self.0)?;
        for key in Key::ALL {
            let file = self.0.join(key.as_str());
            if !file.exists() {
                write_whole(&file, &random_bytes::<KEY_BYTES>())?;
            }
        }
        Ok(())
    }

    /// The bytes of a key.
    ///
    /// # Errors
    /// When its file is absent, unreadable or has another length.
    pub(crate) fn read(&self, key: Key) -> Result<[u8; KEY_BYTES], Error> {
        let file = self.0.join(key.as_str());
        let bytes = fs::read(&file).map_err(|error| unusable(&file, error.to_string()))?;
        let bytes: Result<_, Vec<u8>> = bytes.try_into();
        bytes.map_err(|bytes| unusable(&file, format!("it has {} bytes, not {KEY_BYTES}", bytes.len())))
    }

    /// The id of the platform that the keys belong to.
    ///
    /// # Errors
    /// When its file is absent, unreadable or holds no UUID.
    pub(crate) fn platform_id(&self) -> Result<Uuid, Error> {
        let file = self.0.join(PLATFORM_FILE);
        let text = fs::read_to_string(&file).map_err(|error| unusable(&file, error.to_string()))?;
        let id = text.trim().parse();
        id.map_err(|_| unusable(&file, "it holds no UUID".to_owned()))
    }
}

fn unusable(file: &Path, cause: String) -> Error {
    Error::Key {
        file: file.display().to_string(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_one_that_went_missing_is_not_made_anew() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("keys");
        let (keys, were_made) = Keys::make(&folder).unwrap();
        assert!(were_made);
        let (id, token) = (keys.platform_id().unwrap(), keys.read(Key::Token).unwrap());
        fs::remove_file(folder.join("service")).unwrap();
        let (keys, were_made) = Keys::make(&folder).unwrap();
        assert!(!were_made);
        assert_eq!(
            (keys.platform_id().unwrap(), keys.read(Key::Token).unwrap()),
            (id, token)
        );
        let refused = keys.read(Key::Service).unwrap_err().to_string();
        assert!(
            refused.contains("keys/service") && refused.contains("backup"),
            "{refused}"
        );
    }
}
