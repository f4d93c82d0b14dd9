//! Where things are: the checkout, the cache that outlives it, and the cluster's root folder.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result};

/// The checkout that cargo runs this in. Asked of cargo at run time: checkouts share one target folder, so the path that
/// was compiled in may be that of another one, long gone.
pub fn checkout() -> &'static Path {
    static CHECKOUT: LazyLock<PathBuf> = LazyLock::new(|| {
        let package =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let package = PathBuf::from(package);
        package
            .parent()
            .map(Path::to_path_buf)
            .expect("every package that uses this is a folder of the workspace")
    });
    &CHECKOUT
}

/// `${CARAVEL_CACHE:-~/.cache/caravel}`: what outlives a checkout (decisions.md section 4).
pub fn cache() -> Result<PathBuf> {
    if let Some(cache) = std::env::var_os("CARAVEL_CACHE") {
        return Ok(PathBuf::from(cache));
    }
    let home = std::env::var_os("HOME").context("neither CARAVEL_CACHE nor HOME is set; set one of them")?;
    Ok(Path::new(&home).join(".cache/caravel"))
}

/// Everything of the cluster lives here, and only this is ever deleted: `${CARAVEL_E2E_ROOT:-/var/lib/caravel-e2e}`.
pub fn cluster_root() -> PathBuf {
    std::env::var_os("CARAVEL_E2E_ROOT")
        .as_deref()
        .filter(|root| !root.is_empty())
        .map_or_else(
            || PathBuf::from("/var/lib/caravel-e2e"),
            |root: &OsStr| PathBuf::from(root),
        )
}

/// A cache of binaries that were built elsewhere, `${CARAVEL_PREBUILT:-<checkout>/../shared/cluster/bin}`; none with
/// `CARAVEL_NO_PREBUILT=1`.
pub fn prebuilt() -> Option<PathBuf> {
    if std::env::var_os("CARAVEL_NO_PREBUILT").is_some_and(|value| value != "0" && !value.is_empty()) {
        return None;
    }
    let folder = std::env::var_os("CARAVEL_PREBUILT")
        .map_or_else(|| checkout().join("../shared/cluster/bin"), PathBuf::from);
    folder.is_dir().then_some(folder)
}
