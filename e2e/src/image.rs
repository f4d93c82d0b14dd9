//! Container images without a container daemon: a docker-archive tar, one layer, made from files.
//!
//! The archive holds the layer, the image's configuration (named by its SHA-256) and `manifest.json`; `ctr images import`
//! takes it. Times are zero and names sorted, so equal files give an equal image. People with a container daemon use
//! deploy/Containerfile instead.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{places, run};

/// The product, as the cluster knows it.
pub const PRODUCT_IMAGE: &str = "docker.io/local/velero:dev";
/// Busybox, for applications.
pub const BUSYBOX_IMAGE: &str = "docker.io/local/busybox:1";

const MUSL: &str = "x86_64-unknown-linux-musl";

/// An image of one layer, in memory.
pub struct Image {
    name: String,
    entrypoint: Vec<String>,
    layer: tar::Builder<Vec<u8>>,
}

impl Image {
    /// An image without files; `name` is its full name with tag.
    pub fn new(name: &str, entrypoint: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            entrypoint: entrypoint.iter().map(|word| (*word).to_owned()).collect(),
            layer: tar::Builder::new(Vec::new()),
        }
    }

    /// Adds a file; `path` is relative to `/`.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let mut header = header(tar::EntryType::Regular, mode);
        header.set_size(content.len() as u64);
        self.layer
            .append_data(&mut header, path, content)
            .with_context(|| format!("cannot add {path}"))
    }

    /// Adds a folder.
    pub fn folder(&mut self, path: &str, mode: u32) -> Result<()> {
        let mut header = header(tar::EntryType::Directory, mode);
        header.set_size(0);
        self.layer
            .append_data(&mut header, path, std::io::empty())
            .with_context(|| format!("cannot add {path}"))
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> Result<()> {
        let mut header = header(tar::EntryType::Symlink, 0o777);
        header.set_size(0);
        self.layer
            .append_link(&mut header, path, target)
            .with_context(|| format!("cannot add {path}"))
    }

    /// Writes the archive.
    pub fn write(self, archive: &Path) -> Result<()> {
        let layer = self.layer.into_inner().context("cannot finish the layer")?;
        let config = config(&self.entrypoint, &sha256(&layer)).to_string().into_bytes();
        let config_name = format!("{}.json", sha256(&config));
        let manifest = json!([{"Config": config_name, "RepoTags": [self.name], "Layers": ["layer.tar"]}])
            .to_string()
            .into_bytes();
        let file = File::create(archive).with_context(|| format!("cannot create {}", archive.display()))?;
        let mut outer = tar::Builder::new(BufWriter::new(file));
        for (name, content) in [
            (config_name.as_str(), &config),
            ("layer.tar", &layer),
            ("manifest.json", &manifest),
        ] {
            let mut header = header(tar::EntryType::Regular, 0o644);
            header.set_size(content.len() as u64);
            outer.append_data(&mut header, name, content.as_slice())?;
        }
        outer
            .into_inner()?
            .into_inner()
            .context("cannot write the archive")?;
        Ok(())
    }
}

/// Busybox with its applets as links.
pub fn busybox(name: &str, entrypoint: &[&str]) -> Result<Image> {
    const BUSYBOX: &str = "/bin/busybox";
    let mut image = Image::new(name, entrypoint);
    for (folder, mode) in [("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777)] {
        image.folder(folder, mode)?;
    }
    image.file(
        "bin/busybox",
        0o755,
        &fs::read(BUSYBOX).context("busybox-static is not installed")?,
    )?;
    for applet in run::output(BUSYBOX, &["--list"])?
        .lines()
        .filter(|applet| *applet != "busybox")
    {
        image.link(&format!("bin/{applet}"), "busybox")?;
    }
    image.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    image.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    Ok(image)
}

/// The product's image from a static `velero`: that one file, and nothing else (the CA roots are compiled in).
pub fn product(binary: &Path, archive: &Path) -> Result<()> {
    let mut image = Image::new(PRODUCT_IMAGE, &["/velero"]);
    let content = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    image.file("velero", 0o755, &content)?;
    image.write(archive)
}

/// Where the archive of the product's image is, once it was built.
pub fn product_archive() -> Result<PathBuf> {
    Ok(places::cache()?.join("images/velero-dev.tar"))
}

/// Builds the static `velero` and its image; returns the archive. `profile` is cargo's: `image`, or `dev` while developing.
pub fn build_product(profile: &str) -> Result<PathBuf> {
    let installed = run::output("rustup", &["target", "list", "--installed"])?;
    if !installed.lines().any(|target| target == MUSL) {
        run::shown(Command::new("rustup").args(["target", "add", MUSL]))?;
    }
    let binary = cargo_build(
        &[
            "--profile",
            profile,
            "--target",
            MUSL,
            "--package",
            "caravel-velero",
            "--bin",
            "velero",
            // Without the sandbox: the image holds no fakes.
            "--no-default-features",
        ],
        "velero",
    )?;
    let archive = product_archive()?;
    let folder = archive.parent().context("an archive lies in a folder")?;
    fs::create_dir_all(folder)?;
    let partial = folder.join(format!("velero-dev.{}.partial", std::process::id()));
    product(&binary, &partial)?;
    fs::rename(&partial, &archive)?;
    let size = fs::metadata(&archive)?.len();
    println!(
        "{PRODUCT_IMAGE}: {} ({:.1} MB)",
        archive.display(),
        size as f64 / 1e6
    );
    Ok(archive)
}

/// Cargo's arguments for a program with the features that it has when all tests are built: with any others every third-party
/// crate is compiled once more. Naming a test, a small one, is what makes cargo count the features of tests.
pub fn as_tested(program: &str) -> [&str; 5] {
    ["--workspace", "--bin", program, "--test", "crds_equal_velero"]
}

/// Runs `cargo build` with its talk shown and returns the path of the named program that it made.
pub fn cargo_build(arguments: &[&str], program: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // In CI the lock file is the truth; at a desk a new dependency may just be on its way in.
    let locked: &[&str] = if std::env::var_os("CI").is_some() {
        &["--locked"]
    } else {
        &[]
    };
    let output = Command::new(cargo)
        .args(["build", "--message-format=json-render-diagnostics"])
        .args(locked)
        .args(arguments)
        .current_dir(places::checkout())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!(
            "`cargo build {}` failed; the compiler's words are above",
            arguments.join(" ")
        );
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == program)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built no program called {program}"))
}

/// SHA-256 as hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn config(entrypoint: &[String], layer_digest: &str) -> Value {
    json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": entrypoint, "Env": ["PATH=/bin:/usr/bin:/sbin:/usr/sbin:/"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_files_give_an_equal_archive_that_names_its_parts() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let make = |name: &str| {
            let mut image = Image::new("docker.io/local/x:1", &["/x"]);
            image.file("x", 0o755, b"program").expect("a file");
            let path = folder.path().join(name);
            image.write(&path).expect("written");
            fs::read(path).expect("there")
        };
        let first = make("a.tar");
        assert_eq!(first, make("b.tar"));
        let mut archive = tar::Archive::new(first.as_slice());
        let names: Vec<String> = archive
            .entries()
            .expect("a tar")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .path()
                    .expect("a path")
                    .display()
                    .to_string()
            })
            .collect();
        assert_eq!(names.len(), 3);
        assert_eq!(names[1..], ["layer.tar", "manifest.json"]);
    }
}
