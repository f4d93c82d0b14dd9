//! `cargo xtask bench resources`: secrets and config maps of 2 KB by the ten thousand, backed up and restored by us and by the
//! real Velero on the same cluster in the same run, beside the bare API calls.
//!
//! Nothing is asserted (decisions.md section 4); [`verdict`] says which rows of issue 6 are met. Each measurement has a freshly
//! started server to itself: the other one is scaled to none. Times are a user's: from the command's start until the object's
//! phase is seen to be Completed. The floor of a backup is listing the objects in pages of 500, that of a restore creating
//! them, at several numbers of requests at a time: the least of these is the floor.

mod objects;
mod verdict;

use std::time::Duration;

use anyhow::Result;

use super::measure::{Both, measure, print, print_header};
use crate::facts::Facts;
use crate::scenario::{Bucket, Cluster, Installation, Kind, Side, step};
use crate::scenarios;
use objects::{COPY, SIZE, SOURCE, fill, list, make_namespace, remove, same};
use verdict::Floor;

/// How much to measure.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Secrets and config maps together.
    pub objects: usize,
    /// As many afterwards, by us alone, for the growth of memory.
    pub grown: Option<usize>,
    /// Without the real Velero: its rows are left out.
    pub alone: bool,
    /// Cargo profile of the product's image; none when the images that are loaded and `CARAVEL_VELERO` are to be measured.
    pub profile: Option<String>,
}

/// Requests at a time of the bare calls. A restore makes 32; the others show whether more would gain anything.
const AT_ONCE: [usize; 3] = [32, 8, 64];
/// A namespace of very many objects is gone by then.
const DEADLINE: Duration = Duration::from_secs(1_800);

/// Measures and prints.
pub fn run(settings: &Settings) -> Result<()> {
    let facts = match &settings.profile {
        Some(profile) => scenarios::prepared(true, !settings.alone, profile)?,
        None => Facts::read()?,
    };
    let cluster = Cluster::connect_to(facts)?;
    let ours = Side::ours();
    let _installation = Installation::fresh(&cluster, "bench_resources")?;
    ours.scale(&cluster, 0)?;
    let theirs = (!settings.alone).then(|| Side::theirs(&cluster)).transpose()?;
    if let Some(theirs) = &theirs {
        theirs.install(&cluster, &Bucket::fresh(&cluster, "bench-resources-theirs")?)?;
        theirs.scale(&cluster, 0)?;
    }
    let floors = floors(&cluster, settings.objects)?;
    let listed = step("list them", || list(&cluster))?;

    let theirs_took = theirs
        .as_ref()
        .map(|side| both(&cluster, side, "1"))
        .transpose()?;
    let ours_took = both(&cluster, &ours, "1")?;
    println!(
        "\n{} secrets and config maps of {SIZE} characters",
        settings.objects
    );
    println!("floor: listing them {:.1} s", listed.as_secs_f64());
    for floor in &floors {
        println!("floor: {floor}");
    }
    print_header();
    for took in theirs_took.iter().chain([&ours_took]) {
        print(took);
    }
    for row in verdict::rows(&ours_took, theirs_took.as_ref(), &floors) {
        println!("{row}");
    }
    if let Some(grown) = settings.grown {
        growth(&cluster, &ours, settings.objects, grown, &ours_took)?;
    }
    step("remove everything", || {
        remove(&cluster, SOURCE)?;
        theirs.map_or(Ok(()), |side| Installation::remove_from(&cluster, side.namespace))
    })
}

/// Makes the objects that are backed up, and as many again for each number of requests at a time.
fn floors(cluster: &Cluster, objects: usize) -> Result<Vec<Floor>> {
    remove(cluster, SOURCE)?;
    remove(cluster, COPY)?;
    let mut floors = Vec::new();
    for (number, at_once) in AT_ONCE.into_iter().enumerate() {
        let namespace = if number == 0 { SOURCE } else { COPY };
        make_namespace(cluster, namespace)?;
        let floor = step(&format!("make the objects, {at_once} at a time"), || {
            fill(cluster, namespace, 0..objects, at_once)
        })?;
        println!("   {floor}");
        floors.push(floor);
        if namespace == COPY {
            step("remove those", || remove(cluster, COPY))?;
        }
    }
    Ok(floors)
}

/// The same by us with more objects: what each further one costs.
fn growth(cluster: &Cluster, ours: &Side, from: usize, to: usize, few: &Both) -> Result<()> {
    step("make more objects", || {
        fill(cluster, SOURCE, from..to, AT_ONCE[0])
    })?;
    let many = both(cluster, ours, "2")?;
    println!("\n{to} objects, by ours");
    print_header();
    print(&many);
    for row in verdict::growth(few, &many, to - from) {
        println!("{row}");
    }
    Ok(())
}

/// Backs up, restores into another namespace, compares, and removes that, untimed.
fn both(cluster: &Cluster, side: &Side, number: &str) -> Result<Both> {
    let (backup, restore) = (format!("b{number}"), format!("r{number}"));
    let words = ["backup", "create", &backup, "--include-namespaces", SOURCE];
    let backed_up = measure(cluster, side, Kind::BACKUP, &backup, &words)?;
    let mapping = format!("{SOURCE}:{COPY}");
    let words = [
        "restore",
        "create",
        &restore,
        "--from-backup",
        &backup,
        "--namespace-mappings",
        &mapping,
    ];
    let restored = measure(cluster, side, Kind::RESTORE, &restore, &words)?;
    step("compare", || same(cluster))?;
    step("remove the copy", || remove(cluster, COPY))?;
    Ok(Both {
        backup: backed_up,
        restore: restored,
    })
}
