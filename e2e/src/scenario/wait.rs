//! Waiting and telling: steps with their time, waits with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Runs one step of a scenario, says what it is before and how long it took after.
pub fn step<T>(what: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("── {what}");
    let begun = Instant::now();
    let result = action().with_context(|| format!("step `{what}`"));
    println!(
        "   {} in {:.1} s",
        if result.is_ok() { "done" } else { "FAILED" },
        begun.elapsed().as_secs_f64()
    );
    result
}

/// Asks until there is an answer. `ask` returns the answer, or the reason why there is none yet, which the error repeats.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    mut ask: impl FnMut() -> Result<std::result::Result<T, String>>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        match ask().with_context(|| format!("while waiting for {what}"))? {
            Ok(answer) => return Ok(answer),
            Err(reason) if begun.elapsed() > deadline => {
                bail!("{what} did not come within {} s: {reason}", deadline.as_secs())
            }
            Err(_) => std::thread::sleep(Duration::from_millis(250)),
        }
    }
}

/// `status.phase` of an object, empty when there is none yet.
pub fn phase(object: &Value) -> &str {
    object["status"]["phase"].as_str().unwrap_or_default()
}
