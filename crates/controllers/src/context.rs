//! What every controller is given.
