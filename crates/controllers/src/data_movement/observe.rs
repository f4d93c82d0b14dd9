//! Reads everything that a decision about one movement rests on, once, and decides nothing.

use caravel_api::RepositoryConfig;
use caravel_api::labels;
use caravel_api::phase::BackupRepositoryPhase;
use caravel_api::v1::BackupRepository;
use caravel_api::v2alpha1::{DataDownload, DataUpload};
use caravel_data_mover::protocol::{self, LastWord};
use caravel_exposer::{Next, PodState};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;
use kube::api::ListParams;

use super::decide::{Direction, Elsewhere, End, Mover, Observed, Repository, Slot};
use super::place::{Asking, Held, Place, place};
use super::state::{Facts, State};
use super::transition::Moved;
use super::{Activity, Controller, Movement};
use crate::data_download::Download;
use crate::data_upload::Upload;
use crate::reconcile::{Error, Key};

impl<M: Movement> Controller<M> {
    /// Observes one movement. The exposer's own observation comes along for the step that may follow.
    pub(super) async fn observe(
        &self,
        key: &Key,
        object: &M::Object,
        now: Timestamp,
    ) -> Result<(Observed, Option<M::Children>), Error> {
        let facts = M::facts(object);
        let state = State::parse(&facts);
        let me = self.shared.policy.node.as_str();
        let mine = state.owner() == Some(me);
        let mut observed = Observed {
            direction: M::DIRECTION,
            cancel_seen: facts.cancel.then(|| self.cancel_seen(&facts.uid, now)),
            facts,
            state,
            not_admitted: None,
            place: Place::Given,
            mover: Mover::Absent,
            elsewhere: None,
            repository: Repository::Preparing,
            slot: Slot::Free,
            next: Next::Done,
            rebind_since: None,
            last_error: self.last_errors.lock().get(key).cloned(),
        };
        if !observed.facts.is_ours() {
            return Ok((observed, None));
        }
        if !matches!(observed.state, State::Finished { .. }) || observed.facts.has_finalizer() {
            for (kind, watched) in self.movement.waits_for(object) {
                self.interests.register(kind, watched, key);
            }
        }
        let mut repository_config = None;
        let activity = match &observed.state {
            State::New => {
                observed.not_admitted = self.movement.not_admitted(&self.cluster, object).await?;
                if !observed.facts.cancel && !observed.facts.deleting {
                    observed.place = self.place(key, &observed, now).await?;
                }
                None
            }
            State::Accepted { .. } => {
                observed.mover = self.mover(&observed.facts).await?;
                if mine {
                    (observed.repository, repository_config) = self.repository(key, &observed.facts).await?;
                }
                mine.then_some(Activity::Expose)
            }
            State::Prepared { .. } if mine => {
                observed.mover = self.mover(&observed.facts).await?;
                (observed.repository, _) = self.repository(key, &observed.facts).await?;
                observed.slot = self.shared.slots.look(M::DIRECTION, key);
                None
            }
            State::InProgress { .. } | State::Canceling { .. } if mine => {
                observed.mover = self.mover(&observed.facts).await?;
                let activity = self.rebinding(object, &mut observed);
                // The slot is the mover's: handing a volume over needs none. An upload keeps it until its end is written.
                match observed.mover {
                    Mover::Ended(_) if M::DIRECTION == Direction::Download => {
                        self.shared.slots.release(M::DIRECTION, key);
                    }
                    _ => self.shared.slots.hold(M::DIRECTION, key),
                }
                activity
            }
            State::Prepared { .. } | State::InProgress { .. } | State::Canceling { .. } => {
                // A download that is being handed over needs its data mover no more.
                if M::rebind_begun(object).is_none() {
                    observed.elsewhere = Some(self.elsewhere(&observed.facts, now).await?);
                }
                None
            }
            State::Finished { .. } if observed.facts.has_finalizer() => Some(Activity::CleanUp),
            _ => None,
        };
        let Some(activity) = activity else {
            return Ok((observed, None));
        };
        let look = self
            .movement
            .look(&self.cluster, object, repository_config.as_ref(), activity)
            .await?;
        observed.next = look.next;
        Ok((observed, Some(look.children)))
    }

    /// A download whose mover has completed stands on the rebind ladder; one whose hand-over has begun has completed,
    /// whatever is left of its pod and Event.
    fn rebinding(&self, object: &M::Object, observed: &mut Observed) -> Option<Activity> {
        if observed.direction == Direction::Upload {
            return None;
        }
        if let Some((since, total_bytes)) = M::rebind_begun(object) {
            observed.rebind_since = Some(since);
            let moved = Moved {
                total_bytes,
                ..Moved::default()
            };
            observed.mover = Mover::Ended(End::Completed {
                moved,
                message: String::new(),
            });
        }
        matches!(observed.mover, Mover::Ended(End::Completed { .. })).then_some(Activity::Rebind)
    }

    /// The place of a new movement among those in preparation.
    async fn place(&self, key: &Key, observed: &Observed, now: Timestamp) -> Result<Place, Error> {
        let asking = Asking {
            me: &self.shared.policy.node,
            direction: M::DIRECTION,
            key,
            facts: &observed.facts,
            is_admitted: observed.not_admitted.is_none(),
            quiet_since: self.quiet_since(&observed.facts, now),
        };
        place(&self.shared.queue, &asking, self.in_preparation()).await
    }

    /// Everybody who has a place, asked of the API server itself and not of a watch.
    async fn in_preparation(&self) -> Result<Vec<Held>, Error> {
        let context = &self.shared.context;
        let labelled = ListParams::default().labels(labels::EXPOSE_ON_GOING);
        let uploads = context.list::<DataUpload>(&labelled).await?;
        let downloads = context.list::<DataDownload>(&labelled).await?;
        let uploads = uploads.iter().filter_map(held::<Upload>);
        Ok(uploads
            .chain(downloads.iter().filter_map(held::<Download>))
            .collect())
    }

