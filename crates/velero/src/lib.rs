//! The `velero` command as a library: `main.rs` hands it the arguments, and `crates/simulation` what containers of the
//! image run. Nothing else uses it.

mod cli;
mod data_mover;
mod node_agent;
mod process;
mod repo_check;
mod repo_maintenance;
mod repo_pod;
#[cfg(feature = "sandbox")]
mod sandbox;
mod server;

pub use cli::run;

/// What the whole-system simulation needs of the binary.
#[cfg(feature = "sandbox")]
pub mod in_process {
    use std::fmt::Display;
    use std::path::Path;

    use kube::Client;

    pub use crate::sandbox::container::{IMAGE, Velero};
    pub use crate::sandbox::container_log::start as logs_to_containers;

    /// `velero install` with a bucket that `Velero`'s stores know, the node agent and no native snapshots; returns
    /// when all of it runs.
    ///
    /// # Errors
    /// What `velero install` would print.
    pub async fn install(client: &Client, namespace: &str, secret_file: &Path) -> Result<(), impl Display> {
        let args = crate::cli::install::Args {
            provider: Some("aws".into()),
            bucket: Some("backups".into()),
            secret_file: Some(secret_file.to_owned()),
            backup_location_config: vec!["region=us-east-1".into()],
            use_volume_snapshots: Some(false),
            use_node_agent: Some(true),
            image: format!("{IMAGE}:v{}", env!("CARGO_PKG_VERSION")),
            ..crate::cli::install::Args::default()
        };
        crate::cli::install::quietly(&args, namespace, client).await
    }
}
