//! `cargo xtask test`: every check that a change must pass, in one run, with the servers that tests need. All checks run
//! even when one fails, so that one run shows all that is wrong; the tests come last, so that their summary does too.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use crate::deps::{
    CARGO_DENY, Deps, IPROUTE, MOSQUITTO, MOSQUITTO_TESTS, MQTTJS, NATS, OPENAPI_VALIDATOR, PAHO, POSTGRES, STRACE,
};
use crate::postgres::Postgres;
use crate::{command, repository};

/// What to check.
#[derive(Args)]
pub(crate) struct Options {
    /// Leave out format, lints and licences.
    #[arg(long)]
    no_lint: bool,
    /// Check only these packages, without documentation examples; may be repeated.
    #[arg(long, short, value_name = "NAME")]
    package: Vec<String>,
    /// Run only the tests whose names contain this, without documentation examples.
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Passed to the test runner as they are.
    #[arg(last = true)]
    runner_arguments: Vec<OsString>,
}

impl Options {
    /// The packages to check, in cargo's words; `every` is the subcommand's word for the whole workspace.
    fn scope<'name>(&'name self, every: &'name str) -> Vec<&'name str> {
        if self.package.is_empty() {
            return vec![every];
        }
        self.package.iter().flat_map(|name| ["--package", name]).collect()
    }
}

/// One check and how it went.
struct Step {
    name: &'static str,
    time: Duration,
    outcome: Result<()>,
}

/// Runs the checks. Fails with the first that failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut steps = Vec::new();
    let deps = Deps::from_environment()?;
    measure(&mut steps, "deps", || bring(&deps, options));
    if !options.no_lint {
        measure(&mut steps, "fmt", || {
            command::show(cargo().arg("fmt").args(options.scope("--all")).arg("--check"))
        });
        measure(&mut steps, "clippy", || {
            let mut clippy = cargo();
            clippy
                .arg("clippy")
                .args(options.scope("--workspace"))
                .args(["--all-targets", "--", "-D", "warnings"]);
            command::show(&mut clippy)
        });
        measure(&mut steps, "deny", || {
            let mut deny = Command::new(deps.program(&CARGO_DENY, "cargo-deny"));
            command::show(
                deny.args(["check", "bans", "licenses", "sources"])
                    .current_dir(repository()),
            )
        });
    }
    if options.filter.is_none() && options.package.is_empty() {
        measure(&mut steps, "doc examples", || {
            command::show(cargo().args(["test", "--workspace", "--doc"]))
        });
    }
    measure(&mut steps, "tests", || run_tests(&deps, options));
    report(steps)
}

/// Brings what the chosen steps need.
fn bring(deps: &Deps, options: &Options) -> Result<()> {
    let needed_by_lint = if options.no_lint { None } else { Some(&CARGO_DENY) };
    [
        &POSTGRES,
        &NATS,
        &MOSQUITTO,
        &MOSQUITTO_TESTS,
        &PAHO,
        &MQTTJS,
        &STRACE,
        &IPROUTE,
        &OPENAPI_VALIDATOR,
    ]
    .into_iter()
    .chain(needed_by_lint)
    .try_for_each(|tool| deps.bring(tool))
}

/// Runs the tests beside one Postgres, which stops when they end.
fn run_tests(deps: &Deps, options: &Options) -> Result<()> {
    let postgres = Postgres::start(deps)?;
    let mut runner = test_runner();
    runner
        .args(options.scope("--workspace"))
        .args(&options.filter)
        .args(&options.runner_arguments);
    runner
        .env("TRUNKLINE_TEST_POSTGRES", postgres.url())
        .env("TRUNKLINE_TEST_POSTGRES_BIN", postgres.programs())
        .envs(tools(deps));
    command::show(&mut runner)
}

/// nextest where it is installed, since it runs each test in a process of its own.
fn test_runner() -> Command {
    let mut nextest = cargo();
    nextest.args(["nextest", "run", "--no-fail-fast"]);
    let version = cargo()
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if version.is_ok_and(|status| status.success()) {
        eprintln!("tests: running with cargo nextest");
        return nextest;
    }
    eprintln!("tests: cargo nextest is not installed, running with cargo test");
    let mut test = cargo();
    test.args(["test", "--no-fail-fast", "--lib", "--bins", "--tests"]);
    test
}

/// The variables by which tests find their tools.
pub(crate) fn tools(deps: &Deps) -> [(&'static str, PathBuf); 9] {
    [
        ("TRUNKLINE_TEST_NATS_SERVER", deps.program(&NATS, "nats-server")),
        (
            "TRUNKLINE_TEST_MOSQUITTO_PUB",
            deps.program(&MOSQUITTO, "mosquitto_pub"),
        ),
        (
            "TRUNKLINE_TEST_MOSQUITTO_SUB",
            deps.program(&MOSQUITTO, "mosquitto_sub"),
        ),
        ("TRUNKLINE_TEST_MOSQUITTO_TESTS", deps.contents(&MOSQUITTO_TESTS)),
        ("TRUNKLINE_TEST_PAHO", deps.contents(&PAHO)),
        ("TRUNKLINE_TEST_MQTTJS", deps.contents(&MQTTJS)),
        ("TRUNKLINE_TEST_STRACE", deps.program(&STRACE, "strace")),
        ("TRUNKLINE_TEST_IPROUTE", deps.program(&IPROUTE, "iproute")),
        (
            "TRUNKLINE_TEST_OPENAPI_VALIDATOR",
            deps.program(&OPENAPI_VALIDATOR, "openapi-spec-validator"),
        ),
    ]
}

fn cargo() -> Command {
    let mut cargo = Command::new(command::cargo());
    cargo.current_dir(repository());
    cargo
}

fn measure(steps: &mut Vec<Step>, name: &'static str, step: impl FnOnce() -> Result<()>) {
    eprintln!("== {name}");
    let start = Instant::now();
    let outcome = step();
    if let Err(error) = &outcome {
        eprintln!("{name}: {error:#}");
    }
    steps.push(Step {
        name,
        time: start.elapsed(),
        outcome,
    });
}

/// One line a step. The first failure is the run's.
fn report(steps: Vec<Step>) -> Result<()> {
    eprintln!();
    for step in &steps {
        let verdict = if step.outcome.is_ok() { "ok" } else { "FAILED" };
        eprintln!("{:14} {verdict:7} {:7.1} s", step.name, step.time.as_secs_f64());
    }
    match steps.into_iter().find(|step| step.outcome.is_err()) {
        Some(failed) => bail!("{} failed", failed.name),
        None => Ok(()),
    }
}
