//! The backup_storage_location controller.
