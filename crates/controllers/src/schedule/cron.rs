//! Cron expressions exactly as robfig/cron v3 `ParseStandard` reads them (velero-behaviour.md 3.8): five fields, `@daily`
//! and its like, `@every 1h30m`, `TZ=` or `CRON_TZ=` before them. Pure.
//!
//! Different on purpose: an expression that never comes (30 February) is refused; robfig answers with the zero time, and
//! Velero would make a backup every minute.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

/// Why an expression is none; in robfig's words where they are clear.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CronError(String);

/// When something happens again and again.
#[derive(Clone, Debug, PartialEq)]
pub enum Cron {
    /// This long after the last time, in whole seconds.
    Every(Duration),
    /// At the minutes that match, on the clock of a zone.
    At(Box<Fields>),
}

/// The five fields as bits: bit 5 of `minutes` is minute 5.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// A field of days that was a `*`: then both fields must match, else one of them suffices.
    any_day: bool,
    zone: TimeZone,
}

/// How far ahead a time is looked for, as in robfig.
const YEARS_AHEAD: i16 = 5;

impl Cron {
    /// # Errors
    /// [`CronError`]: not a cron expression, or one that never comes.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        if text.is_empty() {
            return Err(CronError("empty spec string".to_owned()));
        }
        let (zone, text) = zone(text)?;
        if let Some(descriptor) = text.strip_prefix('@') {
            return descriptor_of(descriptor, zone);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(CronError(format!(
                "expected exactly 5 fields, found {}: {fields:?}",
                fields.len()
            )));
        };
        let (days, any_day) = field(days, &DAYS)?;
        let (weekdays, any_weekday) = field(weekdays, &WEEKDAYS)?;
        let fields = Fields {
            minutes: field(minutes, &MINUTES)?.0,
            hours: field(hours, &HOURS)?.0,
            days,
            months: field(months, &MONTHS)?.0,
            weekdays,
            any_day: any_day || any_weekday,
            zone,
        };
        if fields.next(Timestamp::UNIX_EPOCH).is_none() {
            return Err(CronError(format!("{text:?} never comes: no date matches it")));
        }
        Ok(Self::At(Box::new(fields)))
    }

    /// The first time after `last`. `None`: not within five years.
    pub fn next(&self, last: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(interval) => {
                let whole = Timestamp::from_second(last.as_second()).ok()?;
                whole.checked_add(SignedDuration::try_from(*interval).ok()?).ok()
            }
            Self::At(fields) => fields.next(last),
        }
    }
}

fn zone(text: &str) -> Result<(TimeZone, &str), CronError> {
    let named = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ="));
    let Some(named) = named else {
        // A Velero server's clock is UTC in its image.
        return Ok((TimeZone::UTC, text.trim()));
    };
    let (name, rest) = named
        .split_once(' ')
        .ok_or_else(|| CronError(format!("{text:?} names a time zone, and no time")))?;
    let zone = match name {
        "UTC" | "" => TimeZone::UTC,
        name => TimeZone::get(name)
            .map_err(|error| CronError(format!("provided bad location {name}: {error}")))?,
    };
    Ok((zone, rest.trim()))
}

fn descriptor_of(word: &str, zone: TimeZone) -> Result<Cron, CronError> {
    let fields = match word {
        "yearly" | "annually" => "0 0 1 1 *",
        "monthly" => "0 0 1 * *",
        "weekly" => "0 0 * * 0",
        "daily" | "midnight" => "0 0 * * *",
        "hourly" => "0 * * * *",
        _ => {
            let every = word
                .strip_prefix("every ")
                .ok_or_else(|| CronError(format!("unrecognized descriptor: @{word}")))?;
            let interval: caravel_api::Duration = every
                .trim()
                .parse()
                .map_err(|error| CronError(format!("failed to parse duration @{word}: {error}")))?;
            return Ok(Cron::Every(Duration::from_secs(interval.as_secs().max(1))));
        }
    };
    match Cron::parse(fields)? {
        Cron::At(fields) => Ok(Cron::At(Box::new(Fields { zone, ..*fields }))),
        every => Ok(every),
    }
}

