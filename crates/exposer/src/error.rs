//! Why a step could not be taken.

/// An error of the exposer. All are worth another try except where the text says what to install.
#[derive(Debug, thiserror::Error)]
pub enum ExposerError {
    /// The API server refused or could not be reached.
    #[error("cannot {operation} {object}: {}", words(error))]
    Api {
        /// `get`, `create`, `patch`, `delete`.
        operation: &'static str,
        /// Kind, namespace and name.
        object: String,
        /// Not a `#[source]`: its words are in the text already, without the noise around them.
        error: Box<kube::Error>,
    },
    /// The data mover pod inherits from the node agent's DaemonSet, and there is none.
    #[error(
        "DaemonSet {namespace}/node-agent not found: data mover pods inherit their image from it; install with --use-node-agent"
    )]
    NoNodeAgent {
        /// Namespace looked in.
        namespace: String,
    },
}

impl ExposerError {
    /// The object was changed by somebody else in between: read again.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { error, .. } if matches!(&**error, kube::Error::Api(status) if status.is_conflict()))
    }

    /// The API server will say the same every time: the object is invalid or not allowed.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Api { error, .. }
            if matches!(&**error, kube::Error::Api(status) if status.is_invalid() || status.code == 400))
    }
}

/// What the API server says, or why it could not be asked.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}
