//! How many pods the old and the new ReplicaSets of a Deployment should have: plain arithmetic.
//!
//! `pkg/controller/deployment/rolling.go` and `recreate.go` of v1.34.

use k8s_openapi::api::apps::v1::DeploymentStrategy;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// One ReplicaSet as a rollout sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Set {
    /// `spec.replicas`.
    pub wanted: i32,
    /// Pods that exist, `status.replicas`.
    pub existing: i32,
    pub available: i32,
}

/// What a Deployment allows on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub replicas: i32,
    /// The old ones end before the new ones begin.
    pub recreate: bool,
    pub max_surge: i32,
    pub max_unavailable: i32,
}

/// The sizes to be: of the new set, of each old one in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    pub new: i32,
    pub old: Vec<i32>,
}

impl Limits {
    /// Of a Deployment's `strategy` and `replicas`.
    pub fn of(strategy: Option<&DeploymentStrategy>, replicas: i32) -> Self {
        let recreate = strategy.and_then(|it| it.type_.as_deref()) == Some("Recreate");
        let rolling = strategy
            .and_then(|it| it.rolling_update.clone())
            .unwrap_or_default();
        let quarter = || IntOrString::String("25%".to_owned());
        let max_surge = share(&rolling.max_surge.unwrap_or_else(quarter), replicas, true);
        let max_unavailable = share(&rolling.max_unavailable.unwrap_or_else(quarter), replicas, false);
        Self {
            replicas,
            recreate,
            max_surge: if recreate { 0 } else { max_surge },
            // Both 0 would let nothing happen.
            max_unavailable: match (recreate, max_surge, max_unavailable) {
                (true, ..) => 0,
                (_, 0, 0) => 1,
                (_, _, unavailable) => unavailable.min(replicas),
            },
        }
    }

    /// The next sizes. `old_pods`: whether pods of old sets are still there, even ending ones.
    pub fn next(&self, new: Option<Set>, old: &[Set], old_pods: bool) -> Sizes {
        let current = new.unwrap_or_default();
        if self.recreate {
            let is_clear = !old_pods && old.iter().all(|set| set.wanted == 0 && set.existing == 0);
            return Sizes {
                new: if is_clear {
                    self.replicas
                } else {
                    current.wanted.min(self.replicas)
                },
                old: vec![0; old.len()],
            };
        }
        if old.iter().all(|set| set.wanted == 0) {
            return Sizes {
                new: self.replicas,
                old: vec![0; old.len()],
            };
        }
        let all: i32 = old.iter().map(|set| set.wanted).sum::<i32>() + current.wanted;
        let room = (self.replicas + self.max_surge - all).max(0);
        let grown = (current.wanted + room).min(self.replicas);
        Sizes {
            new: if current.wanted > self.replicas {
                self.replicas
            } else {
                grown
            },
            old: self.shrink(current, old, all),
        }
    }

    fn shrink(&self, new: Set, old: &[Set], all: i32) -> Vec<i32> {
        let at_least = self.replicas - self.max_unavailable;
        let new_unavailable = (new.wanted - new.available).max(0);
        let mut may_go = (all - at_least - new_unavailable).max(0);
        let mut sizes: Vec<i32> = old.iter().map(|set| set.wanted).collect();
        // First what does not work anyway.
        for (size, set) in sizes.iter_mut().zip(old) {
            let broken = (set.wanted - set.available).max(0).min(may_go);
            *size -= broken;
            may_go -= broken;
        }
        let available = new.available + old.iter().map(|set| set.available).sum::<i32>();
        let mut may_go = may_go.min((available - at_least).max(0));
        for size in &mut sizes {
            let gone = (*size).min(may_go);
            *size -= gone;
            may_go -= gone;
        }
        sizes
    }
}

/// `25%` of so many, or a number as it is.
pub fn share(value: &IntOrString, whole: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => (*number).max(0),
        IntOrString::String(text) => {
            let percent: i32 = text.trim_end_matches('%').parse().unwrap_or(0);
            let hundredths = whole.saturating_mul(percent.max(0));
            if round_up {
                (hundredths + 99) / 100
            } else {
                hundredths / 100
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rolling(replicas: i32) -> Limits {
        Limits::of(None, replicas)
    }

    fn running(count: i32) -> Set {
        Set {
            wanted: count,
            existing: count,
            available: count,
        }
    }

    #[test]
    fn the_first_rollout_is_whole_at_once() {
        assert_eq!(rolling(3).next(None, &[], false), Sizes { new: 3, old: vec![] });
    }

    #[test]
    fn a_rolling_update_adds_a_quarter_and_removes_a_quarter() {
        let limits = rolling(4);
        assert_eq!((limits.max_surge, limits.max_unavailable), (1, 1));
        assert_eq!(
            limits.next(None, &[running(4)], true),
            Sizes { new: 1, old: vec![3] }
        );
    }

    #[test]
    fn a_single_pod_is_replaced_without_a_gap() {
        let limits = rolling(1);
        assert_eq!(
            limits.next(None, &[running(1)], true),
            Sizes { new: 1, old: vec![1] }
        );
        let starting = Set {
            wanted: 1,
            existing: 1,
            available: 0,
        };
        assert_eq!(limits.next(Some(starting), &[running(1)], true).old, [1]);
        assert_eq!(limits.next(Some(running(1)), &[running(1)], true).old, [0]);
    }

    #[test]
    fn recreate_ends_the_old_before_the_new_begins() {
        let limits = Limits {
            replicas: 2,
            recreate: true,
            max_surge: 0,
            max_unavailable: 0,
        };
        assert_eq!(
            limits.next(None, &[running(2)], true),
            Sizes { new: 0, old: vec![0] }
        );
        let ending = Set {
            wanted: 0,
            existing: 0,
            available: 0,
        };
        assert_eq!(limits.next(None, &[ending], true).new, 0);
        assert_eq!(limits.next(None, &[ending], false).new, 2);
    }
}
