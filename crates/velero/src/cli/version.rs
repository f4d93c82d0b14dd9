//! `velero version`: the version of this command, and of the server by way of a ServerStatusRequest.
//!
//! Mirrors `pkg/cmd/cli/version/version.go`; sample `version.txt`. The question is [`server_status`]'s. As with Velero, a server whose version cannot be learned is told in the output and is no failure.

use std::time::Duration;

use super::connection::Global;
use super::failure::Outcome;
use super::flags::{boolean, duration};
use super::output::emit;
use super::server_status;

/// Print the velero version and associated image.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only the version of this command, not the server's.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    client_only: Option<bool>,
    /// How long the server may take to report its version.
    #[arg(long, default_value = "5s", value_parser = duration)]
    timeout: caravel_api::Duration,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    emit(&client())?;
    if args.client_only.unwrap_or(false) {
        return Ok(());
    }
    emit(&of_server(global, *args.timeout).await)
}

/// Both versions, as the command prints them.
pub async fn text(global: &Global, timeout: Duration) -> String {
    client() + &of_server(global, timeout).await
}

async fn of_server(global: &Global, timeout: Duration) -> String {
    let asked = async {
        let client = global.client().await.map_err(|failure| failure.message())?;
        server_status::ask(client, &global.namespace(), timeout).await
    };
    server(asked.await.map(|status| status.server_version))
}

/// This command's version, as its server says it too.
pub fn own() -> String {
    format!("v{}", env!("CARGO_PKG_VERSION"))
}

fn client() -> String {
    let commit = option_env!("CARAVEL_GIT_COMMIT").unwrap_or("-");
    format!("Client:\n\tVersion: {}\n\tGit commit: {commit}\n", own())
}

fn server(version: Result<String, String>) -> String {
    match version {
        Err(why) => format!("<error getting server version: {why}>\n"),
        Ok(version) => {
            let warning = match older(&own(), &version) {
                None => String::new(),
                Some(which) => format!(
                    "# WARNING: the client version does not match the server version. Please update {which}\n"
                ),
            };
            format!("Server:\n\tVersion: {version}\n{warning}")
        }
    }
}

/// Which of the two to update: the one whose major and minor version are lower. A version that is none is the oldest.
fn older(client: &str, server: &str) -> Option<&'static str> {
    let minor = |version: &str| -> Option<(u64, u64)> {
        let mut parts = version.strip_prefix('v')?.split(['.', '-', '+']);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    match minor(client).cmp(&minor(server)) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Less => Some("client"),
        std::cmp::Ordering::Greater => Some("server"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_is_veleros() {
        assert_eq!(server(Ok(own())), format!("Server:\n\tVersion: {}\n", own()));
        assert_eq!(
            server(Err("timed out".into())),
            "<error getting server version: timed out>\n"
        );
        assert!(client().starts_with("Client:\n\tVersion: v") && client().contains("\n\tGit commit: "));
    }

    #[test]
    fn versions_that_differ_in_more_than_the_patch_say_which_one_to_update() {
        assert_eq!(older("v1.18.3", "v1.18.0-rc.1"), None);
        assert_eq!(older("v1.17.0", "v1.18.3"), Some("client"));
        assert_eq!(older("v2.0.0", "v1.18.3"), Some("server"));
        assert_eq!(older("v0.1.0", "main"), Some("server"));
        let text = server(Ok("v99.0.0".into()));
        assert!(text.ends_with(
            "# WARNING: the client version does not match the server version. Please update client\n"
        ));
    }
}
