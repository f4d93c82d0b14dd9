//! `velero restore describe [NAMES]`: reads the object, the bucket's files and the data movements; the text is made in
//! `cli/describe/restore.rs`.

use std::path::{Path, PathBuf};

use caravel_api::labels;
use caravel_api::v1::{Restore, RestorePhase};
use caravel_api::v2alpha1::DataDownload;
use jiff::Timestamp;
use kube::api::Api;
use kube::{Client, ResourceExt};

use super::super::connection::Global;
use super::super::describe::restore::{Described, text};
use super::super::describe::stuck;
use super::super::describe::words;
use super::super::failure::Outcome;
use super::super::files;
use super::super::flags::boolean;
use super::super::listing::Which;
use super::super::output::emit;

/// Describe restores.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Everything: operations, resources, volumes.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    details: Option<bool>,
    /// File with the certificates to trust when talking to the object store [default: the location's own].
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let client = global.client().await?;
    let api: Api<Restore> = Api::namespaced(client.clone(), &namespace);
    let mut restores = args.which.fetch(&api, &namespace, "restore").await?;
    restores.sort_by_key(ResourceExt::name_any);
    if restores.is_empty() {
        return emit("No restores found\n");
    }
    let details = args.details.unwrap_or(false);
    for (at, restore) in restores.into_iter().enumerate() {
        let described = described(&client, &namespace, restore, args.cacert.as_deref(), details).await?;
        let parting = if at == 0 { "" } else { "\n\n" };
        emit(&format!(
            "{parting}{}",
            text(&described, details, global.colours())
        ))?;
    }
    Ok(())
}

/// One restore with all details, without colours: for `velero debug`.
pub async fn one(client: &Client, namespace: &str, name: &str) -> Outcome<String> {
    let api: Api<Restore> = Api::namespaced(client.clone(), namespace);
    let restore = words::one(&api, namespace, "restore", name).await?;
    let described = described(client, namespace, restore, None, true).await?;
    Ok(text(&described, true, false))
}

async fn described(
    client: &Client,
    namespace: &str,
    restore: Restore,
    cacert: Option<&Path>,
    details: bool,
) -> Outcome<Described> {
    Ok(Described {
        files: files::read(client, namespace, &restore, cacert, details).await?,
        waits_for: waits_for(client, namespace, &restore).await,
        restore,
    })
}

async fn waits_for(client: &Client, namespace: &str, restore: &Restore) -> Vec<String> {
    let phase = restore.phase();
    let created = restore.metadata.creation_timestamp.as_ref();
    let movements = if phase == RestorePhase::Completed {
        Vec::new()
    } else {
        stuck::movements::<DataDownload>(client, namespace, labels::RESTORE_NAME, &restore.name_any()).await
    };
    stuck::restore(&phase, created, namespace, &movements, Timestamp::now())
}
