//! Unpacks Debian packages into a folder without root and without touching the system: apt works on a private state
//! folder, downloads, and `dpkg-deb -x` extracts. Nothing is installed and no maintainer script runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::command;

/// Where Debian keeps what is installed; apt reads it to tell which libraries this host lacks.
const INSTALLED: &str = "/var/lib/dpkg/status";

/// apt with a state of its own, which goes when this is dropped: lists grow stale and are large.
pub(crate) struct Apt {
    state: TempDir,
}

impl Apt {
    /// Makes the private state inside `within` and fetches the package lists of the host's own sources.
    pub(crate) fn open(within: &Path) -> Result<Apt> {
        let state = tempfile::Builder::new().prefix("apt-").tempdir_in(within)?;
        Self::with_settings(state, "")
    }

    /// The same for the sources of packages, which the host's own lists need not name.
    pub(crate) fn open_for_sources(within: &Path) -> Result<Apt> {
        let state = tempfile::Builder::new().prefix("apt-").tempdir_in(within)?;
        let lists = state.path().join("sources");
        write_source_lists(&lists)?;
        let only = format!(
            "Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"{}\";\n",
            lists.display()
        );
        Self::with_settings(state, &only)
    }

    fn with_settings(state: TempDir, settings: &str) -> Result<Apt> {
        write_settings(state.path(), settings)?;
        let apt = Apt { state };
        // One unreachable third-party source fails the update although Debian's own lists arrived; whether what we
        // need is there shows when it is downloaded.
        if let Err(error) = command::quiet(apt.get("update").arg("--quiet")) {
            eprintln!("deps: {error:#}; going on with what arrived");
        }
        Ok(apt)
    }

    /// Downloads `packages`, and the libraries they need that this host lacks, and extracts them into `target`.
    pub(crate) fn unpack(&self, packages: &[&str], target: &Path) -> Result<()> {
        let mut wanted: BTreeSet<String> = packages.iter().map(|name| (*name).to_owned()).collect();
        wanted.extend(self.lacking_libraries(packages)?);

        let downloads = tempfile::tempdir_in(self.state.path())?;
        command::quiet(self.get("download").args(&wanted).current_dir(downloads.path()))?;
        let files: Vec<PathBuf> = fs::read_dir(downloads.path())?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        ensure!(
            files.len() == wanted.len(),
            "apt-get downloaded {} of {} packages",
            files.len(),
            wanted.len()
        );
        for file in files {
            command::quiet(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(target))?;
        }
        Ok(())
    }

    /// Downloads the source of `package`, and extracts it with Debian's changes into the new folder `target`.
    pub(crate) fn unpack_source(&self, package: &str, target: &Path) -> Result<()> {
        let downloads = tempfile::tempdir_in(self.state.path())?;
        let mut download = self.get("source");
        download
            .args(["--download-only", package])
            .current_dir(downloads.path());
        command::quiet(&mut download)?;
        let is_description = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "dsc");
        let mut files = fs::read_dir(downloads.path())?.filter_map(|entry| Some(entry.ok()?.path()));
        let description = files
            .find(is_description)
            .with_context(|| format!("apt-get downloaded no source of {package}"))?;
        let mut extract = Command::new("dpkg-source");
        extract.args(["--no-check", "--extract"]).arg(description).arg(target);
        command::quiet(&mut extract).context("Debian's package dpkg-dev is needed to extract a source")?;
        Ok(())
    }

    /// The libraries that apt would add or renew to install `packages` here.
    fn lacking_libraries(&self, packages: &[&str]) -> Result<Vec<String>> {
        let mut install = self.get("install");
        install.args(["--simulate", "--no-install-recommends"]).args(packages);
        Ok(libraries_in(&command::quiet(&mut install)?))
    }

    fn get(&self, subcommand: &str) -> Command {
        let mut apt_get = Command::new("apt-get");
        apt_get
            .arg(subcommand)
            .env("APT_CONFIG", self.state.path().join("apt.conf"))
            .env("LC_ALL", "C");
        apt_get
    }
}

/// The folders below `root` in which unpacked packages keep shared libraries.
pub(crate) fn library_folders() -> [String; 2] {
    let architecture = std::env::consts::ARCH;
    [
        format!("usr/lib/{architecture}-linux-gnu"),
        format!("lib/{architecture}-linux-gnu"),
    ]
}

