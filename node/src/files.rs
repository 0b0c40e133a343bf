//! Folders and files that are for their owner alone, and are there whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Result, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Mode of folders: the owner alone.
const FOLDER_MODE: u32 = 0o700;
/// Mode of files with secrets.
const SECRET_MODE: u32 = 0o600;

/// Makes a folder, and those above it, if they are not there.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
}

/// The file that a folder's users lock, made when it is absent.
pub(crate) fn lock_file(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(SECRET_MODE)
        .open(path)
}

/// Writes a file so that it is there whole or not at all, synced, and readable by its owner alone.
pub(crate) fn write_whole(file: &Path, bytes: &[u8]) -> Result<()> {
    let draft = file.with_extension("new");
    let mut open = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(SECRET_MODE)
        .open(&draft)?;
    open.write_all(bytes)?;
    open.sync_all()?;
    fs::rename(&draft, file)?;
    match file.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
