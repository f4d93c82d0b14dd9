//! Go duration strings (`10m0s`, `720h`, `1.5h`, `300ms`): how every Velero CRD field and flag writes a span of time.
//!
//! Grammar and printing follow Go's `time.ParseDuration` and `Duration.String`: a sign, then numbers with units
//! `ns`, `us`, `µs`, `ms`, `s`, `m`, `h`; the plain `0` needs no unit. Negative spans mean nothing in Velero's
//! fields; they are refused when parsed from a flag and read as zero from an object, so that one bad object
//! cannot stop a watch.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time that reads and prints as Go does. Dereferences to [`std::time::Duration`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub std::time::Duration);

/// The text is not a Go duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid duration {text:?}: {why}; write it like \"10m\", \"1h30m\" or \"720h\"")]
pub struct InvalidDuration {
    text: String,
    why: &'static str,
}

impl Duration {
    /// A span of whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(std::time::Duration::from_secs(secs))
    }

    /// A span of whole minutes.
    pub const fn from_mins(mins: u64) -> Self {
        Self::from_secs(mins * 60)
    }

    /// A span of whole hours.
    pub const fn from_hours(hours: u64) -> Self {
        Self::from_secs(hours * 3600)
    }

    /// The value, or `default` where this is zero: Velero reads a zero in an object as "not set".
    pub fn or(self, default: std::time::Duration) -> std::time::Duration {
        if self.0.is_zero() { default } else { self.0 }
    }
}

impl Deref for Duration {
    type Target = std::time::Duration;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(value: std::time::Duration) -> Self {
        Self(value)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(value: Duration) -> Self {
        value.0
    }
}

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|why| InvalidDuration {
            text: text.to_owned(),
            why,
        })
    }
}

fn parse(text: &str) -> Result<Duration, &'static str> {
    let mut rest = text;
    let negative = rest.starts_with('-');
    rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    if rest == "0" {
        return Ok(Duration::default());
    }
    if rest.is_empty() {
        return Err("it is empty");
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (whole, after) = rest.split_at(digits);
        let (fraction, after) = match after.strip_prefix('.') {
            None => ("", after),
            Some(tail) => {
                tail.split_at(tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_digit()).len())
            }
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err("a number is missing");
        }
        let (unit, after) = unit(after)?;
        nanos = whole_nanos(whole, unit)?
            .checked_add(fraction_nanos(fraction, unit))
            .and_then(|part| nanos.checked_add(part))
            .ok_or("it is too long")?;
        rest = after;
    }
    // Go's own limit: an int64 of nanoseconds, about 292 years.
    let nanos = i64::try_from(nanos).map_err(|_| "it is longer than 292 years")?;
    if negative && nanos != 0 {
        return Err("it is negative");
    }
    Ok(Duration(std::time::Duration::from_nanos(nanos.unsigned_abs())))
}

fn unit(text: &str) -> Result<(u128, &str), &'static str> {
    const UNITS: [(&str, u128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    UNITS
        .iter()
        .find_map(|(name, nanos)| text.strip_prefix(name).map(|after| (*nanos, after)))
        .ok_or("a unit is missing (h, m, s, ms)")
}

fn whole_nanos(digits: &str, unit: u128) -> Result<u128, &'static str> {
    if digits.is_empty() {
        return Ok(0);
    }
    digits
        .parse::<u128>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .ok_or("it is too long")
}

fn fraction_nanos(digits: &str, unit: u128) -> u128 {
    let (mut nanos, mut scale) = (0, unit);
    for digit in digits.bytes() {
        scale /= 10;
        nanos += u128::from(digit - b'0') * scale;
    }
    nanos
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if nanos < 1_000_000_000 {
            let (unit, name) = if nanos < 1_000 {
                (1, "ns")
            } else if nanos < 1_000_000 {
                (1_000, "µs")
            } else {
                (1_000_000, "ms")
            };
            return write!(f, "{}{}{name}", nanos / unit, decimals(nanos % unit, unit));
        }
        let secs = self.0.as_secs();
        let (hours, mins) = (secs / 3600, secs / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || mins > 0 {
            write!(f, "{mins}m")?;
        }
        write!(
            f,
            "{}{}s",
            secs % 60,
            decimals(u128::from(self.0.subsec_nanos()), 1_000_000_000)
        )
    }
}

/// `.5` for 500 of 1000; empty for a whole number.
fn decimals(part: u128, of: u128) -> String {
    if part == 0 {
        return String::new();
    }
    let width = of.to_string().len() - 1;
    format!(".{}", format!("{part:0width$}").trim_end_matches('0'))
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        if let Some(positive) = text.strip_prefix('-') {
            // Legal for Go; means "no time at all" everywhere it is used.
            return positive
                .parse::<Self>()
                .map(|_| Self::default())
                .map_err(serde::de::Error::custom);
        }
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_go_prints() {
        for (text, printed) in [
            ("0", "0s"),
            ("0s", "0s"),
            ("10m", "10m0s"),
            ("720h", "720h0m0s"),
            ("1.5h", "1h30m0s"),
            ("90s", "1m30s"),
            ("1h0m1s", "1h0m1s"),
            ("300ms", "300ms"),
            ("1500ms", "1.5s"),
            ("1.5ms", "1.5ms"),
            ("2us", "2µs"),
            ("1ns", "1ns"),
            (".5s", "500ms"),
            ("1.s", "1s"),
        ] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_duration_and_says_how_to_write_one() {
        for text in ["", "5", "h", "1x", "1h5", "-1h", "300y", ".s", "99999999h"] {
            let error = text.parse::<Duration>().unwrap_err().to_string();
            assert!(error.contains("write it like"), "{error}");
        }
    }

    #[test]
    fn a_negative_duration_in_an_object_reads_as_zero() {
        assert_eq!(
            serde_json::from_str::<Duration>("\"-5m\"").unwrap(),
            Duration::default()
        );
    }
}
