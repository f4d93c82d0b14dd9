//! Acts with the password of the backup repositories: it is changed, and what was saved before is still everybody's to restore
//! and to delete. As in `acts.rs`, each looks at what came of it.

use caravel_api::v1::Backup;
use caravel_backup_repository::{NEXT_PASSWORD_KEY, PASSWORD_KEY, PASSWORD_SECRET};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;

use super::super::world::{VELERO, World};
use super::mishaps::until;
use super::tale::Tale;
use crate::cli::failure::{Failure, Outcome, kubernetes};

/// What the password seals: `kopia.repository` of the shop.
const FORMAT_BLOB: &str = "kopia/shop/kopia.repository";

/// `velero repo change-password`: the Secret holds the new one alone, and the repository is sealed anew.
pub async fn change(world: &World, tale: &mut Tale) -> Outcome {
    tale.step("Change the password of the backup repositories")?;
    let (old, sealed) = (secret(world).await?, format_blob(world)?);
    let line = "velero repo change-password --generate-repo-password --confirm --timeout 1m";
    tale.types(line, world).await?;
    let new = secret(world).await?;
    let is_alone = held(&new, NEXT_PASSWORD_KEY).is_none() && held(&new, PASSWORD_KEY).is_some();
    if !is_alone || held(&new, PASSWORD_KEY) == held(&old, PASSWORD_KEY) {
        return Err(Failure::new(format!(
            "Secret {PASSWORD_SECRET} does not hold a new password, and that alone"
        )));
    }
    if format_blob(world)? == sealed {
        return Err(Failure::new(format!("{FORMAT_BLOB} is as it was before")));
    }
    tale.fact(&format!(
        "Secret {PASSWORD_SECRET} holds the new password alone; {FORMAT_BLOB} is sealed anew"
    ))?;
    tale.types("velero repo describe", world).await?;
    // Every byte of it opens with the new one.
    let line = "velero repo check shop-default-kopia --read-percent 100 --timeout 1m";
    tale.types(line, world).await
}

/// Deletes a backup whose snapshots lie in a repository that was re-keyed.
pub async fn delete_backup(world: &World, tale: &mut Tale, name: &str) -> Outcome {
    tale.step("Delete the backup: its snapshots go from the repository first")?;
    tale.types(&format!("velero backup delete {name} --confirm"), world)
        .await?;
    let backups: Api<Backup> = Api::namespaced(world.client(), VELERO);
    until(&format!("backup {name} to go"), async || {
        let found = backups.get_opt(name).await;
        let found = found.map_err(|error| kubernetes(format!("getting backup {name}"), &error))?;
        Ok(found.is_none().then_some(()))
    })
    .await?;
    let files = world.objects.names_below("backups");
    if files > 0 {
        return Err(Failure::new(format!(
            "{files} files of the backup are still there"
        )));
    }
    tale.fact(&format!("backup {name} is gone, and every file of it"))
}

async fn secret(world: &World) -> Outcome<Secret> {
    let api: Api<Secret> = Api::namespaced(world.client(), VELERO);
    let found = api.get(PASSWORD_SECRET).await;
    found.map_err(|error| kubernetes(format!("getting Secret {PASSWORD_SECRET}"), &error))
}

fn held(secret: &Secret, key: &str) -> Option<ByteString> {
    secret.data.as_ref()?.get(key).cloned()
}

fn format_blob(world: &World) -> Outcome<Vec<u8>> {
    let file = world.objects.file(FORMAT_BLOB);
    std::fs::read(&file).map_err(|error| Failure::new(format!("{}: {error}", file.display())))
}
