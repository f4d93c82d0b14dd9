//! Which snapshots of a source a retention policy keeps, and why (kopia-format.md 10.9). Times are UTC; Kopia counts
//! weeks in the machine's own time zone.

use std::collections::BTreeSet;

use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::DateTime,
    tz::{Offset, TimeZone},
};

use super::Retention;

/// Why a snapshot is kept, as `daily-3`; none: it is not.
pub type Reasons = Vec<String>;

/// What counts of a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    pub start: Timestamp,
    pub complete: bool,
}

/// Incomplete snapshots newer than the newest complete one stay while they are younger than this …
const YOUNG_INCOMPLETE: SignedDuration = SignedDuration::from_hours(4);
/// … or among the newest so many.
const NEWEST_INCOMPLETE: usize = 3;

/// The reasons of each snapshot, in the order given. Plain: no storage, no clock; ages count from the newest.
pub fn reasons(policy: &Retention, snapshots: &[Taken]) -> Vec<Reasons> {
    let mut newest_first: Vec<usize> = (0..snapshots.len()).collect();
    newest_first.sort_by(|a, b| snapshots[*b].start.cmp(&snapshots[*a].start));
    let mut found = vec![Reasons::new(); snapshots.len()];

    let complete = newest_first.iter().filter(|at| snapshots[**at].complete);
    if let Some(newest) = complete.clone().next() {
        let mut rules = rules(policy, utc(snapshots[*newest].start));
        for at in complete {
            let time = utc(snapshots[*at].start);
            let position = newest_first.iter().position(|p| p == at).unwrap_or_default();
            let kept = rules.iter_mut().filter_map(|rule| rule.keeps(time, position));
            found[*at] = kept.collect();
        }
    }
    let Some(newest) = newest_first.first() else {
        return found;
    };
    for (position, at) in newest_first.iter().enumerate() {
        let age = snapshots[*newest].start.duration_since(snapshots[*at].start);
        if snapshots[*at].complete || (age >= YOUNG_INCOMPLETE && position >= NEWEST_INCOMPLETE) {
            break;
        }
        found[*at].push("incomplete".into());
    }
    found
}

fn utc(time: Timestamp) -> DateTime {
    TimeZone::fixed(Offset::UTC).to_datetime(time)
}

/// One number of the policy: of each period, the newest snapshot.
struct Rule {
    name: &'static str,
    keep: i64,
    /// Older ones are not counted.
    from: Option<DateTime>,
    period: fn(DateTime, usize) -> String,
    seen: BTreeSet<String>,
}

impl Rule {
    fn keeps(&mut self, time: DateTime, position: usize) -> Option<String> {
        let inside = self.from.is_none_or(|from| time >= from);
        let period = (self.period)(time, position);
        if !inside || self.seen.len() as i64 >= self.keep || !self.seen.insert(period) {
            return None;
        }
        Some(format!("{}-{}", self.name, self.seen.len()))
    }
}

