//! Running a command to its end, with errors that repeat the command line and what it said.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What a command that ended said.
#[derive(Debug, Clone)]
pub struct Said {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Said {
    /// True for exit code 0.
    pub fn succeeded(&self) -> bool {
        self.code == 0
    }

    /// Both outputs, for messages.
    pub fn both(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs to the end, whatever the exit code.
pub fn said(command: &mut Command) -> Result<Said> {
    said_after_reading(command, &[])
}

/// Runs to the end with `input` on standard input.
pub fn said_after_reading(command: &mut Command, input: &[u8]) -> Result<Said> {
    let shown = line(command);
    let mut child = command
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            if let Some(mut stdin) = stdin {
                // A command that stops reading says why itself.
                let _ = stdin.write_all(input);
            }
        });
        child.wait_with_output()
    })
    .with_context(|| format!("`{shown}` was lost"))?;
    Ok(Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs to the end and returns standard output; any exit code but 0 is an error.
pub fn output(program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<String> {
    checked(Command::new(program).args(arguments))
}

/// Like [`output`], for a command that is already put together.
pub fn checked(command: &mut Command) -> Result<String> {
    let said = said(command)?;
    if !said.succeeded() {
        bail!(
            "`{}` ended with {}: {}",
            line(command),
            said.code,
            said.both().trim()
        );
    }
    Ok(said.stdout)
}

/// Runs with the terminal's output, for what takes long and talks.
pub fn shown(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}

/// The command line as one would type it (without the environment, which may hold secrets).
pub fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| {
            let word = word.to_string_lossy();
            if word.len() > 200 {
                format!("{}…", word.chars().take(200).collect::<String>())
            } else {
                word.into_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}
