//! `velero debug`: everything that somebody who helps wants to see, in one archive.
//!
//! ```text
//! velero-bundle/version.txt
//! velero-bundle/kubecapture/velero.io_v1/<namespace>/backups.json        the objects of each kind of ours
//! velero-bundle/kubecapture/core_v1/<namespace>/<pod>/<container>.log    and <container>.previous.log
//! velero-bundle/backup_describe_<name>.txt  backup_<name>.log            with --backup; likewise restore_…
//! ```
//! No Secret is read, and DownloadRequests are left out: their addresses open the bucket for ten minutes. What cannot be
//! had is told in its place and on standard error, and the rest is collected all the same. Mirrors
//! `pkg/cmd/cli/debug/debug.go`.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use caravel_api::v1::{Backup, Restore};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, ListParams, LogParams};
use kube::core::ApiResource;
use kube::{Client, ResourceExt};

use super::connection::Global;
use super::describe::words;
use super::download::DEADLINE;
use super::failure::{Failure, Outcome, chain, kubernetes};
use super::flags::boolean;
use super::output::{Format, emit, list, render};
use super::{backup, files, restore, version};

/// The folder in the archive. Velero's.
const FOLDER: &str = "velero-bundle";
/// Of each container's log at most the last this much, in bytes: it is held in memory once.
const MOST_OF_A_LOG: i64 = 64 << 20;

/// Collect logs and objects of Velero into an archive, for somebody who helps.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of a backup whose log and description are wanted, too.
    #[arg(long)]
    backup: Option<String>,
    /// Name of a restore whose log and description are wanted, too.
    #[arg(long)]
    restore: Option<String>,
    /// The archive to write [default: ./bundle-YYYY-MM-DD-HH-MM-SS.tar.gz].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Say each file that is written.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    verbose: Option<bool>,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let (namespace, client) = (global.namespace(), global.client().await?);
    check(args, &client, &namespace).await?;
    let path = args.output.clone().unwrap_or_else(|| {
        Timestamp::now()
            .strftime("bundle-%Y-%m-%d-%H-%M-%S.tar.gz")
            .to_string()
            .into()
    });
    let mut bundle = Bundle::create(&path, args.verbose == Some(true))?;
    emit(&format!(
        "Collecting velero resources in namespace: {namespace}\n"
    ))?;
    bundle.add("version.txt", &version::text(global, DEADLINE).await)?;
    objects(&mut bundle, &client, &namespace).await?;
    emit(&format!(
        "Collecting velero deployment logs in namespace: {namespace}\n"
    ))?;
    logs(&mut bundle, &client, &namespace).await?;
    if let Some(name) = &args.backup {
        emit(&format!("Collecting log and information for backup: {name}\n"))?;
        let described = backup::describe::one(&client, &namespace, name).await;
        bundle.add_or_why(&format!("backup_describe_{name}.txt"), described)?;
        let log = files::log::<Backup>(&client, &namespace, name, None, DEADLINE).await;
        bundle.add_or_why(&format!("backup_{name}.log"), log)?;
    }
    if let Some(name) = &args.restore {
        emit(&format!("Collecting log and information for restore: {name}\n"))?;
        let described = restore::describe::one(&client, &namespace, name).await;
        bundle.add_or_why(&format!("restore_describe_{name}.txt"), described)?;
        let log = files::log::<Restore>(&client, &namespace, name, None, DEADLINE).await;
        bundle.add_or_why(&format!("restore_{name}.log"), log)?;
    }
    bundle.finish()?;
    emit(&format!(
        "Generated debug information bundle: {}\n",
        path.display()
    ))
}

/// There is an installation, and what is named exists: else the archive would be empty.
async fn check(args: &Args, client: &Client, namespace: &str) -> Outcome {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let found = deployments
        .list(&ListParams::default().labels("component=velero"))
        .await
        .map_err(|error| {
            kubernetes(
                format!("looking for the server's Deployment in {namespace}"),
                &error,
            )
        })?;
    if found.items.is_empty() {
        return Err(Failure::new(format!(
            "velero deployment does not exist in namespace: {namespace}"
        ))
        .next("velero -n NAMESPACE debug    (kubectl get deployments -A -l component=velero)"));
    }
    if let Some(name) = &args.backup {
        let api: Api<Backup> = Api::namespaced(client.clone(), namespace);
        words::one(&api, namespace, "backup", name).await?;
    }
    if let Some(name) = &args.restore {
        let api: Api<Restore> = Api::namespaced(client.clone(), namespace);
        words::one(&api, namespace, "restore", name).await?;
    }
    Ok(())
}

async fn objects(bundle: &mut Bundle, client: &Client, namespace: &str) -> Outcome {
    for definition in caravel_api::crds() {
        let names = &definition.spec.names;
        let Some(version) = definition.spec.versions.first() else {
            continue;
        };
        if names.kind == "DownloadRequest" {
            continue;
        }
        let resource = ApiResource {
            group: definition.spec.group.clone(),
            version: version.name.clone(),
            api_version: format!("{}/{}", definition.spec.group, version.name),
            kind: names.kind.clone(),
            plural: names.plural.clone(),
        };
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let path = format!(
            "kubecapture/{}_{}/{namespace}/{}.json",
            resource.group, resource.version, resource.plural
        );
        let found = match api.list(&ListParams::default()).await {
            Ok(found) => {
                let items = found
                    .items
                    .iter()
                    .filter_map(|object| serde_json::to_value(object).ok());
                render(&list(items.collect()), Format::Json)
            }
            Err(error) => Err(kubernetes(format!("listing {}", resource.plural), &error)),
        };
        bundle.add_or_why(&path, found)?;
    }
    Ok(())
}

