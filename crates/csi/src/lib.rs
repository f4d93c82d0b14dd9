//! Only speaker of snapshot.storage.k8s.io.
