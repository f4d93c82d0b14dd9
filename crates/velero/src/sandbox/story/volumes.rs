//! Volumes without an application: filled, backed up, lost, restored and compared, few or many, of files or as devices.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use caravel_api::phase::{BackupPhase, RestorePhase};
use caravel_api::v1::{Backup, Restore};
use indicatif::DecimalBytes;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::super::fingerprint::Fingerprint;
use super::super::world::{self, VELERO, World};
use super::mishaps::{patience, until_within};
use super::tale::Tale;
use crate::cli::failure::{Failure, Outcome, kubernetes};
use crate::cli::install;

/// Where they are.
pub const NAMESPACE: &str = "store";
/// Capacity of a volume that is a device.
const DEVICE_BYTES: u64 = 64 << 20;
/// Pieces of data on a device, each of this size; the rest of it are holes.
const PIECE_BYTES: usize = 300_000;

/// The large file of a volume that has files: little, since there may be hundreds of volumes.
const FILE_BYTES: usize = 100_000;

/// How a volume is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Filesystem,
    Block,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Filesystem => "Filesystem",
            Self::Block => "Block",
        }
    }
}

/// What a volume holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    Files(Fingerprint),
    Device { bytes: u64, digest: [u8; 32] },
}

/// Claims with volumes, and data in each.
pub async fn fill(world: &World, tale: &mut Tale, count: usize, mode: Mode) -> Outcome {
    tale.step(&format!(
        "Namespace {NAMESPACE}: {count} volume(s), volumeMode {}",
        mode.word()
    ))?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    install::create_object(&world.client(), &namespace, |_| {}).await?;
    for number in 0..count {
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": format!("volume-{number:03}"), "namespace": NAMESPACE},
            "spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": mode.word(),
                "resources": {"requests": {"storage": DEVICE_BYTES.to_string()}}},
        });
        install::create_object(&world.client(), &claim, |_| {}).await?;
    }
    let places = places(world, count).await?;
    for (number, place) in places.values().enumerate() {
        write(place, number as u64, mode)
            .map_err(|error| Failure::new(format!("filling {}: {error}", place.display())))?;
    }
    let held: u64 = places.values().map(|place| occupied(place)).sum();
    tale.fact(&format!("they hold {}", DecimalBytes(held)))
}

/// Where each claim's volume is on this machine, once all of them are bound.
async fn places(world: &World, count: usize) -> Outcome<BTreeMap<String, PathBuf>> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(world.client(), NAMESPACE);
    let volumes: Api<PersistentVolume> = Api::all(world.client());
    let all = ListParams::default();
    until_within(
        &format!("{count} claims to be bound"),
        patience(world),
        async || {
            let failed = |error: kube::Error| kubernetes("looking for volumes", &error);
            let volumes = volumes.list(&all).await.map_err(failed)?;
            let place = |claim: &PersistentVolumeClaim| {
                let bound = claim.status.as_ref()?.phase.as_deref() == Some("Bound");
                let name = claim.spec.as_ref()?.volume_name.clone().filter(|_| bound)?;
                let volume = volumes.iter().find(|volume| volume.name_any() == name)?;
                let handle = volume.spec.as_ref()?.csi.as_ref()?.volume_handle.clone();
                Some((claim.name_any(), content(world.folder.path(), &handle)))
            };
            let claims = claims.list(&all).await.map_err(failed)?;
            let found: BTreeMap<_, _> = claims.iter().filter_map(place).collect();
            Ok((found.len() == count).then_some(found))
        },
    )
    .await
}

/// The folder driver's content of a volume; a device is the file `disk` in it.
fn content(sandbox: &Path, handle: &str) -> PathBuf {
    sandbox.join("cluster/volumes/volumes").join(handle)
}

fn write(place: &Path, seed: u64, mode: Mode) -> io::Result<()> {
    match mode {
        Mode::Filesystem => {
            fs::create_dir(place.join("folder"))?;
            fs::write(place.join("folder/noise"), noise(FILE_BYTES, seed))?;
            fs::write(place.join("name"), format!("volume {seed}\n"))?;
            fs::write(place.join("empty"), "")
        }
        Mode::Block => {
            let disk = File::options().write(true).open(place.join("disk"))?;
            let pieces = [0, (DEVICE_BYTES / 2) + 12_345, DEVICE_BYTES - PIECE_BYTES as u64];
            pieces.iter().zip(0..).try_for_each(|(position, number)| {
                disk.write_all_at(&noise(PIECE_BYTES, seed * 16 + number), *position)
            })
        }
    }
}

/// A little of each device is written anew.
pub async fn change_devices(world: &World, tale: &mut Tale, count: usize) -> Outcome {
    tale.step("The devices are written to")?;
    for place in places(world, count).await?.values() {
        let changed = File::options()
            .write(true)
            .open(place.join("disk"))
            .and_then(|disk| disk.write_all_at(&noise(10_000, 99), 5 << 20));
        changed.map_err(|error| Failure::new(format!("writing to {}: {error}", place.display())))?;
    }
    tale.fact("10 kB in the middle of nowhere")
}

/// The same numbers for the same seed (splitmix64).
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let words = (0..bytes.div_ceil(8)).flat_map(|_| next().to_le_bytes());
    words.take(bytes).collect()
}

