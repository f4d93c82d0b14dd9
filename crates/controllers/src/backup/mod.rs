//! The backup controller.
