//! `velero sandbox`: a whole cluster in this process, with Velero installed in it.
//!
//! ```text
//! folder.rs          where it lives; other programs' files are left alone
//! world.rs           what makes it: cluster, object store, installation
//! container.rs       the image velero/velero: our server, node agent and data movers as tasks
//! container_log.rs   what they log becomes the log of their containers
//! object_store.rs    S3 on loopback over a folder
//! state.rs           what stays in `--dir`, and is found again
//! shop.rs            the application of the stories, whose checksums tell whether a restore is right
//! fingerprint.rs     what a volume holds, for comparing
//! story/             `sandbox demo`: the stories and how they are told
//! ```
//! The cluster itself (API server, volumes, nodes, workloads) is `crates/sandbox`, which knows none of this. Nothing
//! here reads a kubeconfig or can reach a real cluster.

mod application;
pub(crate) mod container;
pub(crate) mod container_log;
mod fingerprint;
mod folder;
mod object_store;
mod shop;
mod state;
mod story;
mod tar;
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use self::folder::Folder;
use self::shop::Size;
use self::state::Saved;
use self::world::World;
use crate::cli::connection::Global;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::emit;

/// Run a Kubernetes cluster with Velero in this process: no cluster, no cloud, no root.
///
/// It prints the path of a kubeconfig with which kubectl and velero work, and stays until Ctrl-C, which removes all of
/// it. `velero sandbox demo` plays a story instead: backup, loss and restore of an application.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Keep its state in this folder, and find it again at the next start.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Port of the Kubernetes API on 127.0.0.1 [default: a free one].
    #[arg(long)]
    port: Option<u16>,
    /// Files that an application of the image caravel/shop fills an empty volume with.
    #[arg(long, hide = true, default_value_t = Size::STORY.pages)]
    pages: usize,
    #[command(subcommand)]
    command: Option<Command>,
}

impl Args {
    fn size(&self) -> Size {
        Size {
            pages: self.pages.max(1),
            ..Size::STORY
        }
    }
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    Demo(story::Args),
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    if global.kubeconfig.is_some() || global.kubecontext.is_some() {
        return Err(Failure::usage(
            "velero sandbox makes a cluster of its own and uses no other; leave out --kubeconfig and --kubecontext",
        ));
    }
    match &args.command {
        Some(Command::Demo(demo)) => story::run(demo).await,
        None => stay(args).await,
    }
}

async fn stay(args: &Args) -> Outcome {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port.unwrap_or(0)));
    is_free(address)?;
    let folder = Folder::open(args.dir.as_deref())?;
    let saved = Saved::find(folder.path())?;
    let path = folder.path().join("kubeconfig");
    write_kubeconfig(&path, "")?;
    let mut ended = Box::pin(interrupted());
    let world = tokio::select! {
        world = World::start(folder, args.size(), saved, 1) => world?,
        ended = &mut ended => return ended,
    };
    let serving = world.sandbox.api().serve(address).await.map_err(|error| {
        Failure::new(format!(
            "serving the Kubernetes API: {}",
            crate::cli::failure::chain(&error)
        ))
    })?;
    write_kubeconfig(&path, &serving.kubeconfig())?;
    let manifest = world.folder.path().join("shop.yaml");
    application::write_manifest(&manifest)?;
    emit(&ready(&world, &path, &manifest))?;
    let ended = ended.await;
    serving.shutdown().await;
    world.end().await?;
    ended
}

fn ready(world: &World, kubeconfig: &Path, manifest: &Path) -> String {
    let (kubeconfig, manifest) = (kubeconfig.display(), manifest.display());
    let last = if world.folder.stays() {
        format!(
            "Ctrl-C ends it; its state stays in {}.",
            world.folder.path().display()
        )
    } else {
        "Ctrl-C ends it and removes all of it.".to_owned()
    };
    format!(
        "export KUBECONFIG={kubeconfig}\n\n\
         A Kubernetes cluster with Velero runs in this process. In another terminal, for example:\n  \
         kubectl --kubeconfig {kubeconfig} apply -f {manifest}\n  \
         kubectl --kubeconfig {kubeconfig} get pods,pvc,volumesnapshots,backups,datauploads -A\n  \
         velero --kubeconfig {kubeconfig} backup create b1 --include-namespaces shop --snapshot-move-data --wait\n\n\
         {last}\n"
    )
}

/// A port that somebody has is said before anything is made.
fn is_free(address: SocketAddr) -> Outcome {
    match std::net::TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => Err(
            Failure::new(format!("listening on {address}: {error}; nothing was started"))
                .next("velero sandbox --port with another port, or without --port"),
        ),
    }
}

fn write_kubeconfig(path: &Path, content: &str) -> Outcome {
    folder::write_private(path, content.as_bytes()).map_err(|error| {
        Failure::new(format!("writing the kubeconfig {}: {error}", path.display()))
            .next("velero sandbox --dir with a folder that you can write to")
    })
}

async fn interrupted() -> Outcome {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|error| Failure::new(format!("listening for signals: {error}")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_said_before_anything_is_made() {
        let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let refusal = is_free(taken.local_addr().unwrap()).unwrap_err().to_string();
        assert!(
            refusal.contains("nothing was started") && refusal.contains("--port"),
            "{refusal}"
        );
    }

    #[test]
    fn a_kubeconfig_that_cannot_be_written_is_said() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refusal = write_kubeconfig(&file.path().join("kubeconfig"), "").unwrap_err();
        assert!(
            refusal.to_string().contains("writing the kubeconfig"),
            "{refusal}"
        );
    }
}
