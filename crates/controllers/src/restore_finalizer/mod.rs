//! The restore_finalizer controller.
