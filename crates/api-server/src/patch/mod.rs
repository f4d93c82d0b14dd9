//! The four patches of a Kubernetes API: [`json()`], [`merge()`], [`strategic()`] and server-side [`apply()`]. Plain
//! functions from an object to an object; who may patch what, and what an object must look like, is decided elsewhere.

mod apply;
mod declared;
mod json;
mod merge;
mod order;
mod strategic;

pub use apply::{apply, apply_subresource};
pub use json::json;
pub(crate) use json::json_name;
pub use merge::merge;
pub use strategic::strategic;
