//! Only one that knows the bucket layout of a BackupStorageLocation.
