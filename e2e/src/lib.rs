//! A real Kubernetes as plain processes, and the scenarios that judge us on it.
