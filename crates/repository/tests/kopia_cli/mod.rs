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

    pub fn try_run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn connect(&self, path: &Path) {
        let path = path.to_str().unwrap();
        let identity = ["--override-hostname=default", "--override-username=default"];
        self.run(&[
            "repository",
            "connect",
            "filesystem",
            "--path",
            path,
            identity[0],
            identity[1],
        ]);
    }

    pub fn create(&self, path: &Path, more: &[&str]) {
        let path = path.to_str().unwrap();
        let identity = ["--override-hostname=default", "--override-username=default"];
        let mut args = vec![
            "repository",
            "create",
            "filesystem",
            "--path",
            path,
            identity[0],
            identity[1],
        ];
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