struct Bounds {
    low: u8,
    high: u8,
    /// Lower case, from `low` on.
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds {
    low: 0,
    high: 59,
    names: &[],
};
const HOURS: Bounds = Bounds {
    low: 0,
    high: 23,
    names: &[],
};
const DAYS: Bounds = Bounds {
    low: 1,
    high: 31,
    names: &[],
};
const MONTHS: Bounds = Bounds {
    low: 1,
    high: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const WEEKDAYS: Bounds = Bounds {
    low: 0,
    high: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// The bits of a field, and whether it is a star.
fn field(text: &str, bounds: &Bounds) -> Result<(u64, bool), CronError> {
    let (mut bits, mut star) = (0, false);
    // Empty parts are passed over, as in Go's FieldsFunc.
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (of_part, is_star) = range(part, bounds)?;
        bits |= of_part;
        star |= is_star;
    }
    Ok((bits, star))
}

fn range(part: &str, bounds: &Bounds) -> Result<(u64, bool), CronError> {
    let pieces: Vec<&str> = part.split('/').collect();
    let (ends, step) = match pieces[..] {
        [ends] => (ends, None),
        [ends, step] => (
            ends,
            Some(number(
                step,
                &Bounds {
                    names: &[],
                    ..*bounds
                },
            )?),
        ),
        _ => return Err(CronError(format!("too many slashes: {part}"))),
    };
    let parts: Vec<&str> = ends.split('-').collect();
    let mut star = false;
    let (low, mut high, single) = match parts[..] {
        ["*" | "?"] => {
            star = true;
            (bounds.low, bounds.high, false)
        }
        [one] => {
            let value = number(one, bounds)?;
            (value, value, true)
        }
        [low, high] => (number(low, bounds)?, number(high, bounds)?, false),
        _ => return Err(CronError(format!("too many hyphens: {part}"))),
    };
    if step.is_some() && single {
        high = bounds.high;
    }
    let step = step.unwrap_or(1);
    if low < bounds.low {
        return Err(CronError(format!(
            "beginning of range ({low}) below minimum ({}): {part}",
            bounds.low
        )));
    }
    if high > bounds.high {
        return Err(CronError(format!(
            "end of range ({high}) above maximum ({}): {part}",
            bounds.high
        )));
    }
    if low > high {
        return Err(CronError(format!(
            "beginning of range ({low}) beyond end of range ({high}): {part}"
        )));
    }
    if step == 0 {
        return Err(CronError(format!(
            "step of range should be a positive number: {part}"
        )));
    }
    let bits = (low..=high)
        .step_by(usize::from(step))
        .fold(0, |bits, value| bits | 1_u64 << value);
    Ok((bits, star && step == 1))
}

fn number(text: &str, bounds: &Bounds) -> Result<u8, CronError> {
    let lower = text.to_lowercase();
    if let Some(at) = bounds.names.iter().position(|name| *name == lower) {
        return Ok(bounds.low + u8::try_from(at).unwrap_or(u8::MAX));
    }
    let wrong = || CronError(format!("failed to parse int from {text:?}"));
    if text.starts_with(['+', '-']) {
        return Err(wrong());
    }
    let value: u64 = text.parse().map_err(|_| wrong())?;
    Ok(u8::try_from(value).unwrap_or(u8::MAX))
}

fn has(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| bits & (1_u64 << value) != 0)
}

impl Fields {
    fn day_matches(&self, day: DateTime) -> bool {
        let of_month = has(self.days, day.day());
        let of_week = has(self.weekdays, day.weekday().to_sunday_zero_offset());
        if self.any_day {
            of_month && of_week
        } else {
            of_month || of_week
        }
    }

