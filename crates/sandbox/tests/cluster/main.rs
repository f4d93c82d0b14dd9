//! The cluster as its users meet it: pods run, workloads keep them, what is deleted goes.

// Helpers of tests are not test functions, which is all that clippy excuses.
#![allow(clippy::unwrap_used)]

mod garbage;
mod namespaces;
mod nodes;
mod pods;
mod repeats;
mod volumes;
mod workloads;
mod world;
