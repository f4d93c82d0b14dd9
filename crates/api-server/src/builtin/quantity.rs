//! Quantities, `512Mi`, `250m`, `1e3`, and the one way Kubernetes writes each of them.
//! Source: `k8s.io/apimachinery` v0.34 `pkg/api/resource`: the canonical form has no fraction, the largest suffix that
//! keeps the number whole, and the family of suffixes it came with; what is finer than a billionth is rounded up.

/// Billionths: fine enough for every quantity, wide enough for `8Ei`.
const NANOS: i128 = 1_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Decimal,
    Binary,
    Exponent,
}

/// A number with the family of suffixes it is written in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantity {
    nanos: i128,
    family: Family,
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.nanos.partial_cmp(&other.nanos)
    }
}

impl Quantity {
    /// Reads a quantity; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (digits, suffix) = unsigned.split_at(end);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let (numerator, denominator, family) = scale(suffix)?;
        let mut amount: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let mut below: i128 = 1;
        for digit in fraction.bytes() {
            amount = amount.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
            below = below.checked_mul(10)?;
        }
        let wide = amount.checked_mul(numerator)?.checked_mul(NANOS)?;
        let nanos = wide.checked_add(below.checked_mul(denominator)? - 1)? / (below * denominator);
        Some(Self {
            nanos: sign * nanos,
            family,
        })
    }

    /// The value rounded up to a whole number: bytes of a volume, cores of a node.
    pub fn ceil(self) -> i128 {
        self.nanos.div_euclid(NANOS) + i128::from(self.nanos.rem_euclid(NANOS) != 0)
    }

    /// As Kubernetes writes it.
    pub fn canonical(self) -> String {
        if self.nanos == 0 {
            return "0".into();
        }
        let small = self.nanos.abs() < 1024 * NANOS;
        match self.family {
            Family::Binary if !small && self.nanos % NANOS == 0 => self.binary(),
            Family::Exponent => self.thousands(|power| match power {
                0 => String::new(),
                power => format!("e{}", power * 3),
            }),
            _ => self.thousands(|power| {
                let names = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
                usize::try_from(power + 3)
                    .ok()
                    .and_then(|place| names.get(place))
                    .copied()
                    .unwrap_or_default()
                    .to_owned()
            }),
        }
    }

    fn binary(self) -> String {
        let mut value = self.nanos / NANOS;
        let mut power = 0;
        while value % 1024 == 0 && power < 6 {
            value /= 1024;
            power += 1;
        }
        let suffix = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power];
        format!("{value}{suffix}")
    }

    fn thousands(self, suffix: impl Fn(i32) -> String) -> String {
        let mut value = self.nanos;
        let mut power = -3;
        while value % 1000 == 0 && power < 6 {
            value /= 1000;
            power += 1;
        }
        format!("{value}{}", suffix(power))
    }
}

/// What a suffix multiplies with, as a fraction, and its family.
fn scale(suffix: &str) -> Option<(i128, i128, Family)> {
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if let Some(power) = binary.iter().position(|name| *name == suffix) {
        return Some((1024_i128.pow(u32::try_from(power).ok()? + 1), 1, Family::Binary));
    }
    let decimal = ["", "k", "M", "G", "T", "P", "E"];
    if let Some(power) = decimal.iter().position(|name| *name == suffix) {
        return Some((1000_i128.pow(u32::try_from(power).ok()?), 1, Family::Decimal));
    }
    let below = ["m", "u", "n"];
    if let Some(power) = below.iter().position(|name| *name == suffix) {
        return Some((1, 1000_i128.pow(u32::try_from(power).ok()? + 1), Family::Decimal));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    Some(if exponent < 0 {
        (1, power, Family::Exponent)
    } else {
        (power, 1, Family::Exponent)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Option<String> {
        Quantity::parse(text).map(Quantity::canonical)
    }

    #[test]
    fn a_quantity_has_one_canonical_form() {
        let cases = [
            ("1", "1"),
            ("0", "0"),
            ("1024Mi", "1Gi"),
            ("0.5Gi", "512Mi"),
            ("1000m", "1"),
            ("100m", "100m"),
            ("1500m", "1500m"),
            ("0.1", "100m"),
            ("1000", "1k"),
            ("1536", "1536"),
            ("1.5Ki", "1536"),
            ("512", "512"),
            ("0.5Ki", "512"),
            ("0.1Ki", "102400m"),
            ("1e3", "1e3"),
            ("1000e3", "1e6"),
            ("5G", "5G"),
            ("-1Gi", "-1Gi"),
            ("+2", "2"),
            ("0.0000000001", "1n"),
            ("8Ei", "8Ei"),
            ("1.", "1"),
            (".5", "500m"),
        ];
        for (given, wanted) in cases {
            assert_eq!(canonical(given).as_deref(), Some(wanted), "{given}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "x", "1x", "1.2.3", "Gi", "1 Gi", "1e", "--1"] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }

    #[test]
    fn a_size_in_bytes_is_rounded_up() {
        assert_eq!(Quantity::parse("1500m").map(Quantity::ceil), Some(2));
        assert_eq!(Quantity::parse("1Ki").map(Quantity::ceil), Some(1024));
    }
}
