//! Every task of the project; `cargo xtask` lists them.

mod cluster;
mod image;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Every task of the project")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The real Kubernetes of the scenarios: up, down, status
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Build the product's image, and load it into the cluster
    Image(image::Image),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::Cluster(command) => cluster::run(&command),
        Task::Image(image) => image::run(&image),
    }
}
