//! Requests as paths and JSON, and what came back.

use anyhow::{Context, Result, bail, ensure};
use http::{Method, Request};
use kube::client::Body;
use serde_json::Value;

use crate::World;

/// What the API answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `POST /api/v1/…`: what was asked, for messages.
    pub asked: String,
    /// HTTP code.
    pub code: u16,
    /// The body as JSON; a string when it is something else.
    pub body: Value,
    /// The texts of the `Warning` headers.
    pub warnings: Vec<String>,
    /// The `Content-Type` header.
    pub content_type: String,
}

/// One request, before it is sent.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    pub method: Method,
    pub path: &'a str,
    pub content_type: &'a str,
    pub accept: &'a str,
    pub body: Vec<u8>,
}

impl Ask<'_> {
    /// A GET; fields say more.
    pub fn get(path: &str) -> Ask<'_> {
        Ask {
            method: Method::GET,
            path,
            content_type: "application/json",
            accept: "application/json",
            body: Vec::new(),
        }
    }
}

/// Media types of patches.
pub mod patch {
    pub const JSON: &str = "application/json-patch+json";
    pub const MERGE: &str = "application/merge-patch+json";
    pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
    pub const APPLY: &str = "application/apply-patch+yaml";
}

impl World {
    /// `/api/v1/namespaces/<of the check>/configmaps`, `/apis/apps/v1/namespaces/<…>/deployments`.
    pub fn path(&self, api_version: &str, rest: &str) -> String {
        format!("{}/namespaces/{}/{rest}", root(api_version), self.namespace)
    }

    /// Sends a request as it is; any code is an answer.
    pub async fn ask(&self, ask: Ask<'_>) -> Result<Answer> {
        let asked = format!("{} {}", ask.method, ask.path);
        let request = Request::builder()
            .method(ask.method)
            .uri(ask.path)
            .header(http::header::CONTENT_TYPE, ask.content_type)
            .header(http::header::ACCEPT, ask.accept)
            .body(Body::from(ask.body))?;
        let response = self
            .client
            .send(request)
            .await
            .with_context(|| format!("{asked}: no answer"))?;
        let (parts, body) = response.into_parts();
        let header = |name| {
            let all = parts.headers.get_all(name).into_iter();
            all.filter_map(|value| value.to_str().ok().map(str::to_owned))
                .collect::<Vec<String>>()
        };
        let code = parts.status.as_u16();
        let warnings = header(http::header::WARNING);
        let content_type = header(http::header::CONTENT_TYPE)
            .into_iter()
            .next()
            .unwrap_or_default();
        let bytes = body
            .collect_bytes()
            .await
            .with_context(|| format!("{asked}: the answer broke off"))?;
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Answer {
            asked,
            code,
            body,
            warnings,
            content_type,
        })
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.ask(Ask::get(path)).await
    }

    pub async fn post(&self, path: &str, object: &Value) -> Result<Answer> {
        self.with_body(Method::POST, path, "application/json", object)
            .await
    }

    pub async fn put(&self, path: &str, object: &Value) -> Result<Answer> {
        self.with_body(Method::PUT, path, "application/json", object)
            .await
    }

    pub async fn patch(&self, kind: &str, path: &str, patch: &Value) -> Result<Answer> {
        self.with_body(Method::PATCH, path, kind, patch).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.ask(Ask {
            method: Method::DELETE,
            ..Ask::get(path)
        })
        .await
    }

    /// DELETE with DeleteOptions.
    pub async fn delete_with(&self, path: &str, options: &Value) -> Result<Answer> {
        self.with_body(Method::DELETE, path, "application/json", options)
            .await
    }

    /// Creates an object that must be accepted.
    pub async fn made(&self, path: &str, object: &Value) -> Result<Value> {
        self.post(path, object).await?.created()
    }

    /// Reads an object that must be there.
    pub async fn read(&self, path: &str) -> Result<Value> {
        self.get(path).await?.ok()
    }

    /// The same API, spoken to as somebody else.
    pub fn as_user(&self, name: &str, groups: &[&str]) -> Result<Self> {
        Ok(Self {
            client: (self.as_user)(name, groups)?,
            ..self.clone()
        })
    }

    async fn with_body(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Answer> {
        self.ask(Ask {
            method,
            content_type,
            body: serde_json::to_vec(body)?,
            ..Ask::get(path)
        })
        .await
    }
}

/// `/api/v1`, `/apis/apps/v1`.
pub fn root(api_version: &str) -> String {
    if api_version.contains('/') {
        format!("/apis/{api_version}")
    } else {
        format!("/api/{api_version}")
    }
}

impl Answer {
    /// The body of a 200.
    pub fn ok(self) -> Result<Value> {
        self.with_code(200)
    }

    /// The body of a 201.
    pub fn created(self) -> Result<Value> {
        self.with_code(201)
    }

    /// The body, if the code is this one.
    pub fn with_code(self, code: u16) -> Result<Value> {
        ensure!(
            self.code == code,
            "{}: expected {code}, got {} {}",
            self.asked,
            self.code,
            shortened(&self.body)
        );
        Ok(self.body)
    }

    /// A refusal in exactly these words; gives its `details`. Some refusals of Kubernetes have no reason: `""`.
    pub fn refused(self, code: u16, reason: &str, message: &str) -> Result<Value> {
        let asked = self.asked.clone();
        let (said, details) = self.refusal(code, reason)?;
        ensure!(
            said == message,
            "{asked}: refused in other words\n   expected {message}\n   got      {said}"
        );
        Ok(details)
    }

    /// A refusal whose words hold all of these pieces, in order; gives its `details`.
    pub fn refused_saying(self, code: u16, reason: &str, pieces: &[&str]) -> Result<Value> {
        let asked = self.asked.clone();
        let (said, details) = self.refusal(code, reason)?;
        let mut rest = said.as_str();
        for piece in pieces {
            let Some(at) = rest.find(piece) else {
                bail!("{asked}: refused in other words\n   expected … {piece}\n   got      {said}");
            };
            rest = &rest[at + piece.len()..];
        }
        Ok(details)
    }

    /// Message and details of a `Status` with this code and reason.
    fn refusal(self, code: u16, reason: &str) -> Result<(String, Value)> {
        let body = &self.body;
        ensure!(
            self.code == code && body["reason"].as_str().unwrap_or_default() == reason,
            "{}: expected {code} {reason}, got {} {} {}",
            self.asked,
            self.code,
            body["reason"],
            shortened(body)
        );
        ensure!(
            body["kind"] == "Status"
                && body["apiVersion"] == "v1"
                && body["status"] == "Failure"
                && body["metadata"].is_object()
                && body["code"] == code,
            "{}: not a whole Status: {body}",
            self.asked
        );
        let message = body["message"].as_str().unwrap_or_default().to_owned();
        Ok((message, body["details"].clone()))
    }
}

/// A value for a message.
pub fn shortened(value: &Value) -> String {
    let text = value.get("message").map_or_else(
        || value.to_string(),
        |_| format!("{}: {}", value["reason"], value["message"]),
    );
    if text.chars().count() > 1000 {
        format!("{}…", text.chars().take(1000).collect::<String>())
    } else {
        text
    }
}
