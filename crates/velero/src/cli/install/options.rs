//! Flags of `velero install` and what they come to once they are checked.
//!
//! Mirrors `pkg/cmd/cli/install/install.go`, `Complete` and `Validate`.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use caravel_api::labels::FEATURE_ENABLE_CSI;

use super::super::failure::{Failure, Outcome};
use super::super::flags::{boolean, list, map};
use super::super::output::Format;
use super::platform::{Platform, PlatformArgs};
use super::plugins;
use super::repo_password::RepoPassword;
use crate::server::SnapshotObjects;

/// Image of the server and node agent where `--image` says nothing.
pub const DEFAULT_IMAGE: &str = concat!("caravel/velero:v", env!("CARGO_PKG_VERSION"));

/// Install Velero onto a Kubernetes cluster.
///
/// Creates the CustomResourceDefinitions, the namespace, the server's Deployment and, with --use-node-agent, the
/// node agent's DaemonSet. What exists already is left as it is.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(
    after_help = "Example:\n  velero install --provider aws --bucket backups --secret-file ./credentials \\\n    --backup-location-config region=us-east-1 --use-node-agent --wait"
)]
pub struct Args {
    /// Provider of the backup location: aws (S3 and every S3-compatible store).
    #[arg(long)]
    pub provider: Option<String>,
    /// Plug-in images; those of built-in stores are accepted and not installed.
    #[arg(long, value_name = "IMAGES")]
    pub plugins: Vec<String>,
    /// Bucket in which backups are stored.
    #[arg(long)]
    pub bucket: Option<String>,
    /// Prefix within the bucket.
    #[arg(long)]
    pub prefix: Option<String>,
    /// File with the credentials of the provider (for aws: a shared-credentials file).
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// Confirms that no credentials are given.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub no_secret: Option<bool>,
    /// File with the password that the backup repositories get [default: Velero's published one].
    #[arg(long, value_name = "FILE")]
    pub repo_password_file: Option<PathBuf>,
    /// Generate the password that the backup repositories get, and show it once.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub generate_repo_password: Option<bool>,
    /// Configuration of the backup location: key1=value1,key2=value2.
    #[arg(long, value_name = "KEY=VALUE")]
    pub backup_location_config: Vec<String>,
    /// Configuration of the volume snapshot location: key1=value1,key2=value2.
    #[arg(long, value_name = "KEY=VALUE")]
    pub snapshot_location_config: Vec<String>,
    /// Create the default VolumeSnapshotLocation [default: true].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub use_volume_snapshots: Option<bool>,
    /// File with the certificates to trust when talking to the object store.
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Create the node agent's DaemonSet.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub use_node_agent: Option<bool>,
    /// Feature flags of server and node agent, comma-separated [default: EnableCSI].
    #[arg(long)]
    pub features: Option<String>,
    /// Image of server and node agent.
    #[arg(long, default_value = DEFAULT_IMAGE)]
    pub image: String,
    /// Servers to run; one of them acts, and another takes over within seconds when it ends [default: 1].
    #[arg(long, value_name = "NUMBER")]
    pub server_replicas: Option<NonZeroU32>,
    /// ConfigMap with the node agent's configuration, in Velero's namespace.
    #[arg(long, value_name = "NAME")]
    pub node_agent_configmap: Option<String>,
    /// Move the data of every snapshot unless a Backup says otherwise.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub default_snapshot_move_data: Option<bool>,
    /// What becomes of the objects of snapshots that stay in the storage when their backup has ended [default: remove].
    #[arg(long, value_enum, value_name = "WHAT")]
    pub csi_snapshot_objects: Option<SnapshotObjects>,
    /// How often backup repositories are maintained that do not say it themselves [default: 1h].
    #[arg(long, value_name = "DURATION")]
    pub default_repo_maintain_frequency: Option<caravel_api::Duration>,
    /// ConfigMap with the configuration of new backup repositories, in Velero's namespace.
    #[arg(long, value_name = "NAME")]
    pub backup_repository_configmap: Option<String>,
    /// ConfigMap with the configuration of maintenance Jobs, in Velero's namespace.
    #[arg(long, value_name = "NAME")]
    pub repo_maintenance_job_configmap: Option<String>,
    /// Confirms that no backup location is created.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub no_default_backup_location: Option<bool>,
    /// Only the CustomResourceDefinitions.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub crds_only: Option<bool>,
    /// Wait until the server and the node agents are ready.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub wait: Option<bool>,
    /// Send nothing to the cluster; use with -o.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub dry_run: Option<bool>,
    /// Print the objects instead of creating them: yaml or json.
    #[arg(short, long)]
    pub output: Option<Format>,
    #[command(flatten)]
    pub platform: PlatformArgs,
    #[command(flatten)]
    pub pods: PodResources,
}

