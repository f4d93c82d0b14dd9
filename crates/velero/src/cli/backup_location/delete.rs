//! `velero backup-location delete [NAMES]`: the location, and the Backups and BackupRepositories that are only known
//! through it. What lies in the bucket stays. Mirrors `pkg/cmd/cli/backuplocation/delete.go`; different on purpose: a
//! location that a backup is being written to is not deleted.

use std::fmt::Debug;

use caravel_api::v1::{Backup, BackupPhase, BackupRepository, BackupStorageLocation};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, DeleteParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::super::connection::Global;
use super::super::describe::words;
use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::output::emit;
use super::super::select::{Deletion, all_of};

/// Delete backup storage locations. What lies in their buckets stays.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    deletion: Deletion,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    if !args.deletion.confirmed("backup-location")? {
        return Ok(());
    }
    let namespace = global.namespace();
    let client = global.client().await?;
    let api: Api<BackupStorageLocation> = Api::namespaced(client.clone(), &namespace);
    let found = args
        .deletion
        .select
        .fetch(&api, &namespace, "backup-location")
        .await?;
    if found.is_empty() {
        return emit("No backup-locations found\n");
    }
    let mut failures = Vec::new();
    for location in found {
        if let Err(failure) = one(&client, &namespace, &location.name_any()).await {
            failures.push(failure);
        }
    }
    all_of(failures)
}

async fn one(client: &Client, namespace: &str, location: &str) -> Outcome {
    let backups: Api<Backup> = Api::namespaced(client.clone(), namespace);
    let mut of_location = words::fetch(&backups, namespace, "backup", &[]).await?;
    of_location.retain(|backup| backup.spec.storage_location == location);
    if let Some(backup) = of_location.iter().find(|backup| is_at_work(backup)) {
        return Err(Failure::new(format!(
            "backup-location {namespace}/{location} is not deleted: backup {} is {}",
            backup.name_any(),
            backup.phase()
        ))
        .next(format!("velero backup describe {}", backup.name_any())));
    }
    let api: Api<BackupStorageLocation> = Api::namespaced(client.clone(), namespace);
    delete(&api, namespace, location).await?;
    emit(&format!(
        "Backup storage location \"{location}\" deleted successfully.\n"
    ))?;
    for backup in of_location {
        let name = backup.name_any();
        delete(&backups, namespace, &name).await?;
        emit(&format!(
            "Backup associated with deleted BSL(s) \"{name}\" deleted successfully.\n"
        ))?;
    }
    let repositories: Api<BackupRepository> = Api::namespaced(client.clone(), namespace);
    for repository in words::fetch(&repositories, namespace, "backup repository", &[]).await? {
        if repository.spec.backup_storage_location == location {
            let name = repository.name_any();
            delete(&repositories, namespace, &name).await?;
            emit(&format!(
                "Backup repository associated with deleted BSL(s) \"{name}\" deleted successfully.\n"
            ))?;
        }
    }
    Ok(())
}

/// A server writes to the location for it, or deletes there.
fn is_at_work(backup: &Backup) -> bool {
    let phase = backup.phase();
    let waits = matches!(phase, BackupPhase::New | BackupPhase::Queued);
    !waits && !phase.is_finished()
}

async fn delete<K>(api: &Api<K>, namespace: &str, name: &str) -> Outcome
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(kubernetes(
            format!("deleting {} {namespace}/{name}", K::kind(&())),
            &error,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_that_is_written_to_stays() {
        let with = |phase: &str| -> Backup {
            serde_json::from_value(
                serde_json::json!({"metadata": {"name": "b"}, "spec": {}, "status": {"phase": phase}}),
            )
            .unwrap()
        };
        for phase in [
            "InProgress",
            "WaitingForPluginOperations",
            "Finalizing",
            "ReadyToStart",
        ] {
            assert!(is_at_work(&with(phase)), "{phase}");
        }
        for phase in ["Completed", "Failed", "New", "Queued"] {
            assert!(!is_at_work(&with(phase)), "{phase}");
        }
    }
}
