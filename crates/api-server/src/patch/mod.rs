//! The patches of a Kubernetes API: [`json`], [`merge`] and [`strategic`]. Plain functions
//! from an object to an object; who may patch what, and what an object must look like, is decided elsewhere.

mod json;
mod merge;
mod order;
mod strategic;

pub use json::json;
pub(crate) use json::json_name;
pub use merge::merge;
pub use strategic::strategic;