    fn cancel_seen(&self, uid: &str, now: Timestamp) -> Timestamp {
        *self.cancels.lock().entry(uid.to_owned()).or_insert(now)
    }

    /// Since when this agent has seen no change of a movement.
    fn quiet_since(&self, facts: &Facts, now: Timestamp) -> Timestamp {
        let mut quiet = self.quiet.lock();
        let seen = quiet
            .entry(facts.uid.clone())
            .or_insert_with(|| (facts.resource_version.clone(), now));
        if seen.0 != facts.resource_version {
            *seen = (facts.resource_version.clone(), now);
        }
        seen.1
    }

    /// Asks for another node's data mover only when that node has been quiet: a progress a second of every movement must
    /// not make every agent ask.
    async fn elsewhere(&self, facts: &Facts, now: Timestamp) -> Result<Elsewhere, Error> {
        let quiet_since = self.quiet_since(facts, now);
        let grace = SignedDuration::try_from(self.shared.policy.lost_grace).unwrap_or(SignedDuration::MAX);
        let mover = if now.duration_since(quiet_since) >= grace {
            Some(self.mover(facts).await?)
        } else {
            None
        };
        Ok(Elsewhere { quiet_since, mover })
    }

    /// The pod first, then the Event: the Event is written before the pod ends, so an ended pod cannot hide it.
    async fn mover(&self, facts: &Facts) -> Result<Mover, Error> {
        let context = &self.shared.context;
        let pod = context.api::<Pod>().get_opt(&facts.name).await?;
        let pod = pod.filter(|pod| pod.owner_references().iter().any(|owner| owner.uid == facts.uid));
        let word = context
            .api::<Event>()
            .get_opt(&protocol::final_event_name(&facts.uid))
            .await?;
        if let Some(event) = word {
            let word = LastWord::of_event(
                event.reason.as_deref().unwrap_or_default(),
                event.message.as_deref().unwrap_or_default(),
            );
            return Ok(Mover::Ended(end(word)));
        }
        Ok(match pod.as_ref().map(PodState::of) {
            None => Mover::Absent,
            Some(PodState::Pending { reason }) => Mover::Pending { reason },
            Some(PodState::Broken { why }) => Mover::Broken { why },
            Some(PodState::Running { node }) => Mover::Running { node },
            Some(PodState::Ended {
                succeeded,
                message,
                reason,
            }) => Mover::Ended(end(LastWord::of_pod(succeeded, &message, &reason))),
        })
    }

    /// By its name; a repository made by an old Velero has a random one and is found by its labels. With its
    /// configuration, once the server has looked at it.
    async fn repository(
        &self,
        key: &Key,
        facts: &Facts,
    ) -> Result<(Repository, Option<RepositoryConfig>), Error> {
        let api = self.shared.context.api::<BackupRepository>();
        let name = repository_name(facts);
        self.interests.register(
            "BackupRepository",
            Key::new(facts.namespace.clone(), name.clone()),
            key,
        );
        let mut found = api.get_opt(&name).await?;
        if found.is_none() {
            let selector = repository_labels(facts)
                .map(|(label, value)| format!("{label}={value}"))
                .join(",");
            found = self
                .shared
                .context
                .list::<BackupRepository>(&ListParams::default().labels(&selector))
                .await?
                .into_iter()
                .next();
            if let Some(found) = &found {
                self.interests.register("BackupRepository", Key::of(found), key);
            }
        }
        let Some(found) = found else {
            return Ok((Repository::Absent, None));
        };
        let message = found
            .status
            .as_ref()
            .map(|status| status.message.clone())
            .unwrap_or_default();
        let repository = match found.phase() {
            BackupRepositoryPhase::Ready => Repository::Ready,
            BackupRepositoryPhase::NotReady => Repository::NotReady {
                message: format!("backup repository {} is not ready: {message}", found.name_any()),
            },
            _ => Repository::Preparing,
        };
        let is_known = repository != Repository::Preparing;
        let config = is_known.then(|| RepositoryConfig::of(&found.spec.repository_config));
        Ok((repository, config))
    }
}

/// A movement that has a place, as the queue counts it.
fn held<M: Movement>(object: &M::Object) -> Option<Held> {
    Held::of(M::DIRECTION, &M::facts(object))
}

/// `<volume namespace>-<location>-kopia`.
pub(super) fn repository_name(facts: &Facts) -> String {
    format!(
        "{}-{}-kopia",
        facts.source_namespace, facts.backup_storage_location
    )
}

/// The labels that say which repository it is.
pub(super) fn repository_labels(facts: &Facts) -> [(&'static str, String); 3] {
    [
        (
            labels::VOLUME_NAMESPACE,
            labels::label_value(&facts.source_namespace),
        ),
        (
            labels::STORAGE_LOCATION,
            labels::label_value(&facts.backup_storage_location),
        ),
        (labels::REPOSITORY_TYPE, "kopia".to_owned()),
    ]
}

fn end(word: LastWord) -> End {
    match word {
        LastWord::BackedUp(result) => End::Completed {
            message: result.remark(),
            moved: Moved {
                snapshot_id: Some(result.snapshot_id),
                path: Some(result.source.by_path),
                total_bytes: result.total_bytes,
                incremental_bytes: Some(result.incremental_bytes),
            },
        },
        LastWord::Restored(result) => End::Completed {
            message: String::new(),
            moved: Moved {
                total_bytes: result.total_bytes,
                ..Moved::default()
            },
        },
        LastWord::Failed(message) => End::Failed { message },
        LastWord::Canceled(message) => End::Canceled { message },
    }
}
