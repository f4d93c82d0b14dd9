//! The sandbox's storage on the in-memory API server, judged as a user of a cluster would: by objects and by bytes.

mod claims;
mod snapshots;
mod volumes;
mod world;
