//! Runs a command of the system (mkfs, losetup, mount) and turns its failure into an [`Error`] that shows what it said.

use std::ffi::OsStr;
use std::process::Command;

use crate::error::{Error, Result};

/// Runs `program` to its end and gives its standard output.
pub fn run<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Result<String> {
    let mut command = Command::new(program);
    // The driver may be started with a bare PATH; these commands live in sbin. Messages stay in one language.
    command
        .args(arguments)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("LC_ALL", "C");
    let line = || {
        format!("{command:?}")
            .split_once(program)
            .map_or_else(String::new, |(_, rest)| {
                format!("{program}{}", rest.replace('"', ""))
            })
    };
    let shown = line();
    let output = command.output().map_err(|e| Error::Command {
        command: shown.clone(),
        status: e.to_string(),
        stderr: "is it installed?".to_owned(),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Command {
        command: shown,
        status: output.status.to_string(),
        stderr,
    })
}
