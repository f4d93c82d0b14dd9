//! The data_movement controller.
