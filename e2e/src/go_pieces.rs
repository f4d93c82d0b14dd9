//! Binaries that come from Go modules: pinned by `e2e/go/<piece>/{go.mod,go.sum}`, built once into the cache.
//!
//! A piece lies in `<cache>/go/<piece>-<hash of its pin files and flags>/`, so a changed pin is a new folder and an unchanged
//! one is never built twice. A folder with binaries that were built elsewhere is used when it has the piece *and* our pin
//! names the version that it holds, by its SHA-256 (see [`crate::places::prebuilt`]).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{image, places, run};

/// A binary that the cluster or a scenario needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet and kube-proxy in one.
    Kube,
    /// Binds VolumeSnapshots to their contents.
    SnapshotController,
    /// Sidecar: CreateSnapshot.
    CsiSnapshotter,
    /// Sidecar: CreateVolume.
    CsiProvisioner,
    /// The CSI conformance suite.
    CsiSanity,
    /// The S3 server.
    Versitygw,
    /// The peer of our repository.
    Kopia,
    /// The same with its build tag `testing`: takes its clock from an address, and keys cost nothing.
    KopiaTesting,
    /// The peer of our server and node agent; full tier only.
    Velero,
    /// The peer's plug-in; full tier only.
    VeleroPluginForAws,
    /// The peer's repository code alone, without a cluster.
    VeleroRepository,
}

struct Pin {
    name: &'static str,
    /// The package that is built.
    package: &'static str,
    /// Module and version that the go.mod must pin; also what the prebuilt binary holds.
    module: &'static str,
    version: &'static str,
    /// Linker flags after `-s -w`.
    ldflags: &'static str,
    /// Folder of its pin files below `e2e/go`.
    sources: &'static str,
    /// Build tags.
    tags: &'static str,
    /// SHA-256 of the unpacked prebuilt binary of this version, where one is known.
    prebuilt: Option<&'static str>,
    /// Minutes that a cold build took on two cores.
    minutes: &'static str,
}

impl Piece {
    /// Every piece.
    pub const ALL: [Self; 10] = [
        Self::Kube,
        Self::SnapshotController,
        Self::CsiSnapshotter,
        Self::CsiProvisioner,
        Self::CsiSanity,
        Self::Versitygw,
        Self::Kopia,
        Self::KopiaTesting,
        Self::Velero,
        Self::VeleroPluginForAws,
        Self::VeleroRepository,
    ];

