//! The work queue under every controller.
