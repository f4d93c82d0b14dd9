//! `velero restore delete [NAMES]`: the record of a restore and its files in the bucket go; what was restored stays.
//!
//! The finalizer, which Velero sets on every Restore, is set here, at the deletion: the server removes
//! `restores/<name>/` and takes it off.

use caravel_api::v1::Restore;
use caravel_controllers::restore::decide::FINALIZER;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::super::connection::Global;
use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::output::emit;
use super::super::select::{Deletion, all_of};

/// Delete restores: their records and logs. What was restored stays.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    deletion: Deletion,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    if !args.deletion.confirmed("restore")? {
        return Ok(());
    }
    let namespace = global.namespace();
    let api: Api<Restore> = Api::namespaced(global.client().await?, &namespace);
    let found = args.deletion.select.fetch(&api, &namespace, "restore").await?;
    if found.is_empty() {
        return emit("No restores found\n");
    }
    let mut failures = Vec::new();
    for restore in found {
        if let Err(failure) = one(&api, &namespace, &restore).await {
            failures.push(failure);
        }
    }
    all_of(failures)
}

async fn one(api: &Api<Restore>, namespace: &str, restore: &Restore) -> Outcome {
    let name = restore.name_any();
    let phase = restore.phase();
    let has_begun = phase.as_str() != "New";
    if has_begun && !phase.is_finished() {
        return Err(Failure::new(format!(
            "restore {namespace}/{name} is {phase}: it is not deleted while it runs"
        ))
        .next(format!("velero restore cancel {name}    (or wait for its end)")));
    }
    let failed = |error: kube::Error| kubernetes(format!("deleting restore {namespace}/{name}"), &error);
    if let Some(patch) = with_finalizer(restore).filter(|_| has_begun) {
        api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map_err(failed)?;
    }
    api.delete(&name, &DeleteParams::default())
        .await
        .map_err(failed)?;
    emit(&format!(
        "Request to delete restore \"{name}\" submitted successfully.\nThe restore will be fully deleted after all associated data (restore files in object storage) are removed.\n"
    ))
}

/// None: it is there already.
fn with_finalizer(restore: &Restore) -> Option<Value> {
    let mut finalizers = restore.finalizers().to_vec();
    if finalizers.iter().any(|name| name == FINALIZER) {
        return None;
    }
    finalizers.push(FINALIZER.to_owned());
    Some(json!({"metadata": {"resourceVersion": restore.resource_version(), "finalizers": finalizers}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_finalizer_is_added_to_what_is_there() {
        let mut restore = Restore::new("r1", Default::default());
        restore.metadata.finalizers = Some(vec!["else.io/keep".into()]);
        let patch = with_finalizer(&restore).unwrap();
        assert_eq!(
            patch["metadata"]["finalizers"],
            json!(["else.io/keep", FINALIZER])
        );
        restore.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        assert!(with_finalizer(&restore).is_none());
    }
}