/// The libraries in the plan of a simulated installation. Perl's are for Debian's cluster scripts and LLVM's are for
/// the JIT, which the tests switch off: neither is worth its size.
fn libraries_in(plan: &str) -> Vec<String> {
    let installs = plan
        .lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next());
    let libraries = installs.filter(|name| {
        let is_unused = name.starts_with("libllvm") || name.ends_with("-perl") || name.ends_with("-dev");
        name.starts_with("lib") && !is_unused
    });
    libraries.map(str::to_owned).collect()
}

/// Writes the settings that keep apt inside `folder`, on top of the host's own.
fn write_settings(folder: &Path, more: &str) -> Result<()> {
    for needed in ["state/lists/partial", "cache/archives/partial", "parts"] {
        fs::create_dir_all(folder.join(needed))?;
    }
    copy_host_settings(&folder.join("parts"))?;
    let home = folder.display();
    // Last by name, so it wins over the host's settings. Their hooks are cleared because, run as root, they would clean
    // the system's caches; the sandbox user because he may not enter a home folder.
    let private = format!(
        "#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\nAPT::Sandbox::User \"\";\n\
         Dir::State \"{home}/state\";\nDir::State::status \"{INSTALLED}\";\nDir::Cache \"{home}/cache\";\n{more}"
    );
    fs::write(folder.join("parts/zz-private"), private)?;
    fs::write(folder.join("apt.conf"), format!("Dir::Etc::parts \"{home}/parts\";\n"))?;
    Ok(())
}

/// Writes the host's lists to `folder`, as lists of sources.
fn write_source_lists(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    let lists = parts
        .map(|entry| entry.path())
        .chain([PathBuf::from("/etc/apt/sources.list")]);
    for list in lists {
        if let (Some(name), Ok(text)) = (list.file_name(), fs::read_to_string(&list)) {
            let lines = text.lines().map(of_sources);
            fs::write(folder.join(name), lines.map(|line| line + "\n").collect::<String>())?;
        }
    }
    Ok(())
}

/// A line of a list of packages, in either of apt's two forms, as one of their sources.
fn of_sources(line: &str) -> String {
    if let Some(rest) = line.strip_prefix("deb ") {
        return format!("deb-src {rest}");
    }
    match line.strip_prefix("Types:").map(str::trim) {
        Some(_) => "Types: deb-src".to_owned(),
        None => line.to_owned(),
    }
}

/// The host's settings matter: a proxy is often named there. Those that this user may not read are left out.
fn copy_host_settings(parts: &Path) -> Result<()> {
    let Ok(settings) = fs::read_dir("/etc/apt/apt.conf.d") else {
        return Ok(());
    };
    for entry in settings {
        let entry = entry?;
        if let Ok(text) = fs::read(entry.path()) {
            fs::write(parts.join(entry.file_name()), text)?;
        }
    }
    Ok(())
}

#[test]
fn only_libraries_that_the_programs_load_are_taken_from_a_plan() {
    let plan = "Reading package lists...\nInst libpq5 [15.1] (15.2 Debian [amd64])\nInst libllvm14 (1 Debian [amd64])\n\
                Inst liblocale-gettext-perl (1 Debian [amd64])\nInst libpq-dev [15.1] (15.2 Debian [amd64])\n\
                Inst mosquitto (2 Debian [amd64])\nInst libcjson1 (1 Debian [amd64])\nConf libwrap0 (7 Debian [amd64])\n";
    assert_eq!(libraries_in(plan), ["libpq5", "libcjson1"]);
}

#[test]
fn a_list_of_packages_becomes_one_of_their_sources() {
    for (line, expected) in [
        (
            "deb [signed-by=/k] http://deb.debian.org/debian bookworm main",
            "deb-src [signed-by=/k] http://deb.debian.org/debian bookworm main",
        ),
        ("Types: deb", "Types: deb-src"),
        ("Types: deb deb-src", "Types: deb-src"),
        ("Suites: bookworm", "Suites: bookworm"),
        ("# deb", "# deb"),
    ] {
        assert_eq!(of_sources(line), expected);
    }
}