    fn next(&self, last: Timestamp) -> Option<Timestamp> {
        let after = Timestamp::from_second(last.as_second().checked_add(1)?).ok()?;
        let mut time = after.to_zoned(self.zone.clone());
        // Seconds are always zero: go to the next whole minute.
        if time.second() != 0 {
            time = time.checked_add((60 - i64::from(time.second())).seconds()).ok()?;
        }
        let limit = time.year().checked_add(YEARS_AHEAD)?;
        while time.year() <= limit {
            let now = time.datetime();
            if !has(self.months, now.month()) {
                let first = now.date().first_of_month().checked_add(1.month()).ok()?;
                time = self.at(first.at(0, 0, 0, 0))?;
            } else if !self.day_matches(now) {
                let tomorrow = now.date().checked_add(1.day()).ok()?;
                time = self.at(tomorrow.at(0, 0, 0, 0))?;
            } else if !has(self.hours, now.hour()) {
                // In time that passes, not on the clock on the wall: there an hour that comes twice would never end.
                let left = 60 - i64::from(now.minute());
                time = time.checked_add(left.minutes()).ok()?;
            } else if !has(self.minutes, now.minute()) {
                time = time.checked_add(1.minute()).ok()?;
            } else {
                return Some(time.timestamp());
            }
        }
        None
    }

