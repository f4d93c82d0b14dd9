//! Somebody else's data mover: the sample in `examples/custom-data-mover/`, in both directions.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use caravel_e2e::scenario::{Cluster, Installation, Kind, NAMESPACE, Shop, step};

const MOVER: &str = "tar-files";
const FILL: &str =
    "mkdir folder; head -c 3000000 /dev/urandom > folder/noise; echo hello > name; : > empty; sync";
/// Contents alone: what a tar of busybox does not keep (times below a second) is none of ours.
const DIGEST: &str = "find . -type f | sort | xargs sha256sum | sha256sum";

/// The script at work; it ends with this.
struct Mover {
    child: Child,
    store: PathBuf,
}

impl Mover {
    fn start(cluster: &Cluster, folder: &Path) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/custom-data-mover/mover.sh");
        let store = folder.join("store");
        let child = Command::new("bash")
            .arg(&script)
            .arg("serve")
            .env("KUBECONFIG", &cluster.facts().kubeconfig)
            .env("MOVER_STORE", &store)
            .env("MOVER_IMAGE", &cluster.facts().application_image)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", script.display()))?;
        Ok(Self { child, store })
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        let _ = std::fs::write(self.store.join("stop"), "");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_data_mover_made_of_kubectl_saves_a_volume_and_brings_it_back() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "custom_mover")?;
    let shop = step("create the shop", || Shop::named("shop").create(&cluster))?;
    step("fill its volume", || shop.run(&cluster, FILL))?;
    let before = shop.run(&cluster, DIGEST)?;
    let folder = std::env::temp_dir().join(format!("caravel-custom-mover-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mover = Mover::start(&cluster, &folder)?;
    step("back up with it", || {
        cluster.velero_ok(&shop.backup_words("b1", &["--data-mover", MOVER, "--wait"]))
    })?;
    let within = Duration::from_secs(30);
    cluster.wait_for_phase(Kind::BACKUP, NAMESPACE, "b1", &["Completed"], within)?;
    let uploads = installation.data_uploads(&cluster, "b1")?;
    let upload = uploads.first().context("the backup has no DataUpload")?;
    ensure!(
        upload["spec"]["datamover"] == MOVER && upload["status"]["node"] == MOVER,
        "somebody else has moved {upload}"
    );
    ensure!(
        upload["metadata"]["finalizers"].is_null(),
        "ours has touched {upload}"
    );
    step("lose the namespace", || shop.destroy(&cluster))?;
    step("restore", || {
        cluster.velero_ok(&["restore", "create", "r1", "--from-backup", "b1", "--wait"])
    })?;
    cluster.wait_for_phase(Kind::RESTORE, NAMESPACE, "r1", &["Completed"], within)?;
    let downloads = cluster.list(Kind::DATA_DOWNLOAD, NAMESPACE, "")?;
    ensure!(
        downloads
            .iter()
            .any(|download| download["spec"]["datamover"] == MOVER),
        "the restore did not take the backup's own mover"
    );
    step("the application runs again", || shop.pod(&cluster))?;
    let after = shop.run(&cluster, DIGEST)?;
    ensure!(after == before, "the volume holds {after}, it held {before}");
    step("nothing temporary is left", || {
        installation.nothing_temporary_is_left(&cluster)
    })?;
    drop(mover);
    std::fs::remove_dir_all(&folder)?;
    shop.destroy(&cluster)
}
