//! Which queued backup may start (velero-behaviour.md 3.1).
//!
//! Looks at all backups of the namespace at once: the queue is a property of the whole.

use std::collections::BTreeSet;

use caravel_api::phase::BackupPhase;
use jiff::Timestamp;

/// One backup, as far as the queue cares.
#[derive(Clone, Debug)]
pub struct Queued {
    /// `metadata.name`.
    pub name: String,
    /// Where it stands.
    pub phase: BackupPhase,
    /// `status.queuePosition`; 0 when it is not in the queue.
    pub position: i32,
    /// `metadata.creationTimestamp`: the order in which new backups join.
    pub created: Option<Timestamp>,
    /// The namespaces it backs up, against those that exist now.
    pub namespaces: Namespaces,
    /// Who wishes that it does not run (`crate::cancel`).
    pub canceled_by: Option<String>,
}

/// The namespaces of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// All of them.
    All,
    /// These, by name.
    Some(BTreeSet<String>),
}

impl Namespaces {
    fn overlap(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => true,
            (Self::Some(a), Self::Some(b)) => !a.is_disjoint(b),
        }
    }
}

/// One step to take; the queue is looked at again after each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A new backup joins at the end.
    Enqueue { name: String, position: i32 },
    /// A backup that has not begun ends here: somebody changed their mind.
    Cancel { name: String, who: String },
    /// A queued backup may start.
    Start { name: String },
    /// A queued backup moves up.
    Renumber { name: String, position: i32 },
    /// Nothing can move until a backup changes.
    Wait,
}

/// Decides the next step.
pub fn decide(backups: &[Queued], concurrent: usize) -> Decision {
    for backup in backups {
        // One that is ReadyToStart is the backup controller's already.
        if let (BackupPhase::New | BackupPhase::Queued, Some(who)) = (&backup.phase, &backup.canceled_by) {
            return Decision::Cancel {
                name: backup.name.clone(),
                who: who.clone(),
            };
        }
    }
    let mut queue: Vec<&Queued> = backups
        .iter()
        .filter(|b| b.phase == BackupPhase::Queued)
        .collect();
    queue.sort_by_key(|b| (b.position, b.created, b.name.clone()));
    if let Some(new) = backups
        .iter()
        .filter(|b| b.phase == BackupPhase::New)
        .min_by_key(|b| (b.created, b.name.clone()))
    {
        let last = queue.iter().map(|b| b.position).max().unwrap_or(0);
        return Decision::Enqueue {
            name: new.name.clone(),
            position: last + 1,
        };
    }
    if let Some(name) = startable(backups, &queue, concurrent) {
        return Decision::Start { name };
    }
    for (index, backup) in queue.iter().enumerate() {
        let position = i32::try_from(index + 1).unwrap_or(i32::MAX);
        if backup.position != position {
            return Decision::Renumber {
                name: backup.name.clone(),
                position,
            };
        }
    }
    Decision::Wait
}

