//! Runs named stages one after another and says at the end where the minutes went.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The stages run so far, in order.
#[derive(Default)]
pub struct Stages {
    done: Vec<(String, Duration, bool)>,
}

impl Stages {
    /// Runs one stage; a stage that fails is noted, and the error is handed on.
    pub fn run(&mut self, name: &str, stage: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("\n── {name}");
        let begun = Instant::now();
        let result = stage();
        self.done.push((name.to_owned(), begun.elapsed(), result.is_ok()));
        result.with_context(|| format!("stage `{name}` failed"))
    }

    /// The table of stages and minutes.
    pub fn print(&self) {
        let total: Duration = self.done.iter().map(|(_, took, _)| *took).sum();
        println!("\n{:<34} {:>8}  result", "stage", "minutes");
        for (name, took, ok) in &self.done {
            println!(
                "{name:<34} {:>8.1}  {}",
                minutes(*took),
                if *ok { "ok" } else { "FAILED" }
            );
        }
        println!("{:<34} {:>8.1}", "total", minutes(total));
    }
}

fn minutes(duration: Duration) -> f64 {
    duration.as_secs_f64() / 60.0
}

/// Runs a command with its output shown; anything but success is an error that repeats the command line.
pub fn run(program: &str, arguments: &[&str], environment: &[(&str, String)]) -> Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(key, value)| (*key, value.as_str())))
        .status()
        .with_context(|| format!("cannot start `{program}`"))?;
    if !status.success() {
        bail!("`{program} {}` ended with {status}", arguments.join(" "));
    }
    Ok(())
}
