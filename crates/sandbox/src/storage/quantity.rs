//! Sizes as Kubernetes writes them. Source: `k8s.io/apimachinery` v0.34 `pkg/api/resource/quantity.go`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Suffix and factor.
const UNITS: &[(&str, u128)] = &[
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
];

/// Bytes, a fraction rounded up; `None` where the text is no size.
pub(super) fn bytes(quantity: &Quantity) -> Option<i64> {
    let text = quantity.0.as_str();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
        .unwrap_or((text, 1));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 18 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let bytes = digits.checked_mul(unit)?.div_ceil(scale);
    i64::try_from(bytes).ok()
}

/// With the largest binary suffix that leaves a whole number, as `resource.BinarySI` does.
pub(super) fn binary(bytes: i64) -> Quantity {
    let suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let (mut number, mut at) = (bytes, 0);
    while number != 0 && number % 1024 == 0 && at + 1 < suffixes.len() {
        number /= 1024;
        at += 1;
    }
    Quantity(format!("{number}{}", suffixes[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_as_kubernetes_does() {
        for (text, expected) in [
            ("1Gi", Some(1 << 30)),
            ("1.5Ki", Some(1536)),
            ("64M", Some(64_000_000)),
            ("100", Some(100)),
            ("", None),
            ("Gi", None),
            ("ten", None),
            ("1.x", None),
        ] {
            assert_eq!(bytes(&Quantity(text.into())), expected, "{text}");
        }
        assert_eq!(binary(64 << 20).0, "64Mi");
        assert_eq!(binary(1000).0, "1000");
        assert_eq!(binary(0).0, "0");
    }
}
