//! `cargo xtask bench engine`: Kopia and ours back up and restore the same tree to a local folder, in the same run.
//!
//! The tree: 2 GiB random in 64 files, 1 GiB text in 32, 100,000 files of 0 to 8 KiB. What a step reads is read once before it, so
//! that the page cache is warm: the tree before a backup, the repository before a restore. (Kopia leaves what it writes in the
//! page cache, ours writes past it; from the disk ours restores some 2 s later, at what the disk gives.) Before each step the machine
//! is settled (`settled.rs`), so that neither pays for what the other left. Nothing is asserted: times, processor times and
//! peak memory of both are printed, with ratios (ours as a part of Kopia's). The scratch folder needs room for three times
//! the tree, the temporary folder for once (Kopia's cache), and is removed at the end; another measurement on the same file
//! system within the next five minutes makes files slowly (`data::empty`).

mod data;
pub mod memory;
mod process;
mod settled;

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::client::{Client, KOPIA, OURS, Whose};
use process::{Measured, measure};

/// What to measure with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Part of the full size, for trying it out: 1.0 is the real one.
    pub scale: f64,
    /// How often each step is done; the middle one counts.
    pub runs: usize,
}

/// What one client took in one run, with an empty repository at first.
struct Run {
    cold: Measured,
    again: Measured,
    restored: Measured,
}

/// One step of both.
struct Step {
    name: &'static str,
    kopia: Measured,
    ours: Measured,
    /// Kopia's time and ours in seconds, run by run.
    each: Vec<(f64, f64)>,
}

/// Runs everything in `scratch`, which is made and removed. `programs` are the variables that name Kopia and ours.
pub fn engine(scratch: &Path, settings: &Settings, programs: &[(&str, &str)]) -> Result<()> {
    fs::create_dir_all(scratch).with_context(|| scratch.display().to_string())?;
    let result = Sides::of(programs).and_then(|sides| in_folder(scratch, settings, sides));
    fs::remove_dir_all(scratch).with_context(|| scratch.display().to_string())?;
    result
}

/// The two programs.
struct Sides {
    kopia: Client,
    ours: Client,
}

impl Sides {
    fn of(programs: &[(&str, &str)]) -> Result<Self> {
        let program = |name: &str| {
            let found = programs.iter().find(|(variable, _)| *variable == name);
            found
                .map(|(_, program)| *program)
                .with_context(|| format!("{name} is not given"))
        };
        Ok(Self {
            kopia: Client::of(Whose::Kopia, program(KOPIA)?)?,
            ours: Client::of(Whose::Ours, program(OURS)?)?,
        })
    }

    /// Ours first.
    fn both(self) -> Vec<(&'static str, Client)> {
        vec![("ours", self.ours), ("Kopia", self.kopia)]
    }
}

fn in_folder(scratch: &Path, settings: &Settings, Sides { kopia, ours }: Sides) -> Result<()> {
    let source = scratch.join("source");
    println!("making the tree in {} …", source.display());
    let made = data::make(&source, settings.scale)?;
    println!("{} files, {} MiB", made.files, made.bytes >> 20);
    let sides = [(kopia, scratch.join("kopia")), (ours, scratch.join("ours"))];
    let mut runs = [vec![], vec![]];
    for run in 0..settings.runs.max(1) {
        for (side, (client, repository)) in sides.iter().enumerate() {
            client.create(repository, &[])?;
            let folders = Folders {
                source: &source,
                repository,
                out: &scratch.join(format!("out-{run}-{side}")),
            };
            runs[side].push(measured(client, &folders)?);
            fs::remove_dir_all(repository)?;
        }
    }
    print(&[
        Step::of("cold backup", &runs, |run| run.cold),
        Step::of("no-change backup", &runs, |run| run.again),
        Step::of("restore", &runs, |run| run.restored),
    ]);
    Ok(())
}

impl Step {
    fn of(name: &'static str, runs: &[Vec<Run>; 2], step: impl Fn(&Run) -> Measured) -> Self {
        let [kopia, ours] = runs
            .each_ref()
            .map(|runs| runs.iter().map(&step).collect::<Vec<_>>());
        Self {
            name,
            each: kopia
                .iter()
                .zip(&ours)
                .map(|(theirs, own)| (theirs.seconds, own.seconds))
                .collect(),
            kopia: Measured::middle(kopia),
            ours: Measured::middle(ours),
        }
    }
}

/// Where one client works.
struct Folders<'f> {
    source: &'f Path,
    repository: &'f Path,
    /// What is restored.
    out: &'f Path,
}

/// All steps of one client.
fn measured(client: &Client, folders: &Folders<'_>) -> Result<Run> {
    let backup = || {
        settled::settle()?;
        data::warm(folders.source)?;
        let words = ["snapshot", "create", &text(folders.source), "--json"];
        measure(client, &words)
    };
    let (cold, again) = (backup()?, backup()?);
    let listed = client.json(&["snapshot", "list", "--json", "--all"])?;
    let id = listed[0]["id"].as_str().context("a snapshot")?;
    settled::settle()?;
    data::warm(folders.repository)?;
    let restored = measure(client, &["snapshot", "restore", id, &text(folders.out)])?;
    data::same(folders.source, folders.out)?;
    data::empty(folders.out)?;
    Ok(Run {
        cold,
        again,
        restored,
    })
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn print(steps: &[Step]) {
    println!(
        "\n{:<18} {:>22} {:>22} {:>7}",
        "", "Kopia v0.22.3", "ours", "ratio"
    );
    for Step {
        name,
        kopia,
        ours,
        each,
    } in steps
    {
        let rows = [
            ("s", kopia.seconds, ours.seconds),
            ("s of processor", kopia.cpu_seconds, ours.cpu_seconds),
            ("MiB at most", kopia.peak_mib, ours.peak_mib),
        ];
        for (at, (unit, theirs, own)) in rows.into_iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            let (theirs_text, own_text) = (format!("{theirs:.1} {unit}"), format!("{own:.1} {unit}"));
            println!(
                "{name:<18} {theirs_text:>22} {own_text:>22} {:>7.2}",
                own / theirs
            );
        }
        for (theirs, own) in each {
            println!(
                "{:<18} {theirs:>20.1} s {own:>20.1} s {:>7.2}",
                "  a run",
                own / theirs
            );
        }
    }
}