    /// The piece of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|piece| piece.pin().name == name)
    }

    /// Name of the piece, its folder and its binary.
    pub fn name(self) -> &'static str {
        self.pin().name
    }

    fn pin(self) -> Pin {
        const SNAPSHOTTER: &str = "github.com/kubernetes-csi/external-snapshotter/v8";
        match self {
            Self::Kube => Pin {
                name: "kube",
                package: ".",
                module: "k8s.io/kubernetes",
                version: "v1.34.4",
                ldflags: "-X k8s.io/component-base/version.gitVersion=v1.34.4 \
                          -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34",
                sources: "kube",
                tags: "",
                prebuilt: Some("7d671383b34851fda041f15c49676471feaa228dcf4ade9750e078a2d2ffa849"),
                minutes: "12",
            },
            Self::SnapshotController => Pin {
                name: "snapshot-controller",
                package: "github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller",
                module: SNAPSHOTTER,
                version: "v8.7.0",
                ldflags: "-X main.version=v8.7.0",
                sources: "snapshot-controller",
                tags: "",
                prebuilt: Some("c444635f3e27ff62871bbf417db6a68d317d2577c77971f479c16305f4a8b733"),
                minutes: "3",
            },
            Self::CsiSnapshotter => Pin {
                name: "csi-snapshotter",
                package: "github.com/kubernetes-csi/external-snapshotter/v8/cmd/csi-snapshotter",
                module: SNAPSHOTTER,
                version: "v8.7.0",
                ldflags: "-X main.version=v8.7.0",
                sources: "csi-snapshotter",
                tags: "",
                prebuilt: Some("3eb1256ab6bf339bf4b62860c3acfb27a5d855c132be86b3defc9621825b3d40"),
                minutes: "1",
            },
            Self::CsiProvisioner => Pin {
                name: "csi-provisioner",
                package: "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner",
                module: "github.com/kubernetes-csi/external-provisioner/v6",
                version: "v6.3.0",
                ldflags: "-X main.version=v6.3.0",
                sources: "csi-provisioner",
                tags: "",
                prebuilt: Some("05c28b2f51ba3399fe6d43182a8da074d3a6ec246fc0cb2777d9bc50f43b86b6"),
                minutes: "3",
            },
            Self::CsiSanity => Pin {
                name: "csi-sanity",
                package: "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity",
                module: "github.com/kubernetes-csi/csi-test/v5",
                version: "v5.4.0",
                ldflags: "",
                sources: "csi-sanity",
                tags: "",
                prebuilt: Some("fca7775754f2e680cc877d8b695e956fab726c386f8774a4284a70854b2126b7"),
                minutes: "1",
            },
            Self::Versitygw => Pin {
                name: "versitygw",
                package: "github.com/versity/versitygw/cmd/versitygw",
                module: "github.com/versity/versitygw",
                version: "v1.8.0",
                ldflags: "",
                sources: "versitygw",
                tags: "",
                prebuilt: Some("3fe8747e197bd47f46ae57c8121fa83cdbabd22b24f74812a7e2854adc40d04b"),
                minutes: "4",
            },
            Self::Kopia => Pin {
                name: "kopia",
                package: "github.com/kopia/kopia",
                module: "github.com/kopia/kopia",
                version: "v0.22.3",
                ldflags: "",
                sources: "kopia",
                tags: "",
                prebuilt: Some("54328a38ccc439c3cd515409fe6510ac0643f2fec504a06e9d618e2b1f1bfb24"),
                minutes: "4",
            },
            Self::KopiaTesting => Pin {
                name: "kopia-testing",
                sources: "kopia",
                tags: "testing",
                prebuilt: None,
                ..Self::Kopia.pin()
            },
            Self::Velero => Pin {
                name: "velero",
                package: "github.com/vmware-tanzu/velero/cmd/velero",
                module: "github.com/vmware-tanzu/velero",
                version: "v1.18.3",
                ldflags: "-X github.com/vmware-tanzu/velero/pkg/buildinfo.Version=v1.18.3",
                sources: "velero",
                tags: "",
                prebuilt: None,
                minutes: "9",
            },
            Self::VeleroPluginForAws => Pin {
                name: "velero-plugin-for-aws",
                package: "github.com/vmware-tanzu/velero-plugin-for-aws/velero-plugin-for-aws",
                module: "github.com/vmware-tanzu/velero-plugin-for-aws",
                version: "v1.14.3",
                ldflags: "",
                sources: "velero-plugin-for-aws",
                tags: "",
                prebuilt: None,
                minutes: "7",
            },
            Self::VeleroRepository => Pin {
                name: "velero-repository",
                package: ".",
                module: "github.com/vmware-tanzu/velero",
                version: "v1.18.3",
                ldflags: "",
                prebuilt: None,
                minutes: "6",
            },
        }
    }
}

/// The binary of a piece: from the cache, else from a prebuilt one of the pinned version, else built now.
pub fn provide(piece: Piece) -> Result<PathBuf> {
    let pin = piece.pin();
    let sources = places::checkout().join("e2e/go").join(pin.sources);
    let folder = places::cache()?
        .join("go")
        .join(format!("{}-{}", pin.name, fingerprint(&sources, &pin)?));
    let binary = folder.join(pin.name);
    let origin = folder.join("origin");
    let was_unpacked = fs::read_to_string(&origin).is_ok_and(|text| text.starts_with("unpacked"));
    if binary.is_file() && (!was_unpacked || places::prebuilt().is_some()) {
        return Ok(binary);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let begun = Instant::now();
    let partial = folder.join(format!("partial-{}", std::process::id()));
    let how = match unpack(&pin, &partial)? {
        Some(from) => format!("unpacked from {}", from.display()),
        None => {
            println!(
                "building {} {} from its module (about {} min cold)",
                pin.name, pin.version, pin.minutes
            );
            build(&sources, &pin, &partial)?;
            "built from its module".to_owned()
        }
    };
    fs::rename(&partial, &binary).with_context(|| format!("cannot put {} in place", binary.display()))?;
    let how = format!("{how} in {:.0} s", begun.elapsed().as_secs_f64());
    fs::write(origin, &how)?;
    println!("{} {}: {how}", pin.name, pin.version);
    Ok(binary)
}

/// Hash of everything that decides what the binary is.
fn fingerprint(sources: &Path, pin: &Pin) -> Result<String> {
    let mut hash = Sha256::new();
    for file in ["go.mod", "go.sum", "main.go"] {
        match fs::read(sources.join(file)) {
            Ok(content) => {
                if file == "go.mod" && !pins(&String::from_utf8_lossy(&content), pin) {
                    bail!(
                        "{}/go.mod does not pin {} {}",
                        sources.display(),
                        pin.module,
                        pin.version
                    );
                }
                hash.update(file);
                hash.update(content);
            }
            Err(_) if file == "main.go" => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}/{file}", sources.display()));
            }
        }
    }
    hash.update(pin.package);
    hash.update(pin.ldflags);
    hash.update(pin.tags);
    Ok(hex::encode(hash.finalize())[..12].to_owned())
}

