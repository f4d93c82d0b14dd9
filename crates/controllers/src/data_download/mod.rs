//! The data_download controller.
