//! `cargo xtask bench memory`: the most memory that backup, restore and opening take where there is very much of
//! something. Three rows of issue 5, each at a part of its full size that the caller chooses:
//!
//! | row | full size | limit |
//! |---|---|---|
//! | files | 1,000,000 files in folders of 1,000: backup, unchanged, restore | 256 MiB resident |
//! | sparse | one file of 100 GiB with 64 stretches of data: backup, restore | 256 MiB resident |
//! | contents | opening a repository of 5,000,000 contents | 300 MiB anonymous |
//!
//! Nothing is asserted but that what comes back is what was there. Resident is the kernel's own high-water mark;
//! anonymous is asked for every 5 ms.

use std::{
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{
    Sides, data,
    process::{Measured, measure},
    text,
};
use crate::{
    client::{Client, PASSWORD},
    tree::noise,
};

/// The variable that names the program which makes a repository of very many contents (an example of the engine's).
pub const MANY_CONTENTS: &str = "CARAVEL_MANY_CONTENTS";

const FILES: f64 = 1e6;
const FILES_IN_A_FOLDER: usize = 1000;
const SPARSE_BYTES: f64 = 100.0 * (1_u64 << 30) as f64;
const STRETCHES: u64 = 64;
const CONTENTS: f64 = 5e6;
const RESIDENT_LIMIT: f64 = 256.0;
const ANONYMOUS_LIMIT: f64 = 300.0;

/// What there is much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Files,
    Sparse,
    Contents,
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Part of the full size, for trying it out: 1.0 is the real one.
    pub scale: f64,
    pub rows: Vec<Row>,
    /// Whether Kopia does the same beside us; it takes several times as long.
    pub kopia: bool,
}

/// Runs everything in `scratch`, which is made and removed. `programs` are the variables that name Kopia, ours and
/// [`MANY_CONTENTS`].
pub fn memory(scratch: &Path, settings: &Settings, programs: &[(&str, &str)]) -> Result<()> {
    fs::create_dir_all(scratch).with_context(|| scratch.display().to_string())?;
    let result = in_folder(scratch, settings, programs);
    fs::remove_dir_all(scratch).with_context(|| scratch.display().to_string())?;
    result
}

fn in_folder(scratch: &Path, settings: &Settings, programs: &[(&str, &str)]) -> Result<()> {
    let mut sides = Sides::of(programs)?.both();
    if !settings.kopia {
        sides.truncate(1);
    }
    println!(
        "{:<26} {:<6} {:>9} {:>14} {:>14} {:>8}",
        "", "", "s", "resident MiB", "anonymous MiB", "limit"
    );
    for row in &settings.rows {
        match row {
            Row::Files => files(scratch, settings.scale, &sides)?,
            Row::Sparse => sparse(scratch, settings.scale, &sides)?,
            Row::Contents => {
                let (_, program) = programs
                    .iter()
                    .find(|(name, _)| *name == MANY_CONTENTS)
                    .with_context(|| format!("{MANY_CONTENTS} is not given"))?;
                contents(scratch, settings.scale, &sides, program)?;
            }
        }
    }
    Ok(())
}

fn print(step: &str, side: &str, measured: Measured, limit: f64) {
    println!(
        "{step:<26} {side:<6} {:>9.1} {:>14.0} {:>14.0} {limit:>8.0}",
        measured.seconds, measured.peak_mib, measured.peak_anonymous_mib
    );
}

