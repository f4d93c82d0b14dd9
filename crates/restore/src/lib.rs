//! Never reads the bucket except through backup-store.
//!
//! What of a backup comes back, in which order and how changed: velero-behaviour.md 8. The pure parts ([`selection`],
//! [`plan`], [`metadata`], [`existing`], [`volumes`], [`item_actions`]) decide; [`run`] carries out. The controllers
//! that start a run, follow its DataDownloads and finish it are `controllers/src/restore*`.

pub mod contents;
mod create;
pub mod discovery;
mod established;
pub mod exec_hooks;
pub mod existing;
pub mod group_resource;
mod item;
pub mod item_actions;
pub mod item_name;
pub mod log;
mod managed_fields;
pub mod metadata;
mod namespaces;
pub mod operations;
mod own;
pub mod plan;
pub mod priority;
pub mod resource_modifiers;
pub mod restore_status;
pub mod run;
pub mod saved_volumes;
pub mod selection;
pub mod versions;
pub mod volumes;

#[cfg(test)]
mod tests;