fn pins(go_mod: &str, pin: &Pin) -> bool {
    go_mod.lines().any(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word == "require");
        words.next() == Some(pin.module) && words.next() == Some(pin.version)
    })
}

/// Unpacks the prebuilt binary when it is exactly the pinned one; none when there is nothing to use.
fn unpack(pin: &Pin, to: &Path) -> Result<Option<PathBuf>> {
    let (Some(folder), Some(expected)) = (places::prebuilt(), pin.prebuilt) else {
        return Ok(None);
    };
    let packed = folder.join(format!("{}.zst", pin.name));
    if !packed.is_file() {
        return Ok(None);
    }
    run::checked(
        Command::new("zstd")
            .args(["-q", "-d", "-f", "--long=27"])
            .arg(&packed)
            .arg("-o")
            .arg(to),
    )?;
    let found = image::sha256(&fs::read(to)?);
    if found != expected {
        println!(
            "{} holds another build ({found}) than the pinned {}; it is not used",
            packed.display(),
            pin.version
        );
        fs::remove_file(to)?;
        return Ok(None);
    }
    let mut permissions = fs::metadata(to)?.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    fs::set_permissions(to, permissions)?;
    Ok(Some(packed))
}

fn build(sources: &Path, pin: &Pin, to: &Path) -> Result<()> {
    run::shown(
        Command::new("go")
            .args([
                "build",
                "-trimpath",
                "-mod=readonly",
                "-tags",
                pin.tags,
                "-ldflags",
                &format!("-s -w {}", pin.ldflags),
                "-o",
            ])
            .arg(to)
            .arg(pin.package)
            .current_dir(sources)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-buildvcs=false"),
    )
    .with_context(|| format!("cannot build {} {}", pin.name, pin.version))
}

/// Folder with the YAML of the snapshot CRDs (group snapshots too: the controller exits without them), from their Go module.
pub fn snapshot_crds() -> Result<PathBuf> {
    const MODULE: &str = "github.com/kubernetes-csi/external-snapshotter/client/v8@v8.7.0";
    #[derive(Deserialize)]
    struct Downloaded {
        #[serde(rename = "Dir")]
        dir: PathBuf,
    }
    let folder = places::cache()?.join("go/snapshot-crds-v8.7.0");
    if folder.join("complete").exists() {
        return Ok(folder.join("crd"));
    }
    let answer = run::checked(
        Command::new("go")
            .args(["mod", "download", "-json", MODULE])
            .current_dir("/"),
    )?;
    let downloaded: Downloaded =
        serde_json::from_str(&answer).context("cannot read `go mod download -json`")?;
    fs::create_dir_all(folder.join("crd"))?;
    for entry in fs::read_dir(downloaded.dir.join("config/crd"))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.contains("snapshot.storage") {
            let text = fs::read_to_string(&path)?;
            fs::write(folder.join("crd").join(name), text)?;
        }
    }
    fs::write(folder.join("complete"), "")?;
    Ok(folder.join("crd"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_pinned_by_its_go_mod() {
        for piece in Piece::ALL {
            let pin = piece.pin();
            fingerprint(&places::checkout().join("e2e/go").join(pin.sources), &pin).expect("pinned");
        }
    }

    #[test]
    fn another_version_is_not_the_pinned_one() {
        let pin = Piece::Kopia.pin();
        assert!(pins("require github.com/kopia/kopia v0.22.3", &pin));
        assert!(pins(
            "require (\n\tgithub.com/kopia/kopia v0.22.3 // indirect\n)",
            &pin
        ));
        assert!(!pins("require github.com/kopia/kopia v0.22.4", &pin));
    }
}
