//! The package managers of other languages: each installs a pinned package with what it depends on into a folder of ours.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;

/// Whose packages.
#[derive(Clone, Copy)]
pub(crate) enum Installer {
    /// Python's.
    Pip,
    /// Node.js's.
    Npm,
}

impl Installer {
    /// Installs into `folder`, which becomes one that the language takes packages from.
    pub(crate) fn install(self, package: &str, version: &str, folder: &Path) -> Result<()> {
        match self {
            Installer::Pip => pip(package, version, folder),
            Installer::Npm => npm(package, version, folder),
        }
    }
}

fn pip(package: &str, version: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-input"]);
    pip.args(["--root-user-action=ignore", "--target"]).arg(folder);
    command::quiet(pip.arg(format!("{package}=={version}")).current_dir(folder))
        .context("Python's pip did not bring it (Debian's package python3-pip is needed)")?;
    Ok(())
}

/// npm puts packages into a folder of its own naming, which takes the place of `folder`.
fn npm(package: &str, version: &str, folder: &Path) -> Result<()> {
    let prefix = folder.with_extension("npm");
    fs::create_dir_all(&prefix)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund"]);
    // A package may have programs that run when it is installed; a library needs none.
    npm.args(["--ignore-scripts", "--prefix"]).arg(&prefix);
    command::quiet(npm.arg(format!("{package}@{version}")).current_dir(&prefix))
        .context("npm did not bring it (Node.js and its npm are needed)")?;
    fs::rename(prefix.join("node_modules"), folder)?;
    Ok(fs::remove_dir_all(&prefix)?)
}
