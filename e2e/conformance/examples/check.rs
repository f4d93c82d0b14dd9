//! Runs the checks on the cluster of a kubeconfig:
//!
//! ```text
//! cargo run -p caravel-conformance --example check -- KUBECONFIG [controllers] [nodes] [CLASS CLASS_WAITING SNAPSHOT_CLASS]
//! CONFORMANCE=watch,apply::force …      # only those
//! ```

use std::path::Path;

use anyhow::{Context, Result};
use caravel_conformance::{Filter, World, run};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let kubeconfig = arguments.next().context("name a kubeconfig")?;
    let mut world = World::of_kubeconfig(Path::new(&kubeconfig)).await?;
    let mut classes = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "controllers" => world.controllers = true,
            "nodes" => world.nodes = true,
            _ => classes.push(argument),
        }
    }
    let mut classes = classes.into_iter();
    (world.storage_class, world.storage_class_waiting) = (classes.next(), classes.next());
    world.snapshot_class = classes.next();
    run(&world, &Filter::from_environment()).await?.must_pass()
}
