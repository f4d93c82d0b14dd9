//! Every task of the project; `cargo xtask` lists them.

mod bench;
mod ci;
mod cluster;
#[cfg(test)]
mod coverage;
mod docs;
mod e2e;
mod edges;
mod fuzz;
mod image;
mod interop;
mod pieces;
mod stages;
mod tests;
mod tools;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Every task of the project")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that CI checks; with --gate also the scenarios of the gate tier on a real cluster
    Ci {
        /// Run the gate scenarios too (as root, on Linux)
        #[arg(long)]
        gate: bool,
    },
    /// Every test that needs no cluster, with the real kopia and a real S3 server beside them
    Test,
    /// Random histories of the whole system from seeds; prints the seed and the shortest trace of a failure
    Simulate {
        /// Arguments of `simulate`: --seeds N, --from SEED, --steps N, --snapshots or --restarts, --twice, --trace, --log LEVEL
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Every decoder of the repository engine on mutated bytes
    Fuzz(fuzz::Fuzz),
    /// Which crate may use which
    Edges,
    /// Bans, licences and sources of every dependency
    Deny,
    /// Spelling
    Typos,
    /// The real Kubernetes of the scenarios: up, down, status
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Build the product's image, and load it into the cluster
    Image(image::Image),
    /// Run scenarios on a real cluster
    E2e(Box<e2e::E2e>),
    /// Our engine, the real Kopia and Velero's own code on one repository
    Interop {
        /// With the sizes and hours that CI has no time for
        #[arg(long)]
        full: bool,
    },
    /// Measure
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Provide binaries that come from Go modules, and print their paths
    Pieces {
        /// Names; without one, the list
        names: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::Ci { gate } => ci::ci(gate),
        Task::Test => ci::test(),
        Task::Simulate { arguments } => ci::simulate(&arguments),
        Task::Fuzz(fuzz) => fuzz.run(),
        Task::Edges => edges::check(),
        Task::Deny => tools::install().and_then(|()| tools::deny()),
        Task::Typos => tools::install().and_then(|()| tools::typos()),
        Task::Cluster(command) => cluster::run(&command),
        Task::Image(image) => image::run(&image),
        Task::E2e(options) => e2e::run(*options),
        Task::Interop { full } => interop::interop(match full {
            true => interop::Extent::Full,
            false => interop::Extent::Alone,
        }),
        Task::Bench(bench) => bench::run(&bench),
        Task::Pieces { names } => pieces::run(&names),
    }
}
