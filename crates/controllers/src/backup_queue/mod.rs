//! The backup_queue controller.
