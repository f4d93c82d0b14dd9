//! Table tests of [`super::decide`], and two servers that share one Lease over random times.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn me() -> Identity {
    Identity::new(Some("velero-1"), 1)
}

/// What is seen `seconds` after the Lease changed, by one who never held it.
fn others(holder: &str, at: Instant) -> Observed {
    let seen = Seen {
        holder: holder.to_owned(),
        duration: DURATION,
        changed: at,
    };
    Observed {
        identity: me(),
        lease: Some(seen),
        renewed: None,
        strangers: Vec::new(),
    }
}

fn mine(renewed: Instant) -> Observed {
    Observed {
        renewed: Some(renewed),
        ..others(&me().to_string(), renewed)
    }
}

fn steps_down(observed: &Observed, now: Instant) -> bool {
    matches!(decide(observed, now), Decision::StepDown { .. })
}

#[test]
fn a_lease_that_is_missing_or_given_back_is_taken_at_once() {
    let now = Instant::now();
    assert_eq!(decide(&others("", now), now), Decision::Acquire);
    let none = Observed {
        lease: None,
        ..others("", now)
    };
    assert_eq!(decide(&none, now), Decision::Acquire);
}

#[test]
fn the_lease_of_another_is_taken_when_it_has_not_changed_for_its_duration_since_we_saw_it_change() {
    let seen = Instant::now();
    let observed = others("velero-2_00", seen);
    let Decision::Wait { until, what } = decide(&observed, seen + 13 * SECOND) else {
        panic!("waits");
    };
    assert_eq!(until, seen + DURATION);
    assert!(what.contains("velero-2_00"));
    assert_eq!(decide(&observed, seen + DURATION), Decision::Acquire);
}

#[test]
fn a_holder_that_promised_longer_is_waited_for_longer() {
    let seen = Instant::now();
    let mut observed = others("velero-2_00", seen);
    if let Some(lease) = &mut observed.lease {
        lease.duration = 60 * SECOND;
    }
    assert!(matches!(
        decide(&observed, seen + 59 * SECOND),
        Decision::Wait { .. }
    ));
    assert_eq!(decide(&observed, seen + 60 * SECOND), Decision::Acquire);
}

#[test]
fn a_container_that_was_restarted_does_not_wait_for_its_own_former_start() {
    let now = Instant::now();
    assert_eq!(decide(&others("velero-1_ffff", now), now), Decision::Acquire);
    // Another pod whose name begins alike is another pod.
    for other in ["velero-10_ffff", "velero-1-x_ffff", "velero-1"] {
        assert!(
            matches!(decide(&others(other, now), now), Decision::Wait { .. }),
            "{other}"
        );
    }
    // At a terminal there is no pod, and so no kubelet that has seen it end.
    let at_terminal = Observed {
        identity: Identity::new(None, 7),
        ..others("_ffff", now)
    };
    assert!(matches!(decide(&at_terminal, now), Decision::Wait { .. }));
}

#[test]
fn a_write_whose_answer_was_lost_is_written_again() {
    let now = Instant::now();
    assert_eq!(decide(&others(&me().to_string(), now), now), Decision::Acquire);
}

#[test]
fn the_holder_renews_every_five_seconds() {
    let renewed = Instant::now();
    let observed = mine(renewed);
    assert!(matches!(
        decide(&observed, renewed + 4 * SECOND),
        Decision::Wait { until, .. } if until == renewed + RENEW_EVERY
    ));
    assert_eq!(decide(&observed, renewed + RENEW_EVERY), Decision::Renew);
    assert_eq!(decide(&observed, renewed + 9 * SECOND), Decision::Renew);
}

#[test]
fn the_holder_steps_down_before_anybody_else_may_begin() {
    let renewed = Instant::now();
    assert!(steps_down(&mine(renewed), renewed + RENEW_WITHIN));
    assert!(
        RENEW_WITHIN + 3 * SECOND < DURATION,
        "there is time to end its requests"
    );
}

#[test]
fn the_holder_steps_down_when_the_lease_is_not_its_own_any_more() {
    let renewed = Instant::now();
    for holder in ["velero-2_00", ""] {
        let observed = Observed {
            renewed: Some(renewed),
            ..others(holder, renewed)
        };
        assert!(steps_down(&observed, renewed), "{holder:?}");
    }
    let deleted = Observed {
        lease: None,
        ..mine(renewed)
    };
    assert!(steps_down(&deleted, renewed));
}

