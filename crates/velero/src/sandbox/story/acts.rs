//! What happens in the stories. Each act does something as a user would, looks at what came of it, and tells it; what
//! is not as it must be ends the story.

use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use caravel_api::labels;
use caravel_api::v1::{Backup, BackupPhase, Restore, RestorePhase};
use caravel_api::v2alpha1::DataUpload;
use indicatif::DecimalBytes;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolume};
use kube::api::{Api, DeleteParams, ListParams};

use super::super::application::{self, NAMESPACE};
use super::super::fingerprint::Fingerprint;
use super::super::folder;
use super::super::shop;
use super::super::world::{self, VELERO, World};
use super::tale::Tale;
use crate::cli::failure::{Failure, Outcome, kubernetes};

/// Pages of the shop that a day of business writes anew.
const PAGES_A_DAY: usize = 40;
/// How long a namespace and its volumes may take to go.
const GONE_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two looks at something that goes.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What must come back.
pub struct Before {
    volume: PathBuf,
    data: Fingerprint,
    settings: ConfigMap,
}

/// Creates the application and waits until its database has filled its volume.
pub async fn open_shop(world: &World, tale: &mut Tale) -> Outcome {
    tale.step("Namespace shop: an application that keeps a database on a volume")?;
    application::start(world).await?;
    let bytes = folder::bytes_below(&volume(world)?);
    tale.fact(&format!("its volume holds {}", DecimalBytes(bytes)))
}

/// Takes down all that must come back.
pub async fn look(world: &World, tale: &mut Tale) -> Outcome<Before> {
    tale.step("Take a fingerprint of every file: content, mode, owner, times")?;
    let volume = volume(world)?;
    let before = Before {
        data: fingerprint(volume.clone()).await?,
        settings: settings(world).await?,
        volume,
    };
    tale.fact(&told(&before.data))?;
    Ok(before)
}

/// `velero backup create`, and what it moved.
pub async fn back_up(world: &World, tale: &mut Tale, name: &str) -> Outcome {
    tale.step(&format!("Back it up as {name}; its data moves to object storage"))?;
    let stored = world.objects.bytes();
    tale.types(
        &format!("velero backup create {name} --include-namespaces {NAMESPACE} --snapshot-move-data --wait"),
        world,
    )
    .await?;
    let backups: Api<Backup> = Api::namespaced(world.client(), VELERO);
    let backup = backups
        .get(name)
        .await
        .map_err(|error| kubernetes(format!("getting backup {name}"), &error))?;
    if backup.phase() != BackupPhase::Completed {
        let phase = backup.phase().to_string();
        let why = backup
            .status
            .map(|status| status.failure_reason + &status.validation_errors.join("; "));
        return Err(went_wrong("backup", name, phase, why));
    }
    let uploads: Api<DataUpload> = Api::namespaced(world.client(), VELERO);
    let of_backup = ListParams::default().labels(&format!("{}={name}", labels::BACKUP_NAME));
    let uploads = uploads
        .list(&of_backup)
        .await
        .map_err(|error| kubernetes("listing DataUploads", &error))?;
    let (mut total, mut new) = (0, 0);
    for status in uploads.iter().filter_map(|upload| upload.status.as_ref()) {
        total += status.progress.as_ref().map_or(0, |progress| progress.bytes_done);
        new += status.incremental_bytes;
    }
    let [total, new] = [total, new].map(|bytes| DecimalBytes(u64::try_from(bytes).unwrap_or_default()));
    tale.fact(&format!(
        "{} volume of {total}, {new} of it new; the bucket has grown by {}",
        uploads.items.len(),
        DecimalBytes(world.objects.bytes().saturating_sub(stored))
    ))
}

/// The application writes some of its pages anew.
pub async fn do_business(world: &World, tale: &mut Tale) -> Outcome {
    tale.step("The application goes on")?;
    let shop = world.shop.clone();
    let said = blocking(move || shop::sell(&shop, NAMESPACE, PAGES_A_DAY))
        .await
        .map_err(|error| Failure::new(format!("the shop does not sell: {error}")))?;
    tale.fact(&said)
}

/// As [`back_up`], while the application writes pages anew all the time: its generations before and after.
pub async fn back_up_while_open(world: &World, tale: &mut Tale, name: &str) -> Outcome<RangeInclusive<u64>> {
    let before = generation(world)?;
    let over = Arc::new(AtomicBool::new(false));
    let business = tokio::task::spawn_blocking({
        let (shop, over) = (world.shop.clone(), over.clone());
        move || {
            while !over.load(Ordering::Relaxed) {
                shop::sell(&shop, NAMESPACE, PAGES_A_DAY)?;
            }
            io::Result::Ok(())
        }
    });
    let backed_up = back_up(world, tale, name).await;
    over.store(true, Ordering::Relaxed);
    let sold = business.await.map_err(io::Error::other).and_then(|sold| sold);
    backed_up?;
    sold.map_err(|error| Failure::new(format!("the shop does not sell: {error}")))?;
    let after = generation(world)?;
    tale.fact(&format!(
        "meanwhile the application went from generation {before} to {after}"
    ))?;
    Ok(before..=after)
}

/// The end of a story in which the application was written to: what came back is one moment of it, whole.
pub async fn one_moment(world: &World, tale: &mut Tale, generations: RangeInclusive<u64>) -> Outcome {
    tale.step("Look which moment came back")?;
    let volume = volume(world)?;
    if world.spoil {
        shop::spoil(&volume).map_err(|error| Failure::new(format!("changing a byte: {error}")))?;
    }
    let said = blocking(move || shop::verify(&volume))
        .await
        .map_err(|error| Failure::new(format!("what came back is not whole: {error}")))?;
    tale.fact(&said)?;
    let restored = generation(world)?;
    if generations.contains(&restored) {
        tale.proves("One moment of the application is back, with every checksum right.");
        return tale.fact("all pages are of one moment of the backup's time");
    }
    let (before, after) = generations.into_inner();
    Err(Failure::new(format!(
        "generation {restored} came back; the backup was taken between {before} and {after}"
    )))
}

