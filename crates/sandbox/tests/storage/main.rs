//! The sandbox's storage on the in-memory API server, judged as a user of a cluster would: by objects and by bytes.

// A test that meets what it does not expect ends there, and its futures live once.
#![allow(clippy::unwrap_used, clippy::large_futures)]

#[cfg(test)]
mod claims;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod volumes;
#[cfg(test)]
mod world;
