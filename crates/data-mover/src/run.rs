//! The frame around both flows: check the volume, wait for the word to begin, move, say the last word.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use caravel_api::v2alpha1::{DataDownload, DataUpload};
use caravel_backup_store::{ProcessCredentials, Stores};
use caravel_repository::{Environment, Repository};
use caravel_uploader::{CancelToken, Progress, VolumeMode};
use kube::{Api, Client};
use tracing::Instrument as _;

use crate::cache::CacheVolume;
use crate::movement::{self, Movement, Start};
use crate::progress;
use crate::protocol::{self, AccessPoint, LastWord};
use crate::report::{Reporter, write_termination_message};
use crate::store::{self, Mounted};
use crate::volume::Volumes;

/// How a data mover pod is started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Velero's namespace.
    pub namespace: String,
    /// Name of the DataUpload or DataDownload.
    pub name: String,
    /// Mount point or device of the volume, as the pod knows it; results and the snapshot's root are named after it.
    pub volume_path: PathBuf,
    /// Where that is on this machine: in a pod the same.
    pub volume: PathBuf,
    pub volume_mode: VolumeMode,
    /// Says whether `volume` is a volume (guarantee 1): [`crate::NodeVolumes`] wherever there are mounts.
    pub volumes: Arc<dyn Volumes>,
    /// Name of the node, for events.
    pub node: String,
    /// JSON of the location; no secret.
    pub location: String,
    /// The credentials of the location, which the node agent has mounted.
    pub credentials: ProcessCredentials,
    /// File with the repository password, `/repository/password`.
    pub password_file: PathBuf,
    /// `/dev/termination-log`.
    pub termination_log: PathBuf,
    /// The way to the location.
    pub stores: Arc<dyn Stores>,
    /// What the engine takes from the machine.
    pub environment: Environment,
    /// Whether a backup compresses the data (the repository's `enableCompression`).
    pub enable_compression: bool,
    /// For copies of what a restore reads; none: nothing is kept.
    pub cache: Option<CacheVolume>,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: completed.
    Success,
    /// 1: failed or canceled; the last word says which.
    Failure,
}

impl Settings {
    pub(crate) fn access_point(&self) -> AccessPoint {
        let volume_mode = match self.volume_mode {
            VolumeMode::Filesystem => "Filesystem",
            VolumeMode::Block => "Block",
        };
        AccessPoint {
            by_path: self.volume_path.display().to_string(),
            volume_mode: volume_mode.into(),
        }
    }

    fn mounted(&self) -> Mounted {
        let environment = self.environment.clone();
        Mounted {
            location: self.location.clone(),
            credentials: self.credentials.clone(),
            password_file: self.password_file.clone(),
            stores: self.stores.clone(),
            environment: match &self.cache {
                Some(cache) => cache.used_by(environment, &*self.volumes),
                None => environment,
            },
        }
    }
}

/// Moves a DataUpload's volume into the repository.
pub async fn backup(client: Client, settings: &Settings) -> Exit {
    run::<DataUpload>(client, settings, crate::backup::upload).await
}

/// Moves a DataDownload's snapshot into the volume.
pub async fn restore(client: Client, settings: &Settings) -> Exit {
    run::<DataDownload>(client, settings, crate::restore::download).await
}

/// What moves the bytes: synchronous, on a blocking thread.
type Flow<K> = fn(&Repository, &K, &Settings, &Progress, &CancelToken) -> Result<LastWord, String>;

async fn run<K>(client: Client, settings: &Settings, flow: Flow<K>) -> Exit
where
    K: Movement + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope> + Sync,
{
    let api: Api<K> = Api::namespaced(client.clone(), &settings.namespace);
    let object = match api.get(&settings.name).await {
        Ok(object) => object,
        Err(error) => {
            let what = format!(
                "cannot read {} {}/{}: {error}",
                K::kind(&()),
                settings.namespace,
                settings.name
            );
            return say(settings, None, &LastWord::Failed(what)).await;
        }
    };
    let reporter = Reporter::new(client, &object, &settings.node);
    let word = match settings.volumes.check(&settings.volume, settings.volume_mode) {
        Ok(()) => Box::pin(move_data(&api, settings, &object, &reporter, flow)).await,
        Err(error) => LastWord::Failed(error.to_string()),
    };
    say(settings, Some(&reporter), &word).await
}

