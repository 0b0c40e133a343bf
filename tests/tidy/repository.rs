//! The files of the repository as they lie in the work tree, built things left out.

use std::fs;
use std::path::Path;

use crate::lexer::{self, Line};

/// A text file.
pub(crate) struct File {
    /// Path from the root of the repository, with `/`.
    pub path: String,
    pub text: String,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> File {
        File {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// Its lines with code and comments apart; string literals are emptied.
    pub(crate) fn lines(&self) -> Vec<Line> {
        lexer::lines(&self.text)
    }

    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    pub(crate) fn is_in(&self, folder: &str) -> bool {
        self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Whether a folder of this name is on the way to the file.
    pub(crate) fn is_under(&self, name: &str) -> bool {
        let folders = self.path.rsplit_once('/').map_or("", |(folders, _)| folders);
        folders.split('/').any(|folder| folder == name)
    }
}

/// All files that end in one of `endings`, sorted by path.
pub(crate) fn files(endings: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    walk(Path::new(root()), "", endings, &mut found);
    assert!(!found.is_empty(), "no file ends in {endings:?} below {}", root());
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// The file at this path, which must be there.
pub(crate) fn file(path: &str) -> File {
    let text = fs::read_to_string(Path::new(root()).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    File::new(path, &text)
}

fn root() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/..")
}

fn walk(folder: &Path, prefix: &str, endings: &[&str], found: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let entry = entry.expect("a folder that opened can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = !name.starts_with('.') && !["target", "node_modules", "trunkline-data"].contains(&name.as_str());
        let kind = entry.file_type().expect("a file that was listed has a type");
        let path = format!("{prefix}{name}");
        if kind.is_dir() && is_ours {
            walk(&entry.path(), &format!("{path}/"), endings, found);
        } else if kind.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(file(&path));
        }
    }
}

#[test]
fn a_file_knows_its_folders() {
    let file = File::new("crates/store/src/lib.rs", "");
    assert!(file.is_in("crates/store") && !file.is_in("crates/sto"));
    assert!(file.is_under("store") && !file.is_under("lib.rs"));
    assert_eq!(file.name(), "lib.rs");
}
