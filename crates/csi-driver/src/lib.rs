//! A CSI driver for tests and the sandbox; never in the product's image.
//!
//! A volume is an image file, loop-mounted: it is really full when it is full, and a snapshot is really a point in time
//! (freeze, reflink, thaw). Judges: csi-sanity, csi-provisioner, csi-snapshotter and the kubelet.
//! Source: the CSI specification v1.11; `docs/map.md` says who starts it.
//!
//! ```text
//! serve      sockets            identity, controller, node   gRPC: request -> decision -> work -> answer
//! request    pure decisions     volume   images, snapshots   stage   loop devices and mounts
//! records    JSON files         store    XFS with reflinks   filesystem, loop_device, mounts, freeze: the machine
//! ```

mod command;
mod controller;
mod driver;
mod error;
mod filesystem;
mod freeze;
mod identity;
mod ioctl;
mod loop_device;
mod mounts;
mod node;
mod records;
mod request;
mod serve;
mod stage;
mod store;
mod volume;

pub use driver::{Config, Driver};
pub use error::{Error, Result};
pub use serve::serve;

/// Generated from `proto/csi.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub(crate) mod csi {
    tonic::include_proto!("csi.v1");
}

/// Generated from `proto/pluginregistration.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub(crate) mod pluginregistration {
    tonic::include_proto!("pluginregistration");
}
