//! `velero plugin get`: what the server says that it has. Mirrors `pkg/cmd/cli/plugin/get.go`; as there, a server that does
//! not answer is told in the output and is no failure.

use caravel_api::v1::{PluginInfo, ServerStatusRequest, ServerStatusRequestStatus};

use super::super::connection::Global;
use super::super::failure::Outcome;
use super::super::flags::duration;
use super::super::output::{Format, emit, print};
use super::super::server_status;
use super::super::tab_writer::table;

const HEADER: [&str; 2] = ["NAME", "KIND"];

/// Get what is built into the server: stores and item actions.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Output format.
    #[arg(short, long, default_value = "table")]
    output: Format,
    /// How long the server may take to answer.
    #[arg(long, default_value = "5s", value_parser = duration)]
    timeout: caravel_api::Duration,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let client = global.client().await?;
    let asked = server_status::ask(client, &global.namespace(), *args.timeout).await;
    let mut status = match asked {
        Ok(status) => status,
        Err(why) => return emit(&format!("<error getting plugin information: {why}>\n")),
    };
    sort(&mut status.plugins);
    if args.output == Format::Table {
        return emit(&text(&status));
    }
    let request = ServerStatusRequest {
        status: Some(status),
        ..ServerStatusRequest::default()
    };
    print(&request, args.output)
}

/// By kind, then by name.
fn sort(plugins: &mut [PluginInfo]) {
    plugins.sort_by(|one, other| (&one.kind, &one.name).cmp(&(&other.kind, &other.name)));
}

fn text(status: &ServerStatusRequestStatus) -> String {
    let row = |plugin: &PluginInfo| vec![plugin.name.clone(), plugin.kind.clone()];
    let rows: Vec<Vec<String>> = status.plugins.iter().map(row).collect();
    table(&HEADER, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plugins_are_sorted_by_kind_and_name_as_by_velero() {
        let mut status: ServerStatusRequestStatus = serde_json::from_value(json!({"plugins": [
            {"name": "velero.io/pod", "kind": "RestoreItemAction"},
            {"name": "velero.io/pv", "kind": "BackupItemAction"},
            {"name": "velero.io/job", "kind": "RestoreItemAction"}]}))
        .unwrap();
        sort(&mut status.plugins);
        assert_eq!(
            text(&status),
            "NAME            KIND\n\
             velero.io/pv    BackupItemAction\n\
             velero.io/job   RestoreItemAction\n\
             velero.io/pod   RestoreItemAction\n"
        );
    }
}
