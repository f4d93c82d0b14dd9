//! The list of scenarios, and `cargo xtask e2e`, which runs them one after another on a cluster.
//!
//! A scenario is a file `e2e/tests/<name>.rs` and a line here; a test keeps the two and the README in step.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::facts::{self, Facts, S3};
use crate::scenario::{Cluster, Leftovers};
use crate::{cluster, image, peer, places};

/// When a scenario runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// In every CI run.
    Gate,
    /// With `--full`: peers, kills, latency, large numbers.
    Full,
}

/// One scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its file's name.
    pub name: &'static str,
    /// When it runs.
    pub tier: Tier,
    /// What it shows.
    pub shows: &'static str,
    /// Whether the product takes part, so that its image must be loaded.
    pub product: bool,
    /// Whether the real Velero takes part, so that it must be built and loaded.
    pub peer: bool,
}

/// Every scenario, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "csi_sanity",
        tier: Tier::Gate,
        shows: "the CSI driver for tests passes the conformance suite",
        product: false,
        peer: false,
    },
    Scenario {
        name: "snapshot_and_clone",
        tier: Tier::Gate,
        shows: "a writer that runs during a snapshot finds an ordered prefix of its writes in the clone",
        product: false,
        peer: false,
    },
    Scenario {
        name: "move_data",
        tier: Tier::Gate,
        shows: "a volume with the awkward cases is backed up, lost with its namespace, and comes back equal",
        product: true,
        peer: false,
    },
    Scenario {
        name: "move_data_incremental",
        tier: Tier::Gate,
        shows: "a second backup moves only what changed",
        product: true,
        peer: false,
    },
    Scenario {
        name: "kopia_reads_ours",
        tier: Tier::Gate,
        shows: "Kopia verifies and restores our repository, and we restore Kopia's snapshot",
        product: true,
        peer: false,
    },
    Scenario {
        name: "bad_input",
        tier: Tier::Gate,
        shows: "wrong bucket, credentials, certificate, class, password and an unschedulable mover are refused with their reason",
        product: true,
        peer: false,
    },
    Scenario {
        name: "resources",
        tier: Tier::Gate,
        shows: "an application of every kind of object is lost and comes back equal under mapped names",
        product: true,
        peer: false,
    },
    Scenario {
        name: "block_volume",
        tier: Tier::Full,
        shows: "a volume that is a device is backed up twice, lost, and comes back with every byte",
        product: true,
        peer: false,
    },
    Scenario {
        name: "custom_mover",
        tier: Tier::Full,
        shows: "a data mover made of kubectl saves a volume and brings it back, and ours leaves it alone",
        product: true,
        peer: false,
    },
    Scenario {
        name: "repository_configuration",
        tier: Tier::Full,
        shows: "compression, maintenance's interval and a restore's cache volume are as configured, and Kopia reads what comes of it",
        product: true,
        peer: false,
    },
    Scenario {
        name: "maintenance",
        tier: Tier::Full,
        shows: "a repository is maintained by jobs, asked for and by itself; a failure says why, and old jobs go",
        product: true,
        peer: false,
    },
    Scenario {
        name: "hooks",
        tier: Tier::Full,
        shows: "hooks run in real containers, around the snapshot and before the application, and failures are said",
        product: true,
        peer: false,
    },
    Scenario {
        name: "csi_snapshot",
        tier: Tier::Full,
        shows: "a snapshot that stays in the storage outlives its namespace, is restored, and goes with its backup",
        product: true,
        peer: false,
    },
    Scenario {
        name: "velero_reads_ours",
        tier: Tier::Full,
        shows: "Velero and ours sync, describe and restore each other's backups, with the same result and warnings",
        product: true,
        peer: true,
    },
    Scenario {
        name: "velero_moves_ours",
        tier: Tier::Full,
        shows: "Velero and ours restore each other's moved data, files and a device, and go on from each other's snapshots",
        product: true,
        peer: true,
    },
    Scenario {
        name: "restarts",
        tier: Tier::Full,
        shows: "a server that is killed at random moments costs time and nothing else; of two, the other takes over",
        product: true,
        peer: false,
    },
    Scenario {
        name: "cancel",
        tier: Tier::Full,
        shows: "what is canceled or killed while data moves stops, says why, and leaves nothing",
        product: true,
        peer: false,
    },
    Scenario {
        name: "documented_commands",
        tier: Tier::Full,
        shows: "what Velero's page on data movement tells to type shows what it promises, phase by phase",
        product: true,
        peer: false,
    },
    Scenario {
        name: "restore_into_bare_cluster",
        tier: Tier::Full,
        shows: "moved data comes back where there are no snapshots, into a storage class of another name",
        product: true,
        peer: false,
    },
    // After those that need the real Velero's images: the new cluster has only ours.
    Scenario {
        name: "rescue_cluster",
        tier: Tier::Full,
        shows: "a cluster that is wiped with every secret comes back from its bucket by the same install command",
        product: true,
        peer: false,
    },
    // Last, because emptying its namespaces keeps the cluster busy for a while.
    Scenario {
        name: "conformance",
        tier: Tier::Gate,
        shows: "Kubernetes answers as the sandbox's checks say, so that those are right",
        product: false,
        peer: false,
    },
];

