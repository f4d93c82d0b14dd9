//! Kopia's repository format. No Kubernetes, no Velero words.
