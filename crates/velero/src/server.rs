//! `velero server`.