/// Another cluster than our own, as given on the command line.
#[derive(Debug, Clone, Default)]
pub struct Elsewhere {
    /// Kubeconfig of an administrator there.
    pub kubeconfig: Option<PathBuf>,
    /// StorageClass.
    pub storage_class: Option<String>,
    /// VolumeSnapshotClass.
    pub snapshot_class: Option<String>,
    /// CSI driver.
    pub driver: Option<String>,
    /// S3 server.
    pub s3_url: Option<String>,
    /// Its region.
    pub s3_region: Option<String>,
    /// An empty bucket there.
    pub s3_bucket: Option<String>,
    /// AWS credentials file.
    pub s3_credentials: Option<PathBuf>,
    /// Authority of its certificate.
    pub s3_ca: Option<PathBuf>,
    /// The `velero` command to drive.
    pub velero: Option<PathBuf>,
    /// The product's image there.
    pub image: Option<String>,
    /// An image with busybox there.
    pub application_image: Option<String>,
}

/// The scenarios of these names, in the list's order; all of the gate tier when none is named, all there are with `full`.
pub fn choose(names: &[String], full: bool) -> Result<Vec<Scenario>> {
    if let Some(unknown) = names
        .iter()
        .find(|name| !SCENARIOS.iter().any(|scenario| scenario.name == *name))
    {
        bail!("there is no scenario `{unknown}`; `cargo xtask e2e --list` names them");
    }
    Ok(SCENARIOS
        .iter()
        .filter(|scenario| {
            if names.is_empty() {
                full || scenario.tier == Tier::Gate
            } else {
                names.iter().any(|name| name == scenario.name)
            }
        })
        .copied()
        .collect())
}

