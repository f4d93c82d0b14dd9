//! Tokens of ServiceAccounts: JSON Web Tokens signed with a key of this server (HS256).
//! Source of the claims: Kubernetes v1.34, `pkg/serviceaccount/claims.go`.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::user::User;

const AUDIENCE: &str = "https://kubernetes.default.svc";

/// Signs and checks tokens.
pub(crate) struct Tokens {
    key: hmac::Key,
    secret: [u8; 32],
}

impl Tokens {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            secret,
        }
    }

    /// For [`crate::ApiServer::save`]: tokens outlive a restart.
    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// A token for a ServiceAccount.
    pub(crate) fn issue(
        &self,
        account: &Value,
        audiences: &[String],
        now: Timestamp,
        expires: Timestamp,
        id: &str,
    ) -> String {
        let metadata = &account["metadata"];
        let namespace = metadata["namespace"].as_str().unwrap_or_default();
        let name = metadata["name"].as_str().unwrap_or_default();
        let claims = json!({
            "aud": audiences, "exp": expires.as_second(), "iat": now.as_second(), "iss": AUDIENCE, "jti": id,
            "kubernetes.io": {
                "namespace": namespace, "serviceaccount": {"name": name, "uid": metadata["uid"]},
            },
            "nbf": now.as_second(), "sub": format!("system:serviceaccount:{namespace}:{name}"),
        });
        let head = URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "typ": "JWT"}).to_string());
        let body = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = hmac::sign(&self.key, body.as_bytes());
        format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// The ServiceAccount a token speaks for; `None` for a token that is not ours or has expired.
    pub(crate) fn check(&self, token: &str, now: Timestamp) -> Option<User> {
        let (body, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        hmac::verify(&self.key, body.as_bytes(), &signature).ok()?;
        let (_, claims) = body.split_once('.')?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        if claims["exp"].as_i64()? <= now.as_second() {
            return None;
        }
        let subject = &claims["kubernetes.io"];
        Some(User::service_account(
            subject["namespace"].as_str()?,
            subject["serviceaccount"]["name"].as_str()?,
        ))
    }

    /// The audience of tokens that name none.
    pub(crate) fn audience() -> &'static str {
        AUDIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_speaks_for_its_account_until_it_expires() {
        let tokens = Tokens::new([7; 32]);
        let account = json!({"metadata": {"namespace": "shop", "name": "web", "uid": "u"}});
        let at = |second| Timestamp::from_second(second).unwrap();
        let token = tokens.issue(&account, &[AUDIENCE.to_owned()], at(100), at(700), "id");
        assert_eq!(
            tokens.check(&token, at(200)),
            Some(User::service_account("shop", "web"))
        );
        assert_eq!(tokens.check(&token, at(700)), None);
        assert_eq!(Tokens::new([8; 32]).check(&token, at(200)), None);
        assert_eq!(tokens.check("a.b.c", at(200)), None);
    }
}