async fn move_data<K: Movement + Sync>(
    api: &Api<K>,
    settings: &Settings,
    object: &K,
    reporter: &Reporter,
    flow: Flow<K>,
) -> LastWord {
    let (mounted, namespace) = (settings.mounted(), object.source_namespace().to_owned());
    // Opened while waiting, because that takes as long as the wait. It may fail then: the server may be creating it.
    let early = tokio::spawn({
        let (mounted, namespace) = (mounted.clone(), namespace.clone());
        async move { store::open(&mounted, &namespace).await }.in_current_span()
    });
    let object = match movement::started(api, &settings.name).await {
        Start::Go(object) => *object,
        Start::Never(why) => return LastWord::Canceled(why),
    };
    let early = early.await.ok().and_then(Result::ok);
    let repository = match early {
        Some(repository) => repository,
        None => match store::open(&mounted, &namespace).await {
            Ok(repository) => repository,
            Err(error) => return LastWord::Failed(error.to_string()),
        },
    };
    tracing::info!(name = %settings.name, "data movement starts");
    reporter.note(protocol::STARTED, "data path started").await;
    let (progress, cancel) = (Progress::default(), CancelToken::default());
    // A process that ends takes its threads along; a task that is dropped must say so itself.
    let _stops_with_us = CancelOnDrop(cancel.clone());
    let work = {
        let (settings, progress, cancel) = (settings.clone(), progress.clone(), cancel.clone());
        let span = tracing::Span::current();
        let environment = settings.environment.clone();
        async move {
            let flow = move || span.in_scope(|| flow(&repository, &object, &settings, &progress, &cancel));
            environment.run(flow).await
        }
    };
    let stop = async {
        movement::canceled(api, &settings.name).await;
        tracing::info!(name = %settings.name, "data movement is being canceled");
        cancel.cancel();
        reporter
            .note(protocol::CANCELING, "data path is being canceled")
            .await;
        std::future::pending::<()>().await;
    };
    let result = first(work, stop, progress::report(api, &settings.name, &progress)).await;
    match result {
        Ok(Ok(word)) => word,
        Ok(Err(message)) if cancel.is_canceled() => LastWord::Canceled(message),
        Ok(Err(message)) => LastWord::Failed(message),
        Err(abandoned) => LastWord::Failed(format!("the data mover ended abnormally: {abandoned}")),
    }
}

struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs the work with its two companions, which end with it.
async fn first<T>(
    work: impl Future<Output = T>,
    stop: impl Future<Output = ()>,
    show: impl Future<Output = ()>,
) -> T {
    tokio::pin!(work);
    tokio::select! {
        biased;
        result = &mut work => result,
        // Neither companion ends by itself.
        () = stop => work.await,
        () = show => work.await,
    }
}

/// Termination message first: it holds even when the API server is away.
async fn say(settings: &Settings, reporter: Option<&Reporter>, word: &LastWord) -> Exit {
    write_termination_message(&settings.termination_log, word);
    if let Some(reporter) = reporter {
        reporter.last_word(word).await;
    }
    match word {
        LastWord::BackedUp(_) | LastWord::Restored(_) => {
            tracing::info!(name = %settings.name, result = %word.text(), "data movement is complete");
            Exit::Success
        }
        LastWord::Failed(message) => {
            tracing::error!(name = %settings.name, error = %message, "data movement has failed");
            Exit::Failure
        }
        LastWord::Canceled(message) => {
            tracing::warn!(name = %settings.name, reason = %message, "data movement is canceled");
            Exit::Failure
        }
    }
}
