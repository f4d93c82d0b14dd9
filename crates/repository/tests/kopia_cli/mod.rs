//! Runs the real kopia (v0.22.3) against a repository on disk. It is found by the environment variable
//! `CARAVEL_KOPIA`, else where `cargo xtask pieces kopia` puts it; a test without it says so and passes, except in CI,
//! where it fails.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// One kopia client: a binary, a home of its own, a password.
pub struct Kopia {
    binary: PathBuf,
    home: tempfile::TempDir,
}

pub const PASSWORD: &str = "static-passw0rd";

/// Who it is, and that it must see at once what others write.
const CLIENT: [&str; 3] = [
    "--override-hostname=default",
    "--override-username=default",
    "--max-list-cache-duration=0s",
];

impl Kopia {
    /// `None` when there is no kopia here and this is not CI.
    pub fn find() -> Option<Self> {
        let named = std::env::var_os("CARAVEL_KOPIA").map(PathBuf::from);
        let Some(binary) = named.or_else(cached) else {
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!ci, "CARAVEL_KOPIA must name the kopia binary in CI");
            eprintln!("skipped: set CARAVEL_KOPIA to a kopia v0.22.3 binary to run this test");
            return None;
        };
        Some(Self {
            binary,
            home: tempfile::tempdir().unwrap(),
        })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(args)
            .env("HOME", self.home.path())
            .env("KOPIA_PASSWORD", PASSWORD)
            .env("KOPIA_CHECK_FOR_UPDATES", "false")
            .env("KOPIA_CONFIG_PATH", self.home.path().join("repository.config"))
            .env("KOPIA_CACHE_DIRECTORY", self.home.path().join("cache"))
            .env("KOPIA_LOG_DIR", self.home.path().join("logs"));
        command
    }

    /// Runs and returns what it printed on stdout; a failure shows everything.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.try_run(args);
        assert!(
            output.status.success(),
            "kopia {args:?} failed\nstdout: {}\nstderr: {}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same with more in its environment.
    pub fn run_with(&self, args: &[&str], environment: &[(&str, &str)]) -> String {
        let output = self
            .command(args)
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let (stdout, stderr) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kopia {args:?} failed\nstderr: {stderr}");
        String::from_utf8_lossy(stdout).into_owned()
    }

    pub fn try_run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn connect(&self, path: &Path) {
        let path = path.to_str().unwrap();
        let mut args = vec!["repository", "connect", "filesystem", "--path", path];
        args.extend(CLIENT);
        self.run(&args);
    }

    pub fn create(&self, path: &Path, more: &[&str]) {
        let path = path.to_str().unwrap();
        let mut args = vec!["repository", "create", "filesystem", "--path", path];
        args.extend(CLIENT);
        args.extend(more);
        self.run(&args);
    }

    /// Everything in the repository is readable and consistent, as far as kopia can tell.
    pub fn verify(&self) {
        self.run(&["snapshot", "verify", "--verify-files-percent=100"]);
        self.run(&["content", "verify", "--full", "--download-percent=100"]);
    }
}

/// The binary that `cargo xtask pieces kopia` built.
fn cached() -> Option<PathBuf> {
    let cache = match std::env::var_os("CARAVEL_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache/caravel"),
    };
    let pieces = std::fs::read_dir(cache.join("go")).ok()?.flatten();
    let kopias = pieces.filter(|piece| piece.file_name().to_string_lossy().starts_with("kopia-"));
    kopias
        .map(|piece| piece.path().join("kopia"))
        .find(|binary| binary.is_file())
}
