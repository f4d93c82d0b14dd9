//! Figures and times as Kopia prints them: powers of ten, one digit after the point, local time.

use jiff::{Timestamp, tz::TimeZone};

use crate::failure::{Failure, Outcome};

const PREFIXES: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];

/// `13 B`, `0.9 KB`, `20.5 MB`: the next unit begins at nine tenths of it.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut prefix = PREFIXES[0];
    for next in &PREFIXES[1..] {
        if value < 900.0 {
            break;
        }
        value /= 1000.0;
        prefix = next;
    }
    let number = format!("{value:.1}");
    let number = number.strip_suffix(".0").unwrap_or(&number);
    format!("{number} {prefix}B")
}

/// `bytes`, or the plain number.
pub fn bytes_or_raw(count: u64, human: bool) -> String {
    if human { bytes(count) } else { count.to_string() }
}

/// How much smaller `packed` is, as `14.3%`; `0%` when it is not.
pub fn compression(original: u64, packed: u64) -> String {
    if packed >= original {
        return "0%".into();
    }
    format!("{:.1}%", 100.0 * (1.0 - packed as f64 / original as f64))
}

/// `2026-11-21 11:37:36 UTC`.
pub fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S %Z")
        .to_string()
}

/// The same with milliseconds.
pub fn precise_time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S.%3f %Z")
        .to_string()
}

/// Unix seconds as `time` shows them.
pub fn seconds(seconds: u32) -> Timestamp {
    Timestamp::from_second(seconds.into()).unwrap_or_default()
}

/// Nanoseconds as Go prints durations: `20m0s`, `24h0m0s`, `1.5s`.
pub fn duration(nanoseconds: i64) -> String {
    let total = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let (hours, minutes) = (total / 3_600_000_000_000, total / 60_000_000_000 % 60);
    let seconds = (total % 60_000_000_000) as f64 / 1e9;
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// A duration as Go reads it (`1h30m`, `90s`), in nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not a duration such as 24h, 1h30m or 90s");
    let (mut rest, mut total) = (text, 0.0);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let nanoseconds = match &rest[..unit] {
            "h" => 3.6e12,
            "m" => 6e10,
            "s" => 1e9,
            "ms" => 1e6,
            _ => return Err(wrong()),
        };
        total += number * nanoseconds;
        rest = &rest[unit..];
    }
    Ok(total as i64)
}

/// A size as Kopia reads it: `1MB` and `1MiB` are both 1,048,576 bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size such as 512KB, 1MB or 4096");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let power = match text[digits..]
        .to_ascii_uppercase()
        .trim_end_matches("IB")
        .trim_end_matches('B')
    {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(wrong()),
    };
    number
        .checked_shl(power)
        .filter(|size| size >> power == number)
        .ok_or_else(wrong)
}

/// A size that a command may have in memory at once.
pub fn in_memory(size: u64) -> Outcome<usize> {
    match usize::try_from(size) {
        Ok(size) if size <= 4 << 30 => Ok(size),
        _ => Err(Failure::usage(format!(
            "{} at once are too many; 4 GiB are the most",
            bytes(size)
        ))),
    }
}

/// Kopia's name of a compression header id (kopia-format.md 5.1); the number where it has none.
pub fn compressor(header: u32) -> String {
    let name = match header {
        0x1000 => "gzip",
        0x1001 => "gzip-best-speed",
        0x1002 => "gzip-best-compression",
        0x1100 => "zstd",
        0x1101 => "zstd-fastest",
        0x1102 => "zstd-better-compression",
        0x1103 => "zstd-best-compression",
        0x1200 => "s2-default",
        0x1201 => "s2-better",
        0x1202 => "s2-parallel-4",
        0x1203 => "s2-parallel-8",
        0x1300 => "pgzip",
        0x1301 => "pgzip-best-speed",
        0x1302 => "pgzip-best-compression",
        0x1400 => "lz4",
        0x1500 => "deflate-default",
        0x1501 => "deflate-best-speed",
        0x1502 => "deflate-best-compression",
        other => return format!("compression-{other:x}"),
    };
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_kopias() {
        for (count, text) in [
            (0, "0 B"),
            (13, "13 B"),
            (899, "899 B"),
            (930, "0.9 KB"),
            (1_743, "1.7 KB"),
            (20_971_520, "21 MB"),
            (270_553_174_016, "270.6 GB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(compression(280, 238), "15.0%");
        assert_eq!(compression(10, 39), "0%");
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "1", "h", "1d", "1.2.3s", "-1h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_two() {
        for (text, size) in [
            ("0", 0),
            ("4096", 4096),
            ("1KB", 1024),
            ("2MiB", 2 << 20),
            ("1g", 1 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in ["", "MB", "1.5MB", "-1", "1TB", "99999999999G"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_gos() {
        for (nanoseconds, text) in [
            (1_200_000_000_000, "20m0s"),
            (86_400_000_000_000, "24h0m0s"),
            (1_500_000_000, "1.5s"),
            (0, "0s"),
        ] {
            assert_eq!(duration(nanoseconds), text);
            assert_eq!(parse_duration(text), Ok(nanoseconds));
        }
    }
}
