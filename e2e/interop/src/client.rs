//! The two programs: Kopia (`CARAVEL_KOPIA`) and ours (`CARAVEL_REPOSITORY_CLI`), set by `cargo xtask interop`.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The password of every repository here.
pub const PASSWORD: &str = "static-passw0rd";

/// The variable that names Kopia.
pub const KOPIA: &str = "CARAVEL_KOPIA";
/// The variable that names our program.
pub const OURS: &str = "CARAVEL_REPOSITORY_CLI";

/// Whose program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Kopia,
    Ours,
}

/// A program with its own home, connected to at most one repository.
#[derive(Debug)]
pub struct Client {
    whose: Whose,
    program: PathBuf,
    home: tempfile::TempDir,
    extra: Vec<(String, String)>,
}

impl Client {
    /// Kopia itself.
    pub fn kopia() -> Result<Self> {
        Self::new(Whose::Kopia, KOPIA)
    }

    /// `velero kopia`, as the engine's own small program.
    pub fn ours() -> Result<Self> {
        Self::new(Whose::Ours, OURS)
    }

    fn new(whose: Whose, variable: &str) -> Result<Self> {
        let program = std::env::var_os(variable)
            .with_context(|| format!("{variable} names no program; `cargo xtask interop` sets it"))?;
        Self::of(whose, program)
    }

    /// A program by its path.
    pub fn of(whose: Whose, program: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self {
            whose,
            program: program.into(),
            home: tempfile::tempdir()?,
            extra: Vec::new(),
        })
    }

    /// Sets a variable of the program's environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.extra.push((name.into(), value.into()));
        self
    }

    /// A command that is not started yet.
    pub fn command<A: AsRef<OsStr>>(&self, args: &[A]) -> Command {
        let home = self.home.path();
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("HOME", home)
            .env("TZ", "UTC")
            .env("KOPIA_PASSWORD", PASSWORD)
            .env("KOPIA_CHECK_FOR_UPDATES", "false")
            .env("KOPIA_CONFIG_PATH", home.join("repository.config"))
            .env("KOPIA_CACHE_DIRECTORY", home.join("cache"))
            .env("KOPIA_LOG_DIR", home.join("logs"))
            .env("VELERO_KOPIA_CONFIG_PATH", home.join("kopia.config"))
            .envs(self.extra.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end, whatever comes of it.
    pub fn run<A: AsRef<OsStr>>(&self, args: &[A]) -> Result<Output> {
        let words: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
        self.command(args)
            .output()
            .with_context(|| format!("{:?} {}", self.whose, words.join(" ")))
    }

    /// Runs a command that must succeed; what it printed.
    pub fn ok<A: AsRef<OsStr>>(&self, args: &[A]) -> Result<String> {
        let output = self.run(args)?;
        let words: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
        ensure!(
            output.status.success(),
            "{:?} {} ended with {}\n{}{}",
            self.whose,
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).context("the output is not text")
    }

    /// The same, read as JSON.
    pub fn json<A: AsRef<OsStr>>(&self, args: &[A]) -> Result<Value> {
        let text = self.ok(args)?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    /// Runs a command that must fail by itself (no signal, no panic); what it said.
    pub fn refused<A: AsRef<OsStr>>(&self, args: &[A]) -> Result<String> {
        let output = self.run(args)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(1 | 2) => Ok(said),
            other => bail!("{:?} was not refused ({other:?}): {said}", self.whose),
        }
    }

    /// Creates a repository in a folder and connects to it, as `default@default`.
    pub fn create(&self, folder: &Path, more: &[&str]) -> Result<()> {
        self.repository("create", folder, more)
    }

    /// Connects to the repository of a folder, as `default@default`.
    pub fn connect(&self, folder: &Path) -> Result<()> {
        self.repository("connect", folder, &[])
    }

    fn repository(&self, verb: &str, folder: &Path, more: &[&str]) -> Result<()> {
        let path = folder.to_string_lossy();
        let mut args = vec!["repository", verb, "filesystem", "--path", &path];
        args.extend(["--override-hostname=default", "--override-username=default"]);
        args.extend(more);
        self.ok(&args).map(drop)
    }

    /// Takes a snapshot of a folder; its id.
    pub fn snapshot(&self, folder: &Path) -> Result<String> {
        let folder = folder.to_string_lossy();
        let snapshot = self.json(&["snapshot", "create", &folder, "--json"])?;
        let id = snapshot["id"].as_str().context("a snapshot without an id")?;
        Ok(id.to_owned())
    }

    /// Restores a snapshot into a folder.
    pub fn restore(&self, snapshot: &str, into: &Path) -> Result<()> {
        let into = into.to_string_lossy();
        self.ok(&["snapshot", "restore", snapshot, &into]).map(drop)
    }

    /// Reads everything, by the program's own checks.
    pub fn verify(&self) -> Result<()> {
        self.ok(&["snapshot", "verify", "--verify-files-percent=100"])?;
        self.ok(&["content", "verify", "--full"]).map(drop)
    }
}
