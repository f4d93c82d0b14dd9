//! `cargo xtask e2e NAME…`: the scenarios on a real cluster (e2e/src/scenarios.rs).

use std::path::PathBuf;

use anyhow::Result;
use caravel_e2e::scenarios::{self, Elsewhere};
use clap::Args;

/// Which scenarios, and where. Without `--kubeconfig`: on our own cluster, which is brought up when it is down.
#[derive(Debug, Args)]
pub struct E2e {
    /// Scenarios to run; without a name, all of the gate tier
    names: Vec<String>,
    /// All of the gate tier (the same as no name)
    #[arg(long, conflicts_with_all = ["names", "full"])]
    gate: bool,
    /// The full tier too
    #[arg(long, conflicts_with = "names")]
    full: bool,
    /// Only list them
    #[arg(long)]
    list: bool,
    /// Cargo profile of the product's image
    #[arg(long, default_value = "image")]
    profile: String,
    /// Another cluster
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Its StorageClass
    #[arg(long, value_name = "NAME")]
    storage_class: Option<String>,
    /// Its VolumeSnapshotClass
    #[arg(long, value_name = "NAME")]
    snapshot_class: Option<String>,
    /// Its CSI driver
    #[arg(long, value_name = "NAME")]
    driver: Option<String>,
    /// S3 server that its pods reach
    #[arg(long, value_name = "URL")]
    s3_url: Option<String>,
    /// Region of that server
    #[arg(long, value_name = "NAME")]
    s3_region: Option<String>,
    /// An empty bucket there
    #[arg(long, value_name = "NAME")]
    s3_bucket: Option<String>,
    /// AWS credentials file for it
    #[arg(long, value_name = "FILE")]
    s3_credentials: Option<PathBuf>,
    /// Authority of its certificate
    #[arg(long, value_name = "FILE")]
    s3_ca: Option<PathBuf>,
    /// The velero command to drive, instead of building ours
    #[arg(long, value_name = "FILE")]
    velero: Option<PathBuf>,
    /// The product's image, instead of building ours
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// An image with busybox
    #[arg(long, value_name = "NAME")]
    application_image: Option<String>,
}

/// Runs or lists the scenarios.
pub fn run(options: E2e) -> Result<()> {
    if options.list {
        scenarios::list();
        return Ok(());
    }
    let chosen = scenarios::choose(&options.names, options.full)?;
    let elsewhere = Elsewhere {
        kubeconfig: options.kubeconfig,
        storage_class: options.storage_class,
        snapshot_class: options.snapshot_class,
        driver: options.driver,
        s3_url: options.s3_url,
        s3_region: options.s3_region,
        s3_bucket: options.s3_bucket,
        s3_credentials: options.s3_credentials,
        s3_ca: options.s3_ca,
        velero: options.velero,
        image: options.image,
        application_image: options.application_image,
    };
    scenarios::run(&chosen, &elsewhere, &options.profile)
}