#[test]
fn servers_that_know_no_lease_are_waited_for_but_do_not_end_a_holder() {
    let now = Instant::now();
    let strangers = vec!["velero-old".to_owned()];
    let free = Observed {
        strangers: strangers.clone(),
        ..others("", now)
    };
    let Decision::Wait { until, what } = decide(&free, now) else {
        panic!("waits");
    };
    assert_eq!(until, now + LOOK_EVERY);
    assert!(what.contains("velero-old"));
    let held = Observed {
        strangers,
        ..mine(now)
    };
    assert!(!steps_down(&held, now));
}

/// The Lease as an API server keeps it.
#[derive(Clone, Default)]
struct Stored {
    version: u64,
    holder: String,
}

/// A server of the history below, which may be killed.
struct Server {
    observed: Observed,
    version: u64,
    looks: Instant,
    lives: bool,
}

impl Server {
    fn saw(&mut self, stored: &Stored, now: Instant) {
        if stored.version != self.version {
            self.version = stored.version;
            self.observed.lease = Some(Seen {
                holder: stored.holder.clone(),
                duration: DURATION,
                changed: now,
            });
        }
    }

    /// True while it would act.
    fn acts(&self, now: Instant) -> bool {
        self.lives && self.observed.renewed.is_some_and(|at| now < at + RENEW_WITHIN)
    }
}

/// Plays five minutes of three servers, one of which is killed in the middle. Each write takes up to three seconds; of
/// those, `failing` are not done, and as many answers are lost. Gives how long nobody acted at most.
fn history(seed: u64, failing: f64) -> Duration {
    let mut rng = StdRng::seed_from_u64(seed);
    let begun = Instant::now();
    let mut stored = Stored::default();
    let mut servers: Vec<Server> = (0..3)
        .map(|number| Server {
            observed: Observed {
                identity: Identity::new(Some(&format!("velero-{number}")), number),
                lease: None,
                renewed: None,
                strangers: Vec::new(),
            },
            version: 0,
            looks: begun + Duration::from_millis(rng.random_range(0..900)),
            lives: true,
        })
        .collect();
    let (mut last_acted, mut longest) = (begun, Duration::ZERO);
    for step in 1..3000_u32 {
        let now = begun + step * Duration::from_millis(100);
        if step == 1500 {
            // A kill: nothing is given back.
            servers
                .iter_mut()
                .filter(|server| server.acts(now))
                .for_each(|server| server.lives = false);
        }
        let acting = servers.iter().filter(|server| server.acts(now)).count();
        assert!(acting <= 1, "seed {seed}: {acting} servers act at step {step}");
        if acting == 1 {
            last_acted = now;
        }
        longest = longest.max(now - last_acted);
        for server in servers
            .iter_mut()
            .filter(|server| server.lives && server.looks <= now)
        {
            server.looks = now + LOOK_EVERY;
            if server.observed.renewed.is_none() {
                server.saw(&stored, now);
            }
            match decide(&server.observed, now) {
                Decision::Acquire | Decision::Renew if rng.random_bool(failing) => {} // Not reached.
                Decision::Acquire | Decision::Renew => {
                    if server.version == stored.version {
                        stored.version += 1;
                        stored.holder = server.observed.identity.to_string();
                        let sent = now.checked_sub(Duration::from_millis(rng.random_range(0..3000)));
                        if !rng.random_bool(failing) {
                            server.observed.renewed = Some(sent.unwrap_or(now));
                        }
                    }
                    server.saw(&stored.clone(), now);
                }
                Decision::StepDown { .. } => server.observed.renewed = None,
                Decision::Wait { until, .. } => server.looks = server.looks.min(until.max(now)),
            }
        }
    }
    longest
}

#[test]
fn over_random_times_never_two_servers_act_and_another_does_within_fifteen_seconds_of_a_kill() {
    for seed in 0..200 {
        let longest = history(seed, 0.0);
        assert!(
            longest <= 15 * SECOND,
            "seed {seed}: nobody acted for {longest:?}"
        );
    }
}

#[test]
fn requests_that_fail_cost_seconds_and_never_make_two_servers_act() {
    for seed in 0..200 {
        let longest = history(seed, 0.15);
        assert!(
            longest <= 30 * SECOND,
            "seed {seed}: nobody acted for {longest:?}"
        );
    }
}
