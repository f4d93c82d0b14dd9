//! The words that scenarios are written in.
//!
//! A scenario drives the `velero` command and the Kubernetes API as a user would, never our crates. It reads as a list of
//! steps; every wait has a deadline, and what failed is said with the object's last state.
//!
//! ```no_run
//! use caravel_e2e::scenario::{Cluster, Installation, Shop, step};
//!
//! let cluster = Cluster::connect()?;
//! let installation = Installation::fresh(&cluster, "example")?;
//! let shop = Shop::named("shop").create(&cluster)?;
//! shop.run(&cluster, "echo hello > /data/hello")?;
//! step("back up", || cluster.velero_ok(&["backup", "create", "b1", "--include-namespaces", "shop", "--wait"]))?;
//! # anyhow::Ok(())
//! ```

mod application_set;
mod bucket;
mod connection;
mod dump;
mod installation;
mod kinds;
mod kopia;
mod leftovers;
mod rebuild;
mod server_pod;
mod shop;
pub mod side;
mod storage;
mod tree;
mod volumes;
mod wait;

pub use application_set::{ApplicationSet, CLUSTER_SCOPED};
pub use bucket::Bucket;
pub use connection::Cluster;
pub use dump::Dump;
pub use installation::{Installation, NAMESPACE, Options};
pub use kinds::{Kind, without_server_fields};
pub use kopia::Kopia;
pub use leftovers::Leftovers;
pub use rebuild::{give_snapshots_back, replace_cluster, take_snapshots_away};
pub use server_pod::ServerPod;
pub use shop::Shop;
pub use side::Side;
pub use storage::snapshots_in_storage;
pub use tree::{Entry, Tree, Unlike};
pub use volumes::{Contents, Volumes};
pub use wait::{phase, step, until};
