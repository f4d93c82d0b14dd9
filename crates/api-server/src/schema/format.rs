//! Formats of strings. Those that Kubernetes does not know are no limit.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `pkg/apiserver/validation/formats.go` (which ones), and
//! `k8s.io/kube-openapi`, `pkg/validation/strfmt` (what they take).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use jiff::civil::Date;
use regex::Regex;

/// The name without dashes, of a format that is checked.
pub(super) fn known(format: &str) -> Option<&'static str> {
    let plain = format.replace('-', "");
    KNOWN.iter().copied().find(|known| *known == plain)
}

const KNOWN: [&str; 26] = [
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8slongname",
    "k8sshortname",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// The text is of the format (a name that [`known`] gave).
pub(super) fn accepts(format: &str, text: &str) -> bool {
    match format {
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|letter| letter.is_ascii_hexdigit()),
        "byte" => BASE64.is_match(text),
        "cidr" => is_cidr(text),
        "creditcard" => is_credit_card(text),
        "date" => is_date(text),
        "datetime" => is_date_time(text),
        "duration" => is_duration(text),
        "email" => is_email(text),
        "hexcolor" => HEX_COLOR.is_match(text),
        "hostname" => is_hostname(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "isbn" => is_isbn_10(text) || is_isbn_13(text),
        "isbn10" => is_isbn_10(text),
        "isbn13" => is_isbn_13(text),
        "k8slongname" => text.len() <= 253 && text.split('.').all(|part| SHORT_NAME.is_match(part)),
        "k8sshortname" => text.len() <= 63 && SHORT_NAME.is_match(text),
        "mac" => MAC.is_match(text),
        "rgbcolor" => RGB_COLOR.is_match(text),
        "ssn" => SSN.is_match(text),
        "uri" => is_request_uri(text),
        "uuid" => UUID.is_match(text),
        "uuid3" => UUID.is_match(text) && version(text) == Some('3'),
        "uuid4" | "uuid5" => {
            UUID.is_match(text) && version(text) == format.chars().last() && variant_is_rfc_4122(text)
        }
        _ => true,
    }
}

fn regex(source: &str) -> Regex {
    #[allow(clippy::expect_used)]
    Regex::new(source).expect("the expressions of this file are tested")
}

static BASE64: LazyLock<Regex> = LazyLock::new(|| {
    regex("^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$")
});
static HEX_COLOR: LazyLock<Regex> = LazyLock::new(|| regex("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"));
static RGB_COLOR: LazyLock<Regex> = LazyLock::new(|| {
    let part = "\\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\\s*";
    regex(&format!("^rgb\\({part},{part},{part}\\)$"))
});
static SSN: LazyLock<Regex> = LazyLock::new(|| regex("^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$"));
static SHORT_NAME: LazyLock<Regex> = LazyLock::new(|| regex("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"));
static UUID: LazyLock<Regex> = LazyLock::new(|| {
    regex("^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}$")
});
static MAC: LazyLock<Regex> = LazyLock::new(|| {
    let byte = "[0-9a-fA-F]{2}";
    let six_or_more = |between: &str| {
        [6, 8, 20]
            .map(|bytes| format!("{byte}(?:{between}{byte}){{{}}}", bytes - 1))
            .join("|")
    };
    let dots = [3, 4, 10]
        .map(|words| format!("[0-9a-fA-F]{{4}}(?:\\.[0-9a-fA-F]{{4}}){{{}}}", words - 1))
        .join("|");
    regex(&format!("^(?:{}|{}|{dots})$", six_or_more(":"), six_or_more("-")))
});
static TIME: LazyLock<Regex> =
    LazyLock::new(|| regex("^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$"));
static GO_DURATION: LazyLock<Regex> =
    LazyLock::new(|| regex("^[+-]?(0|(([0-9]+\\.?[0-9]*|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$"));
static LONG_DURATION: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        "(?i)[0-9]+\\s*(ns|nano[a-zµ]*|us|µs|micro[a-zµ]*|ms|milli[a-zµ]*|s|sec[a-zµ]*|m|min[a-zµ]*|h|hr|\
         hour[a-zµ]*|d|day[a-zµ]*|w|wk|week[a-zµ]*)(?:[^a-zµ]|$)",
    )
});
static HOSTNAME: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$",
    )
});

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else {
        return false;
    };
    let Some(time) = TIME.captures(time).filter(|_| is_date(date)) else {
        return false;
    };
    &time[1] <= "23" && &time[2] <= "59" && &time[3] <= "59"
}

fn is_duration(text: &str) -> bool {
    GO_DURATION.is_match(text) || LONG_DURATION.is_match(text)
}

