//! `cargo xtask torture fuzz`: the fuzz targets, built with the compiler that builds everything else.
//!
//! The instruments that libFuzzer reads are a pass of LLVM which a stable compiler can be told to run, so neither cargo-fuzz nor a
//! nightly compiler is needed; a C++ compiler is, for libFuzzer itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::{command, measures, repository};

/// Folder of a fuzz package, and its target.
const TARGETS: [(&str, &str); 2] = [("crates/mqtt-wire/fuzz", "decode"), ("adapters/mqtt/fuzz", "machine")];
/// Edges, comparisons and places are counted, as `cargo fuzz` does.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];
/// Bytes of an input: several packets.
const INPUT_BYTES_MAX: u32 = 512;

/// How long to fuzz, and what.
#[derive(Args)]
pub(crate) struct Fuzz {
    /// Seconds for each target.
    #[arg(long, default_value_t = 3_600)]
    seconds: u32,
    /// Only this target.
    #[arg(long)]
    target: Option<String>,
}

impl Fuzz {
    pub(crate) fn run(&self) -> Result<()> {
        let folder = measures::target_folder()?.join("fuzz");
        let is_wanted = |target: &str| self.target.as_deref().is_none_or(|wanted| wanted == target);
        for (package, target) in TARGETS.into_iter().filter(|(_, target)| is_wanted(target)) {
            let program = build(package, target, &folder)?;
            self.fuzz(
                &program,
                target,
                &repository().join(package).join("seeds").join(target),
                &folder,
            )?;
        }
        Ok(())
    }

    /// Runs one target. What it found interesting stays below the target folder, and is where the next run begins.
    fn fuzz(&self, program: &Path, target: &str, seeds: &Path, folder: &Path) -> Result<()> {
        let (corpus, found) = (folder.join("corpus").join(target), folder.join("found"));
        for folder in [&corpus, &found] {
            fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        let mut run = Command::new(program);
        run.arg(format!("-max_total_time={}", self.seconds))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-artifact_prefix={}/{target}-", found.display()))
            .args(["-print_final_stats=1", "-verbosity=0"])
            .arg(corpus);
        if seeds.is_dir() {
            run.arg(seeds);
        }
        command::show(&mut run).with_context(|| format!("the input is in {}", found.display()))
    }
}

/// Builds a target with the versions of the workspace's own lock file.
fn build(package: &str, target: &str, folder: &Path) -> Result<PathBuf> {
    let package = repository().join(package);
    fs::copy(repository().join("Cargo.lock"), package.join("Cargo.lock")).context("Cargo.lock cannot be copied")?;
    let host = host()?;
    let mut build = Command::new(command::cargo());
    // With a target named, the flags are not for build scripts and macros.
    build
        .args(["build", "--release", "--bin", target, "--target", &host])
        .arg("--target-dir")
        .arg(folder)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    command::show(build.current_dir(package))?;
    Ok(folder.join(host).join("release").join(target))
}

/// The platform that this compiler builds for.
fn host() -> Result<String> {
    let told = command::quiet(Command::new("rustc").arg("-vV"))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not tell its host")
}
