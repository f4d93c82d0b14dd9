//! `velero sandbox`: a whole cluster in this process, with Velero installed in it.
//!
//! ```text
//! folder.rs          where it lives; other programs' files are left alone
//! world.rs           what makes it: cluster, object store, installation
//! container.rs       the image velero/velero: our server, node agent and data movers as tasks
//! container_log.rs   what they log becomes the log of their containers
//! object_store.rs    S3 on loopback over a folder
//! shop.rs            the application of the stories, whose checksums tell whether a restore is right
//! fingerprint.rs     what a volume holds, for comparing
//! story/             `sandbox demo`: the stories and how they are told
//! ```
//! The cluster itself (API server, volumes, nodes, workloads) is `crates/sandbox`, which knows none of this. Nothing
//! here reads a kubeconfig or can reach a real cluster.

// `application`, `story` and `world` follow when crates/sandbox has its `Sandbox`.
mod container;
mod container_log;
mod fingerprint;
mod folder;
mod object_store;
mod shop;
