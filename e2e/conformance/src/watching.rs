//! A watch, event by event.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::io::{AsyncBufRead, AsyncBufReadExt};
use http::Request;
use serde_json::Value;

use crate::World;

const PATIENCE: Duration = Duration::from_secs(20);

/// An open watch.
pub struct Watching {
    path: String,
    lines: std::pin::Pin<Box<dyn AsyncBufRead + Send>>,
}

impl World {
    /// Opens a watch on a path with its query; `watch=1` is added.
    pub async fn watch(&self, path: &str) -> Result<Watching> {
        self.watch_as(path, "application/json").await
    }

    /// The same, asking for another representation.
    pub async fn watch_as(&self, path: &str, accept: &str) -> Result<Watching> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{joint}watch=1");
        let request = Request::get(&path)
            .header(http::header::ACCEPT, accept)
            .body(Vec::new())?;
        let lines = self
            .client
            .request_stream(request)
            .await
            .with_context(|| format!("GET {path}"))?;
        Ok(Watching {
            path,
            lines: Box::pin(lines),
        })
    }
}

impl Watching {
    /// The next event, or `None` when the server ended the watch.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        let mut line = String::new();
        match tokio::time::timeout(PATIENCE, self.lines.read_line(&mut line)).await {
            Err(_) => bail!("GET {}: no event within {} s", self.path, PATIENCE.as_secs()),
            Ok(read) => {
                if read.with_context(|| format!("GET {}", self.path))? == 0 {
                    return Ok(None);
                }
            }
        }
        serde_json::from_str(&line)
            .map(Some)
            .with_context(|| format!("GET {}: not an event: {line}", self.path))
    }

    /// The next event, which must be of this type; gives its object.
    pub async fn event(&mut self, kind: &str) -> Result<Value> {
        let Some(mut event) = self.next().await? else {
            bail!("GET {}: the watch ended, expected {kind}", self.path);
        };
        if event["type"] != kind {
            bail!("GET {}: expected {kind}, got {event}", self.path);
        }
        Ok(event["object"].take())
    }

    /// The next events, by type and name.
    pub async fn events(&mut self, count: usize) -> Result<Vec<String>> {
        let mut seen = Vec::new();
        for _ in 0..count {
            let Some(event) = self.next().await? else {
                bail!("GET {}: the watch ended after {seen:?}", self.path);
            };
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            seen.push(format!(
                "{} {}",
                text(&event["type"]),
                text(&event["object"]["metadata"]["name"])
            ));
        }
        Ok(seen)
    }
}
