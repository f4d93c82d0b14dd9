//! Velero's own table tests: reads them, counts them, and knows which differ; only tests depend on it.
//!
//! ```text
//! shared/cases/<package>/<Test>.json ──► [`each`] ──► check(case) ──► every case passes, or stands in the ledger
//!                                                        ledger.rs: different on purpose · not yet
//! ```
//! A case that stands in the [`ledger`] must fail its check: an entry that is no longer true fails the test, so the list
//! cannot go stale. How many pass is counted in `README.md`, which a test of this crate keeps fresh.

pub mod api;
mod count;
pub mod ledger;
pub mod waits;

use std::path::PathBuf;

use serde_json::Value;

/// One row of one of Velero's tables.
#[derive(Clone, Debug)]
pub struct Case(pub Value);

impl Case {
    /// Position in the table; with the file it is the case's identity.
    pub fn index(&self) -> usize {
        self.0["index"]
            .as_u64()
            .and_then(|index| usize::try_from(index).ok())
            .unwrap_or(usize::MAX)
    }

    pub fn name(&self) -> &str {
        self.0["name"].as_str().unwrap_or_default()
    }

    /// A field of `input`; null where the case leaves it out.
    pub fn input(&self, field: &str) -> &Value {
        &self.0["input"][field]
    }

    /// A field of `want`.
    pub fn want(&self, field: &str) -> &Value {
        &self.0["want"][field]
    }

    /// A list of texts of `input`; null and absent are empty.
    pub fn texts(&self, field: &str) -> Vec<String> {
        texts(self.input(field))
    }
}

/// A JSON list of texts; null is empty.
pub fn texts(list: &Value) -> Vec<String> {
    let entries = list.as_array().map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .filter_map(|entry| entry.as_str().map(str::to_owned))
        .collect()
}

/// `Ok` when equal.
///
/// # Errors
/// Both values, for the test's message.
pub fn same<T: PartialEq + std::fmt::Debug + ?Sized>(ours: &T, wanted: &T) -> Result<(), String> {
    if ours == wanted {
        Ok(())
    } else {
        Err(format!("\n  ours   {ours:?}\n  wanted {wanted:?}"))
    }
}

/// The folder with the cases; `None`, with a message, where there is none outside CI.
///
/// # Panics
/// With `CI=true` and no folder.
pub fn folder() -> Option<PathBuf> {
    // Asked of cargo at run time: checkouts share one target folder, so the path that was compiled in may be another's.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let folder = std::env::var_os("CARAVEL_CASES").map_or_else(
        || PathBuf::from(package).join("../../../shared/cases"),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "no cases at {}; set CARAVEL_CASES",
        folder.display()
    );
    eprintln!("skipped: no cases at {}; set CARAVEL_CASES", folder.display());
    None
}

/// The cases of a file (`pkg_label/TestGetValidLabelName.json`); `None` where the folder is missing.
///
/// # Panics
/// The file cannot be read, or holds no case.
pub fn read(file: &str) -> Option<Vec<Case>> {
    let path = folder()?.join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert!(!cases.is_empty(), "{file} holds no case");
    Some(cases.into_iter().map(Case).collect())
}

/// Calls `check` with each case of a file, and settles the account with the ledger.
///
/// # Panics
/// A case differs and is not in the ledger, or is in the ledger and does not differ.
pub fn each(file: &str, check: impl Fn(&Case) -> Result<(), String>) {
    if let Some(cases) = read(file) {
        let results = cases.iter().map(|case| (case, check(case))).collect::<Vec<_>>();
        settle(file, &results);
    }
}

/// [`each`] for checks that wait: one after the other, on a clock that goes on at once while nothing else happens.
///
/// # Panics
/// As [`each`].
pub fn each_async(file: &str, check: impl AsyncFn(&Case) -> Result<(), String>) {
    let Some(cases) = read(file) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap_or_else(|error| panic!("{file}: {error}"));
    let results: Vec<_> = cases
        .iter()
        .map(|case| (case, runtime.block_on(check(case))))
        .collect();
    settle(file, &results);
}

/// What [`each`] does at the end, for checks that are neither plain nor apart from each other.
///
/// # Panics
/// As [`each`].
pub fn settle(file: &str, results: &[(&Case, Result<(), String>)]) {
    let mut wrong = Vec::new();
    let (mut passed, mut listed) = (0, 0);
    for (case, result) in results {
        match (ledger::entry(file, case.index()), result) {
            (None, Ok(())) => passed += 1,
            (Some(_), Err(_)) => listed += 1,
            (None, Err(why)) => wrong.push(format!("#{} {}: {why}", case.index(), case.name())),
            (Some(entry), Ok(())) => wrong.push(format!(
                "#{} {}: passes, and stands in the ledger ({}); take it out",
                case.index(),
                case.name(),
                entry.why
            )),
        }
    }
    println!("cases: {file}: {passed} pass, {listed} in the ledger");
    assert!(
        wrong.is_empty(),
        "{file}: {} of {} cases are not as they should be:\n{}",
        wrong.len(),
        results.len(),
        wrong.join("\n")
    );
}
