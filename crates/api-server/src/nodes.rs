//! What the API server asks of a node: the log of a pod, a command in it. Real Kubernetes asks the kubelet.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde_json::Value;

use crate::error::ApiError;

/// `PodLogOptions`; the container is always named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub container: String,
    pub follow: bool,
    /// Of the container's last instance.
    pub previous: bool,
    /// Lines from the end.
    pub tail_lines: Option<u64>,
    pub since: Option<Timestamp>,
    /// Each line begins with its time.
    pub timestamps: bool,
    pub limit_bytes: Option<u64>,
}

/// `PodExecOptions`; the container is always named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOptions {
    pub container: String,
    pub command: Vec<String>,
    /// All of standard input.
    pub stdin: Bytes,
}

/// What a command in a container said, and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Executed {
    pub stdout: Bytes,
    pub stderr: Bytes,
    /// 0: it did what it was asked.
    pub code: i32,
}

impl Executed {
    /// One that succeeded.
    pub fn success(stdout: impl Into<Bytes>) -> Self {
        Self {
            stdout: stdout.into(),
            ..Self::default()
        }
    }

    /// One that failed, and why.
    pub fn failure(code: i32, stderr: impl Into<Bytes>) -> Self {
        Self {
            stderr: stderr.into(),
            code,
            ..Self::default()
        }
    }
}

/// The nodes of a cluster, as the API server sees them.
#[async_trait]
pub trait Nodes: Send + Sync + 'static {
    /// What a container wrote; goes on until it ends when `follow` is set.
    async fn logs(&self, pod: &Value, options: LogOptions) -> Result<BoxStream<'static, Bytes>, ApiError>;

    /// Runs a command in a container.
    async fn exec(&self, pod: &Value, options: ExecOptions) -> Result<Executed, ApiError>;
}
