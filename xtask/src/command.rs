//! Running other programs: quietly, with their complaint in the error, or in the open. No shell is involved.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// How much of a failed program's complaint an error repeats.
const COMPLAINT_LINES_MAX: usize = 5;

/// The cargo that runs this xtask.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs a program out of sight and returns what it printed. Fails with the end of its complaint.
pub(crate) fn quiet(command: &mut Command) -> Result<String> {
    let program = name(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("`{program}` cannot be run"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = complaint.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(COMPLAINT_LINES_MAX)..];
        bail!("`{program}` failed ({}): {}", output.status, last.join(" / "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program whose output the developer sees.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    let program = name(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("`{program}` cannot be run"))?;
    if !status.success() {
        bail!("`{program}` failed ({status})");
    }
    Ok(())
}

/// The program and its first argument, which for cargo, pip and apt-get is what it is told to do.
fn name(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program())
        .file_name()
        .unwrap_or_default();
    let told = command.get_args().next().unwrap_or_default();
    format!("{} {}", program.to_string_lossy(), told.to_string_lossy())
        .trim_end()
        .to_owned()
}