fn is_hostname(text: &str) -> bool {
    HOSTNAME.is_match(text) && text.len() <= 255 && text.split('.').all(|part| part.len() <= 63)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    !bits.starts_with('+') && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

/// `name@host`, or `Name <name@host>`.
fn is_email(text: &str) -> bool {
    let address = match text.trim().strip_suffix('>') {
        Some(open) => open.rsplit_once('<').map_or("", |(_, address)| address),
        None => text.trim(),
    };
    let atom = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|letter| !letter.is_whitespace() && !"()<>[]:;@\\,\"".contains(letter))
    };
    let dotted = |part: &str| part.split('.').all(atom);
    address
        .rsplit_once('@')
        .is_some_and(|(name, host)| dotted(name) && dotted(host))
}

/// An absolute path or an absolute URL, as `net/url.ParseRequestURI` takes.
fn is_request_uri(text: &str) -> bool {
    if text
        .chars()
        .any(|letter| letter.is_ascii_control() || letter == ' ')
    {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let mut letters = scheme.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
        && (!rest.starts_with("//") || text.parse::<url::Url>().is_ok() || rest == "//")
}

fn hex_digits(uuid: &str) -> impl Iterator<Item = char> + '_ {
    uuid.chars().filter(|letter| *letter != '-')
}

fn version(uuid: &str) -> Option<char> {
    hex_digits(uuid).nth(12)
}

fn variant_is_rfc_4122(uuid: &str) -> bool {
    hex_digits(uuid)
        .nth(16)
        .is_some_and(|letter| "89abAB".contains(letter))
}

fn digits(text: &str) -> Vec<u32> {
    text.chars()
        .filter(|letter| !"- ".contains(*letter))
        .map(|letter| letter.to_digit(10).unwrap_or(10))
        .collect()
}

fn is_isbn_10(text: &str) -> bool {
    let mut digits = digits(text);
    if text.ends_with(['X', 'x']) {
        digits.pop();
        digits.push(10);
    }
    digits.len() == 10
        && digits[..9].iter().all(|digit| *digit < 10)
        && (1..)
            .zip(&digits)
            .map(|(weight, digit)| weight * digit)
            .sum::<u32>()
            % 11
            == 0
}

fn is_isbn_13(text: &str) -> bool {
    let digits = digits(text);
    digits.len() == 13
        && digits.iter().all(|digit| *digit < 10)
        && [1, 3]
            .iter()
            .cycle()
            .zip(&digits)
            .map(|(weight, digit)| weight * digit)
            .sum::<u32>()
            % 10
            == 0
}

/// Luhn's checksum over 13 to 19 digits.
fn is_credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|letter| letter.to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => *digit,
            (_, twice) if twice > 9 => twice - 9,
            (_, twice) => twice,
        })
        .sum();
    (13..=19).contains(&digits.len()) && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_takes_what_is_of_it_and_nothing_else() {
        let cases = [
            ("date-time", "2020-01-01T00:00:00Z", "yesterday"),
            (
                "date-time",
                "2020-01-01t23:59:59.123+02:00",
                "2020-01-01T24:00:00Z",
            ),
            ("date", "2020-02-29", "2020-13-01"),
            ("duration", "1h30m", "soon"),
            ("duration", "3 days", "3 moons"),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("uuid", "ad7de9d6-7fd1-4d5e-9a6b-1d6b8e9c0d11", "ad7de9d6"),
            (
                "uuid4",
                "ad7de9d6-7fd1-4d5e-9a6b-1d6b8e9c0d11",
                "ad7de9d6-7fd1-3d5e-9a6b-1d6b8e9c0d11",
            ),
            (
                "uuid3",
                "ad7de9d6-7fd1-3d5e-9a6b-1d6b8e9c0d11",
                "ad7de9d6-7fd1-4d5e-9a6b-1d6b8e9c0d11",
            ),
            ("byte", "YQ==", "a"),
            ("hostname", "db.example.com", "-a-"),
            ("mac", "01:23:45:67:89:ab", "01:23:45:67:89"),
            ("email", "a@example.com", "a"),
            ("uri", "https://example.com/a", "example"),
            ("hexcolor", "#fff", "#ff"),
            ("rgbcolor", "rgb(1, 2,255)", "rgb(1,2,256)"),
            ("isbn10", "0321751043", "0321751044"),
            ("isbn13", "978-0321751041", "978-0321751042"),
            ("creditcard", "4111-1111-1111-1111", "4111-1111-1111-1112"),
            ("ssn", "111-11-1111", "1"),
            ("k8s-short-name", "a-b", "a.b"),
            ("k8s-long-name", "a.b", "A"),
            ("bsonobjectid", "507f1f77bcf86cd799439011", "507"),
        ];
        for (format, good, bad) in cases {
            let name = known(format).expect(format);
            assert!(accepts(name, good), "{format} takes {good}");
            assert!(!accepts(name, bad), "{format} refuses {bad}");
        }
    }

    #[test]
    fn formats_that_kubernetes_ignores_are_ignored() {
        assert_eq!(known("int32"), None);
        assert_eq!(known("quantity"), None);
        assert_eq!(known(""), None);
    }
}
