//! Reads Velero's table tests and puts them through ours. Left out: cases that only make sense with Velero's Go
//! interfaces or with features of later issues; each test says which.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The folder with the cases; `None`, with a message, where there is none outside CI.
fn folder() -> Option<PathBuf> {
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

/// Calls `check` with each case of a file; fails naming all cases that differ.
pub(super) fn each_case(file: &str, check: impl Fn(&Value) -> Result<(), String>) {
    let Some(folder) = folder() else { return };
    let text = std::fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(!cases.is_empty(), "{file} holds no case");
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            Some(format!(
                "{} #{}: {}",
                case["name"],
                case["index"],
                check(case).err()?
            ))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{file}: {} of {} cases differ:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

/// Ok when equal.
pub(super) fn same(ours: &Value, wanted: &Value) -> Result<(), String> {
    if ours == wanted {
        Ok(())
    } else {
        Err(format!("\n  ours   {ours}\n  wanted {wanted}"))
    }
}

/// Writes a case's tarball into a folder, unpacked.
pub(super) fn unpack(tarball: &Value, to: &Path) {
    std::fs::create_dir_all(to.join("resources")).unwrap();
    for (path, text) in tarball["$tarball"].as_object().unwrap() {
        let file = to.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text.as_str().unwrap()).unwrap();
    }
}

/// A Restore or Backup of a case; cases leave defaults out.
pub(super) fn object<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    let mut value = value.clone();
    if value["metadata"].is_null() {
        value["metadata"] = json!({});
    }
    serde_json::from_value(value).unwrap()
}
