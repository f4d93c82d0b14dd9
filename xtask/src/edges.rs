//! Which crate may use which: the table of style.md section 3 as a check.
//!
//! A crate exists to enforce one sentence, and most of those sentences are about what a crate must *not* know. The table
//! below is the whole truth about edges between our crates; `cargo xtask edges` (and a test) fails when a manifest says
//! otherwise. Development dependencies are free, except upwards into the binary.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Crate → the crates of ours it may use. Read downwards: a crate may only name crates that stand above it here.
const ALLOWED: &[(&str, &[&str])] = &[
    // Bytes side: no Kubernetes.
    ("caravel-storage", &[]),
    ("caravel-repository", &["caravel-storage"]),
    ("caravel-uploader", &["caravel-repository"]),
    (
        "caravel-repository-cli",
        &["caravel-storage", "caravel-repository", "caravel-uploader"],
    ),
    // Only for tests: Velero's own table tests.
    ("caravel-cases", &[]),
    // Kubernetes side.
    ("caravel-api", &[]),
    ("caravel-csi", &[]),
    ("caravel-item-action", &["caravel-api"]),
    ("caravel-hooks", &["caravel-api"]),
    ("caravel-resource-policies", &[]),
    ("caravel-backup-store", &["caravel-api", "caravel-storage"]),
    (
        "caravel-exposer",
        &["caravel-api", "caravel-csi", "caravel-backup-store"],
    ),
    (
        "caravel-backup",
        &[
            "caravel-api",
            "caravel-csi",
            "caravel-backup-store",
            "caravel-item-action",
            "caravel-hooks",
            "caravel-resource-policies",
        ],
    ),
    (
        "caravel-restore",
        &[
            "caravel-api",
            "caravel-csi",
            "caravel-backup-store",
            "caravel-item-action",
            "caravel-hooks",
            "caravel-resource-policies",
        ],
    ),
    // Where the two sides meet.
    (
        "caravel-backup-repository",
        &[
            "caravel-api",
            "caravel-storage",
            "caravel-repository",
            "caravel-backup-store",
        ],
    ),
    (
        "caravel-data-mover",
        &[
            "caravel-api",
            "caravel-backup-store",
            "caravel-backup-repository",
            "caravel-repository",
            "caravel-uploader",
        ],
    ),
    (
        "caravel-controllers",
        &[
            "caravel-api",
            "caravel-csi",
            "caravel-backup-store",
            "caravel-item-action",
            "caravel-hooks",
            "caravel-resource-policies",
            "caravel-exposer",
            "caravel-backup",
            "caravel-restore",
            "caravel-backup-repository",
            "caravel-data-mover",
        ],
    ),
    // The sandbox: a cluster in one process. It never imports a controller; the binary puts the two together.
    ("caravel-csi-driver", &[]),
    ("caravel-api-server", &[]),
    (
        "caravel-sandbox",
        &["caravel-api-server", "caravel-csi", "caravel-csi-driver"],
    ),
    (
        "caravel-velero",
        &[
            "caravel-api",
            "caravel-csi",
            "caravel-storage",
            "caravel-backup-store",
            "caravel-backup-repository",
            "caravel-controllers",
            "caravel-data-mover",
            "caravel-exposer",
            "caravel-repository-cli",
            "caravel-sandbox",
        ],
    ),
    // Tests and tasks: never under anything above.
    (
        "caravel-simulation",
        &[
            "caravel-api",
            "caravel-storage",
            "caravel-repository",
            "caravel-backup-store",
            "caravel-api-server",
            "caravel-sandbox",
            "caravel-velero",
        ],
    ),
    ("caravel-conformance", &[]),
    ("caravel-interop", &[]),
    (
        "caravel-e2e",
        &["caravel-api", "caravel-csi", "caravel-conformance"],
    ),
    ("xtask", &["caravel-e2e", "caravel-interop"]),
];

/// What a crate's whole dependency tree must not hold, whoever brings it.
const FORBIDDEN_IN_TREE: &[(&str, &[&str])] = &[
    (
        "caravel-repository",
        &["kube", "kube-core", "kube-client", "k8s-openapi"],
    ),
    (
        "caravel-uploader",
        &["kube", "kube-core", "kube-client", "k8s-openapi"],
    ),
    (
        "caravel-repository-cli",
        &["kube", "kube-core", "kube-client", "k8s-openapi"],
    ),
    (
        "caravel-storage",
        &["kube", "kube-core", "kube-client", "k8s-openapi"],
    ),
    ("caravel-api", &["kube-client", "kube-runtime", "tokio"]),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

/// Checks the manifests of the workspace and the trees of the crates that promise to be free of something.
pub fn check() -> Result<()> {
    let edges = workspace_edges()?;
    let mut wrong = violations(&edges);
    for (package, forbidden) in FORBIDDEN_IN_TREE {
        let tree = tree_of(package)?;
        wrong.extend(
            forbidden
                .iter()
                .filter(|name| tree.iter().any(|seen| seen == *name))
                .map(|name| format!("{package} has {name} in its dependency tree")),
        );
    }
    if wrong.is_empty() {
        println!("edges: {} crates, every edge points down", edges.len());
        return Ok(());
    }
    bail!(
        "crates know what they must not know (the table is in xtask/src/edges.rs):\n  {}",
        wrong.join("\n  ")
    )
}

/// Every workspace crate with its ordinary and build dependencies among our own crates.
fn workspace_edges() -> Result<BTreeMap<String, Vec<String>>> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1", "--locked"])?;
    let metadata: Metadata = serde_json::from_slice(&output).context("cannot read cargo metadata")?;
    Ok(metadata
        .packages
        .into_iter()
        .map(|package| {
            let ours = package
                .dependencies
                .into_iter()
                .filter(|d| d.path.is_some() && d.kind.as_deref() != Some("dev"))
                .map(|d| d.name)
                .collect();
            (package.name, ours)
        })
        .collect())
}

/// The edges that the table does not have, and the crates that it does not know.
fn violations(edges: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (package, uses) in edges {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| name == package) else {
            wrong.push(format!(
                "{package} is not in the table: say what it enforces and what it may use"
            ));
            continue;
        };
        wrong.extend(
            uses.iter()
                .filter(|used| !allowed.contains(&used.as_str()))
                .map(|used| format!("{package} must not use {used}")),
        );
    }
    wrong
}

/// Names of all packages below `package`, as built alone (features of other crates do not count).
fn tree_of(package: &str) -> Result<Vec<String>> {
    let output = cargo(&[
        "tree",
        "--locked",
        "--package",
        package,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ])?;
    Ok(String::from_utf8_lossy(&output)
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

fn cargo(arguments: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!(
            "cargo {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edge_of_the_workspace_points_down() {
        check().expect("see the list");
    }

    #[test]
    fn an_edge_that_points_up_is_found() {
        let edges = BTreeMap::from([(
            "caravel-storage".to_owned(),
            vec!["caravel-controllers".to_owned()],
        )]);
        assert_eq!(
            violations(&edges),
            ["caravel-storage must not use caravel-controllers"]
        );
    }

    #[test]
    fn a_crate_without_a_sentence_is_found() {
        let edges = BTreeMap::from([("caravel-util".to_owned(), vec![])]);
        assert_eq!(violations(&edges).len(), 1);
    }

    #[test]
    fn the_table_itself_only_points_down() {
        for (position, (package, allowed)) in ALLOWED.iter().enumerate() {
            for used in *allowed {
                let below = ALLOWED[..position].iter().any(|(name, _)| name == used);
                assert!(below, "{package} → {used} points sideways or up in the table");
            }
        }
    }
}