async fn logs(bundle: &mut Bundle, client: &Client, namespace: &str) -> Outcome {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = api
        .list(&ListParams::default())
        .await
        .map_err(|error| kubernetes(format!("listing the pods of namespace {namespace}"), &error))?;
    for pod in pods {
        let name = pod.name_any();
        for (container, restarted) in containers(&pod) {
            let folder = format!("kubecapture/core_v1/{namespace}/{name}");
            let log = log_of(&api, &name, &container, false).await;
            bundle.add_or_why(&format!("{folder}/{container}.log"), log)?;
            if restarted {
                let log = log_of(&api, &name, &container, true).await;
                bundle.add_or_why(&format!("{folder}/{container}.previous.log"), log)?;
            }
        }
    }
    Ok(())
}

/// Each container, with whether it was restarted.
fn containers(pod: &Pod) -> Vec<(String, bool)> {
    let spec = pod.spec.clone().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    let statuses: Vec<_> = status
        .container_statuses
        .into_iter()
        .chain(status.init_container_statuses)
        .flatten()
        .collect();
    let all = spec.init_containers.into_iter().flatten().chain(spec.containers);
    all.map(|container| {
        let restarted = statuses
            .iter()
            .any(|status| status.name == container.name && status.restart_count > 0);
        (container.name, restarted)
    })
    .collect()
}

async fn log_of(api: &Api<Pod>, pod: &str, container: &str, previous: bool) -> Outcome<String> {
    let params = LogParams {
        container: Some(container.to_owned()),
        previous,
        limit_bytes: Some(MOST_OF_A_LOG),
        ..LogParams::default()
    };
    let read = api.logs(pod, &params).await;
    read.map_err(|error| Failure::new(format!("reading the log of {pod}/{container}: {}", chain(&error))))
}

/// The archive being written.
struct Bundle {
    path: PathBuf,
    tar: tar::Builder<GzEncoder<File>>,
    verbose: bool,
}

impl Bundle {
    /// # Errors
    /// A file of that name exists, or cannot be made.
    fn create(path: &Path, verbose: bool) -> Outcome<Self> {
        let file = File::create_new(path).map_err(|error| {
            Failure::new(format!("creating {}: {error}", path.display()))
                .next("velero debug --output FILE    (another one)")
        })?;
        Ok(Self {
            path: path.to_owned(),
            tar: tar::Builder::new(GzEncoder::new(file, Compression::default())),
            verbose,
        })
    }

    fn add(&mut self, name: &str, text: &str) -> Outcome {
        if self.verbose {
            eprintln!("{name}: {} bytes", text.len());
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        let now = Timestamp::now().as_second();
        header.set_mtime(u64::try_from(now).unwrap_or_default());
        let added = self
            .tar
            .append_data(&mut header, format!("{FOLDER}/{name}"), text.as_bytes());
        added.map_err(|error| Failure::new(format!("writing {}: {error}", self.path.display())))
    }

    /// What there is, or why there is nothing.
    fn add_or_why(&mut self, name: &str, found: Outcome<String>) -> Outcome {
        match found {
            Ok(text) => self.add(name, &text),
            Err(failure) => {
                let why = failure.message();
                eprintln!("Warning: {name}: {why}");
                self.add(name, &format!("{why}\n"))
            }
        }
    }

    fn finish(self) -> Outcome {
        let Self { path, tar, .. } = self;
        let finish = || {
            let mut file = tar.into_inner()?.finish()?;
            file.flush()?;
            file.sync_all()
        };
        finish().map_err(|error| Failure::new(format!("writing {}: {error}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_had_is_told_in_its_place_and_an_archive_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle.tar.gz");
        let mut bundle = Bundle::create(&path, false).unwrap();
        bundle.add("version.txt", "v1\n").unwrap();
        let missing = Err(Failure::new("the server is away"));
        bundle.add_or_why("backup_b1.log", missing).unwrap();
        bundle.finish().unwrap();
        let mut found = Vec::new();
        let file = flate2::read::GzDecoder::new(File::open(&path).unwrap());
        for entry in tar::Archive::new(file).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.push((name, text));
        }
        assert_eq!(
            found,
            [
                ("velero-bundle/version.txt".to_owned(), "v1\n".to_owned()),
                (
                    "velero-bundle/backup_b1.log".to_owned(),
                    "the server is away\n".to_owned()
                ),
            ]
        );
        assert!(Bundle::create(&path, false).is_err());
    }

    #[test]
    fn the_log_before_a_restart_is_collected_too() {
        let pod: Pod = serde_json::from_value(json!({
            "spec": {"containers": [{"name": "velero"}], "initContainers": [{"name": "init"}]},
            "status": {"containerStatuses": [
                {"name": "velero", "restartCount": 2, "image": "", "imageID": "", "ready": true}]}}))
        .unwrap();
        assert_eq!(
            containers(&pod),
            [("init".to_owned(), false), ("velero".to_owned(), true)]
        );
    }
}