/// Requests and limits; "0" means none.
#[derive(Clone, Debug, clap::Args)]
pub struct PodResources {
    /// CPU request of the server.
    #[arg(long, default_value = "500m")]
    pub velero_pod_cpu_request: String,
    /// Memory request of the server.
    #[arg(long, default_value = "128Mi")]
    pub velero_pod_mem_request: String,
    /// CPU limit of the server.
    #[arg(long, default_value = "1000m")]
    pub velero_pod_cpu_limit: String,
    /// Memory limit of the server.
    #[arg(long, default_value = "512Mi")]
    pub velero_pod_mem_limit: String,
    /// CPU request of the node agent.
    #[arg(long, default_value = "0")]
    pub node_agent_pod_cpu_request: String,
    /// Memory request of the node agent.
    #[arg(long, default_value = "0")]
    pub node_agent_pod_mem_request: String,
    /// CPU limit of the node agent.
    #[arg(long, default_value = "0")]
    pub node_agent_pod_cpu_limit: String,
    /// Memory limit of the node agent.
    #[arg(long, default_value = "0")]
    pub node_agent_pod_mem_limit: String,
}

impl Default for PodResources {
    /// Velero's own, as the flags above.
    fn default() -> Self {
        let none = || "0".to_owned();
        Self {
            velero_pod_cpu_request: "500m".into(),
            velero_pod_mem_request: "128Mi".into(),
            velero_pod_cpu_limit: "1000m".into(),
            velero_pod_mem_limit: "512Mi".into(),
            node_agent_pod_cpu_request: none(),
            node_agent_pod_mem_request: none(),
            node_agent_pod_cpu_limit: none(),
            node_agent_pod_mem_limit: none(),
        }
    }
}

/// The default backup location.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    pub provider: String,
    pub bucket: String,
    pub prefix: String,
    pub config: BTreeMap<String, String>,
    /// PEM certificates.
    pub ca_cert: Option<Vec<u8>>,
}

/// The default volume snapshot location.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotLocation {
    pub provider: String,
    pub config: BTreeMap<String, String>,
}

/// What to install, checked.
#[derive(Clone)]
pub struct Options {
    pub namespace: String,
    pub image: String,
    /// Of the server's Deployment.
    pub server_replicas: NonZeroU32,
    pub features: Vec<String>,
    pub location: Option<Location>,
    pub snapshot_location: Option<SnapshotLocation>,
    /// Content of the credentials file.
    pub credentials: Option<Vec<u8>>,
    /// None: Velero's constant, which the server sets where no Secret exists.
    pub repo_password: Option<RepoPassword>,
    pub use_node_agent: bool,
    /// The node agent's ConfigMap; empty: none.
    pub node_agent_configmap: String,
    pub default_snapshot_move_data: bool,
    /// None: the server's own default.
    pub csi_snapshot_objects: Option<SnapshotObjects>,
    /// Zero: the server's own default.
    pub default_repo_maintain_frequency: caravel_api::Duration,
    /// Of new backup repositories; empty: none.
    pub backup_repository_configmap: String,
    /// Of maintenance Jobs; empty: none.
    pub repo_maintenance_job_configmap: String,
    pub platform: Platform,
    pub pods: PodResources,
    /// What the user should know about the flags, one sentence each.
    pub notes: Vec<String>,
}

