//! How long maintenance waits before each step that others may not have seen coming (kopia-format.md 11.5).
//! All in seconds.

/// The waiting times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Safety {
    /// Younger contents are not moved to another pack.
    pub rewrite_min_age: i64,
    /// Younger unreferenced contents are not marked as deleted: their snapshot may be on its way.
    pub min_content_age_subject_to_gc: i64,
    /// Two snapshot collections must be so far apart to count as two.
    pub margin_between_snapshot_gc: i64,
    /// Whether a content goes only when two collections found it unreferenced.
    pub require_two_gc_cycles: bool,
    /// Added to that.
    pub drop_content_extra_margin: i64,
    /// Younger unreferenced packs stay.
    pub pack_delete_min_age: i64,
    /// Unreferenced packs of a session with a marker stay until the marker is so old.
    pub session_expiration_age: i64,
    /// After contents were moved, packs stay so long: readers learn the new places every 15 minutes.
    pub min_rewrite_to_orphan_deletion_delay: i64,
}

const HOUR: i64 = 3600;

impl Safety {
    /// Safe while others write, Kopia's `full`: what Velero uses.
    pub const fn full() -> Self {
        Self {
            rewrite_min_age: 2 * HOUR,
            min_content_age_subject_to_gc: 24 * HOUR,
            margin_between_snapshot_gc: 4 * HOUR,
            require_two_gc_cycles: true,
            drop_content_extra_margin: HOUR,
            pack_delete_min_age: 24 * HOUR,
            session_expiration_age: 96 * HOUR,
            min_rewrite_to_orphan_deletion_delay: HOUR,
        }
    }

    /// Everything at once, Kopia's `none`. Loses data when anybody else uses the repository meanwhile.
    pub const fn none() -> Self {
        Self {
            rewrite_min_age: 0,
            min_content_age_subject_to_gc: 0,
            margin_between_snapshot_gc: 0,
            require_two_gc_cycles: false,
            drop_content_extra_margin: 0,
            pack_delete_min_age: 0,
            session_expiration_age: 0,
            min_rewrite_to_orphan_deletion_delay: 0,
        }
    }
}
