//! The real kopia (v0.22.3, build tag `testing`) as a client of a store in this process, on this test's clock. The program
//! is found by `CARAVEL_KOPIA_TESTING`, else where `cargo xtask pieces kopia-testing` puts it.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use caravel_repository::{KeyDerivation, RepositoryError};
use caravel_storage::s3::storage_server::{BUCKET, StorageServer};

pub const PASSWORD: &str = "static-passw0rd";

/// What Kopia's `testing` build makes new repositories with: one hash of the password, no salt.
pub struct TestingKeys;

impl KeyDerivation for TestingKeys {
    fn derive(
        &self,
        _: &str,
        password: &[u8],
        _: &[u8],
    ) -> Result<zeroize::Zeroizing<[u8; 32]>, RepositoryError> {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, password);
        Ok(zeroize::Zeroizing::new(digest.as_ref().try_into().unwrap()))
    }
}

/// The program, or none when this is not CI.
pub fn program() -> Option<PathBuf> {
    let named = std::env::var_os("CARAVEL_KOPIA_TESTING").map(PathBuf::from);
    let found = named.or_else(cached);
    if found.is_none() {
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!ci, "CARAVEL_KOPIA_TESTING must name kopia's testing build in CI");
        eprintln!("skipped: `cargo xtask pieces kopia-testing` builds the kopia that this test needs");
    }
    found
}

fn cached() -> Option<PathBuf> {
    let cache = match std::env::var_os("CARAVEL_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache/caravel"),
    };
    let pieces = std::fs::read_dir(cache.join("go")).ok()?.flatten();
    pieces
        .map(|piece| piece.path().join("kopia-testing"))
        .find(|binary| binary.is_file())
}

/// One client with a home of its own.
pub struct TimedKopia {
    program: PathBuf,
    home: tempfile::TempDir,
    address: String,
    pub user: String,
}

impl TimedKopia {
    pub fn new(program: &Path, server: &StorageServer, user: &str) -> Self {
        Self {
            program: program.to_owned(),
            home: tempfile::tempdir().unwrap(),
            address: server.address(),
            user: user.to_owned(),
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .arg("--no-progress")
            .env("HOME", self.home.path())
            .env("KOPIA_PASSWORD", PASSWORD)
            .env("KOPIA_CHECK_FOR_UPDATES", "false")
            .env("KOPIA_CONFIG_PATH", self.home.path().join("repository.config"))
            .env("KOPIA_CACHE_DIRECTORY", self.home.path().join("cache"))
            .env("KOPIA_LOG_DIR", self.home.path().join("logs"))
            .env(
                "KOPIA_FAKE_CLOCK_ENDPOINT",
                format!("http://{}/-/clock", self.address),
            );
        command
    }

    pub fn try_run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What it printed on stdout; a failure shows everything.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.try_run(args);
        assert!(
            output.status.success(),
            "kopia {args:?} failed\nstdout: {}\nstderr: {}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `repository create` or `repository connect`.
    pub fn repository(&self, verb: &str) {
        let user = format!("--override-username={}", self.user);
        let bucket = format!("--bucket={BUCKET}");
        let endpoint = format!("--endpoint={}", self.address);
        self.run(&[
            "repository",
            verb,
            "s3",
            &bucket,
            &endpoint,
            "--disable-tls",
            "--region=us-east-1",
            "--access-key=key",
            "--secret-access-key=secret",
            &user,
            "--override-hostname=host",
        ]);
    }
}
