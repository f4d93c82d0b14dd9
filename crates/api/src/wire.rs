//! How field values cross the wire where Rust's habits and Go's differ.
//!
//! Go reads `null` as the zero value and leaves zero values out when it writes (`omitempty`); the CRDs say
//! `nullable` for most lists and maps because of that. Every field of our types does the same.

use serde::{Deserialize, Deserializer};

/// Reads a present `null` as the type's default.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Go's `omitempty` for numbers and booleans.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