    fn at(&self, time: DateTime) -> Option<Zoned> {
        time.to_zoned(self.zone.clone()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(cron: &str, after: &str) -> String {
        let found = Cron::parse(cron).unwrap().next(after.parse().unwrap());
        found.map_or_else(|| "never".to_owned(), |time| time.to_string())
    }

    /// From robfig/cron's own documentation and tests of `ParseStandard` and `Next`.
    #[test]
    fn the_next_time_is_robfigs() {
        for (cron, after, wanted) in [
            ("0/15 * * * *", "2012-07-09T14:45:00Z", "2012-07-09T15:00:00Z"),
            ("0/15 * * * *", "2012-07-09T14:59:59Z", "2012-07-09T15:00:00Z"),
            ("20-35/15 * * * *", "2012-07-09T14:45:00Z", "2012-07-09T15:20:00Z"),
            ("20-35/15 * * * *", "2012-07-09T15:35:51Z", "2012-07-09T16:20:00Z"),
            ("0 0 1 1 *", "2012-07-09T23:35:51Z", "2013-01-01T00:00:00Z"),
            ("0 0 9 Apr-Oct ?", "2012-07-09T23:35:00Z", "2012-08-09T00:00:00Z"),
            (
                "0 0 */5 Apr,Aug,Oct Mon",
                "2012-07-09T23:35:00Z",
                "2012-08-01T00:00:00Z",
            ),
            ("0 0 */5 Oct Mon", "2012-07-09T23:35:00Z", "2012-10-01T00:00:00Z"),
            ("0 0 * Feb Mon", "2012-07-09T23:35:00Z", "2013-02-04T00:00:00Z"),
            ("0 0 * Feb Mon/2", "2012-07-09T23:35:00Z", "2013-02-01T00:00:00Z"),
            (
                "20-35/15 1/2 */2 * *",
                "2012-07-09T23:35:51Z",
                "2012-07-11T01:20:00Z",
            ),
            (
                "20-35/15 * 9-20 Jul *",
                "2012-07-09T23:35:51Z",
                "2012-07-10T00:20:00Z",
            ),
            (
                "20-35/15 10-12 * * *",
                "2012-07-09T23:35:51Z",
                "2012-07-10T10:20:00Z",
            ),
            ("* * * * *", "2012-12-31T23:59:45Z", "2013-01-01T00:00:00Z"),
            ("0 0 29 Feb ?", "2012-07-09T23:35:00Z", "2016-02-29T00:00:00Z"),
            ("30 3 15,30 * Fri", "2026-11-21T00:00:00Z", "2026-11-27T03:30:00Z"),
            ("@daily", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"),
            ("@weekly", "2026-11-21T10:00:00Z", "2026-11-22T00:00:00Z"),
            ("@hourly", "2026-11-21T10:00:00.5Z", "2026-11-21T11:00:00Z"),
            ("@every 1h30m", "2026-11-21T10:00:00.5Z", "2026-11-21T11:30:00Z"),
            ("@every 10ms", "2026-11-21T10:00:00Z", "2026-11-21T10:00:01Z"),
            ("TZ=UTC 5 * * * *", "2026-11-21T10:00:00Z", "2026-11-21T10:05:00Z"),
            ("* * * * *", "2026-11-21T10:00:00Z", "2026-11-21T10:01:00Z"),
            ("0 * * * *", "2026-11-21T10:59:59.5Z", "2026-11-21T11:00:00Z"),
        ] {
            assert_eq!(next(cron, after), wanted, "{cron} after {after}");
        }
    }

    /// robfig's own table for New York and São Paulo: an hour that does not come, one that comes twice, a midnight that
    /// does not come.
    #[test]
    fn clocks_that_are_put_forward_and_back_are_followed_as_by_robfig() {
        if TimeZone::get("America/New_York").is_err() {
            eprintln!("skipped: this machine has no time zones");
            return;
        }
        for (cron, after, wanted) in [
            ("0 12 * * *", "2012-07-02T00:00:00-04", "2012-07-02T12:00:00-04"),
            (
                "30 2 11 Mar ?",
                "2012-03-11T00:00:00-05",
                "2013-03-11T02:30:00-04",
            ),
            ("0 * * * ?", "2012-03-11T00:00:00-05", "2012-03-11T01:00:00-05"),
            ("0 * * * ?", "2012-03-11T01:00:00-05", "2012-03-11T03:00:00-04"),
            ("0 * * * ?", "2012-03-11T03:00:00-04", "2012-03-11T04:00:00-04"),
            ("0 1 * * ?", "2012-03-11T00:00:00-05", "2012-03-11T01:00:00-05"),
            ("0 1 * * ?", "2012-03-11T01:00:00-05", "2012-03-12T01:00:00-04"),
            ("0 2 * * ?", "2012-03-11T00:00:00-05", "2012-03-12T02:00:00-04"),
            (
                "30 2 04 Nov ?",
                "2012-11-04T00:00:00-04",
                "2012-11-04T02:30:00-05",
            ),
            (
                "30 1 04 Nov ?",
                "2012-11-04T01:45:00-04",
                "2012-11-04T01:30:00-05",
            ),
            ("0 * * * ?", "2012-11-04T00:00:00-04", "2012-11-04T01:00:00-04"),
            ("0 * * * ?", "2012-11-04T01:00:00-04", "2012-11-04T01:00:00-05"),
            ("0 * * * ?", "2012-11-04T01:00:00-05", "2012-11-04T02:00:00-05"),
            ("0 1 * * ?", "2012-11-04T01:00:00-04", "2012-11-04T01:00:00-05"),
            ("0 1 * * ?", "2012-11-04T01:00:00-05", "2012-11-05T01:00:00-05"),
            ("0 2 * * ?", "2012-11-04T00:00:00-04", "2012-11-04T02:00:00-05"),
            ("0 2 * * ?", "2012-11-04T02:00:00-05", "2012-11-05T02:00:00-05"),
            ("0 3 * * ?", "2012-11-04T00:00:00-04", "2012-11-04T03:00:00-05"),
            ("0 3 3 * ?", "2012-11-04T00:00:00-04", "2012-12-03T03:00:00-05"),
        ] {
            for zone in ["TZ", "CRON_TZ"] {
                let cron = format!("{zone}=America/New_York {cron}");
                let wanted: Timestamp = format!("{wanted}:00").parse().unwrap();
                assert_eq!(
                    next(&cron, &format!("{after}:00")),
                    wanted.to_string(),
                    "{cron} after {after}"
                );
            }
        }
        for (cron, after, wanted) in [
            ("0 9 10 * ?", "2018-10-17T05:00:00-04:00", "2018-11-10T11:00:00Z"),
            ("0 9 22 * ?", "2018-02-14T05:00:00-05:00", "2018-02-22T12:00:00Z"),
        ] {
            let cron = format!("TZ=America/Sao_Paulo {cron}");
            assert_eq!(next(&cron, after), wanted, "{cron} after {after}");
        }
    }

    #[test]
    fn what_is_no_cron_expression_is_refused() {
        for wrong in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 7",
            "5-3 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "1-2-3 * * * *",
            "1/2/3 * * * *",
            "@often",
            "@every soon",
            "TZ=Nowhere/None * * * * *",
            "0 0 30 Feb *",
            "-1 * * * *",
        ] {
            assert!(Cron::parse(wrong).is_err(), "{wrong}");
        }
    }
}
