//! `velero backup download NAME`: the tarball of a backup, as it lies in the bucket.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use caravel_api::v1::{Backup, DownloadTargetKind};
use kube::api::Api;

use super::super::connection::Global;
use super::super::describe::words;
use super::super::download::Downloader;
use super::super::failure::{Failure, Outcome};
use super::super::flags::duration;
use super::super::output::emit;

/// Download the manifests of a backup. The data of its volumes is not in them.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the backup.
    name: String,
    /// File to write [default: <NAME>-data.tar.gz in the current folder].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the file when it exists.
    #[arg(long)]
    force: bool,
    /// How long the server may take to answer.
    #[arg(long, default_value = "1m", value_parser = duration)]
    timeout: caravel_api::Duration,
    /// File with the certificates to trust when talking to the object store [default: the location's own].
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let (namespace, name) = (global.namespace(), &args.name);
    let file = args
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{name}-data.tar.gz")));
    may_be_written(&file, args.force)?;
    let client = global.client().await?;
    let api: Api<Backup> = Api::namespaced(client.clone(), &namespace);
    let backup = words::one(&api, &namespace, "backup", name).await?;
    let location = &backup.spec.storage_location;
    let downloader = Downloader::new(
        client,
        &namespace,
        location,
        args.cacert.as_deref(),
        *args.timeout,
    )
    .await?;
    let tarball = downloader
        .zipped(DownloadTargetKind::BackupContents, name)
        .await?;
    write(&file, &tarball, args.force)?;
    emit(&format!(
        "Backup {name} has been successfully downloaded to {}\n",
        file.display()
    ))
}

/// Said before anything is asked of the server.
fn may_be_written(file: &Path, force: bool) -> Outcome {
    if !force && file.exists() {
        return Err(Failure::new(format!("{} exists already", file.display()))
            .next("the same command with --force, or with another --output"));
    }
    Ok(())
}

/// Whole or not at all: under its own name only when all of it is written.
fn write(file: &Path, content: &[u8], force: bool) -> Outcome {
    let failed = |error: std::io::Error| Failure::new(format!("writing {}: {error}", file.display()));
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut part = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(failed)?;
    part.write_all(content).map_err(failed)?;
    part.as_file().sync_all().map_err(failed)?;
    let persisted = if force {
        part.persist(file)
    } else {
        part.persist_noclobber(file)
    };
    persisted.map(drop).map_err(|error| failed(error.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_only_overwritten_when_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("b1-data.tar.gz");
        write(&file, b"old", false).unwrap();
        assert!(
            may_be_written(&file, false)
                .unwrap_err()
                .to_string()
                .contains("--force")
        );
        assert!(write(&file, b"new", false).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"old");
        may_be_written(&file, true).unwrap();
        write(&file, b"new", true).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no part is left"
        );
    }
}
