//! How a story is told: numbered steps with what was done, how much and how long.

use std::time::Instant;

use indicatif::DecimalBytes;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, LogParams};

use super::super::world::{VELERO, World};
use crate::cli::failure::Outcome;
use crate::cli::output::emit;
use crate::cli::run_typed;

/// Lines of a log that are shown when something went wrong.
const LAST_LINES: usize = 12;

/// A story that is being told.
pub struct Tale {
    began: Instant,
    step: Option<Instant>,
    steps: usize,
    /// The last line, when all went well.
    end: &'static str,
}

impl Tale {
    /// Says the title.
    pub fn begin(name: &str, says: &str) -> Outcome<Self> {
        emit(&format!("Story {name}\n{says}\n"))?;
        Ok(Self {
            began: Instant::now(),
            step: None,
            steps: 0,
            end: "Everything is back, byte for byte.",
        })
    }

    /// The next step; the last one is over.
    pub fn step(&mut self, title: &str) -> Outcome {
        self.close()?;
        self.steps += 1;
        self.step = Some(Instant::now());
        emit(&format!("\n{}. {title}\n", self.steps))
    }

    /// Something to know about the step.
    pub fn fact(&self, text: &str) -> Outcome {
        emit(&format!("   {text}\n"))
    }

    /// Types a command of ours, as a user would, and shows it.
    pub async fn types(&self, line: &str, world: &World) -> Outcome {
        emit(&format!("   $ {line}\n"))?;
        run_typed(line, world.client()).await
    }

    fn close(&mut self) -> Outcome {
        match self.step.take() {
            Some(began) => emit(&format!("   ({:.2} s)\n", began.elapsed().as_secs_f64())),
            None => Ok(()),
        }
    }

    /// What is proven at the end, where it is not that everything is back, byte for byte.
    pub fn proves(&mut self, what: &'static str) {
        self.end = what;
    }

    /// Says how it ended.
    pub fn end(mut self) -> Outcome {
        self.close()?;
        let memory = peak_memory().map_or_else(String::new, |bytes| {
            format!(", with at most {} of memory", DecimalBytes(bytes))
        });
        emit(&format!(
            "\n{} It took {:.1} s{memory}.\n",
            self.end,
            self.began.elapsed().as_secs_f64()
        ))
    }

    /// What the parts of Velero had to say, when the story went wrong.
    pub async fn trouble(&self, world: &World) -> Outcome {
        let pods: Api<Pod> = Api::namespaced(world.client(), VELERO);
        let Ok(found) = pods.list(&ListParams::default()).await else {
            return Ok(());
        };
        for pod in found {
            let name = pod.name_any();
            let Ok(log) = pods.logs(&name, &LogParams::default()).await else {
                continue;
            };
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(LAST_LINES);
            emit(&format!("\nLog of pod {VELERO}/{name}:\n"))?;
            for line in &lines[last..] {
                emit(&format!("   {line}\n"))?;
            }
        }
        emit("\n")
    }
}

/// The most memory that this process has had (`VmHWM` of `proc_pid_status(5)`).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