/// Runs scenarios; an error when one fails. `profile` is cargo's, for the product's image.
pub fn run(scenarios: &[Scenario], elsewhere: &Elsewhere, profile: &str) -> Result<()> {
    let logs = target()?.join("e2e");
    fs::create_dir_all(&logs)?;
    let product = scenarios.iter().any(|scenario| scenario.product);
    let mut table = Table::default();
    let peer = scenarios.iter().any(|scenario| scenario.peer);
    let mut facts = prepare(&mut table, product, peer, elsewhere, profile)?;
    let programs = table.time("scenarios", || build_scenarios(scenarios))?;
    let facts_file = logs.join("facts.json");
    facts.write(&facts_file)?;
    let mut failed = Vec::new();
    for scenario in scenarios {
        println!("\n━━ {}: {}", scenario.name, scenario.shows);
        let log = logs.join(format!("{}.log", scenario.name));
        let begun = Instant::now();
        let before = looked_at(scenario, &facts)?;
        let program = programs
            .get(scenario.name)
            .with_context(|| format!("cargo built no program of scenario {}", scenario.name))?;
        let mut passed = run_one(program, &facts_file, &log)?;
        if renew(&mut facts)? {
            facts.write(&facts_file)?;
        } else if let Some((cluster, before)) = before
            && let Err(left) = before.none(&cluster)
        {
            println!("LEFT OVER: {left:#}");
            passed = false;
        }
        table.add(
            scenario.name,
            begun.elapsed().as_secs_f64(),
            if passed { "passed" } else { "FAILED" },
        );
        if !passed {
            failed.push(scenario.name);
        }
    }
    table.print();
    println!("logs: {}", logs.display());
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// What a bench needs: our own cluster up, with the product's image and the real Velero's as asked for.
pub fn prepared(product: bool, peer: bool, profile: &str) -> Result<Facts> {
    prepare(
        &mut Table::default(),
        product,
        peer,
        &Elsewhere::default(),
        profile,
    )
}

/// Brings up, builds and loads what is needed, and says how to reach it.
fn prepare(
    table: &mut Table,
    product: bool,
    peer: bool,
    elsewhere: &Elsewhere,
    profile: &str,
) -> Result<Facts> {
    let mut facts = if elsewhere.kubeconfig.is_some() {
        elsewhere.facts()?
    } else {
        let mut facts = table.time("cluster up", cluster::up)?;
        if product && elsewhere.image.is_none() {
            table.time("image", || cluster::load_image(&image::build_product(profile)?))?;
        }
        if peer {
            facts.peer = Some(table.time("the real Velero", peer::load)?);
        }
        facts
    };
    facts.velero = match (&elsewhere.velero, product) {
        (Some(velero), _) => Some(velero.clone()),
        (None, true) => Some(table.time("command", || {
            image::cargo_build(&image::as_tested("velero"), "velero")
        })?),
        (None, false) => None,
    };
    if let Some(image) = &elsewhere.image {
        facts.image.clone_from(image);
    }
    Ok(facts)
}

/// Prints the list.
pub fn list() {
    for scenario in SCENARIOS {
        println!(
            "{:<24} {:<6} {}",
            scenario.name,
            format!("{:?}", scenario.tier).to_lowercase(),
            scenario.shows
        );
    }
}

/// What is there before a scenario, where what it leaves can be seen: on our own cluster, with the product.
fn looked_at(scenario: &Scenario, facts: &Facts) -> Result<Option<(Cluster, Leftovers)>> {
    if facts.root.is_none() || !scenario.product {
        return Ok(None);
    }
    let cluster = Cluster::connect_to(facts.clone())?;
    let before = Leftovers::before(&cluster)?;
    Ok(Some((cluster, before)))
}

/// Takes over the facts of a cluster that a scenario has made in place of the old one; true when there is one.
fn renew(facts: &mut Facts) -> Result<bool> {
    let Some(root) = &facts.root else { return Ok(false) };
    let now =
        Facts::read_from(&root.join("facts.json")).context("the scenario has left no cluster behind")?;
    if now.mounts_pid == facts.mounts_pid {
        return Ok(false);
    }
    // The images of the real Velero went with the old cluster.
    let velero = facts.velero.take();
    *facts = Facts { velero, ..now };
    Ok(true)
}

/// Compiles the chosen scenarios together, so that none of their times is a compiler's. Gives their programs by name.
///
/// With the features that the whole workspace has: what others wrote is then the same as in every other build of tests.
fn build_scenarios(scenarios: &[Scenario]) -> Result<BTreeMap<String, PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args([
        "test",
        "--no-run",
        "--message-format=json-render-diagnostics",
        "--workspace",
        "--features",
        "caravel-e2e/cluster",
    ]);
    for scenario in scenarios {
        command.args(["--test", scenario.name]);
    }
    let built = command
        .current_dir(places::checkout())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(built.status.success(), "the scenarios do not compile");
    let manifest = places::checkout().join("e2e/Cargo.toml");
    let told = String::from_utf8_lossy(&built.stdout).into_owned();
    let messages = told
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = messages.filter(|message| message["manifest_path"].as_str().map(Path::new) == Some(&manifest));
    let programs = ours.filter_map(|message| {
        let name = message["target"]["name"].as_str()?.to_owned();
        Some((name, PathBuf::from(message["executable"].as_str()?)))
    });
    Ok(programs.collect())
}

/// Runs one scenario, its words both shown and kept.
fn run_one(program: &Path, facts_file: &Path, log: &Path) -> Result<bool> {
    let mut tee = Command::new("tee")
        .arg(log)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start tee, which keeps the log")?;
    let pipe = tee.stdin.take().context("tee has no input")?;
    let package = places::checkout().join("e2e");
    let status = Command::new(program)
        .args(["--nocapture", "--test-threads=1"])
        // As cargo would run it.
        .env("CARGO_MANIFEST_DIR", &package)
        .current_dir(&package)
        .env(facts::VARIABLE, facts_file)
        .env("RUST_BACKTRACE", "0")
        .stdout(pipe.try_clone_to_file()?)
        .stderr(pipe.into_file())
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    tee.wait()?;
    Ok(status.success())
}

/// A child's input as a file that another child may write to.
trait AsFile {
    fn try_clone_to_file(&self) -> std::io::Result<File>;
    fn into_file(self) -> File;
}

