//! Reads Velero's table tests.
