//! The `repository-password` controller: gives every repository of every location a new password, when
//! `velero repo change-password` has put one beside the old one into the Secret. Not in Velero, whose password can be set
//! only before the first backup.
//!
//! ```text
//! Secret velero-repo-credentials             repositories                     who opens one
//! repository-password: old                   old                              old
//!   + repository-password-next: new          one after another: old → new     tries both; a new one is made with new
//! repository-password: new                   new                              new
//! ```
//! The Secret is the only record: a server that dies anywhere finds both passwords there and goes on, and every repository
//! opens with one of them. The old one goes in one write, when all repositories that there are have been reopened with the
//! new one. How far it is stands in the annotation `velero.io/repository-password-change`.

mod decide;
mod places;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api::labels::REPOSITORY_PASSWORD_CHANGE;
use caravel_api::v1::BackupStorageLocation;
use caravel_api::v2alpha1::{DataDownload, DataUpload};
use caravel_backup_repository::{
    NEXT_PASSWORD_KEY, PASSWORD_KEY, PASSWORD_SECRET, Passwords, PrepareErrorKind, rekey,
};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::decide::{Decision, Observed, Place, decide};
use crate::context::Context;
use crate::reconcile::{Error, Key, Next, Reconciler, Source, chain, run};

/// How soon what could not be changed is tried again, when no watch tells of a change: a bucket that did not answer.
const AGAIN: Duration = Duration::from_secs(60);

/// Starts the controller in the server.
pub fn spawn(context: Context, shutdown: CancellationToken) -> JoinHandle<()> {
    let key = Key::new(context.namespace.clone(), PASSWORD_SECRET);
    let when = move |wanted: bool| if wanted { vec![key.clone()] } else { Vec::new() };
    let everything = watcher::Config::default;
    let (secrets, locations, uploads, downloads) = (when.clone(), when.clone(), when.clone(), when);
    let mut known = None;
    let sources = vec![
        // Not what this controller writes: how far it is.
        Source::watch(context.api::<Secret>(), everything(), move |secret: &Secret| {
            let is_it = secret.name_any() == PASSWORD_SECRET;
            secrets(is_it && known.replace(secret.data.clone()) != Some(secret.data.clone()))
        }),
        Source::watch(context.api::<BackupStorageLocation>(), everything(), move |_| {
            locations(true)
        }),
        Source::watch(
            context.api::<DataUpload>(),
            everything(),
            move |upload: &DataUpload| uploads(upload.phase().is_finished()),
        ),
        Source::watch(
            context.api::<DataDownload>(),
            everything(),
            move |download: &DataDownload| downloads(download.phase().is_finished()),
        ),
    ];
    let controller = RepositoryPassword {
        context,
        reopened: Mutex::default(),
    };
    tokio::spawn(run(controller, sources, 1, shutdown))
}

struct RepositoryPassword {
    context: Context,
    reopened: Mutex<Option<Reopened>>,
}

/// What this server has reopened with the new password, so that it is not opened again and again. Another server begins
/// anew: to come to a repository twice changes nothing.
struct Reopened {
    with: SecretString,
    places: BTreeSet<Place>,
}

/// A change that goes on: the Secret has two passwords.
struct Change {
    passwords: Passwords,
    next: SecretString,
    secret: Secret,
}

#[async_trait]
impl Reconciler for RepositoryPassword {
    fn name(&self) -> &'static str {
        "repository-password"
    }

    async fn reconcile(&self, _: &Key) -> Result<Next, Error> {
        let Some(change) = self.change().await? else {
            *self.reopened.lock() = None;
            return Ok(Next::Done);
        };
        let mut observed = self.observe(&change).await?;
        loop {
            // It may take minutes: movements begin meanwhile.
            observed.moving = places::moving(&self.context, &observed).await?;
            let decision = decide(&observed);
            if matches!(decision, Decision::Rekey(_)) && !self.still(&change).await? {
                return self.stopped(&change, observed.done.len()).await;
            }
            match decision {
                Decision::Rekey(place) => self.rekey(&change, place, &mut observed).await?,
                Decision::Wait(why) => {
                    tracing::warn!(%why, "both repository passwords stay recorded");
                    self.say(&format!("waiting, both passwords stay in force: {why}"))
                        .await?;
                    return Ok(Next::After(AGAIN));
                }
                Decision::End => match self.end(&change).await? {
                    None => return Ok(Next::Done),
                    // A repository that was made meanwhile.
                    Some(more) => observed = more,
                },
            }
        }
    }
}

impl RepositoryPassword {
    async fn change(&self) -> Result<Option<Change>, Error> {
        let found = self.context.api::<Secret>().get_opt(PASSWORD_SECRET).await?;
        Ok(found.and_then(Change::of))
    }

    /// Whether the Secret holds the same two passwords, and this server may act. Asked before each repository: none is taken
    /// to a password that is recorded nowhere.
    async fn still(&self, change: &Change) -> Result<bool, Error> {
        self.context.leadership.confirm().await?;
        Ok(self.change().await?.is_some_and(|now| now.is(change)))
    }

