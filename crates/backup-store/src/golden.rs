//! Where the tests find what the real Velero wrote: `../shared` beside the project. With `CI=true` a missing
//! folder fails, else the test says that it is skipped.

use std::path::PathBuf;

/// `shared/<part>` (or the folder in `variable`), for the test of this name.
pub fn shared(part: &str, variable: &str, test: &str) -> Option<PathBuf> {
    // Asked of cargo at run time: checkouts share one target folder, so the path that was compiled in may be another's.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let folder = std::env::var_os(variable).map_or_else(
        || PathBuf::from(package).join("../../../shared").join(part),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{test} needs {} (or {variable})",
        folder.display()
    );
    eprintln!("{test} is skipped: there is no {}", folder.display());
    None
}

/// `shared/samples`.
pub fn samples(test: &str) -> Option<PathBuf> {
    shared("samples", "CARAVEL_SAMPLES", test)
}

/// The cases of one of Velero's own tests.
pub fn cases(file: &str, test: &str) -> Option<Vec<serde_json::Value>> {
    let folder = shared("cases", "CARAVEL_CASES", test)?;
    let text = std::fs::read_to_string(folder.join(file)).expect(file);
    Some(serde_json::from_str(&text).expect(file))
}
