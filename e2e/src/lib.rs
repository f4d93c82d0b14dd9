//! A real Kubernetes as plain processes, and the scenarios that judge us on it.
//!
//! | module | what |
//! |---|---|
//! | [`cluster`] | `cargo xtask cluster up\|down\|status`: etcd, API server, kubelet and the rest as processes under one root folder |
//! | [`go_pieces`] | the binaries that come from Go modules, with pinned versions, built once into the cache |
//! | [`image`] | container images from folders, without a container daemon |
//! | [`facts`] | what `up` found out (addresses, files), as JSON; scenarios read nothing else |
//! | [`peer`] | the real Velero in images, for the scenarios that compare |
//! | [`scenarios`] | the list of scenarios and what runs them |
//! | [`scenario`] | the words that scenarios are written in: `velero`, `kubectl`, waiting, the `shop`, digests of a tree |
//!
//! Source: reference/test-cluster.md (versions, flags, traps; all tried) and decisions.md sections 4 and 5.

pub mod bench;
pub mod cluster;
pub mod facts;
pub mod go_pieces;
pub mod image;
pub mod peer;
pub mod places;
pub mod run;
pub mod scenario;
pub mod scenarios;
