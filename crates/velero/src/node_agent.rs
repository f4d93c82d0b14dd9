//! `velero node-agent server`.
