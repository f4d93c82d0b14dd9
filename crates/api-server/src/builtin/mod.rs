//! What the server knows of Kubernetes' own kinds.

pub mod kinds;
