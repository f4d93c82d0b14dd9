//! Limits of numbers. Whole and broken numbers are compared each in their own type, as Go does.
//! Source: `k8s.io/kube-openapi` of v0.34, `pkg/validation/validate/values.go`.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use crate::error::FieldError;

use super::node::Limits;
use super::path::Path;
use super::validate::wrong;
use super::words::shown_float;

/// Beyond this, neighbouring whole numbers are the same float64.
const LARGEST_EXACT: f64 = 9_007_199_254_740_991.0;

/// A float that stands for a whole number.
pub(super) fn is_whole(float: f64) -> bool {
    if !float.is_finite() || float.abs() > LARGEST_EXACT {
        return false;
    }
    let whole = float.trunc();
    float == whole || (whole != 0.0 && (float - whole).abs() / (float.abs() + whole.abs()) < 1e-9)
}

/// Equal as Go compares them after converting the second to the type of the first.
pub(super) fn same(one: &Number, other: &Number) -> bool {
    match (one.as_i64(), other.as_i64()) {
        (Some(one), Some(other)) => one == other,
        (Some(one), None) => other.as_f64().is_some_and(|other| truncated(other) == one),
        _ => one.as_f64() == other.as_f64(),
    }
}

/// Checks `multipleOf`, `minimum` and `maximum`, in this order.
pub(super) fn check(limits: &Limits, number: &Number, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let value = Value::Number(number.clone());
    if let Some(factor) = limits.multiple_of {
        check_multiple(factor, number, path, errors);
    }
    if let Some(least) = limits.minimum {
        let (order, least) = compare(number, least);
        match order {
            Some(Ordering::Greater) | None => {}
            Some(Ordering::Less | Ordering::Equal) if limits.exclusive_minimum => {
                errors.push(wrong(path, &value, &format!("should be greater than {least}")));
            }
            Some(Ordering::Less) => {
                errors.push(wrong(
                    path,
                    &value,
                    &format!("should be greater than or equal to {least}"),
                ));
            }
            Some(Ordering::Equal) => {}
        }
    }
    if let Some(most) = limits.maximum {
        let (order, most) = compare(number, most);
        match order {
            Some(Ordering::Less) | None => {}
            Some(Ordering::Greater | Ordering::Equal) if limits.exclusive_maximum => {
                errors.push(wrong(path, &value, &format!("should be less than {most}")));
            }
            Some(Ordering::Greater) => {
                errors.push(wrong(
                    path,
                    &value,
                    &format!("should be less than or equal to {most}"),
                ));
            }
            Some(Ordering::Equal) => {}
        }
    }
}

/// Compares with a limit, and says the limit: for a whole number, the limit is cut to a whole number first.
fn compare(number: &Number, limit: f64) -> (Option<Ordering>, String) {
    match number.as_i64() {
        Some(whole) => {
            let limit = truncated(limit);
            (Some(whole.cmp(&limit)), limit.to_string())
        }
        None => {
            let float = number.as_f64().unwrap_or(f64::NAN);
            (float.partial_cmp(&limit), shown_float(limit))
        }
    }
}

fn check_multiple(factor: f64, number: &Number, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let value = Value::Number(number.clone());
    let (positive, shown, fits) = match number.as_i64() {
        Some(whole) => {
            // A factor below one becomes nought here: upstream's answer, odd as it is.
            let factor = truncated(factor);
            let fits = whole.checked_rem(factor).is_none_or(|rest| rest == 0);
            (factor > 0, Value::from(factor), fits)
        }
        None => {
            let float = number.as_f64().unwrap_or(f64::NAN);
            let times = if factor < 1.0 {
                1.0 / factor * float
            } else {
                float / factor
            };
            (factor > 0.0, Value::from(factor), is_whole(times))
        }
    };
    let said = super::words::shown(&shown);
    if !positive {
        let why = format!("factor MultipleOf declared for {path} must be positive: {said}");
        errors.push(FieldError::invalid(path.or_nil(), &shown, &why));
    } else if !fits {
        errors.push(wrong(path, &value, &format!("should be a multiple of {said}")));
    }
}

/// Towards nought, as Go converts; `as` never overflows.
#[allow(clippy::cast_possible_truncation)]
fn truncated(float: f64) -> i64 {
    float as i64
}
