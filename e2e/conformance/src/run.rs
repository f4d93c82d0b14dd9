//! The runner: every check in a namespace of its own (`room.rs`), several side by side, each with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt;

use crate::{Check, Needs, World, checks, room, widgets};

/// At once; a check waits most of its time.
const SIDE_BY_SIDE: usize = 8;
/// A check that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(100);

/// Which checks run.
#[derive(Debug, Clone, Default)]
pub struct Filter(Vec<String>);

impl Filter {
    /// All of them.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those whose `topic::name` holds one of these words, separated by commas; empty: all.
    pub fn words(words: &str) -> Self {
        let words = words.split(',').map(|word| word.trim().to_owned());
        Self(words.filter(|word| !word.is_empty()).collect())
    }

    /// What the environment variable `CONFORMANCE` says; all when it is not set.
    pub fn from_environment() -> Self {
        Self::words(&std::env::var("CONFORMANCE").unwrap_or_default())
    }

    fn takes(&self, check: &Check) -> bool {
        let name = check.full_name();
        self.0.is_empty() || self.0.iter().any(|word| name.contains(word.as_str()))
    }
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Checks whose answers were right.
    pub passed: Vec<String>,
    /// The others, with what was wrong.
    pub failed: Vec<(String, String)>,
    /// Checks that need what this world does not offer.
    pub left_out: Vec<(String, Needs)>,
}

impl Report {
    /// An error that lists all failures.
    pub fn must_pass(&self) -> Result<()> {
        if self.passed.is_empty() && self.failed.is_empty() {
            bail!("no check ran");
        }
        if self.failed.is_empty() {
            return Ok(());
        }
        let failures: Vec<String> = self
            .failed
            .iter()
            .map(|(name, why)| format!("{name}\n   {}", why.replace('\n', "\n   ")))
            .collect();
        bail!(
            "{} of {} checks failed:\n{}",
            self.failed.len(),
            self.failed.len() + self.passed.len(),
            failures.join("\n")
        )
    }
}

impl Report {
    /// As [`Self::must_pass`], but for checks that are known to fail for now. One that passes must leave the list, so that
    /// the list is true; a filter that leaves checks out says nothing about them.
    pub fn must_pass_but_for(mut self, known: &[&str]) -> Result<()> {
        let repaired: Vec<&str> = known
            .iter()
            .filter(|name| self.passed.iter().any(|passed| passed == *name))
            .copied()
            .collect();
        let unknown: Vec<&str> = known
            .iter()
            .filter(|name| !checks().iter().any(|check| check.full_name() == **name))
            .copied()
            .collect();
        self.failed.retain(|(name, _)| !known.contains(&name.as_str()));
        if !self.failed.is_empty() {
            return self.must_pass();
        }
        if !unknown.is_empty() {
            bail!("there are no such checks: {}", unknown.join(", "));
        }
        if !repaired.is_empty() {
            bail!(
                "take these off the list of known differences, they pass: {}",
                repaired.join(", ")
            );
        }
        Ok(())
    }
}

impl Check {
    /// `update::a_stale_resource_version_is_a_conflict`.
    pub fn full_name(&self) -> String {
        format!("{}::{}", self.topic, self.name)
    }
}

/// Runs the checks that the filter takes and this world can run; prints a line for each.
pub async fn run(world: &World, filter: &Filter) -> Result<Report> {
    let mut report = Report::default();
    let mut chosen = Vec::new();
    for check in checks().into_iter().filter(|check| filter.takes(check)) {
        match check.needs.iter().find(|needs| !world.offers(**needs)) {
            Some(missing) => report.left_out.push((check.full_name(), *missing)),
            None => chosen.push(check),
        }
    }
    room::wait_for_earlier(world).await?;
    widgets::make(world)
        .await
        .context("cannot make the custom kind that the checks share")?;
    let begun = Instant::now();
    let mut results = futures::stream::iter(chosen.into_iter().enumerate())
        .map(|(number, check)| tokio::spawn(one(world.clone(), number, check)))
        .buffer_unordered(SIDE_BY_SIDE);
    while let Some(finished) = results.next().await {
        let (name, seconds, result) = finished.context("the runner itself panicked")?;
        match result {
            Ok(()) => {
                println!("ok     {seconds:>5.1} s  {name}");
                report.passed.push(name);
            }
            Err(error) => {
                let why = format!("{error:#}");
                println!(
                    "FAILED {seconds:>5.1} s  {name}\n   {}",
                    why.replace('\n', "\n   ")
                );
                report.failed.push((name, why));
            }
        }
    }
    room::give_back(world)
        .await
        .context("cannot delete the checks' namespaces")?;
    println!(
        "{} passed, {} failed, {} left out, in {:.1} s",
        report.passed.len(),
        report.failed.len(),
        report.left_out.len(),
        begun.elapsed().as_secs_f64()
    );
    widgets::unmake(world)
        .await
        .context("cannot remove the checks' custom kind")?;
    report.passed.sort();
    report.failed.sort();
    Ok(report)
}

/// One check from its namespace's creation to its deletion; its name, seconds and result.
async fn one(world: World, number: usize, check: Check) -> (String, f64, Result<()>) {
    let begun = Instant::now();
    let name = check.full_name();
    let result = within_namespace(world, number, check).await;
    (name, begun.elapsed().as_secs_f64(), result)
}

async fn within_namespace(mut world: World, number: usize, check: Check) -> Result<()> {
    world.namespace = room::make(&world, number, &check)
        .await
        .context("cannot prepare the check's namespace")?;
    let running = tokio::spawn((check.run)(world.clone()));
    let stop = running.abort_handle();
    let result = match tokio::time::timeout(DEADLINE, running).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(anyhow::anyhow!("the check panicked: {panic}")),
        Err(_) => {
            stop.abort();
            Err(anyhow::anyhow!("it was not done after {} s", DEADLINE.as_secs()))
        }
    };
    let cleared = room::clear(&world)
        .await
        .context("cannot clean up after the check");
    result.and(cleared)
}
