//! Policies, expiry and pins on a repository in memory.
#![allow(clippy::unwrap_used)]

mod simulated;

use std::sync::Arc;

use caravel_repository::{policy::*, *};
use simulated::*;

fn target(path: &str) -> PolicyTarget {
    SnapshotSource {
        host: "h".into(),
        user_name: "u".into(),
        path: path.into(),
    }
}

fn keep_latest(n: i64) -> Policy {
    let mut policy = Policy::default();
    let zero = Some(0);
    policy.retention = caravel_repository::policy::Retention {
        keep_latest: Some(n),
        keep_hourly: zero,
        keep_daily: zero,
        keep_weekly: zero,
        keep_monthly: zero,
        keep_annual: zero,
        ..Default::default()
    };
    policy
}

fn created(seed: u64) -> (World, Repository) {
    let world = World::new(seed);
    let memory = Arc::new(world.memory());
    world.create(memory.clone()).unwrap();
    let repository = world.open(memory).unwrap();
    (world, repository)
}

#[test]
fn policy_is_set_replaced_found_and_removed() {
    let (_, repository) = created(1);
    assert_eq!(repository.policy(&target("/a")).unwrap(), None);
    repository.set_policy(&target("/a"), &keep_latest(3)).unwrap();
    repository.set_policy(&target("/a"), &keep_latest(2)).unwrap();
    repository
        .set_policy(&PolicyTarget::default(), &keep_latest(7))
        .unwrap();
    assert_eq!(
        repository.policy(&target("/a")).unwrap().unwrap().policy,
        keep_latest(2)
    );
    assert_eq!(repository.policies().unwrap().len(), 2);
    let latest = |path: &str| {
        let effective = repository.effective_policy(&target(path)).unwrap();
        (
            effective.policy.retention.keep_latest,
            effective.defined_at.keep_latest.path,
        )
    };
    assert_eq!(latest("/a/b"), (Some(2), "/a".into()));
    assert_eq!(latest("/x"), (Some(7), String::new()));
    repository.remove_policy(&target("/a")).unwrap();
    assert_eq!(latest("/a/b"), (Some(7), String::new()));
    let path_alone = SnapshotSource {
        path: "/a".into(),
        ..SnapshotSource::default()
    };
    let error = repository
        .set_policy(&path_alone, &Policy::default())
        .unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::Invalid);
}

#[test]
fn expiry_deletes_what_neither_policy_nor_pin_keeps() {
    let (world, repository) = created(2);
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(save_file(&repository, "a", &noise(100, n)).unwrap());
        world.clock.advance_secs(3600);
    }
    let other = save_file(&repository, "b", b"b").unwrap();
    repository.set_policy(&target("/a"), &keep_latest(2)).unwrap();
    let pinned = repository.pin_snapshot(&ids[0], &["keep".into()], &[]).unwrap();
    assert_ne!(pinned, ids[0]);
    assert_eq!(
        repository.pin_snapshot(&pinned, &["keep".into()], &[]).unwrap(),
        pinned
    );

    let all = SnapshotSource::default();
    let planned = repository.expire_snapshots(&all, false).unwrap();
    let expired: Vec<_> = planned
        .iter()
        .filter(|e| e.expired)
        .map(|e| e.snapshot.id.clone())
        .collect();
    assert_eq!(expired, [ids[1].clone(), ids[2].clone()]);
    assert_eq!(check_whole(&repository), 6);

    repository.expire_snapshots(&target("/a"), true).unwrap();
    let mut left: Vec<_> = repository
        .find_snapshots(&SnapshotFilter::default())
        .unwrap()
        .into_iter()
        .map(|s| s.id)
        .collect();
    left.sort();
    let mut expected = vec![pinned.clone(), ids[3].clone(), ids[4].clone(), other];
    expected.sort();
    assert_eq!(left, expected);

    let unpinned = repository.pin_snapshot(&pinned, &[], &["keep".into()]).unwrap();
    let again = repository.expire_snapshots(&target("/a"), true).unwrap();
    assert_eq!(
        again
            .iter()
            .filter(|e| e.expired)
            .map(|e| &e.snapshot.id)
            .collect::<Vec<_>>(),
        [&unpinned]
    );
}
