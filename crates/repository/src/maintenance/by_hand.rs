//! Single tasks of maintenance that somebody asks for by hand, whether they are due or not: packs that nothing refers to
//! are deleted, the index is merged. The rules are those of the tasks themselves (`pack_gc.rs`, `epochs.rs`).

use super::{Kind, MaintenanceOptions, MaintenanceParameters, PackGc, Plan, Safety, lock, pack_gc};
use crate::{
    error::{RepositoryError, RepositoryErrorKind, Result},
    repository::Repository,
};

impl Repository {
    /// Finds packs and session markers whose names start with `prefix` and that nothing refers to; with `delete`, deletes
    /// them (blocking). Ages are told by the storage's clock, for which the schedule blob is written once as it was.
    ///
    /// Errors: `ClockSkew`, `TooSlow`, `Damaged` when the index is lost or a session marker cannot be read (nothing was deleted
    /// then), `Storage`.
    pub fn collect_packs(&self, safety: &Safety, prefix: &str, delete: bool) -> Result<PackGc> {
        self.refuse_lost_index()?;
        let start = match delete {
            true => {
                let schedule = self.maintenance_schedule()?;
                self.storage_time(&schedule, &schedule)?
            }
            false => self.inner.environment.clock.now(),
        };
        let mut observed = pack_gc::observe(self)?;
        observed.blobs.retain(|blob| blob.id.as_str().starts_with(prefix));
        let (mut figures, names) = pack_gc::decide(&observed, start, safety);
        if delete {
            self.inner.blobs.delete_all(&names)?;
            figures.deleted_pack_count = figures.unreferenced_pack_count;
            figures.deleted_total_size = figures.unreferenced_total_size;
        }
        Ok(figures)
    }

    /// Merges the index as far as its epochs allow: every settled epoch into one blob, enough of those into a range; what
    /// was merged long enough ago is deleted (blocking). With `dry_run` only says what would be the first of it.
    ///
    /// Errors: `Locked` when another process of this machine maintains, `Damaged` when the index is lost, `Storage`.
    pub fn optimize_index(&self, options: &MaintenanceOptions, dry_run: bool) -> Result<Plan> {
        self.refuse_lost_index()?;
        let Some(_lock) = lock::acquire(options.lock_file.as_deref())? else {
            return Err(RepositoryError::new(
                RepositoryErrorKind::Locked,
                "another process of this machine maintains the repository; nothing was done, try again when it has ended",
            ));
        };
        let parameters: MaintenanceParameters = self.maintenance_parameters()?;
        let start = self.inner.environment.clock.now();
        self.maintenance(Kind::Quick, start, parameters, options, dry_run)
            .index_only()
    }
}
