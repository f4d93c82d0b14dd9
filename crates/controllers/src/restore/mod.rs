//! The restore controller.
