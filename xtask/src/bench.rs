//! `cargo xtask bench …`: figures for people; nothing asserts on them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::{stages::run as command, tools};

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// A backup of a 10 MB volume beside the least that the cluster itself needs; wants the image loaded and CARAVEL_VELERO or
    /// `velero` on PATH
    Floor,
    /// Backup and restore of 3.4 GiB to a local folder, by Kopia and by us; needs some 11 GiB of room
    Engine(Engine),
    /// The most memory of a backup of a million files and of 100 GiB of holes, and of opening five million contents; needs
    /// some 13 GiB of room
    Memory(Memory),
    /// 10,000 secrets and config maps of 2 KB on our cluster, by the real Velero and by us; some ten minutes (builds apart)
    Resources(Resources),
    /// 2 volumes of 50 MB and 10 of 10 MB on our cluster, moved by the real Velero and by us, and what both hold in memory
    /// while idle; some ten minutes (builds apart). With --big: the data mover's memory on 10 GiB with 100,000 files, by us
    /// alone; needs some 24 GiB of room, and a quarter of an hour
    Move(Move),
}

/// How to measure data movement.
#[derive(Debug, clap::Args)]
pub struct Move {
    /// Without the real Velero
    #[arg(long)]
    alone: bool,
    /// Instead, the memory of the data mover pod on a volume of 10 GiB with 100,000 files, under a limit of 144 MiB
    #[arg(long)]
    big: bool,
    /// With --big: without that limit
    #[arg(long, requires = "big")]
    unlimited: bool,
    /// Cargo profile of the product's image
    #[arg(long, default_value = "image")]
    profile: String,
    /// Build nothing: measure the images that the cluster has, with CARAVEL_VELERO and the facts of CARAVEL_E2E
    #[arg(long)]
    loaded: bool,
}

/// How to measure backups and restores of resources.
#[derive(Debug, clap::Args)]
pub struct Resources {
    /// Objects
    #[arg(long, default_value_t = 10_000)]
    objects: usize,
    /// And then as many, by us alone, for the growth of memory
    #[arg(long, value_name = "OBJECTS")]
    grown: Option<usize>,
    /// Without the real Velero
    #[arg(long)]
    alone: bool,
    /// Cargo profile of the product's image
    #[arg(long, default_value = "image")]
    profile: String,
    /// Build nothing: measure the images that the cluster has, with CARAVEL_VELERO and the facts of CARAVEL_E2E
    #[arg(long)]
    loaded: bool,
}

/// How to measure the engine.
#[derive(Debug, clap::Args)]
pub struct Engine {
    /// Folder to work in; made, and removed afterwards
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
    /// Our program (caravel-repository-cli), instead of building it in release
    #[arg(long, value_name = "FILE")]
    ours: Option<PathBuf>,
    /// Part of the full size
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// How often each step is done; the middle one counts
    #[arg(long, default_value_t = 1)]
    runs: usize,
}

/// What to measure of the engine's memory.
#[derive(Debug, clap::Args)]
pub struct Memory {
    /// Folder to work in; made, and removed afterwards
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
    /// Our program (caravel-repository-cli), instead of building it in release
    #[arg(long, value_name = "FILE")]
    ours: Option<PathBuf>,
    /// Part of the full size
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Only these
    #[arg(long = "row", value_enum, value_name = "ROW")]
    rows: Vec<Row>,
    /// Kopia, too: several times as long
    #[arg(long)]
    kopia: bool,
}

/// What there is much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Row {
    Files,
    Sparse,
    Contents,
}

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Floor => caravel_e2e::bench::floor(),
        Bench::Engine(options) => engine(options),
        Bench::Memory(options) => memory(options),
        Bench::Move(options) if options.big => {
            caravel_e2e::bench::big_volume::run(&caravel_e2e::bench::big_volume::Settings {
                unlimited: options.unlimited,
                profile: (!options.loaded).then(|| options.profile.clone()),
            })
        }
        Bench::Move(options) => caravel_e2e::bench::movement::run(&caravel_e2e::bench::movement::Settings {
            alone: options.alone,
            profile: (!options.loaded).then(|| options.profile.clone()),
        }),
        Bench::Resources(options) => {
            caravel_e2e::bench::resources::run(&caravel_e2e::bench::resources::Settings {
                objects: options.objects,
                grown: options.grown,
                alone: options.alone,
                profile: (!options.loaded).then(|| options.profile.clone()),
            })
        }
    }
}

/// Our program and its peers, by the variables that name them.
fn programs(ours: Option<&PathBuf>) -> Result<Vec<(&'static str, String)>> {
    let ours = match ours {
        Some(program) => program.clone(),
        None => release("caravel-repository-cli", &[])?.join("caravel-repository-cli"),
    };
    let mut peers = tools::peers()?;
    peers.push(("CARAVEL_REPOSITORY_CLI", ours.to_string_lossy().into_owned()));
    Ok(peers)
}

/// Builds something of a package in release; where such programs lie.
fn release(package: &str, what: &[&str]) -> Result<PathBuf> {
    let build = ["build", "--release", "--locked", "--package", package];
    command("cargo", &[&build, what].concat(), &[])?;
    Ok(tools::target()?.join("release"))
}

fn memory(options: &Memory) -> Result<()> {
    use caravel_interop::bench::memory::{self, MANY_CONTENTS};
    let mut programs = programs(options.ours.as_ref())?;
    let rows: Vec<Row> = match options.rows.as_slice() {
        [] => vec![Row::Files, Row::Sparse, Row::Contents],
        some => some.to_vec(),
    };
    if rows.contains(&Row::Contents) {
        let examples = release("caravel-repository", &["--example", "many_contents"])?.join("examples");
        let example = examples.join("many_contents");
        programs.push((MANY_CONTENTS, example.to_string_lossy().into_owned()));
    }
    let settings = memory::Settings {
        scale: options.scale,
        kopia: options.kopia,
        rows: rows
            .into_iter()
            .map(|row| match row {
                Row::Files => memory::Row::Files,
                Row::Sparse => memory::Row::Sparse,
                Row::Contents => memory::Row::Contents,
            })
            .collect(),
    };
    let scratch = match &options.scratch {
        Some(folder) => folder.clone(),
        None => tools::target()?.join("bench-memory"),
    };
    let programs = programs.iter().map(|(name, value)| (*name, value.as_str()));
    memory::memory(&scratch, &settings, &programs.collect::<Vec<_>>())
        .with_context(|| format!("in {}", scratch.display()))
}

fn engine(options: &Engine) -> Result<()> {
    let peers = programs(options.ours.as_ref())?;
    let scratch = match &options.scratch {
        Some(folder) => folder.clone(),
        None => tools::target()?.join("bench-engine"),
    };
    let settings = caravel_interop::bench::Settings {
        scale: options.scale,
        runs: options.runs,
    };
    let peers = peers.iter().map(|(name, value)| (*name, value.as_str()));
    caravel_interop::bench::engine(&scratch, &settings, &peers.collect::<Vec<_>>())
        .with_context(|| format!("in {}", scratch.display()))
}