fn generation(world: &World) -> Outcome<u64> {
    shop::generation(&volume(world)?)
        .map_err(|error| Failure::new(format!("reading the database's ledger: {error}")))
}

/// Deletes the namespace, and waits until nothing of it is left, its volumes' bytes included.
pub async fn lose(world: &World, tale: &mut Tale) -> Outcome {
    tale.step("Lose it: the namespace and its volumes are deleted")?;
    let volume = volume(world)?;
    let namespaces: Api<Namespace> = Api::all(world.client());
    tale.fact(&format!("$ kubectl delete namespace {NAMESPACE}"))?;
    namespaces
        .delete(NAMESPACE, &DeleteParams::default())
        .await
        .map_err(|error| kubernetes(format!("deleting namespace {NAMESPACE}"), &error))?;
    let gone = async {
        while is_left(world, &namespaces).await? || world::is_there(&volume) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    };
    match tokio::time::timeout(GONE_WITHIN, gone).await {
        Ok(gone) => gone?,
        Err(_) => {
            return Err(Failure::new(format!(
                "namespace {NAMESPACE} and its volumes are not gone after {} s",
                GONE_WITHIN.as_secs()
            )));
        }
    }
    tale.fact("the namespace is gone, its volume is gone, its folder on the node is gone")
}

/// Whether the namespace or a volume of it is still there.
async fn is_left(world: &World, namespaces: &Api<Namespace>) -> Outcome<bool> {
    let failed = |error: kube::Error| kubernetes("looking what is left", &error);
    if namespaces.get_opt(NAMESPACE).await.map_err(failed)?.is_some() {
        return Ok(true);
    }
    let volumes: Api<PersistentVolume> = Api::all(world.client());
    let volumes = volumes.list(&ListParams::default()).await.map_err(failed)?;
    Ok(volumes.iter().any(|volume| {
        let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        claim.and_then(|claim| claim.namespace.as_deref()) == Some(NAMESPACE)
    }))
}

/// `velero restore create`, and the application starts on what came back.
pub async fn restore(world: &World, tale: &mut Tale, backup: &str) -> Outcome {
    tale.step(&format!("Restore from {backup}"))?;
    let name = format!("{backup}-back");
    tale.types(
        &format!("velero restore create {name} --from-backup {backup} --wait"),
        world,
    )
    .await?;
    let restores: Api<Restore> = Api::namespaced(world.client(), VELERO);
    let restore = restores
        .get(&name)
        .await
        .map_err(|error| kubernetes(format!("getting restore {name}"), &error))?;
    if restore.phase() != RestorePhase::Completed {
        let phase = restore.phase().to_string();
        let why = restore
            .status
            .map(|status| status.failure_reason + &status.validation_errors.join("; "));
        return Err(went_wrong("restore", &name, phase, why));
    }
    application::is_open(world).await?;
    tale.fact("the application runs again, and its own checksums are right")
}

/// The end of every story: what came back is what was there.
pub async fn compare(world: &World, tale: &mut Tale, before: &Before) -> Outcome {
    tale.step("Compare with what was there")?;
    let volume = volume(world)?;
    if volume == before.volume {
        return Err(Failure::new(
            "the application runs on its old volume: nothing was lost, so nothing is proven",
        ));
    }
    if world.spoil {
        shop::spoil(&volume).map_err(|error| Failure::new(format!("changing a byte: {error}")))?;
    }
    let data = fingerprint(volume).await?;
    tale.fact(&told(&data))?;
    let differ = before.data.differences(&data);
    if !differ.is_empty() {
        let first: Vec<_> = differ
            .iter()
            .take(5)
            .map(|path| path.display().to_string())
            .collect();
        return Err(Failure::new(format!(
            "{} of the entries are not what was there: {}",
            differ.len(),
            first.join(", ")
        )));
    }
    if settings(world).await?.data != before.settings.data {
        return Err(Failure::new(format!(
            "ConfigMap {NAMESPACE}/settings is not what was there"
        )));
    }
    tale.fact("every entry of the volume is the same")
}

fn told(data: &Fingerprint) -> String {
    format!(
        "{} files, {}, digest {}",
        data.files,
        DecimalBytes(data.bytes),
        data.short()
    )
}

fn volume(world: &World) -> Outcome<PathBuf> {
    world
        .shop
        .volume(NAMESPACE)
        .ok_or_else(|| Failure::new(format!("no shop is open in namespace {NAMESPACE}")))
}

async fn settings(world: &World) -> Outcome<ConfigMap> {
    let api: Api<ConfigMap> = Api::namespaced(world.client(), NAMESPACE);
    api.get("settings")
        .await
        .map_err(|error| kubernetes(format!("getting ConfigMap {NAMESPACE}/settings"), &error))
}

async fn fingerprint(volume: PathBuf) -> Outcome<Fingerprint> {
    let name = volume.display().to_string();
    blocking(move || Fingerprint::of(&volume))
        .await
        .map_err(|error| Failure::new(format!("reading the volume {name}: {error}")))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

fn went_wrong(what: &str, name: &str, phase: String, why: Option<String>) -> Failure {
    let why = why
        .filter(|why| !why.is_empty())
        .map_or_else(String::new, |why| format!(": {why}"));
    Failure::new(format!("{what} {name} ended as {phase}{why}"))
}
