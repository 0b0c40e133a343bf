//! The data folder: its lock, its format, its keys. Everything that the platform keeps is below it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;
use crate::files::{lock_file, make_folder, write_whole};
use crate::keys::Keys;

/// The newest format of the data folder that this version reads and the one that it writes.
const FORMAT_VERSION: u32 = 1;
/// Folder of the platform's keys in the data folder.
const KEYS_FOLDER: &str = "keys";

/// What the file `format` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Format {
    /// Version of the folder's layout.
    version: u32,
    /// Id of the platform, made on the first start.
    platform_id: Uuid,
}

/// An open data folder. It stays locked until this is dropped, also by a crash.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    platform_id: Uuid,
    _lock: File,
}

impl DataFolder {
    /// Opens the folder and takes its lock; makes it when it is absent.
    ///
    /// # Errors
    /// When it is in use, of a newer format, unreadable or unwritable; nothing is left half made then.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let unusable = |cause: String| Error::Data {
            folder: path.display().to_string(),
            cause,
        };
        let was_there = path.exists();
        let opened = Self::open_or_make(path).map_err(unusable);
        if opened.is_err() && !was_there {
            // Only what this call made; a folder with anything else in it stays.
            let _ = fs::remove_file(path.join("lock"));
            let _ = fs::remove_dir(path);
        }
        opened
    }

    /// Whether a platform has started on this folder before.
    pub(crate) fn is_made(path: &Path) -> bool {
        path.join("format").exists()
    }

    fn open_or_make(path: &Path) -> Result<Self, String> {
        let mend = "give one that this user may write with --data DIR";
        make_folder(path).map_err(|error| format!("{error}; {mend}"))?;
        let lock = lock_file(&path.join("lock")).map_err(|error| format!("{error}; {mend}"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                "another trunkline uses it; stop that one, or give another folder with --data DIR".to_owned()
            }
            TryLockError::Error(error) => format!("it cannot be locked: {error}"),
        })?;
        let format = Self::format(path)?;
        Ok(Self {
            path: path.to_owned(),
            platform_id: format.platform_id,
            _lock: lock,
        })
    }

    fn format(path: &Path) -> Result<Format, String> {
        let file = path.join("format");
        match fs::read_to_string(&file) {
            Ok(text) => {
                let format: Format = toml::from_str(&text)
                    .map_err(|error| format!("its file `format` is damaged: {}", error.message()))?;
                if format.version > FORMAT_VERSION {
                    return Err(format!(
                        "a newer version of trunkline wrote it (format {}, this one reads up to {FORMAT_VERSION}); use that version",
                        format.version
                    ));
                }
                Ok(format)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // The file `format`, which comes after, says that all of them are there.
                let made = Keys::in_folder(path.join(KEYS_FOLDER)).make_missing();
                made.map_err(|error| format!("its keys cannot be made: {error}"))?;
                let format = Format {
                    version: FORMAT_VERSION,
                    platform_id: Uuid::now_v7(),
                };
                let text = toml::to_string(&format).map_err(|error| error.to_string())?;
                write_whole(&file, text.as_bytes()).map_err(|error| format!("`format` cannot be written: {error}"))?;
                Ok(format)
            }
            Err(error) => Err(format!("`format` cannot be read: {error}")),
        }
    }

    /// Path of the folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Id of the platform.
    pub(crate) const fn platform_id(&self) -> Uuid {
        self.platform_id
    }

    /// Path of the folder `name` in it, made when it is absent.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        make_folder(&path).map_err(|error| Error::Data {
            folder: path.display().to_string(),
            cause: error.to_string(),
        })?;
        Ok(path)
    }

    /// Address of the SQLite database `name` in the folder.
    pub(crate) fn database_url(&self, name: &str) -> String {
        format!("sqlite:{}", self.path.join(format!("{name}.db")).display())
    }

    /// The folder of the platform's keys.
    pub(crate) fn keys(&self) -> Keys {
        Keys::in_folder(self.path.join(KEYS_FOLDER))
    }

    /// Writes a secret for the operator to read, and says where.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write_secret(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        let file = self.path.join(name);
        let written = write_whole(&file, text.as_bytes());
        written.map_err(|error| Error::Data {
            folder: self.path.display().to_string(),
            cause: format!("{name}: {error}"),
        })?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_folder_in_use_is_refused_and_free_after_its_user_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        let first = DataFolder::open(&path).unwrap();
        let refused = DataFolder::open(&path).unwrap_err().to_string();
        assert!(refused.contains("another trunkline uses it"), "{refused}");
        let id = first.platform_id();
        drop(first);
        assert_eq!(DataFolder::open(&path).unwrap().platform_id(), id);
    }

    #[test]
    fn a_newer_format_is_refused_by_its_number() {
        let root = tempfile::tempdir().unwrap();
        drop(DataFolder::open(root.path()).unwrap());
        let text = fs::read_to_string(root.path().join("format")).unwrap();
        fs::write(root.path().join("format"), text.replace("version = 1", "version = 2")).unwrap();
        let refused = DataFolder::open(root.path()).unwrap_err().to_string();
        assert!(refused.contains("format 2"), "{refused}");
    }

    #[test]
    fn keys_are_kept_and_readable_by_their_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        let key = folder.keys().read(Key::Token).unwrap();
        assert_eq!(folder.keys().read(Key::Token).unwrap(), key);
        assert_ne!(folder.keys().read(Key::ClientSecret).unwrap(), key);
        let mode = fs::metadata(root.path().join("keys/token"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_went_missing_is_not_made_anew() {
        let root = tempfile::tempdir().unwrap();
        drop(DataFolder::open(root.path()).unwrap());
        fs::remove_file(root.path().join("keys/client-secret")).unwrap();
        let keys = DataFolder::open(root.path()).unwrap().keys();
        let refused = keys.read(Key::ClientSecret).unwrap_err().to_string();
        assert!(refused.contains("restore it from a backup"), "{refused}");
    }
}
