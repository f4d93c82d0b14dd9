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

/// Makes a kind's `spec` read as empty where the object has none, as Go reads it: the CRDs require no `spec`, so the
/// API server takes `kind: Backup` with nothing but metadata, and one such object must not stop a watch or a list.
///
/// kube's derive owns the object's fields and takes no `serde(default)` for `spec`, so the spec says it itself: serde
/// asks a missing field for an optional value, and this asks the same way. The derived code of the spec becomes
/// inherent (`serde(remote = "…")`) and is called from here.
macro_rules! absent_is_empty {
    ($spec:ident) => {
        impl serde::Serialize for $spec {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $spec::serialize(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $spec {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Present($spec);
                impl<'de> serde::Deserialize<'de> for Present {
                    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                        $spec::deserialize(deserializer).map(Self)
                    }
                }
                let present = <Option<Present> as serde::Deserialize>::deserialize(deserializer)?;
                Ok(present.map_or_else(Self::default, |present| present.0))
            }
        }
    };
}
pub(crate) use absent_is_empty;
