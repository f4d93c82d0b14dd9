//! The cluster as its users meet it: pods run, workloads keep them, what is deleted goes.

mod garbage;
mod namespaces;
mod pods;
mod volumes;
mod workloads;
mod world;
