//! What the server knows of Kubernetes' own kinds.

pub mod defaults;
pub mod kinds;
pub mod quantity;
#[cfg(test)]
pub(crate) mod samples;
pub mod typed;
pub mod types;
pub mod validate;
