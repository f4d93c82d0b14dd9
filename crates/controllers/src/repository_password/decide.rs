//! What a change of the repositories' password does next. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One repository: by location, and namespace of its volumes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub location: String,
    pub namespace: String,
    /// Bucket and prefix: a location that was moved has other repositories.
    pub within: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.location, self.namespace)
    }
}

/// Everything that the decision looks at.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    /// The repositories of all locations.
    pub places: BTreeSet<Place>,
    /// Why others may be there that cannot be changed, in sentences.
    pub obstacles: Vec<String>,
    /// Bucket with prefix, and namespace, of each data movement that goes on: whoever has a repository open must open it
    /// again.
    pub moving: BTreeSet<(String, String)>,
    /// Location → bucket with prefix.
    pub buckets: BTreeMap<String, String>,
    /// What has been reopened with the new password.
    pub done: BTreeSet<Place>,
    /// What could not be changed this time, and why.
    pub failed: BTreeMap<Place, String>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Change this one.
    Rekey(Place),
    /// Both passwords stay recorded, for this reason.
    Wait(String),
    /// All have the new one: it is the only one from now on.
    End,
}

/// Decides. Nothing is changed while a location cannot be seen through, and the old password goes only when nothing is left.
pub(super) fn decide(observed: &Observed) -> Decision {
    if !observed.obstacles.is_empty() {
        return Decision::Wait(observed.obstacles.join("; "));
    }
    let open = || observed.places.difference(&observed.done);
    let moves = |place: &&Place| {
        let here = (place.within.clone(), place.namespace.clone());
        observed.moving.contains(&here)
    };
    let next = open().find(|place| !observed.failed.contains_key(*place) && !moves(place));
    if let Some(place) = next {
        return Decision::Rekey(place.clone());
    }
    let mut reasons: Vec<String> = Vec::new();
    for place in open() {
        reasons.push(match observed.failed.get(place) {
            Some(why) => format!("repository {place}: {why}"),
            None => format!("repository {place}: a data movement goes on in it"),
        });
    }
    if reasons.is_empty() {
        Decision::End
    } else {
        Decision::Wait(reasons.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(namespace: &str) -> Place {
        Place {
            location: "default".into(),
            namespace: namespace.into(),
            within: "b/".into(),
        }
    }

    fn observed(change: impl FnOnce(&mut Observed)) -> Observed {
        let mut observed = Observed {
            places: [place("bank"), place("shop")].into(),
            ..Observed::default()
        };
        change(&mut observed);
        observed
    }

    #[test]
    fn one_after_another_is_changed_and_then_the_old_password_goes() {
        assert_eq!(decide(&observed(|_| {})), Decision::Rekey(place("bank")));
        let one = observed(|seen| seen.done = [place("bank")].into());
        assert_eq!(decide(&one), Decision::Rekey(place("shop")));
        let both = observed(|seen| seen.done = seen.places.clone());
        assert_eq!(decide(&both), Decision::End);
        assert_eq!(
            decide(&Observed::default()),
            Decision::End,
            "there is no repository yet"
        );
    }

    #[test]
    fn nothing_is_changed_while_a_location_cannot_be_seen_through() {
        let hidden = observed(|seen| seen.obstacles = vec!["location dr does not answer".into()]);
        assert_eq!(
            decide(&hidden),
            Decision::Wait("location dr does not answer".into())
        );
        let late = observed(|seen| {
            seen.done = seen.places.clone();
            seen.obstacles = vec!["location dr does not answer".into()];
        });
        assert!(matches!(decide(&late), Decision::Wait(_)));
    }

    #[test]
    fn a_repository_in_use_is_left_for_later_and_the_others_go_on() {
        let moving = |done: &[Place]| {
            observed(|seen| {
                seen.moving = [("b/".to_owned(), "bank".to_owned())].into();
                seen.done = done.iter().cloned().collect();
            })
        };
        assert_eq!(decide(&moving(&[])), Decision::Rekey(place("shop")));
        let Decision::Wait(why) = decide(&moving(&[place("shop")])) else {
            panic!("it waits");
        };
        assert!(
            why.contains("default/bank") && why.contains("data movement"),
            "{why}"
        );
    }

    #[test]
    fn one_that_cannot_be_changed_keeps_both_passwords_and_is_named() {
        let failed = observed(|seen| {
            seen.failed = [(place("bank"), "it opens with neither".to_owned())].into();
            seen.done = [place("shop")].into();
        });
        assert_eq!(
            decide(&failed),
            Decision::Wait("repository default/bank: it opens with neither".into())
        );
    }

    #[test]
    fn a_location_that_was_moved_has_other_repositories() {
        let moved = observed(|seen| {
            seen.done = seen.places.clone();
            seen.places.insert(Place {
                within: "other/".into(),
                ..place("shop")
            });
        });
        assert!(matches!(decide(&moved), Decision::Rekey(place) if place.within == "other/"));
    }
}
