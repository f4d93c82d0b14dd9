//! Whether a restore gets a cache volume, and what it asks of the cluster.

use super::*;
use crate::restore::tests::request;

fn said(resident_threshold_mb: u64) -> CachePvc {
    CachePvc {
        storage_class: "cheap".into(),
        resident_threshold_mb,
    }
}

/// `cachePVC`, bytes of the snapshot, the repository's limit in MiB, and the size of the volume.
#[test]
fn a_restore_has_a_cache_volume_where_it_is_worth_one() {
    const MEBIBYTE: i64 = 1 << 20;
    let (none, always, large) = (None, Some(said(0)), Some(said(1024)));
    let no_class = Some(CachePvc::default());
    for (said, snapshot_bytes, limit_mb, size) in [
        // Nobody has asked for one.
        (&none, 0, 5000, None),
        (&none, 4096 * MEBIBYTE, 5000, None),
        (&no_class, 0, 5000, None),
        // Any snapshot is large enough.
        (&always, 1, 5000, Some("6Gi")),
        (&always, 0, 5000, Some("6Gi")),
        // Whose size is not known may be large.
        (&large, 0, 5000, Some("6Gi")),
        (&large, -1, 5000, Some("6Gi")),
        // Below, at and above the threshold.
        (&large, 1, 5000, None),
        (&large, 1024 * MEBIBYTE - 1, 5000, None),
        (&large, 1024 * MEBIBYTE, 5000, Some("6Gi")),
        (&large, 1024 * MEBIBYTE + 1, 5000, Some("6Gi")),
        // By the repository's limit, in whole GiB.
        (&large, 0, 1, Some("1Gi")),
        (&large, 0, 850, Some("1Gi")),
        (&large, 0, 1024, Some("2Gi")),
        (&large, 0, 10240, Some("12Gi")),
        (&large, 0, 0, None),
    ] {
        let wanted = CacheVolume::wanted(said.as_ref(), snapshot_bytes, limit_mb);
        let asked = wanted.as_ref().map(|volume| volume.size().0);
        assert_eq!(
            asked.as_deref(),
            size,
            "{said:?}, {snapshot_bytes} bytes, {limit_mb} MiB"
        );
        assert!(wanted.is_none_or(|volume| volume.storage_class == "cheap"));
    }
    // A limit that nothing can hold is asked for, and refused by whoever makes volumes.
    assert!(CacheVolume::wanted(always.as_ref(), 0, u64::MAX).is_some());
}

#[test]
fn the_claim_is_the_downloads_own_and_a_file_system() {
    let volume = CacheVolume {
        storage_class: "cheap".into(),
        limit_mb: 5000,
    };
    let claim = volume.claim("velero", &request(), None);
    let meta = &claim.metadata;
    assert_eq!(meta.name.as_deref(), Some("r-1-cache"));
    assert_eq!(meta.namespace.as_deref(), Some("velero"));
    assert!(api::is_owned_by(meta, "u-1"));
    assert_eq!(meta.labels.as_ref().unwrap()["velero.io/data-download"], "r-1");
    assert_eq!(meta.annotations, None);
    let spec = claim.spec.unwrap();
    assert_eq!(spec.access_modes.unwrap(), ["ReadWriteOnce"]);
    assert_eq!(spec.storage_class_name.as_deref(), Some("cheap"));
    assert_eq!(spec.volume_mode.as_deref(), Some("Filesystem"));
    assert_eq!(spec.resources.unwrap().requests.unwrap()["storage"].0, "6Gi");

    let placed = volume.claim("velero", &request(), Some("n1"));
    assert_eq!(placed.metadata.annotations.unwrap()[SELECTED_NODE], "n1");
}
