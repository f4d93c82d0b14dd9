//! Never reads the bucket except through backup-store.
