//! The engine's commands alone, for people who only want the engine and for its tests: `cargo run -p
//! caravel-repository-cli -- snapshot list`. Users have them as `velero kopia …`.

use std::process::ExitCode;

use clap::Parser;

/// As `velero` has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Kopia repositories without a cluster.
#[derive(Debug, Parser)]
#[command(name = "caravel-repository-cli")]
struct Cli {
    #[command(flatten)]
    args: caravel_repository_cli::Args,
}

fn main() -> ExitCode {
    // It fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let args = Cli::parse().args;
    caravel_repository_cli::memory::keep_small();
    caravel_repository_cli::warnings::say();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("An error occurred: starting threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(caravel_repository_cli::run(
        args,
        caravel_repository_cli::Console::standard(),
    )) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code())
        }
    }
}
