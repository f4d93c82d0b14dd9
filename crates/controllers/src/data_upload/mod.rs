//! The data_upload controller.
