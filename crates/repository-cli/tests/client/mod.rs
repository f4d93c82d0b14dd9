//! A person at a terminal: types commands, reads what comes back.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use caravel_repository_cli::{Args, Console, Failure};
use clap::Parser;

pub const PASSWORD: &str = "correct horse";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

/// What a command printed.
pub struct Printed {
    pub data: Vec<u8>,
    pub text: String,
    pub talk: String,
}

impl Printed {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }
}

/// One configuration file and a folder of its own.
pub struct Client {
    pub folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    pub fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        Self {
            folder: tempfile::tempdir().unwrap(),
            runtime: runtime.unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config_file(&self) -> PathBuf {
        self.path("config/kopia.config")
    }

    /// With a repository in `repository`, connected.
    pub fn with_repository() -> Self {
        let client = Self::new();
        let path = client.path("repository");
        client.ok(&[
            "repository",
            "create",
            "filesystem",
            "--path",
            path.to_str().unwrap(),
        ]);
        client
    }

    pub fn ok(&self, args: &[&str]) -> Printed {
        let (result, printed) = self.with_password(PASSWORD, args);
        if let Err(failure) = result {
            panic!("{args:?}: {failure}\n{}", printed.talk);
        }
        printed
    }

    pub fn refused(&self, args: &[&str]) -> Failure {
        let (result, printed) = self.with_password(PASSWORD, args);
        match result {
            Ok(()) => panic!("{args:?} was done: {}{}", printed.text, printed.talk),
            Err(failure) => failure,
        }
    }

    pub fn with_password(&self, password: &str, args: &[&str]) -> (Result<(), Failure>, Printed) {
        let config = self.config_file();
        let own = [
            "velero",
            "--config-file",
            config.to_str().unwrap(),
            "--password",
            password,
        ];
        self.type_line(&own, args)
    }

    pub fn type_line(&self, own: &[&str], args: &[&str]) -> (Result<(), Failure>, Printed) {
        let args = Cli::parse_from(own.iter().chain(args)).args;
        let (console, captured) = Console::captured();
        let result = self.runtime.block_on(caravel_repository_cli::run(args, console));
        let printed = Printed {
            data: captured.data(),
            text: captured.text(),
            talk: captured.talk(),
        };
        (result, printed)
    }

    /// A small tree: two files, one of them below a folder, and a link.
    pub fn tree(&self) -> PathBuf {
        let tree = self.path("tree");
        std::fs::create_dir_all(tree.join("sub")).unwrap();
        std::fs::write(tree.join("a"), "hello\n").unwrap();
        std::fs::write(tree.join("sub/b"), noise(300_000)).unwrap();
        std::os::unix::fs::symlink("a", tree.join("l")).unwrap();
        tree
    }

    /// Takes a snapshot of `tree` and gives its id.
    pub fn snapshot(&self, tree: &Path) -> String {
        let printed = self.ok(&["snapshot", "create", tree.to_str().unwrap(), "--json"]);
        printed.json()["id"].as_str().unwrap().to_owned()
    }
}

/// Bytes that do not repeat.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 7u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Every file below a folder with its bytes.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.insert(path, bytes);
            }
        }
    }
    found
}
