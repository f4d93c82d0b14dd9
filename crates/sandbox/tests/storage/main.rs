//! The sandbox's storage on the in-memory API server, judged as a user of a cluster would: by objects and by bytes.

#[cfg(test)]
mod claims;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod volumes;
#[cfg(test)]
mod world;
