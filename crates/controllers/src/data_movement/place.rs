//! Never more movements in preparation than `prepareQueueLength`, over all node agents.
//!
//! ```text
//! New ──reserve──► New, label "reserved" ──list──► as many as may be, or fewer ──► Accepted, label "true"
//!                                            └───► more ──► the oldest keep theirs and wait, the others give back
//! ```
//! Why it holds. A movement is accepted with the version of the object that had its place *before* the list, so it had
//! that place all the time in between. Were there ever more accepted movements that have not started than the length,
//! take the one of them whose place was reserved last: its list came after all the others had theirs, so it showed more
//! than the length, and it was not accepted. Clocks do not matter, nor who writes first.
//!
//! Why it goes on. Who steps back is decided by age (creation, then kind and name), which all agents compute alike, so the
//! oldest always stays; who is New never counts as accepted, so nothing that waits is in the way for good; and a place
//! that a silent agent has reserved is taken over (`decide.rs`). Lists are asked of the API server without a version,
//! which is its most recent state. Velero counts by the caches of its agents and goes beyond the length.

use jiff::Timestamp;

use super::decide::Direction;
use super::prepare_queue::{Holder, PrepareQueue, holder};
use super::state::Facts;
use crate::reconcile::Key;
use caravel_api::v2alpha1::DataMovementPhase;

/// The place of a new movement among those in preparation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// It may be accepted: it has a place, or needs none.
    Given,
    /// There was room a moment ago: reserve a place.
    Open,
    /// There is no room.
    Full { length: usize },
    /// It has reserved a place, and so have more than there may be. It is one of the first.
    Contended { length: usize },
    /// The same, and others go before it; or nobody can accept it now.
    Lost,
    /// Another node's agent has reserved its place; since when nothing has been heard of it.
    Reserved { by: String, since: Timestamp },
}

/// Somebody who has a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// It has only reserved it, and is not accepted yet.
    is_reserved: bool,
    created: Timestamp,
    holder: Holder,
}

impl Held {
    /// A movement's place; None: it has none.
    pub fn of(direction: Direction, facts: &Facts) -> Option<Self> {
        let key = Key::new(facts.namespace.clone(), facts.name.clone());
        facts.is_in_preparation().then(|| Self {
            // Nobody of ours takes back what another data mover's controller has written.
            is_reserved: facts.phase == DataMovementPhase::New && facts.is_ours(),
            created: created(facts),
            holder: holder(direction, &key),
        })
    }
}

/// A new movement that asks for its place.
#[derive(Debug)]
pub struct Asking<'a> {
    /// The node of the agent that asks.
    pub me: &'a str,
    pub direction: Direction,
    pub key: &'a Key,
    pub facts: &'a Facts,
    /// It could be accepted at once.
    pub is_admitted: bool,
    /// Since when this agent has seen no change of it.
    pub quiet_since: Timestamp,
}

/// Where a new movement stands. `list`: everybody who has a place, read from the API server when it is asked for; a
/// future that is dropped asks nothing.
///
/// # Errors
/// Those of `list`.
pub async fn place<E>(
    queue: &PrepareQueue,
    asking: &Asking<'_>,
    list: impl Future<Output = Result<Vec<Held>, E>>,
) -> Result<Place, E> {
    let (direction, key, facts) = (asking.direction, asking.key, asking.facts);
    if facts.is_in_preparation() && facts.accepted_by != asking.me {
        return Ok(Place::Reserved {
            by: facts.accepted_by.clone(),
            since: asking.quiet_since,
        });
    }
    if !asking.is_admitted {
        queue.leave(direction, key);
        queue.contends(direction, key, false);
        return Ok(if facts.is_in_preparation() {
            Place::Lost
        } else {
            Place::Given
        });
    }
    let Some(length) = queue.limit() else {
        queue.contends(direction, key, false);
        return Ok(Place::Given);
    };
    if facts.is_in_preparation() {
        // Before the list: whoever comes or goes after it wakes this one.
        queue.contends(direction, key, true);
        let place = confirmed(length, &holder(direction, key), &list.await?);
        queue.contends(direction, key, matches!(place, Place::Contended { .. }));
        return Ok(place);
    }
    if !queue.ask(created(facts), direction, key) {
        return Ok(Place::Full { length });
    }
    match list.await {
        Ok(held) if held.len() < length => Ok(Place::Open),
        Ok(_) => {
            queue.was_full(direction, key);
            Ok(Place::Full { length })
        }
        Err(error) => {
            queue.leave(direction, key);
            Err(error)
        }
    }
}

/// What a list says that was made after `me` had reserved its place.
fn confirmed(length: usize, me: &Holder, held: &[Held]) -> Place {
    let Some(mine) = held.iter().find(|held| held.holder == *me) else {
        // It has changed since it was read, and the next look tells how.
        return Place::Contended { length };
    };
    if held.len() <= length {
        return Place::Given;
    }
    let goes_before =
        |other: &&Held| !other.is_reserved || (other.created, &other.holder) < (mine.created, &mine.holder);
    if held.iter().filter(goes_before).count() < length {
        Place::Contended { length }
    } else {
        Place::Lost
    }
}

fn created(facts: &Facts) -> Timestamp {
    facts.created.unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(is_reserved: bool, second: i64, name: &str) -> Held {
        Held {
            is_reserved,
            created: Timestamp::from_second(second).unwrap(),
            holder: holder(Direction::Upload, &Key::new("velero", name)),
        }
    }

    #[test]
    fn the_oldest_keep_what_they_have_reserved_and_the_others_give_it_back() {
        let all = [
            held(false, 9, "accepted"),
            held(true, 1, "a"),
            held(true, 2, "b"),
            held(true, 2, "c"),
        ];
        let of = |length: usize, at: usize| confirmed(length, &all[at].holder, &all);
        assert_eq!(of(4, 3), Place::Given);
        assert_eq!(of(3, 1), Place::Contended { length: 3 });
        assert_eq!(of(3, 2), Place::Contended { length: 3 });
        assert_eq!(of(3, 3), Place::Lost);
        assert_eq!(of(1, 1), Place::Lost, "who is accepted goes before everybody");
    }

    #[test]
    fn a_list_without_the_one_who_asks_gives_nothing() {
        let me = held(true, 1, "me");
        assert_eq!(
            confirmed(2, &me.holder, &[]),
            Place::Contended { length: 2 },
            "not even an empty one"
        );
    }
}
