//! Reads Velero's table tests and puts them through ours. Left out: cases that only make sense with Velero's Go
//! interfaces or with features of later issues; each test says which.

use std::path::Path;

use serde_json::{Value, json};

/// Calls `check` with each case of a file; fails naming all cases that differ.
pub(super) fn each_case(file: &str, check: impl Fn(&Value) -> Result<(), String>) {
    caravel_cases::each(file, |case| check(&case.0));
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
