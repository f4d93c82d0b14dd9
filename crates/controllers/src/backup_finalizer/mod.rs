//! The backup_finalizer controller.