/// The first in the queue that shares no namespace with one that runs or that waits before it.
fn startable(backups: &[Queued], queue: &[&Queued], concurrent: usize) -> Option<String> {
    let running: Vec<&Queued> = backups
        .iter()
        .filter(|b| matches!(b.phase, BackupPhase::InProgress | BackupPhase::ReadyToStart))
        .collect();
    if running.len() >= concurrent {
        return None;
    }
    let free = |index: usize, backup: &Queued| {
        let before = running.iter().chain(&queue[..index]);
        !before
            .copied()
            .any(|other| other.namespaces.overlap(&backup.namespaces))
    };
    queue
        .iter()
        .enumerate()
        .find(|(index, backup)| free(*index, backup))
        .map(|(_, backup)| backup.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(name: &str, phase: BackupPhase) -> Queued {
        Queued {
            name: name.to_owned(),
            phase,
            position: 0,
            created: None,
            namespaces: Namespaces::All,
            canceled_by: None,
        }
    }

    fn queued(name: &str, position: i32) -> Queued {
        Queued {
            position,
            ..backup(name, BackupPhase::Queued)
        }
    }

    fn of(backup: Queued, namespaces: &[&str]) -> Queued {
        let namespaces = namespaces.iter().map(|n| (*n).to_owned()).collect();
        Queued {
            namespaces: Namespaces::Some(namespaces),
            ..backup
        }
    }

    fn start(name: &str) -> Decision {
        Decision::Start {
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_backup_that_is_canceled_before_it_began_does_not_begin() {
        let by_alice = |backup: Queued| Queued {
            canceled_by: Some("alice".into()),
            ..backup
        };
        let cancel = Decision::Cancel {
            name: "a".into(),
            who: "alice".into(),
        };
        assert_eq!(decide(&[by_alice(queued("a", 1))], 1), cancel);
        assert_eq!(decide(&[by_alice(backup("a", BackupPhase::New))], 1), cancel);
        let running = by_alice(backup("a", BackupPhase::InProgress));
        assert_eq!(
            decide(&[running, queued("b", 1)], 1),
            Decision::Wait,
            "it is not the queue's any more"
        );
    }

    #[test]
    fn a_new_backup_joins_at_the_end() {
        let backups = [queued("a", 1), queued("b", 2), backup("c", BackupPhase::New)];
        assert_eq!(
            decide(&backups, 1),
            Decision::Enqueue {
                name: "c".into(),
                position: 3
            }
        );
    }

    #[test]
    fn the_older_of_two_new_backups_joins_first() {
        let at = |second| Timestamp::from_second(second).ok();
        let younger = Queued {
            created: at(2),
            ..backup("a", BackupPhase::New)
        };
        let older = Queued {
            created: at(1),
            ..backup("b", BackupPhase::New)
        };
        assert_eq!(
            decide(&[younger, older], 1),
            Decision::Enqueue {
                name: "b".into(),
                position: 1
            }
        );
    }

    #[test]
    fn the_first_in_the_queue_starts_when_a_place_is_free() {
        assert_eq!(decide(&[queued("b", 2), queued("a", 1)], 1), start("a"));
    }

    #[test]
    fn nothing_starts_while_all_places_are_taken() {
        for running in [BackupPhase::InProgress, BackupPhase::ReadyToStart] {
            assert_eq!(decide(&[backup("r", running), queued("a", 1)], 1), Decision::Wait);
        }
    }

    #[test]
    fn a_backup_waits_for_one_that_shares_a_namespace_and_others_pass_it() {
        let running = of(backup("r", BackupPhase::InProgress), &["shop"]);
        let same = of(queued("a", 1), &["shop"]);
        let other = of(queued("b", 2), &["bank"]);
        assert_eq!(decide(&[running.clone(), same.clone()], 2), Decision::Wait);
        assert_eq!(decide(&[running, same, other], 2), start("b"));
    }

    #[test]
    fn a_backup_does_not_pass_one_that_waits_before_it_for_the_same_namespace() {
        let running = of(backup("r", BackupPhase::InProgress), &["shop"]);
        let first = of(queued("a", 1), &["shop", "bank"]);
        let second = of(queued("b", 2), &["bank"]);
        assert_eq!(decide(&[running, first, second], 3), Decision::Wait);
    }

    #[test]
    fn the_rest_moves_up_after_a_start() {
        let backups = [
            backup("r", BackupPhase::ReadyToStart),
            queued("b", 2),
            queued("c", 3),
        ];
        assert_eq!(
            decide(&backups, 1),
            Decision::Renumber {
                name: "b".into(),
                position: 1
            }
        );
    }

    #[test]
    fn finished_backups_hold_nothing_up() {
        for phase in [
            BackupPhase::Completed,
            BackupPhase::WaitingForPluginOperations,
            BackupPhase::Failed,
        ] {
            assert_eq!(decide(&[backup("done", phase), queued("a", 1)], 1), start("a"));
        }
    }
}
