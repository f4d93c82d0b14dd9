//! How long ago: `7s`, `3m20s`, `5d`. Source: `k8s.io/apimachinery` v0.34 `pkg/util/duration`, `HumanDuration`.

use jiff::Timestamp;
use serde_json::Value;

use super::text;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// The age of an object.
pub(super) fn of(object: &Value, now: Timestamp) -> Value {
    at(object, "/metadata/creationTimestamp", now).into()
}

/// The age of the timestamp at a JSON pointer; `<unknown>` when there is none.
pub(super) fn at(object: &Value, pointer: &str, now: Timestamp) -> String {
    match text(object, pointer).parse() {
        Ok(then) => between(then, now),
        Err(_) => "<unknown>".into(),
    }
}

pub(super) fn between(then: Timestamp, now: Timestamp) -> String {
    human(now.duration_since(then).as_secs())
}

/// Seconds as people say them: two units while the first is small, then one.
pub(super) fn human(seconds: i64) -> String {
    let two = |big: i64, unit: &str, small: i64, below: &str| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{below}")
        }
    };
    match seconds {
        // Clocks of machines differ a little.
        ..-1 => "<invalid>".into(),
        -1 => "0s".into(),
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if seconds < 10 * MINUTE => two(seconds / MINUTE, "m", seconds % MINUTE, "s"),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 8 * HOUR => two(seconds / HOUR, "h", seconds % HOUR / MINUTE, "m"),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ if seconds < 8 * DAY => two(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two(seconds / YEAR, "y", seconds % YEAR / DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_said_as_kubectl_says_them() {
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (500, "8m20s"),
            (600, "10m"),
            (179 * MINUTE, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 61, "3h1m"),
            (47 * HOUR, "47h"),
            (2 * DAY + HOUR, "2d1h"),
            (8 * DAY, "8d"),
            (3 * YEAR + 2 * DAY, "3y2d"),
            (9 * YEAR, "9y"),
        ];
        for (seconds, wanted) in cases {
            assert_eq!(human(seconds), wanted, "{seconds}");
        }
    }
}
