//! Kubernetes' quantities, as far as they must be compared: `500m`, `1.5Gi`, `2e3`.

/// The number that a quantity stands for; None where it is none.
///
/// Source: Kubernetes API conventions, "Quantity": a decimal number with a binary suffix (Ki … Ei), a decimal suffix
/// (n, u, m, k, M, G, T, P, E) or a decimal exponent.
pub(super) fn value(text: &str) -> Option<f64> {
    let end = text
        .char_indices()
        .find(|(at, letter)| {
            !(letter.is_ascii_digit() || *letter == '.' || (*at == 0 && matches!(letter, '+' | '-')))
        })
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.parse().ok().filter(|number: &f64| number.is_finite())?;
    Some(number * factor(suffix)?)
}

fn factor(suffix: &str) -> Option<f64> {
    const SUFFIXES: &[(&str, f64)] = &[
        ("", 1.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
    ];
    let found = SUFFIXES.iter().find(|(name, _)| *name == suffix);
    found.map(|(_, factor)| *factor).or_else(|| {
        let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
        (exponent.abs() <= 18).then(|| 10f64.powi(exponent))
    })
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn quantities_are_numbers_with_a_suffix_or_an_exponent() {
        for (text, expected) in [
            ("0", 0.0),
            ("500m", 0.5),
            ("1.5Gi", 1_610_612_736.0),
            ("2e3", 2000.0),
            ("1E", 1e18),
            ("+3", 3.0),
        ] {
            assert_eq!(value(text), Some(expected), "{text}");
        }
        for text in ["", "many", "1 Gi", "1gi", "1.2.3", "Gi", "1e99", "--1"] {
            assert_eq!(value(text), None, "{text}");
        }
    }
}
