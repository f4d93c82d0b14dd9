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
//! medium     the seam between the services and what volumes are made of: images as above, or
//! folder     volumes as folders, without root, for the sandbox          writers    its writer's lock
//! ```
//! The sandbox calls the services in process: [`Driver`] implements the traits that [`csi`] is generated with.

mod command;
mod controller;
mod driver;
mod error;
mod filesystem;
mod folder;
mod freeze;
mod identity;
mod ioctl;
mod loop_device;
mod medium;
mod mounts;
mod node;
mod records;
mod request;
mod serve;
mod stage;
mod store;
mod volume;
mod writers;

pub use driver::{Config, Driver};
pub use error::{Error, Result};
pub use folder::Now;
pub use serve::serve;
pub use writers::{Writers, Writing};

/// Generated from `proto/csi.proto`: messages, and the traits of the services.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod csi {
    tonic::include_proto!("csi.v1");
}

/// Generated from `proto/pluginregistration.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub(crate) mod pluginregistration {
    tonic::include_proto!("pluginregistration");
}
