//! The file that remembers which repository is connected: shaped as Kopia's `repository.config`, but ours, so that
//! neither program changes what the other is connected to. It may hold an access key, never a password: mode 0600.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    caching::Caching,
    connection::StorageSettings,
    failure::{Failure, Outcome},
};

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connected {
    pub storage: StorageSettings,
    pub hostname: String,
    pub username: String,
    pub description: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub readonly: bool,
    /// None in files of before there were caches: the repository's usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caching: Option<Caching>,
}

/// The file that was named, or the usual one below the home folder.
pub fn path(named: Option<&Path>) -> Outcome<PathBuf> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    let base = base.ok_or_else(|| {
        Failure::new("there is no home folder (HOME is not set) to keep the connection in")
            .next("velero kopia --config-file FILE …")
    })?;
    Ok(base.join("velero").join("kopia.config"))
}

/// Reads the file. Errors: not connected, or a file that is something else.
pub fn read(path: &Path) -> Outcome<Connected> {
    let text = fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::new(format!(
            "no repository is connected ({} does not exist)",
            path.display()
        ))
        .next("velero kopia repository connect --help"),
        _ => Failure::new(format!("cannot read {}: {error}", path.display())),
    })?;
    serde_json::from_slice(&text).map_err(|error| {
        Failure::new(format!(
            "{} does not say what is connected: {error}",
            path.display()
        ))
        .next("velero kopia repository connect --help")
    })
}

/// Writes the file whole, readable to its owner alone.
pub fn write(path: &Path, connected: &Connected) -> Outcome {
    let failed = |error: std::io::Error| Failure::new(format!("cannot write {}: {error}", path.display()));
    let folder = path.parent().unwrap_or(Path::new("."));
    if !folder.as_os_str().is_empty() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".tmp.{:016x}", rand::random::<u64>()));
    let new = folder.join(name);
    let text = serde_json::to_vec_pretty(connected)
        .map_err(|error| Failure::new(format!("the connection cannot be written down: {error}")))?;
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&new);
        failed(error)
    })
}

/// Removes the file. That there is none is no error; says whether there was one.
pub fn remove(path: &Path) -> Outcome<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::new(format!("cannot remove {}: {error}", path.display()))),
    }
}
