//! The real kubectl, as people use it.

mod reading;
mod running;
mod writing;

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::{Check, World};

pub(super) fn checks() -> Vec<Check> {
    [reading::checks(), writing::checks(), running::checks()].concat()
}

/// What kubectl said, and whether it succeeded.
struct Said {
    ok: bool,
    out: String,
    errors: String,
}

impl Said {
    fn ok(self) -> Result<String> {
        ensure!(self.ok, "kubectl failed: {}{}", self.out, self.errors);
        Ok(self.out)
    }

    fn failed(self) -> Result<String> {
        ensure!(!self.ok, "kubectl should have failed, said: {}", self.out);
        Ok(self.errors)
    }
}

/// Runs kubectl in the check's namespace, with this on its standard input.
async fn kubectl_reading(world: &World, arguments: &[&str], input: &str) -> Result<Said> {
    let home = tempfile::tempdir()?;
    let mut child = Command::new("kubectl")
        .args(["--namespace", &world.namespace])
        .args(arguments)
        .env("KUBECONFIG", world.kubeconfig.clone().unwrap_or_default())
        .env("HOME", home.path())
        // An editor for `edit`: replaces one word.
        .env("EDITOR", "sed -i s/before/after/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run kubectl")?;
    let mut stdin = child.stdin.take().context("kubectl has no input")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said {
        ok: output.status.success(),
        out: text(&output.stdout),
        errors: text(&output.stderr),
    })
}

async fn kubectl(world: &World, arguments: &[&str]) -> Result<Said> {
    kubectl_reading(world, arguments, "").await
}

/// A table's line as words.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn has(text: &str, pieces: &[&str]) -> Result<()> {
    for piece in pieces {
        ensure!(
            text.contains(piece),
            "{piece:?} is not in what kubectl said:\n{text}"
        );
    }
    Ok(())
}