/// Backup, unchanged backup and restore of many files.
fn files(scratch: &Path, scale: f64, sides: &[(&'static str, Client)]) -> Result<()> {
    let count = ((FILES * scale) as usize).max(1);
    let source = scratch.join("files");
    for number in 0..count {
        let folder = source.join(format!("{:04}", number / FILES_IN_A_FOLDER));
        if number % FILES_IN_A_FOLDER == 0 {
            fs::create_dir_all(&folder)?;
        }
        fs::write(folder.join(format!("{number:07}")), line(number))?;
    }
    for (side, client) in sides {
        let repository = scratch.join("repository");
        client.create(&repository, &[])?;
        let create = ["snapshot", "create", &text(&source), "--json"];
        print(
            &format!("{count} files: backup"),
            side,
            measure(client, &create)?,
            RESIDENT_LIMIT,
        );
        print("  unchanged", side, measure(client, &create)?, RESIDENT_LIMIT);
        let out = scratch.join("out");
        let restored = measure(client, &["snapshot", "restore", &newest(client)?, &text(&out)])?;
        print("  restore", side, restored, RESIDENT_LIMIT);
        let names = data::files(&out)?;
        ensure!(names.len() == count, "{count} files became {}", names.len());
        for (number, name) in names.iter().enumerate().step_by(997) {
            let equal = fs::read(out.join(name))? == line(number).into_bytes();
            ensure!(equal, "{} came back otherwise", name.display());
        }
        fs::remove_dir_all(&out)?;
        fs::remove_dir_all(&repository)?;
    }
    Ok(fs::remove_dir_all(&source)?)
}

fn line(number: usize) -> String {
    format!("this is file {number}\n")
}

/// Backup and restore of a disk image that is nearly all hole.
fn sparse(scratch: &Path, scale: f64, sides: &[(&'static str, Client)]) -> Result<()> {
    let length = ((SPARSE_BYTES * scale) as u64).max(STRETCHES << 22);
    let source = scratch.join("sparse");
    fs::create_dir_all(&source)?;
    let mut image = fs::File::create_new(source.join("image"))?;
    for number in 0..STRETCHES {
        image.seek(SeekFrom::Start(stretch_at(number, length)))?;
        image.write_all(&stretch(number))?;
    }
    image.set_len(length)?;
    drop(image);
    for (side, client) in sides {
        let repository = scratch.join("repository");
        client.create(&repository, &[])?;
        let created = measure(client, &["snapshot", "create", &text(&source), "--json"])?;
        print(
            &format!("{} MiB sparse: backup", length >> 20),
            side,
            created,
            RESIDENT_LIMIT,
        );
        let out = scratch.join("out");
        let restore = ["snapshot", "restore", &newest(client)?, &text(&out)];
        // Kopia writes the holes out unless it is told otherwise, and there is no room for that.
        let restore: Vec<&str> = match *side {
            "Kopia" => restore.into_iter().chain(["--write-sparse-files"]).collect(),
            _ => restore.to_vec(),
        };
        print("  restore", side, measure(client, &restore)?, RESIDENT_LIMIT);
        let back = fs::File::open(out.join("image"))?;
        let (found, occupied) = (back.metadata()?.len(), back.metadata()?.blocks() * 512);
        ensure!(found == length, "{length} bytes became {found}");
        ensure!(occupied < length / 2, "of {length} bytes {occupied} are no holes");
        for number in 0..STRETCHES {
            let expected = stretch(number);
            let mut bytes = vec![0; expected.len()];
            back.read_exact_at(&mut bytes, stretch_at(number, length))?;
            ensure!(bytes == expected, "stretch {number} came back otherwise");
        }
        fs::remove_dir_all(&out)?;
        fs::remove_dir_all(&repository)?;
    }
    Ok(fs::remove_dir_all(&source)?)
}

/// Nowhere near a boundary of anything.
fn stretch_at(number: u64, length: u64) -> u64 {
    length / STRETCHES * number + 12_345
}

fn stretch(number: u64) -> Vec<u8> {
    noise((1 << 20) + 777, number + 1)
}

/// Opening a repository of many contents, for the list of its snapshots.
fn contents(scratch: &Path, scale: f64, sides: &[(&'static str, Client)], program: &str) -> Result<()> {
    let count = ((CONTENTS * scale) as u64).max(1);
    let repository = scratch.join("many");
    fs::create_dir_all(&repository)?;
    let made = Command::new(program)
        .args([&text(&repository), &count.to_string(), PASSWORD])
        .status()
        .context(program.to_owned())?;
    ensure!(made.success(), "{program} ended with {made}");
    for (side, client) in sides {
        client.connect(&repository)?;
        let opened = measure(client, &["snapshot", "list", "--all"])?;
        print(&format!("{count} contents: open"), side, opened, ANONYMOUS_LIMIT);
    }
    Ok(fs::remove_dir_all(&repository)?)
}

/// The id of the snapshot that was taken last.
fn newest(client: &Client) -> Result<String> {
    let listed = client.json(&["snapshot", "list", "--json", "--all"])?;
    let newest = listed.as_array().and_then(|all| all.last());
    let id = newest.and_then(|snapshot| snapshot["id"].as_str());
    Ok(id.context("a snapshot")?.to_owned())
}
