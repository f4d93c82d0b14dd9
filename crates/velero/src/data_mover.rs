//! `velero data-mover`.
