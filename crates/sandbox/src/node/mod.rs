//! Nodes: the scheduler gives a pod its node, the node's kubelet runs it.
//!
//! ```text
//! Pod without node ──scheduler──► bound ──kubelet──► volumes ──► init containers ──► containers ──► status
//!                     fit.rs               worker.rs  volumes/    container.rs                      status.rs
//! ```
//!
//! A container is a task of this process that runs a [`crate::Program`]; its volumes are folders of the machine.

mod container;
mod environment;
mod fit;
mod images;
mod kubelet;
mod machines;
mod object;
mod pending;
mod power;
mod scheduler;
mod status;
mod stopping;
mod volumes;
mod worker;

pub use images::Images;
pub use kubelet::{Kubelet, NodeSettings};
pub use machines::Machines;
pub use power::{LEASES, OUT_OF_SERVICE};
pub use scheduler::Scheduler;
pub use volumes::{MountError, OnPod, Volumes};

pub(crate) use fit::{Eviction, Taints, fits_affinity};
pub(crate) use status::replace_condition;
