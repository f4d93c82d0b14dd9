//! Continue tokens: `k8s.io/apiserver` v0.34, `pkg/storage/continue.go`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::error::{ApiError, Reason};
use crate::store::Key;

/// Where the next page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Continue {
    /// All pages show the list at this revision.
    pub(crate) revision: u64,
    /// The last key of the page before.
    pub(crate) after: Key,
}

impl Continue {
    pub(crate) fn token(&self) -> String {
        let start = format!("{}\0", self.after.as_str());
        let token = json!({"v": "meta.k8s.io/v1", "rv": self.revision, "start": start});
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    pub(crate) fn parse(token: &str) -> Result<Self, ApiError> {
        let bad = |why: &str| {
            ApiError::new(
                Reason::BadRequest,
                format!("invalid continue token: continue key is not valid: {why}"),
            )
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(token.trim_end_matches('='))
            .map_err(|why| bad(&why.to_string()))?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|why| bad(&why.to_string()))?;
        if token["v"] != "meta.k8s.io/v1" {
            return Err(bad("server does not recognize this encoded version"));
        }
        let revision = token["rv"]
            .as_u64()
            .filter(|revision| *revision > 0)
            .ok_or_else(|| bad("incorrect encoded start resourceVersion"))?;
        let start = token["start"]
            .as_str()
            .filter(|start| !start.is_empty())
            .ok_or_else(|| bad("encoded start key empty"))?;
        Ok(Self {
            revision,
            after: Key::parse(start.trim_end_matches('\0')),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_place() {
        let place = Continue {
            revision: 12,
            after: Key::new(Some("shop"), "web"),
        };
        assert_eq!(Continue::parse(&place.token()), Ok(place));
    }

    #[test]
    fn a_foreign_token_is_a_bad_request() {
        for token in ["x", "????", "e30", "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ"] {
            let error = Continue::parse(token).unwrap_err();
            assert_eq!(error.reason, Reason::BadRequest);
        }
    }
}
