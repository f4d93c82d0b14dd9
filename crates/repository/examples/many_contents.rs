//! Makes a repository of very many small contents in a folder, for `cargo xtask bench memory`:
//! `many_contents FOLDER COUNT PASSWORD`. Every content is a real one, of 12 bytes, in real packs; commits of 500,000.
//!
//! A backup of as many files would take hours to make and gigabytes to keep; what opening a repository costs depends on
//! its contents' number alone.

use std::sync::Arc;

use caravel_repository::{CreateOptions, Environment, OpenOptions, Repository, create, open};
use caravel_storage::filesystem::FilesystemStorage;

const COMMIT_EVERY: u64 = 500_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("many_contents FOLDER COUNT PASSWORD");
    let (folder, count, password) = (next()?, next()?.parse::<u64>()?, next()?.into());
    let storage = Arc::new(FilesystemStorage::open(folder).await?);
    let environment = Environment::system();
    let owner = CreateOptions {
        username: "default".into(),
        hostname: "default".into(),
    };
    create(storage.clone(), &password, &owner, environment.clone()).await?;
    let options = OpenOptions {
        username: "default".into(),
        hostname: "default".into(),
    };
    let repository = open(storage, &password, options, environment).await?;
    tokio::task::spawn_blocking(move || fill(&repository, count)).await??;
    Ok(())
}

fn fill(repository: &Repository, count: u64) -> Result<(), caravel_repository::RepositoryError> {
    let writer = repository.write()?;
    for from in (0..count).step_by(COMMIT_EVERY as usize) {
        let until = count.min(from + COMMIT_EVERY);
        let threads = repository.environment().cpu_threads as u64;
        std::thread::scope(|scope| {
            let write = |thread| {
                let writer = &writer;
                scope.spawn(move || {
                    (from..until).filter(|n| n % threads == thread).try_for_each(|n| {
                        let mut object = writer.object();
                        object.write(&[&b"many"[..], &n.to_be_bytes()].concat())?;
                        object.finish().map(drop)
                    })
                })
            };
            let running: Vec<_> = (0..threads).map(write).collect();
            let ended = running.into_iter().map(|thread| match thread.join() {
                Ok(written) => written,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            ended.collect::<Result<Vec<()>, _>>()
        })?;
        writer.commit_contents()?;
    }
    Ok(())
}