/// What every claim's volume holds.
pub async fn look(world: &World, count: usize) -> Outcome<BTreeMap<String, (PathBuf, Held)>> {
    let places = places(world, count).await?;
    let looked = tokio::task::spawn_blocking(move || {
        let look = |(claim, place): (String, PathBuf)| {
            let held = held(&place)?;
            io::Result::Ok((claim, (place, held)))
        };
        places.into_iter().map(look).collect::<io::Result<_>>()
    });
    let looked = looked.await.map_err(io::Error::other).and_then(|looked| looked);
    looked.map_err(|error| Failure::new(format!("reading the volumes: {error}")))
}

fn held(place: &Path) -> io::Result<Held> {
    let disk = place.join("disk");
    if !disk.exists() {
        return Fingerprint::of(place).map(Held::Files);
    }
    let content = fs::read(&disk)?;
    Ok(Held::Device {
        bytes: content.len() as u64,
        digest: Sha256::digest(&content).into(),
    })
}

/// Bytes on the machine's own disk.
fn occupied(place: &Path) -> u64 {
    let of = |path: &Path| fs::metadata(path).map_or(0, |found| found.blocks() * 512);
    match fs::metadata(place.join("disk")) {
        Ok(_) => of(&place.join("disk")),
        Err(_) => super::super::folder::bytes_below(place),
    }
}

/// `velero backup create … --snapshot-move-data`; it must be Completed.
pub async fn back_up(world: &World, tale: &Tale, name: &str) -> Outcome {
    tale.types(
        &format!("velero backup create {name} --include-namespaces {NAMESPACE} --snapshot-move-data --wait"),
        world,
    )
    .await?;
    let backups: Api<Backup> = Api::namespaced(world.client(), VELERO);
    let backup = backups.get(name).await;
    let backup = backup.map_err(|error| kubernetes(format!("getting backup {name}"), &error))?;
    match backup.phase() {
        BackupPhase::Completed => Ok(()),
        phase => Err(Failure::new(format!("backup {name} ended as {phase}"))),
    }
}

/// Deletes the namespace, and waits until its volumes are gone.
pub async fn lose(world: &World, tale: &mut Tale) -> Outcome {
    tale.step("Lose all of it: the namespace is deleted")?;
    let namespaces: Api<Namespace> = Api::all(world.client());
    let volumes: Api<PersistentVolume> = Api::all(world.client());
    let failed = |error: kube::Error| kubernetes("looking what is left", &error);
    let deleted = namespaces.delete(NAMESPACE, &DeleteParams::default()).await;
    deleted.map_err(|error| kubernetes(format!("deleting namespace {NAMESPACE}"), &error))?;
    until_within(
        "the namespace and its volumes to be gone",
        patience(world),
        async || {
            let namespace = namespaces.get_opt(NAMESPACE).await.map_err(failed)?;
            let volumes = volumes.list(&ListParams::default()).await.map_err(failed)?;
            Ok((namespace.is_none() && volumes.items.is_empty()).then_some(()))
        },
    )
    .await
}

/// `velero restore create`; it must be Completed.
pub async fn restore(world: &World, tale: &mut Tale, backup: &str) -> Outcome {
    tale.step(&format!("Restore from {backup}"))?;
    let name = format!("{backup}-back");
    tale.types(
        &format!("velero restore create {name} --from-backup {backup} --wait"),
        world,
    )
    .await?;
    let restores: Api<Restore> = Api::namespaced(world.client(), VELERO);
    let restore = restores.get(&name).await;
    let restore = restore.map_err(|error| kubernetes(format!("getting restore {name}"), &error))?;
    match restore.phase() {
        RestorePhase::Completed => Ok(()),
        phase => Err(Failure::new(format!("restore {name} ended as {phase}"))),
    }
}

/// What came back is what was there, in other volumes; devices keep their holes.
pub async fn compare(world: &World, tale: &mut Tale, before: &BTreeMap<String, (PathBuf, Held)>) -> Outcome {
    tale.step("Compare with what was there")?;
    if world.spoil {
        spoil(world, before.len()).await?;
    }
    let after = look(world, before.len()).await?;
    for (claim, (place, held)) in before {
        let Some((new_place, new)) = after.get(claim) else {
            return Err(Failure::new(format!(
                "claim {NAMESPACE}/{claim} has not come back"
            )));
        };
        if new_place == place || world::is_there(place) {
            return Err(Failure::new(format!(
                "claim {NAMESPACE}/{claim} has its old volume: nothing was lost, so nothing is proven"
            )));
        }
        if new != held {
            return Err(Failure::new(format!(
                "claim {NAMESPACE}/{claim} does not hold what was there"
            )));
        }
    }
    let used: u64 = after.values().map(|(place, _)| occupied(place)).sum();
    let devices = after
        .values()
        .filter(|(_, held)| matches!(held, Held::Device { .. }))
        .count() as u64;
    if devices > 0 && used > devices * DEVICE_BYTES / 2 {
        return Err(Failure::new(format!(
            "the restored devices take {}: their holes are filled",
            DecimalBytes(used)
        )));
    }
    tale.fact(&format!(
        "all {} volumes are the same; they take {}",
        before.len(),
        DecimalBytes(used)
    ))
}

/// One byte of one volume, for the test that this is noticed.
async fn spoil(world: &World, count: usize) -> Outcome {
    let places = places(world, count).await?;
    let Some(place) = places.values().next() else {
        return Ok(());
    };
    let disk = place.join("disk");
    let file = if disk.exists() { disk } else { place.join("name") };
    let spoiled = File::options()
        .write(true)
        .open(&file)
        .and_then(|file| file.write_all_at(b"!", 3));
    spoiled.map_err(|error| Failure::new(format!("changing a byte: {error}")))
}
