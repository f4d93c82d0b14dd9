//! What the storage's users see when the driver misbehaves; nothing is lost or made twice.

use std::time::Duration;

use caravel_api_server::faults::Rule;
use caravel_sandbox::storage::CsiFault;
use serde_json::json;
use tokio::time::Instant;
use tonic::Code;

use crate::world::*;

fn snapshots_in_storage(world: &World) -> usize {
    let folder = world.folder.path().join("storage/snapshots");
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries
        .filter(|entry| entry.path().extension().is_some_and(|it| it == "json"))
        .count()
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_refused_twice_is_cut_the_third_time_and_says_why_meanwhile() {
    let world = World::new().await;
    world.claim("data", json!({})).await;
    world.bound("data").await;
    let refused = CsiFault::Fail(Code::Internal, "the array is on fire".to_owned());
    world
        .faults
        .add(Rule::always(refused).on("CreateSnapshot").first(2));
    let begun = Instant::now();
    world
        .snapshot("s", json!({"persistentVolumeClaimName": "data"}))
        .await;
    world.said("the array is on fire").await;
    let snapshot = world.ready("s").await;
    assert!(snapshot.status.unwrap().error.is_none());
    assert_eq!(begun.elapsed().as_secs(), 3, "waits of 1 s and 2 s");
    assert_eq!(world.faults.injected(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_ready_when_the_storage_says_so_and_not_before() {
    let world = World::new().await;
    world.claim("data", json!({})).await;
    world.bound("data").await;
    let slow = CsiFault::NotReadyFor(Duration::from_secs(6));
    world.faults.add(Rule::always(slow).on("CreateSnapshot"));
    let begun = Instant::now();
    world
        .snapshot("s", json!({"persistentVolumeClaimName": "data"}))
        .await;
    let snapshot: caravel_csi::VolumeSnapshot = world
        .until(
            &world.snapshots(),
            "s",
            |snapshot: &caravel_csi::VolumeSnapshot| {
                snapshot
                    .status
                    .as_ref()
                    .is_some_and(|status| status.creation_time.is_some())
            },
        )
        .await;
    assert_eq!(snapshot.status.unwrap().ready_to_use, Some(false));
    world.ready("s").await;
    let waited = begun.elapsed();
    assert!(
        waited >= Duration::from_secs(6) && waited < Duration::from_secs(12),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_whose_answer_was_lost_is_not_cut_twice() {
    let world = World::new().await;
    world.claim("data", json!({})).await;
    world.bound("data").await;
    world
        .faults
        .add(Rule::always(CsiFault::LostAnswer).on("CreateSnapshot").first(1));
    world
        .snapshot("s", json!({"persistentVolumeClaimName": "data"}))
        .await;
    world.ready("s").await;
    assert_eq!((world.faults.injected(), snapshots_in_storage(&world)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_claim_waits_while_the_storage_is_full_and_is_bound_when_there_is_room() {
    let world = World::new().await;
    world
        .faults
        .add(Rule::always(CsiFault::DiskFull).on("CreateVolume"));
    world.claim("data", json!({})).await;
    world.said("code = ResourceExhausted").await;
    assert_ne!(phase(&world.claims().get("data").await.unwrap()), "Bound");
    world.faults.clear();
    world.bound("data").await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_takes_its_time_and_one_that_is_too_slow_is_given_up_and_repeated() {
    let world = World::new().await;
    let slow = |seconds| Rule::always(CsiFault::Slow(Duration::from_secs(seconds))).on("CreateVolume");
    world.faults.add(slow(5).nth(1));
    world.faults.add(slow(90).nth(2));
    let begun = Instant::now();
    world.claim("slow", json!({})).await;
    world.bound("slow").await;
    assert_eq!(begun.elapsed().as_secs(), 5);
    world.claim("too-slow", json!({})).await;
    let api = world.claims();
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_ne!(phase(&api.get("too-slow").await.unwrap()), "Bound");
    world.said("no answer within 60 s").await;
    world.bound("too-slow").await;
}
