//! The backup_repository controller.
