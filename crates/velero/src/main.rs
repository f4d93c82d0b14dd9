//! The `velero` command: hands the arguments to the command line and its exit code back.

#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "node-agent")]
mod data_mover;
#[cfg(feature = "node-agent")]
mod node_agent;
#[cfg(feature = "server")]
mod server;

fn main() {}
