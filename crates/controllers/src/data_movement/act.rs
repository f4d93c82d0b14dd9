//! Carries a decision out, and looks again until there is something to wait for.

use async_trait::async_trait;
use caravel_api::phase::UploaderType;
use caravel_api::v1::{BackupRepository, BackupRepositorySpec};
use caravel_exposer::{ExposerError, LocationMount, Step};
use jiff::{SignedDuration, Timestamp};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use std::time::Duration;

use super::announce;
use super::decide::{Decision, End, Mover, Observed, decide};
use super::observe::{repository_labels, repository_name};
use super::prepare_queue::Attempt;
use super::state::{Ending, Facts, State};
use super::transition::Transition;
use super::{Controller, Movement, StepExtra, boxed};
use crate::reconcile::{Error, Key, Next, Reconciler, chain};

/// Steps in one reconcile before others get their turn. The longest ladder (rebind) has seven.
const STEPS_AT_ONCE: usize = 12;

/// A step that had no effect is taken again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// What there is to say in `status.message`.
enum Announcement {
    None,
    /// Nothing yet; at this time, if it still waits.
    At(Timestamp),
    Due(String),
}

/// Whether to look at the movement again at once.
enum Outcome {
    LookAgain,
    Wait(Next),
}

#[async_trait]
impl<M: Movement> Reconciler for Controller<M> {
    fn name(&self) -> &'static str {
        match M::DIRECTION {
            super::Direction::Upload => "data-upload",
            super::Direction::Download => "data-download",
        }
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let mut last = None;
        for _ in 0..STEPS_AT_ONCE {
            let Some(object) = self.shared.context.api::<M::Object>().get_opt(&key.name).await? else {
                self.forget(key, None);
                return Ok(Next::Done);
            };
            let now = self.shared.context.clock.now();
            match self.one_step(key, &object, now, &mut last).await {
                Ok(Outcome::LookAgain) => {
                    self.last_errors.lock().remove(key);
                }
                Ok(Outcome::Wait(next)) => return Ok(next),
                Err(error) => {
                    self.last_errors.lock().insert(key.clone(), words(&*error));
                    return Err(error);
                }
            }
        }
        Ok(Next::After(Duration::ZERO))
    }
}

impl<M: Movement> Controller<M> {
    /// `last`: the step that was taken before, in the same reconcile.
    async fn one_step(
        &self,
        key: &Key,
        object: &M::Object,
        now: Timestamp,
        last: &mut Option<Step>,
    ) -> Result<Outcome, Error> {
        let (observed, children) = match self.observe(key, object, now).await {
            Ok(seen) => seen,
            Err(error) => return Err(error),
        };
        let decision = decide(&observed, &self.shared.policy, now);
        self.log(key, &observed, &decision);
        match decision {
            Decision::Leave { .. } => {
                self.forget(key, Some(&observed.facts.uid));
                Ok(Outcome::Wait(Next::Done))
            }
            Decision::Wait { until, .. } => match self.announcement(key, &observed, &decision, now) {
                Announcement::Due(message) => {
                    self.write(key, &observed.facts, &Transition::Tell { message })
                        .await
                }
                Announcement::At(turn) => {
                    let until = until.map_or(turn, |until| until.min(turn));
                    Ok(Outcome::Wait(Next::After(span(now, until))))
                }
                Announcement::None => Ok(Outcome::Wait(
                    until.map_or(Next::Done, |until| Next::After(span(now, until))),
                )),
            },
            Decision::Write(transition) => self.write(key, &observed.facts, &transition).await,
            Decision::EnsureRepository => {
                self.create_repository(&observed.facts).await?;
                Ok(Outcome::LookAgain)
            }
            Decision::Take(step) => {
                let Some(children) = children else {
                    return Ok(Outcome::LookAgain);
                };
                let is_repeated = last.replace(step) == Some(step);
                let taken = self.take(object, &observed, &children, step, now).await;
                let outcome = self.after_step(key, &observed, step, taken, now).await?;
                Ok(match outcome {
                    // It changed nothing: a delete was answered 404, say, and the object is still shown.
                    Outcome::LookAgain if is_repeated => Outcome::Wait(Next::After(AGAIN)),
                    outcome => outcome,
                })
            }
        }
    }

    /// What there is to tell about a wait.
    fn announcement(
        &self,
        key: &Key,
        observed: &Observed,
        decision: &Decision,
        now: Timestamp,
    ) -> Announcement {
        let Some((what, after)) = announce::told(observed, decision, &self.shared.policy) else {
            self.waits.lock().remove(key);
            return Announcement::None;
        };
        let there = &observed.facts.message;
        let since = {
            let mut waits = self.waits.lock();
            let subject = announce::subject(what);
            match waits.get(key) {
                Some((known, since)) if known == subject => *since,
                _ => {
                    let since = announce::since(there, what).unwrap_or(now);
                    waits.insert(key.clone(), (subject.to_owned(), since));
                    since
                }
            }
        };
        // Somebody else's time is as good.
        let message = announce::message(what, announce::since(there, what).unwrap_or(since));
        if *there == message {
            return Announcement::None;
        }
        let turn = since
            .checked_add(SignedDuration::try_from(after).unwrap_or_default())
            .unwrap_or(now);
        if now < turn {
            Announcement::At(turn)
        } else {
            Announcement::Due(message)
        }
    }