/// In the order in which Kopia shows reasons.
fn rules(policy: &Retention, newest: DateTime) -> Vec<Rule> {
    let numbers = [
        policy.keep_latest,
        policy.keep_hourly,
        policy.keep_daily,
        policy.keep_weekly,
        policy.keep_monthly,
        policy.keep_annual,
    ];
    let latest = match numbers.iter().map(|n| n.unwrap_or(0)).sum::<i64>() {
        0 => Some(i64::MAX),
        _ => policy.keep_latest,
    };
    let rule = |name, keep: Option<i64>, from, period| {
        keep.map(|keep| Rule {
            name,
            keep,
            from,
            period,
            seen: BTreeSet::new(),
        })
    };
    let back =
        |keep: Option<i64>, by: fn(DateTime, i64) -> Option<DateTime>| keep.and_then(|n| by(newest, n));
    [
        rule("latest", latest, None, |_, position| position.to_string()),
        rule(
            "hourly",
            policy.keep_hourly,
            back(policy.keep_hourly, hours_before),
            |t, _| t.strftime("%Y-%m-%d %H").to_string(),
        ),
        rule(
            "daily",
            policy.keep_daily,
            back(policy.keep_daily, days_before),
            |t, _| t.strftime("%Y-%m-%d").to_string(),
        ),
        rule(
            "weekly",
            policy.keep_weekly,
            back(policy.keep_weekly, |t, n| days_before(t, n.saturating_mul(7))),
            |t, _| t.strftime("%G-%V").to_string(),
        ),
        rule(
            "monthly",
            policy.keep_monthly,
            back(policy.keep_monthly, months_before),
            |t, _| t.strftime("%Y-%m").to_string(),
        ),
        rule(
            "annual",
            policy.keep_annual,
            back(policy.keep_annual, |t, n| months_before(t, n.saturating_mul(12))),
            |t, _| t.strftime("%Y").to_string(),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn hours_before(time: DateTime, hours: i64) -> Option<DateTime> {
    time.checked_sub(SignedDuration::from_secs(hours.checked_mul(3600)?))
        .ok()
}

fn days_before(time: DateTime, days: i64) -> Option<DateTime> {
    time.checked_sub(SignedDuration::from_secs(days.checked_mul(86_400)?))
        .ok()
}

/// As Go does it: the 31st of a short month is the first of the next, or later.
fn months_before(time: DateTime, months: i64) -> Option<DateTime> {
    let first = time.date().first_of_month().to_datetime(time.time());
    let months = i32::try_from(months).ok()?;
    let moved = first.checked_sub(months.months()).ok()?;
    moved.checked_add((i64::from(time.day()) - 1).days()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(times: &[&str]) -> Vec<Taken> {
        let parse = |text: &&str| Taken {
            start: text.trim_start_matches('?').parse().unwrap(),
            complete: !text.starts_with('?'),
        };
        times.iter().map(parse).collect()
    }

    fn kept(policy: &Retention, times: &[&str]) -> Vec<String> {
        reasons(policy, &taken(times))
            .into_iter()
            .map(|r| r.join(","))
            .collect()
    }

    fn only(change: impl FnOnce(&mut Retention)) -> Retention {
        let mut policy = Retention {
            keep_latest: Some(0),
            keep_hourly: Some(0),
            keep_daily: Some(0),
            keep_weekly: Some(0),
            keep_monthly: Some(0),
            keep_annual: Some(0),
            ..Retention::default()
        };
        change(&mut policy);
        policy
    }

    #[test]
    fn newest_of_each_period_is_kept_up_to_the_number() {
        let times = [
            "2026-11-20T23:30:00Z",
            "2026-11-20T10:00:00Z",
            "2026-11-19T10:00:00Z",
            "2026-11-18T23:30:00Z",
            "2026-11-17T10:00:00Z",
        ];
        assert_eq!(
            kept(&only(|p| p.keep_daily = Some(3)), &times),
            ["daily-1", "", "daily-2", "daily-3", ""]
        );
        assert_eq!(
            kept(&only(|p| p.keep_latest = Some(2)), &times),
            ["latest-1", "latest-2", "", "", ""]
        );
        assert_eq!(
            kept(&only(|p| p.keep_hourly = Some(14)), &times),
            ["hourly-1", "hourly-2", "", "", ""],
            "what is older than 14 hours does not count"
        );
    }

    #[test]
    fn the_snapshot_at_the_position_of_the_years_number_is_kept_too() {
        // Kopia v0.22 has one set of names for all rules: "2026" is a position and a year, and counts only once.
        let newest: Timestamp = "2026-12-31T23:59:59Z".parse().unwrap();
        let many: Vec<Taken> = (0..2100)
            .map(|n| Taken {
                start: newest - SignedDuration::from_secs(n),
                complete: true,
            })
            .collect();
        let policy = Retention {
            keep_latest: Some(1_000_000),
            ..Retention::default()
        };
        assert!(reasons(&policy, &many).iter().all(|reasons| !reasons.is_empty()));
    }

    #[test]
    fn weeks_are_iso_weeks_and_months_go_back_as_in_go() {
        let weeks = [
            "2027-01-01T00:00:00Z",
            "2026-12-31T00:00:00Z",
            "2026-12-27T00:00:00Z",
        ];
        assert_eq!(
            kept(&only(|p| p.keep_weekly = Some(9)), &weeks),
            ["weekly-1", "", "weekly-2"]
        );
        // The 31st of March less a month is the 3rd of March: nothing of February counts.
        let months = [
            "2026-03-31T00:00:00Z",
            "2026-03-02T00:00:00Z",
            "2026-02-28T00:00:00Z",
        ];
        assert_eq!(
            kept(&only(|p| p.keep_monthly = Some(1)), &months),
            ["monthly-1", "", ""]
        );
        assert_eq!(
            months_before(utc("2026-03-31T00:00:00Z".parse().unwrap()), 1)
                .unwrap()
                .to_string(),
            "2026-03-03T00:00:00"
        );
    }

    #[test]
    fn all_zero_keeps_everything_and_unset_numbers_keep_nothing() {
        let times = ["2026-11-20T23:30:00Z", "2016-11-20T10:00:00Z"];
        assert_eq!(kept(&only(|_| {}), &times), ["latest-1", "latest-2"]);
        let annual = Retention {
            keep_annual: Some(2),
            ..Retention::default()
        };
        assert_eq!(kept(&annual, &times), ["annual-1", ""]);
    }

    #[test]
    fn incomplete_snapshots_stay_until_a_complete_one_follows() {
        let newest_first = [
            "?2026-11-20T20:00:00Z",
            "?2026-11-20T15:00:00Z",
            "?2026-11-20T14:00:00Z",
            "?2026-11-20T13:00:00Z",
            "2026-11-20T12:00:00Z",
            "?2026-11-20T11:00:00Z",
        ];
        let policy = only(|p| p.keep_latest = Some(1));
        assert_eq!(
            kept(&policy, &newest_first),
            ["incomplete", "incomplete", "incomplete", "", "latest-1", ""]
        );
    }
}
