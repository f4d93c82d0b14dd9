//! `cargo xtask image`: the product's image, built without a container daemon (e2e/src/image.rs).

use anyhow::Result;
use clap::Args;

/// How to build it.
#[derive(Debug, Args)]
pub struct Image {
    /// Import it into the running cluster
    #[arg(long)]
    load: bool,
    /// Cargo profile: image, or dev for a quick try
    #[arg(long, default_value = "image")]
    profile: String,
}

/// Builds the static binary, packs it, and loads it when asked to.
pub fn run(image: &Image) -> Result<()> {
    let archive = caravel_e2e::image::build_product(&image.profile)?;
    if image.load {
        caravel_e2e::cluster::load_image(&archive)?;
        println!("loaded {}", caravel_e2e::image::PRODUCT_IMAGE);
    }
    Ok(())
}
