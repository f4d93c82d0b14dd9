//! The real `kopia`, connected to one of the repositories that an installation has in its bucket.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Cluster, Installation};
use crate::go_pieces::{self, Piece};
use crate::run;

/// The `kopia` command with a connection of its own.
pub struct Kopia {
    program: PathBuf,
    home: tempfile::TempDir,
    password: String,
}

impl Kopia {
    /// Connects to the repository of that namespace's volumes, `kopia/<namespace>/` in the bucket, as the user that Velero
    /// writes it as.
    pub fn connect(cluster: &Cluster, installation: &Installation, namespace: &str) -> Result<Self> {
        let s3 = &cluster.facts().s3;
        let kopia = Self {
            program: go_pieces::provide(Piece::Kopia)?,
            home: tempfile::tempdir()?,
            password: installation.repository_password(cluster)?,
        };
        let credentials = fs::read_to_string(&s3.credentials_file)
            .with_context(|| format!("cannot read {}", s3.credentials_file.display()))?;
        let credential = |key: &str| {
            credentials
                .lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| name.trim() == key)
                .map(|(_, value)| value.trim().to_owned())
                .with_context(|| format!("{} has no {key}", s3.credentials_file.display()))
        };
        let (scheme, endpoint) = s3.url.split_once("://").context("an S3 URL with a scheme")?;
        let prefix = format!("--prefix=kopia/{namespace}/");
        let mut command = kopia.command(&["repository", "connect", "s3", &prefix]);
        command
            .arg(format!("--bucket={}", installation.bucket().name()))
            .arg(format!("--endpoint={endpoint}"))
            .arg(format!("--region={}", s3.region))
            .args(["--override-username=default", "--override-hostname=default"])
            .env("AWS_ACCESS_KEY_ID", credential("aws_access_key_id")?)
            .env("AWS_SECRET_ACCESS_KEY", credential("aws_secret_access_key")?);
        if scheme == "http" {
            command.arg("--disable-tls");
        }
        if let Some(ca) = &s3.ca_file {
            command.arg(format!("--root-ca-pem-path={}", ca.display()));
        }
        run::checked(&mut command)?;
        Ok(kopia)
    }

    /// Runs it, which must succeed; standard output.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        run::checked(&mut self.command(arguments))
    }

    /// Takes a snapshot of a folder and returns its id.
    pub fn snapshot(&self, folder: &Path) -> Result<String> {
        let said = self.run(&["snapshot", "create", "--json", &folder.to_string_lossy()])?;
        let manifest: Value = serde_json::from_str(said.trim()).context("kopia's answer is not JSON")?;
        let id = manifest["id"].as_str().context("kopia's answer has no id")?;
        ensure!(!id.is_empty(), "kopia's snapshot has no id");
        Ok(id.to_owned())
    }

    /// The manifests of all snapshots, of whatever source, with their counters (`stats`).
    pub fn manifests(&self) -> Result<Vec<Value>> {
        // Without the second flag the counters are left out.
        let said = self.run(&["snapshot", "list", "--all", "--json", "--json-verbose"])?;
        serde_json::from_str(said.trim()).context("kopia's list is not JSON")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let home = self.home.path();
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("HOME", home)
            .env("KOPIA_PASSWORD", &self.password)
            .env("KOPIA_CONFIG_PATH", home.join("repository.config"))
            .env("KOPIA_CACHE_DIRECTORY", home.join("cache"))
            .env("KOPIA_LOG_DIR", home.join("logs"))
            .env("KOPIA_CHECK_FOR_UPDATES", "false");
        command
    }
}
