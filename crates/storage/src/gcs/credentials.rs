//! The JSON file of a Google credential, as Velero's Secret holds it. Nothing of its content is ever shown (guarantee 8).

use std::fmt;

use serde_json::Value;

/// The key of a service account. Its Debug shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct GcsCredentials {
    json: String,
}

impl fmt::Debug for GcsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GcsCredentials(hidden)")
    }
}

/// Why a file is no credential that can be used. Never holds a part of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GcsCredentialsError {
    /// Not JSON, from this line on.
    NotJson { line: usize },
    /// JSON without a `type`.
    NoType,
    /// A kind of credential that `object_store` has no client for.
    Unsupported { kind: String },
    /// A service account's file without this.
    Missing { field: &'static str },
    /// The file is for another cloud of Google's kind.
    OtherUniverse,
}

impl fmt::Display for GcsCredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { line } => write!(
                f,
                "the credentials file is not JSON (line {line}): give the key file of a service account \
                 (gcloud iam service-accounts keys create)"
            ),
            Self::NoType => f.write_str(
                "the credentials file has no \"type\": give the key file of a service account \
                 (gcloud iam service-accounts keys create)",
            ),
            Self::Unsupported { kind } => write!(
                f,
                "credentials of type {kind:?} are not supported by this version: give the key file of a service account, \
                 or on GKE none at all and bind Velero's ServiceAccount to a Google one (workload identity)"
            ),
            Self::Missing { field } => write!(
                f,
                "the service account's file has no {field}: make a new one (gcloud iam service-accounts keys create)"
            ),
            Self::OtherUniverse => f.write_str(
                "the service account's file is for another universe_domain than googleapis.com, which this version does not \
                 support",
            ),
        }
    }
}

impl std::error::Error for GcsCredentialsError {}

impl GcsCredentials {
    /// Takes the text of a credentials file.
    ///
    /// Errors: [`GcsCredentialsError`].
    pub fn parse(text: &str) -> Result<Self, GcsCredentialsError> {
        let value: Value =
            serde_json::from_str(text).map_err(|e| GcsCredentialsError::NotJson { line: e.line() })?;
        let field = |name: &str| value[name].as_str().filter(|text| !text.is_empty());
        match field("type") {
            None => return Err(GcsCredentialsError::NoType),
            Some("service_account") => {}
            Some(kind @ ("authorized_user" | "external_account" | "impersonated_service_account")) => {
                return Err(GcsCredentialsError::Unsupported {
                    kind: kind.to_owned(),
                });
            }
            // What is in this place may be anything, a key even: it is not repeated.
            Some(_) => {
                return Err(GcsCredentialsError::Unsupported {
                    kind: "(another)".to_owned(),
                });
            }
        }
        for needed in ["client_email", "private_key", "private_key_id"] {
            if field(needed).is_none() {
                return Err(GcsCredentialsError::Missing { field: needed });
            }
        }
        if field("universe_domain").is_some_and(|domain| domain != "googleapis.com") {
            return Err(GcsCredentialsError::OtherUniverse);
        }
        // Only what is needed: `object_store` would also follow an address in the file, or send no token at all.
        let kept = serde_json::json!({
            "client_email": value["client_email"],
            "private_key": value["private_key"],
            "private_key_id": value["private_key_id"],
        });
        Ok(Self {
            json: kept.to_string(),
        })
    }

    pub(super) fn json(&self) -> &str {
        &self.json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let error = GcsCredentials::parse(text).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("hush"),
            "guarantee 8: {error}"
        );
        error.to_string()
    }

    #[test]
    fn what_is_no_key_of_a_service_account_is_refused_with_what_to_give() {
        assert!(error("[default]\naws_secret_access_key=hush").contains("not JSON (line 1)"));
        assert!(error(r#"{"key": "hush"}"#).contains("no \"type\""));
        assert!(error(r#"{"type": "external_account", "audience": "hush"}"#).contains("external_account"));
        assert!(error(r#"{"type": "hush"}"#).contains("not supported"));
        let part = r#"{"type": "service_account", "private_key": "hush", "client_email": "a@b"}"#;
        assert!(error(part).contains("no private_key_id"));
        let other = r#"{"type": "service_account", "private_key": "hush", "client_email": "a@b", "private_key_id": "1",
            "universe_domain": "example.goog"}"#;
        assert!(error(other).contains("universe_domain"));
    }

    #[test]
    fn an_address_in_the_file_is_not_followed_and_a_token_is_always_sent() {
        let text = r#"{"type": "service_account", "private_key": "hush", "client_email": "a@b", "private_key_id": "1",
            "gcs_base_url": "http://elsewhere", "disable_oauth": true}"#;
        let kept = GcsCredentials::parse(text).unwrap();
        assert!(!kept.json().contains("elsewhere") && !kept.json().contains("disable_oauth"));
        assert!(!format!("{kept:?}").contains("hush"));
    }
}
