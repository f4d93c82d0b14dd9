//! The restore_operations controller.
