//! The download_request controller.
