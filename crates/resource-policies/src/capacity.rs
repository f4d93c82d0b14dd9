//! The `capacity: "lo,hi"` condition, on Kubernetes quantities.

/// Why a capacity cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "wrong format of Capacity {0}; write \"lo,hi\" with Kubernetes quantities, either may be empty: \"10Gi,100Gi\", \"10Gi,\""
)]
pub struct CapacityError(String);

/// Both ends belong to the range. Zero is an open end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// In thousand-millionths of a byte, so that Kubernetes' smallest unit is exact.
    lower: i128,
    upper: i128,
}

impl Capacity {
    /// The empty text is the range of everything.
    ///
    /// # Errors
    /// [`CapacityError`].
    pub fn parse(text: &str) -> Result<Self, CapacityError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let error = || CapacityError(text.to_owned());
        let (lower, upper) = text.split_once(',').ok_or_else(error)?;
        let end = |text: &str| match text.trim() {
            "" => Some(0),
            text => quantity(text),
        };
        Ok(Self {
            lower: end(lower).ok_or_else(error)?,
            upper: end(upper).ok_or_else(error)?,
        })
    }

    /// Whether a size (of [`quantity`]) is in the range.
    pub fn holds(self, size: i128) -> bool {
        let (lower, upper) = (self.lower, self.upper);
        match (lower, upper) {
            (0, 0) => true,
            (lower, 0) => lower <= size,
            (lower, upper) => lower <= size && size <= upper,
        }
    }

    /// A range can hold something.
    pub fn is_legal(self) -> bool {
        self.upper >= self.lower || (self.lower != 0 && self.upper == 0)
    }

    /// Both ends, in thousand-millionths of a byte.
    pub fn ends(self) -> (i128, i128) {
        (self.lower, self.upper)
    }
}

const NANO: i128 = 1_000_000_000;

/// A Kubernetes quantity in thousand-millionths: `1` is 10⁹. `None`: it is none, or too large for anything real.
pub fn quantity(text: &str) -> Option<i128> {
    let split = text
        .char_indices()
        .position(|(at, letter)| {
            !(letter.is_ascii_digit() || letter == '.' || (at == 0 && (letter == '+' || letter == '-')))
        })
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let number_in_nano = nano(number)?;
    let (multiplier, divisor) = factor(suffix)?;
    // Rounded up, as Kubernetes does.
    let product = number_in_nano.checked_mul(multiplier)?;
    Some(product.div_euclid(divisor) + i128::from(product.rem_euclid(divisor) != 0))
}

fn nano(number: &str) -> Option<i128> {
    let (negative, digits) = match number.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || fraction.len() > 9 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: i128 = if fraction.is_empty() {
        0
    } else {
        format!("{fraction:0<9}").parse().ok()?
    };
    let value = whole.checked_mul(NANO)?.checked_add(fraction)?;
    Some(if negative { -value } else { value })
}

fn factor(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| (1_i128 << (10 * power), 1);
    let decimal = |power: u32| (10_i128.pow(power), 1);
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, NANO),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            match u32::try_from(exponent) {
                Ok(power) if power <= 18 => decimal(power),
                Err(_) if exponent >= -9 => (1, 10_i128.pow(exponent.unsigned_abs())),
                _ => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_exact() {
        assert_eq!(quantity("1Ki"), Some(1024 * NANO));
        assert_eq!(quantity("1.5Gi"), Some(1_610_612_736 * NANO));
        assert_eq!(quantity("10M"), quantity("1e7"));
        assert_eq!(quantity("100m"), Some(NANO / 10));
        assert_eq!(quantity("8Ei"), Some((1_i128 << 63) * NANO));
        for wrong in ["", "Gi", "1 Gi", "1Gb", "1.2.3", "--1", "1e99"] {
            assert_eq!(quantity(wrong), None, "{wrong}");
        }
    }
}