impl Options {
    /// Checks the flags and reads the files they name.
    pub fn from_args(args: &Args, namespace: String) -> Outcome<Self> {
        let mut notes = Vec::new();
        for image in list(&args.plugins) {
            let built_in = plugins::recognise(&image)
                .map_err(|refusal| Failure::usage(refusal).next("leave this image out of --plugins"))?;
            notes.push(format!("{image} is not installed: {built_in} are built in."));
        }
        let location = location(args)?;
        Ok(Self {
            namespace,
            image: args.image.clone(),
            server_replicas: args.server_replicas.unwrap_or(NonZeroU32::MIN),
            features: features(args.features.as_deref()),
            snapshot_location: snapshot_location(args, location.as_ref())?,
            location,
            credentials: credentials(args)?,
            repo_password: RepoPassword::from_flags(
                args.repo_password_file.as_deref(),
                args.generate_repo_password.unwrap_or(false),
            )?,
            use_node_agent: args.use_node_agent.unwrap_or(false),
            node_agent_configmap: args.node_agent_configmap.clone().unwrap_or_default(),
            default_snapshot_move_data: args.default_snapshot_move_data.unwrap_or(false),
            csi_snapshot_objects: args.csi_snapshot_objects,
            default_repo_maintain_frequency: args.default_repo_maintain_frequency.unwrap_or_default(),
            backup_repository_configmap: args.backup_repository_configmap.clone().unwrap_or_default(),
            repo_maintenance_job_configmap: args.repo_maintenance_job_configmap.clone().unwrap_or_default(),
            platform: Platform::from_args(&args.platform, &mut notes)?,
            pods: args.pods.clone(),
            notes,
        })
    }
}

/// CSI snapshots are on unless the user says which features to have (docs: decisions.md section 1).
fn features(flag: Option<&str>) -> Vec<String> {
    match flag {
        None => vec![FEATURE_ENABLE_CSI.to_owned()],
        Some(text) => list(&[text.to_owned()]),
    }
}

fn location(args: &Args) -> Outcome<Option<Location>> {
    let config =
        map(&args.backup_location_config).map_err(|why| wrong(format!("--backup-location-config: {why}")))?;
    if args.no_default_backup_location.unwrap_or(false) {
        let contradiction = [
            ("--bucket", args.bucket.is_some()),
            ("--prefix", args.prefix.is_some()),
            ("--backup-location-config", !config.is_empty()),
            ("--cacert", args.cacert.is_some()),
        ];
        return match contradiction.iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(wrong(format!(
                "cannot use both {flag} and --no-default-backup-location"
            ))),
            None => Ok(None),
        };
    }
    let hint = "give --provider aws --bucket NAME, or --no-default-backup-location to install without a backup location";
    let provider = args
        .provider
        .as_deref()
        .filter(|it| !it.is_empty())
        .ok_or_else(|| wrong("--provider is required").next(hint))?;
    let bucket = args
        .bucket
        .clone()
        .filter(|it| !it.is_empty())
        .ok_or_else(|| wrong("--bucket is required").next(hint))?;
    Ok(Some(Location {
        provider: supported(provider)?,
        bucket,
        prefix: args.prefix.clone().unwrap_or_default(),
        config,
        ca_cert: args.cacert.as_deref().map(certificates).transpose()?,
    }))
}

fn supported(provider: &str) -> Outcome<String> {
    match provider {
        "aws" | "azure" | "gcp" | "velero.io/aws" | "velero.io/azure" | "velero.io/gcp" => {
            Ok(provider.to_owned())
        }
        other => Err(Failure::usage(format!(
            "provider {other}: unknown, and this version does not host plug-ins yet"
        ))
        .next("use --provider aws with an S3-compatible store")),
    }
}

fn snapshot_location(args: &Args, location: Option<&Location>) -> Outcome<Option<SnapshotLocation>> {
    if !args.use_volume_snapshots.unwrap_or(true) {
        return Ok(None);
    }
    let config = map(&args.snapshot_location_config)
        .map_err(|why| wrong(format!("--snapshot-location-config: {why}")))?;
    let provider = args
        .provider
        .clone()
        .or_else(|| location.map(|location| location.provider.clone()));
    match provider {
        Some(provider) => Ok(Some(SnapshotLocation { provider, config })),
        None => Err(
            wrong("--provider is required when --use-volume-snapshots is set to true")
                .next("give --provider, or --use-volume-snapshots=false"),
        ),
    }
}

