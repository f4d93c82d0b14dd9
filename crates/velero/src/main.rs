//! The `velero` command: hands the arguments to the command line and its exit code back.

#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "node-agent")]
mod data_mover;
#[cfg(feature = "node-agent")]
mod node_agent;
#[cfg(feature = "server")]
mod server;

/// musl's own allocator is slow with many threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "cli")]
fn main() -> std::process::ExitCode {
    // Two crates of the tree could each bring a provider; with one chosen here, rustls never has to guess. It fails
    // only when one is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let args = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    cli::run(args)
}

#[cfg(not(feature = "cli"))]
fn main() {}
