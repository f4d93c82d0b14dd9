//! The backup_operations controller.