    /// A decision is news once; the same one again is for debugging.
    fn log(&self, key: &Key, observed: &Observed, decision: &Decision) {
        let phase = observed.facts.phase.as_str();
        let words = format!("{phase}: {decision:?}");
        let known = self.last_decisions.lock().insert(key.clone(), words.clone());
        if known.as_ref() == Some(&words) {
            return;
        }
        match decision {
            Decision::Write(Transition::Tell { .. }) => {}
            Decision::Write(transition) => {
                tracing::info!(phase, ?transition, "data movement changes its phase")
            }
            Decision::Take(step) => tracing::info!(phase, ?step, "exposer takes a step"),
            _ => tracing::debug!(phase, ?decision, "data movement decided"),
        }
    }

    /// One write with the version that was read. A conflict is not an error: somebody else was first.
    async fn write(&self, key: &Key, facts: &Facts, transition: &Transition) -> Result<Outcome, Error> {
        let slots = &self.shared.slots;
        match transition {
            Transition::Start { .. } if !slots.take(M::DIRECTION, key) => {
                return Ok(Outcome::Wait(Next::Done));
            }
            _ => {}
        }
        let api = self.shared.context.api::<M::Object>();
        let written = api
            .patch(
                &facts.name,
                &PatchParams::default(),
                &Patch::Merge(transition.patch(facts)),
            )
            .await;
        if matches!(transition, Transition::Reserve { .. }) {
            let attempt = match &written {
                Ok(_) => Attempt::Reserved,
                Err(kube::Error::Api(status)) if status.is_conflict() => Attempt::Overtaken,
                Err(_) => Attempt::Failed,
            };
            self.shared.queue.attempted(M::DIRECTION, key, attempt);
        }
        match written {
            Ok(_) => {
                // Not before: nobody must see more movements InProgress than there may be.
                if matches!(transition, Transition::Finish { .. }) {
                    slots.release(M::DIRECTION, key);
                }
                Ok(Outcome::LookAgain)
            }
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                if matches!(transition, Transition::Start { .. }) {
                    slots.release(M::DIRECTION, key);
                }
                Ok(Outcome::LookAgain)
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Outcome::LookAgain),
            Err(error) => Err(boxed(error)),
        }
    }

    async fn take(
        &self,
        object: &M::Object,
        observed: &Observed,
        children: &M::Children,
        step: Step,
        now: Timestamp,
    ) -> Result<Result<(), ExposerError>, Error> {
        let location = match step {
            Step::CreateMoverPod => self.location(&observed.facts.backup_storage_location).await?,
            _ => LocationMount::default(),
        };
        let total_bytes = match &observed.mover {
            Mover::Ended(End::Completed { moved, .. }) => moved.total_bytes,
            _ => 0,
        };
        let extra = StepExtra {
            location,
            total_bytes,
            now,
        };
        Ok(self
            .movement
            .take(&self.cluster, object, children, step, extra)
            .await)
    }

    /// What the API server will never accept ends the movement with its reason; all else is tried again.
    async fn after_step(
        &self,
        key: &Key,
        observed: &Observed,
        step: Step,
        taken: Result<Result<(), ExposerError>, Error>,
        now: Timestamp,
    ) -> Result<Outcome, Error> {
        match taken? {
            Ok(()) => Ok(Outcome::LookAgain),
            Err(error) if error.is_conflict() => Ok(Outcome::Wait(Next::After(Duration::from_millis(20)))),
            Err(error) if error.is_permanent() && !matches!(observed.state, State::Finished { .. }) => {
                let message = format!("{step:?} is refused: {}", chain(&error));
                let end = Transition::Finish {
                    ending: Ending::Failed,
                    at: now,
                    message,
                    result: None,
                };
                self.write(key, &observed.facts, &end).await
            }
            Err(error) => Err(boxed(error)),
        }
    }

    async fn location(&self, name: &str) -> Result<LocationMount, Error> {
        let locations = &self.shared.context.locations;
        let bsl = locations.get(name).await?;
        let resolved = locations.resolve(&bsl).await?;
        Ok(LocationMount {
            json: serde_json::to_string(&resolved.location)?,
            credential: bsl
                .spec
                .credential
                .map(|reference| (reference.name, reference.key)),
        })
    }

    /// The object only; the server's backup-repository controller connects or creates what it stands for.
    async fn create_repository(&self, facts: &Facts) -> Result<(), Error> {
        let repository = BackupRepository {
            metadata: ObjectMeta {
                name: Some(repository_name(facts)),
                namespace: Some(facts.namespace.clone()),
                labels: Some(
                    repository_labels(facts)
                        .map(|(label, value)| (label.to_owned(), value))
                        .into(),
                ),
                ..ObjectMeta::default()
            },
            spec: BackupRepositorySpec {
                backup_storage_location: facts.backup_storage_location.clone(),
                repository_type: Some(UploaderType::Kopia),
                volume_namespace: facts.source_namespace.clone(),
                ..BackupRepositorySpec::default()
            },
            status: None,
        };
        match self
            .shared
            .context
            .api::<BackupRepository>()
            .create(&PostParams::default(), &repository)
            .await
        {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => Err(boxed(error)),
        }
    }
}

/// An error for `status.message`: the API server's own words, without the noise around them.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) if !status.message.is_empty() => status.message.clone(),
        _ => chain(error),
    }
}

/// The time from `now` until `until`, never negative.
fn span(now: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(now)).unwrap_or_default()
}