impl AsFile for std::process::ChildStdin {
    fn try_clone_to_file(&self) -> std::io::Result<File> {
        use std::os::fd::AsFd;
        self.as_fd().try_clone_to_owned().map(File::from)
    }

    fn into_file(self) -> File {
        File::from(std::os::fd::OwnedFd::from(self))
    }
}

/// Cargo's target folder.
fn target() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = crate::run::checked(
        Command::new(cargo)
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(places::checkout()),
    )?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    Ok(PathBuf::from(
        metadata["target_directory"]
            .as_str()
            .context("cargo metadata names no target folder")?,
    ))
}

impl Elsewhere {
    fn facts(&self) -> Result<Facts> {
        let need = |value: &Option<String>, flag: &str| {
            value
                .clone()
                .with_context(|| format!("--kubeconfig needs {flag} too: nothing is known of that cluster"))
        };
        let s3_url = need(&self.s3_url, "--s3-url")?;
        let host = s3_url
            .split("://")
            .nth(1)
            .unwrap_or_default()
            .split([':', '/'])
            .next()
            .unwrap_or_default()
            .to_owned();
        Ok(Facts {
            kubeconfig: self.kubeconfig.clone().context("--kubeconfig is missing")?,
            node_address: host,
            storage_class: need(&self.storage_class, "--storage-class")?,
            storage_class_waiting: None,
            snapshot_class: need(&self.snapshot_class, "--snapshot-class")?,
            driver: need(&self.driver, "--driver")?,
            image: need(&self.image, "--image")?,
            application_image: self
                .application_image
                .clone()
                .unwrap_or_else(|| "busybox".to_owned()),
            s3: S3 {
                url: s3_url,
                region: self.s3_region.clone().unwrap_or_else(|| "us-east-1".to_owned()),
                bucket: need(&self.s3_bucket, "--s3-bucket")?,
                ca_file: self.s3_ca.clone(),
                other_ca_file: None,
                credentials_file: self
                    .s3_credentials
                    .clone()
                    .context("--kubeconfig needs --s3-credentials too")?,
                folder: None,
            },
            root: None,
            mounts_pid: None,
            velero: self.velero.clone(),
            peer: None,
        })
    }
}

/// What ran and how long it took.
#[derive(Default)]
struct Table(Vec<(String, f64, String)>);

impl Table {
    fn add(&mut self, name: &str, seconds: f64, result: &str) {
        self.0.push((name.to_owned(), seconds, result.to_owned()));
    }

    fn time<T>(&mut self, name: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let result = action()?;
        self.add(name, begun.elapsed().as_secs_f64(), "");
        Ok(result)
    }

    fn print(&self) {
        println!("\n{:<28} {:>8}  result", "scenario", "minutes");
        for (name, seconds, result) in &self.0 {
            println!("{name:<28} {:>8.1}  {result}", seconds / 60.0);
        }
        println!(
            "{:<28} {:>8.1}",
            "total",
            self.0.iter().map(|(_, seconds, _)| seconds).sum::<f64>() / 60.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_a_file_a_target_and_a_line_in_the_readme() {
        let e2e = places::checkout().join("e2e");
        let manifest = fs::read_to_string(e2e.join("Cargo.toml")).expect("readable");
        let readme = fs::read_to_string(e2e.join("README.md")).expect("readable");
        for scenario in SCENARIOS {
            let name = scenario.name;
            assert!(
                e2e.join(format!("tests/{name}.rs")).is_file(),
                "e2e/tests/{name}.rs is missing"
            );
            assert!(
                manifest.contains(&format!("name = \"{name}\"")),
                "e2e/Cargo.toml has no [[test]] {name}"
            );
            assert!(
                readme.contains(&format!("`{name}`")),
                "e2e/README.md does not tell of {name}"
            );
        }
        for entry in fs::read_dir(e2e.join("tests")).expect("readable") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
                assert!(
                    SCENARIOS.iter().any(|scenario| scenario.name == name),
                    "{name} is not in the list"
                );
            }
        }
    }

    #[test]
    fn without_names_the_gate_runs() {
        assert_eq!(choose(&[], false).expect("all known").len(), 8);
        assert_eq!(choose(&["bad_input".to_owned()], false).expect("known").len(), 1);
        assert!(choose(&["nonsense".to_owned()], false).is_err());
    }
}
