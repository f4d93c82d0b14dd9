//! `cargo xtask fuzz`: every decoder of the repository engine on mutated bytes, on stable (crates/repository/src/fuzz.rs).

use anyhow::Result;
use clap::Args;

use crate::stages::run;

/// How long, and from where.
#[derive(Args)]
pub struct Fuzz {
    /// Seconds for all decoders together
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// The same seed tries the same inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Fuzz {
    /// Fails on a panic, an endless loop, or memory beyond the input times a constant; the input is shown.
    pub fn run(&self) -> Result<()> {
        let environment = [
            ("CARAVEL_FUZZ_SECONDS", self.seconds.to_string()),
            ("CARAVEL_FUZZ_SEED", self.seed.to_string()),
        ];
        let arguments = [
            "test",
            "--locked",
            "-p",
            "caravel-repository",
            "--test",
            "fuzz",
            "--",
            "--nocapture",
        ];
        run("cargo", &arguments, &environment)
    }
}

impl Default for Fuzz {
    /// What CI runs.
    fn default() -> Self {
        Self { seconds: 20, seed: 1 }
    }
}