    /// Somebody has written into the Secret. What it says now is looked at anew; a next password that is gone is said.
    async fn stopped(&self, change: &Change, done: usize) -> Result<Next, Error> {
        if self.change().await?.is_some() {
            return Ok(Next::After(Duration::ZERO));
        }
        let now = self.context.api::<Secret>().get_opt(PASSWORD_SECRET).await?;
        let is_ended = now
            .and_then(|secret| crate::backup_repository::password(Some(&secret)).ok())
            .is_some_and(|now| now.current().expose_secret() == change.next.expose_secret());
        if !is_ended && done > 0 {
            let why = format!(
                "stopped: somebody has taken {NEXT_PASSWORD_KEY} out of the Secret, and {done} repositories open with nothing else: put it back"
            );
            tracing::error!(secret = PASSWORD_SECRET, "{why}");
            self.say(&why).await?;
        }
        Ok(Next::Done)
    }

    async fn observe(&self, change: &Change) -> Result<Observed, Error> {
        let mut observed = places::observe(&self.context).await?;
        let reopened = self.reopened.lock();
        let same = reopened
            .as_ref()
            .filter(|reopened| reopened.with.expose_secret() == change.next.expose_secret());
        observed.done = same.map(|reopened| reopened.places.clone()).unwrap_or_default();
        Ok(observed)
    }

    /// Changes one, and notes how that went.
    async fn rekey(&self, change: &Change, place: Place, observed: &mut Observed) -> Result<(), Error> {
        let (done, all) = (observed.done.len(), observed.places.len());
        self.say(&format!(
            "{done} of {all} repositories have the new password; now {place}"
        ))
        .await?;
        match self.rekey_one(change, &place).await {
            Ok(()) => {
                tracing::info!(repository = %place, "backup repository has the new password");
                observed.done.insert(place);
                *self.reopened.lock() = Some(Reopened {
                    with: change.next.clone(),
                    places: observed.done.clone(),
                });
            }
            Err(why) => {
                observed.failed.insert(place, why);
            }
        }
        Ok(())
    }

    /// One that is gone, or was never made, has nothing to be changed.
    async fn rekey_one(&self, change: &Change, place: &Place) -> Result<(), String> {
        let resolved = self
            .context
            .locations
            .by_name(&place.location)
            .await
            .map_err(|error| chain(&error))?;
        let storage = resolved
            .repository_storage(&place.namespace)
            .map_err(|error| chain(&error))?;
        let environment = self.context.environment.clone();
        // Whoever prepares it at this moment has ended then, and whoever comes after has read both passwords: one that is not
        // there is not being made with the old one, and nobody opens it half way.
        let _alone = self.context.preparing.write().await;
        match rekey(storage, change.passwords.current(), &change.next, environment).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == PrepareErrorKind::NotInitialized => Ok(()),
            Err(error) => Err(chain(&error)),
        }
    }

    /// Takes the old password away, unless there is more to be done. Nobody prepares a repository meanwhile.
    async fn end(&self, change: &Change) -> Result<Option<Observed>, Error> {
        let _alone = self.context.preparing.write().await;
        let observed = self.observe(change).await?;
        if decide(&observed) != Decision::End {
            return Ok(Some(observed));
        }
        // With the version that was read: whoever has written into the Secret meanwhile is heard first.
        let Some(now) = self.change().await?.filter(|now| now.is(change)) else {
            self.stopped(change, observed.done.len()).await?;
            return Ok(None);
        };
        self.context.leadership.confirm().await?;
        let patch = ended(&now, observed.places.len());
        self.context
            .api::<Secret>()
            .patch(PASSWORD_SECRET, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        tracing::info!(
            repositories = observed.places.len(),
            "the password of the backup repositories is changed"
        );
        Ok(None)
    }

    /// For who waits: `velero repo change-password`.
    async fn say(&self, text: &str) -> Result<(), Error> {
        let patch = json!({"metadata": {"annotations": {REPOSITORY_PASSWORD_CHANGE: text}}});
        let api = self.context.api::<Secret>();
        let said = api
            .get_opt(PASSWORD_SECRET)
            .await?
            .and_then(|secret| secret.annotations().get(REPOSITORY_PASSWORD_CHANGE).cloned());
        if said.as_deref() != Some(text) {
            api.patch(PASSWORD_SECRET, &PatchParams::default(), &Patch::Merge(&patch))
                .await?;
        }
        Ok(())
    }
}

impl Change {
    /// None: the Secret has one password, or none at all.
    fn of(secret: Secret) -> Option<Self> {
        let passwords = crate::backup_repository::password(Some(&secret)).ok()?;
        let next = passwords.next()?.clone();
        Some(Self {
            passwords,
            next,
            secret,
        })
    }

    /// The same two passwords.
    fn is(&self, other: &Self) -> bool {
        let current = |change: &Self| change.passwords.current().expose_secret().to_owned();
        current(self) == current(other) && self.next.expose_secret() == other.next.expose_secret()
    }
}

/// The new password in the place of the old one.
fn ended(change: &Change, repositories: usize) -> Value {
    let next = ByteString(change.next.expose_secret().as_bytes().to_vec());
    json!({
        "metadata": {
            "resourceVersion": change.secret.resource_version(),
            "annotations": {REPOSITORY_PASSWORD_CHANGE: format!("done: {repositories} repositories have the new password")},
        },
        "data": {PASSWORD_KEY: next, NEXT_PASSWORD_KEY: null},
    })
}
