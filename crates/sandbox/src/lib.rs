//! A cluster in one process: the in-memory API server ([`caravel_api_server`]) and what else makes a cluster, namely
//! volumes and snapshots (`storage/`), nodes that run pods as tasks (`node/`), and the controllers of Kubernetes itself
//! (`workloads/`).
//!
//! What a container runs is a [`Program`] that the caller hands in by image name, so this crate never imports a
//! controller of ours; the binary puts the two together. It holds only in-memory clients and can never touch a real
//! cluster.

mod machinery;
mod node;
mod program;
mod sandbox;
pub mod storage;
mod workloads;

pub use caravel_api_server::faults;
pub use caravel_api_server::{ApiServer, Authorization, LoadError, Serving};
pub use caravel_csi_driver::Writers;
pub use node::Machines;
pub use program::{Container, ExecRequest, Executed, Log, Program};
pub use sandbox::{Builder, Sandbox, StartError};