fn credentials(args: &Args) -> Outcome<Option<Vec<u8>>> {
    match (&args.secret_file, args.no_secret.unwrap_or(false)) {
        (Some(_), true) => Err(wrong("cannot use both --secret-file and --no-secret")),
        (None, false) => Err(wrong("one of --secret-file or --no-secret is required")),
        (None, true) => Ok(None),
        (Some(path), false) => read("--secret-file", path).map(Some),
    }
}

fn certificates(path: &Path) -> Outcome<Vec<u8>> {
    let pem = read("--cacert", path)?;
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(wrong(format!(
            "--cacert {}: holds no PEM certificate",
            path.display()
        )));
    }
    Ok(pem)
}

fn read(flag: &str, path: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(path).map_err(|error| Failure::new(format!("{flag} {}: {error}", path.display())))
}

fn wrong(message: impl Into<String>) -> Failure {
    Failure::usage(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags of an ordinary installation.
    fn args() -> Args {
        Args {
            provider: Some("aws".into()),
            bucket: Some("b".into()),
            no_secret: Some(true),
            image: DEFAULT_IMAGE.into(),
            ..Args::default()
        }
    }

    fn refusal(args: &Args) -> String {
        Options::from_args(args, "velero".into())
            .err()
            .expect("refused")
            .to_string()
    }

    #[test]
    fn csi_is_on_unless_features_says_otherwise() {
        let features = |flag: Option<&str>| {
            Options::from_args(
                &Args {
                    features: flag.map(str::to_owned),
                    ..args()
                },
                "velero".into(),
            )
            .ok()
            .unwrap()
            .features
        };
        assert_eq!(features(None), ["EnableCSI"]);
        assert_eq!(features(Some("")), Vec::<String>::new());
        assert_eq!(features(Some("EnableCSI,EnableAPIGroupVersions")).len(), 2);
    }

    #[test]
    fn a_built_in_plugin_is_accepted_and_said_to_be_built_in() {
        let options = Options::from_args(
            &Args {
                plugins: vec!["velero/velero-plugin-for-aws:v1.14.3".into()],
                ..args()
            },
            "velero".into(),
        )
        .ok()
        .unwrap();
        assert!(
            options.notes[0].contains("velero-plugin-for-aws:v1.14.3")
                && options.notes[0].contains("built in"),
            "{:?}",
            options.notes
        );
    }

    #[test]
    fn the_old_csi_plugin_image_is_accepted_and_said_to_be_built_in() {
        for image in [
            "velero/velero-plugin-for-csi:v0.1.0",
            "velero/velero-plugin-for-csi:v0.6.0",
        ] {
            let args = Args {
                plugins: vec![format!("velero/velero-plugin-for-aws:v1.4.0,{image}")],
                ..args()
            };
            let options = Options::from_args(&args, "velero".into()).ok().unwrap();
            assert_eq!(
                options.notes[1],
                format!("{image} is not installed: CSI snapshots are built in.")
            );
        }
    }

    #[test]
    fn contradictions_and_gaps_are_refused_with_the_flag_to_change() {
        for (args, expected) in [
            (
                Args {
                    bucket: None,
                    ..args()
                },
                "--bucket is required",
            ),
            (
                Args {
                    provider: None,
                    ..args()
                },
                "--provider is required",
            ),
            (
                Args {
                    no_secret: None,
                    ..args()
                },
                "one of --secret-file or --no-secret",
            ),
            (
                Args {
                    provider: Some("acme".into()),
                    ..args()
                },
                "does not host plug-ins yet",
            ),
            (
                Args {
                    plugins: vec!["other/plugin:1".into()],
                    ..args()
                },
                "does not host plug-ins yet",
            ),
            (
                Args {
                    no_default_backup_location: Some(true),
                    ..args()
                },
                "cannot use both --bucket",
            ),
            (
                Args {
                    backup_location_config: vec!["region".into()],
                    ..args()
                },
                "not key=value",
            ),
            (
                Args {
                    secret_file: Some("/nowhere".into()),
                    no_secret: None,
                    ..args()
                },
                "--secret-file /nowhere",
            ),
        ] {
            assert!(refusal(&args).contains(expected), "{}", refusal(&args));
        }
    }
}
