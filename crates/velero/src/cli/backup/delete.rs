//! `velero backup delete [NAMES]`: asks the server, which takes the data, the files, the restores and the Backup away.

use caravel_api::v1::{Backup, DeleteBackupRequest};
use caravel_controllers::gc::decide::request_for;
use kube::ResourceExt;
use kube::api::{Api, PostParams};

use super::super::connection::Global;
use super::super::failure::{Outcome, kubernetes};
use super::super::output::emit;
use super::super::select::{Deletion, all_of};

/// Delete backups, with their data in the object store and their restores' records.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    deletion: Deletion,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    if !args.deletion.confirmed("backup")? {
        return Ok(());
    }
    let namespace = global.namespace();
    let client = global.client().await?;
    let backups: Api<Backup> = Api::namespaced(client.clone(), &namespace);
    let requests: Api<DeleteBackupRequest> = Api::namespaced(client, &namespace);
    let found = args.deletion.select.fetch(&backups, &namespace, "backup").await?;
    if found.is_empty() {
        return emit("No backups found\n");
    }
    let mut failures = Vec::new();
    for backup in found {
        let name = backup.name_any();
        let request = request_for(&backup, &namespace);
        match requests.create(&PostParams::default(), &request).await {
            Ok(_) => emit(&format!(
                "Request to delete backup \"{name}\" submitted successfully.\nThe backup will be fully deleted after all associated data (disk snapshots, backup files, restores) are removed.\n"
            ))?,
            Err(error) => failures.push(kubernetes(
                format!("asking for the deletion of backup {namespace}/{name}"),
                &error,
            )),
        }
    }
    all_of(failures)
}
