//! How a command fails: what failed, because of what, and what to type next.
//!
//! Exit codes of `velero`: 0 done, 1 failed (this file), 2 the command line is wrong or asks for something that this
//! version does not have yet (`not_yet.rs`).

use std::fmt;

/// A failure as the user reads it.
#[derive(Debug)]
pub struct Failure {
    message: String,
    next: Option<String>,
    usage: bool,
}

/// What every verb returns.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Something went wrong while doing what was asked: exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            next: None,
            usage: false,
        }
    }

    /// What was asked makes no sense or is not in this version: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            next: None,
            usage: true,
        }
    }

    /// The command to try next.
    pub fn next(mut self, command: impl Into<String>) -> Self {
        self.next = Some(command.into());
        self
    }

    /// Makes a suggested `velero` command name the namespace, where that is not the usual one.
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        if namespace != caravel_api::labels::DEFAULT_NAMESPACE {
            self.next = self.next.map(|next| match next.strip_prefix("velero ") {
                Some(command) => format!("velero -n {namespace} {command}"),
                None => next,
            });
        }
        self
    }

    /// What went wrong, in one line.
    pub fn message(&self) -> String {
        self.message.clone()
    }

    /// The exit code for the shell.
    pub fn code(&self) -> u8 {
        if self.usage { 2 } else { 1 }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "An error occurred: {}", self.message)?;
        match &self.next {
            Some(next) => write!(f, "\nNext: {next}"),
            None => Ok(()),
        }
    }
}

/// An error and everything below it, in one line. Errors of kube and reqwest hold no credentials; URLs are taken out
/// by whoever made the request.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// A failed call to the API server, told with what was being done and what to try.
pub fn kubernetes(doing: impl fmt::Display, error: &kube::Error) -> Failure {
    let kube::Error::Api(status) = error else {
        return Failure::new(format!("{doing}: {}", chain(error)))
            .next("kubectl cluster-info    (is this the right cluster? choose one with --kubeconfig, --kubecontext or KUBECONFIG)");
    };
    let failure = Failure::new(format!("{doing}: {}", status.message));
    match status.code {
        401 => failure.next("kubectl auth whoami    (the cluster does not accept these credentials)"),
        403 => failure.next(
            "kubectl auth whoami    (these credentials may not do this; ask for the rights named above)",
        ),
        404 if status.message.contains("page not found")
            || status.message.contains("could not find the requested resource") =>
        {
            failure.next(
                "velero install --help    (Velero's kinds are not known to this cluster: is it installed?)",
            )
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_ends_with_the_next_command() {
        let failure = Failure::new("backup velero/b1: not found").next("velero backup get");
        assert_eq!(
            failure.to_string(),
            "An error occurred: backup velero/b1: not found\nNext: velero backup get"
        );
        assert_eq!(failure.code(), 1);
        assert_eq!(Failure::usage("no").code(), 2);
        assert!(
            failure
                .in_namespace("dr")
                .to_string()
                .ends_with("Next: velero -n dr backup get")
        );
    }
}
