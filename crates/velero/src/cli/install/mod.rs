//! `velero install`: flags (`options.rs`) → objects (`objects.rs`) → print, or create (`apply.rs`) and wait
//! (`wait.rs`).

mod apply;
mod backup_repository_configmap;
pub(crate) mod data_mover_role;
mod leader_election_role;
mod named_configmap;
mod node_agent;
mod node_agent_configmap;
pub mod objects;
mod options;
pub mod platform;
pub mod plugins;
pub mod repo_password;
mod server;
mod wait;

#[cfg(test)]
mod platform_tests;
#[cfg(test)]
mod security_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod velero_cases;

#[cfg(feature = "sandbox")]
pub(crate) use apply::create as create_object;
pub use options::Args;
#[cfg(feature = "sandbox")]
pub(crate) use wait::deployment as deployment_is_ready;

use kube::Client;
use serde_json::Value;

use self::options::Options;
use super::connection::Global;
use super::failure::Outcome;
use super::output;

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let crds = objects::crds();
    let options = if args.crds_only.unwrap_or(false) {
        None
    } else {
        Some(Options::from_args(args, global.namespace())?)
    };
    let others = options.as_ref().map(objects::objects).unwrap_or_default();
    for note in options.iter().flat_map(|options| &options.notes) {
        eprintln!("{note}");
    }
    if let Some(format) = args.output {
        advise(options.as_ref());
        return output::print(&output::list([crds, others].concat()), format);
    }
    if args.dry_run.unwrap_or(false) {
        return Ok(());
    }
    let client = global.client().await?;
    let password = options
        .as_ref()
        .and_then(|options| Some((options, options.repo_password.as_ref()?)));
    if let Some((options, password)) = password {
        password.check(&client, options).await?;
    }
    if let Some(options) = &options {
        node_agent_configmap::check(&client, options).await?;
        backup_repository_configmap::check(&client, options).await?;
    }
    let say = |line: &str| println!("{line}");
    create(&client, &crds, &others, say).await?;
    advise(options.as_ref());
    let Some(options) = options else { return Ok(()) };
    if args.wait.unwrap_or(false) {
        wait_until_ready(&client, &options, say).await?;
    }
    closing_words(&options);
    Ok(())
}

/// Creates the CRDs, and everything else once the API server serves them.
async fn create(client: &Client, crds: &[Value], others: &[Value], say: fn(&str)) -> Outcome {
    for crd in crds {
        apply::create(client, crd, say).await?;
    }
    say("Waiting for resources to be ready in cluster...");
    apply::established(client, crds).await?;
    for object in others {
        apply::create(client, object, say).await?;
    }
    Ok(())
}

async fn wait_until_ready(client: &Client, options: &Options, say: fn(&str)) -> Outcome {
    say("Waiting for Velero deployment to be ready.");
    wait::server(client, &options.namespace).await?;
    if options.use_node_agent {
        say("Waiting for node-agent daemonset to be ready.");
        wait::node_agent(client, &options.namespace).await?;
    }
    Ok(())
}

/// Installs into a cluster of this process and waits until all of it runs; says nothing.
#[cfg(feature = "sandbox")]
pub(crate) async fn quietly(args: &Args, namespace: &str, client: &Client) -> Outcome {
    let options = Options::from_args(args, namespace.to_owned())?;
    create(client, &objects::crds(), &objects::objects(&options), |_| {}).await?;
    wait_until_ready(client, &options, |_| {}).await
}

/// What there is to say about a password that was set: on standard error, since standard output may go to a file.
fn advise(options: Option<&Options>) {
    if let Some(options) = options
        && let Some(password) = &options.repo_password
    {
        eprintln!("{}", password.advice(&options.namespace));
    }
}

fn closing_words(options: &Options) {
    let namespace = &options.namespace;
    if options.credentials.is_none() && options.location.is_some() {
        println!("\nNo secret file was specified, no Secret created.\n");
    }
    if options.location.is_none() {
        println!("\nNo bucket and provider were specified, no default backup storage location created.\n");
    }
    println!(
        "Velero is installed! ⛵ Use 'kubectl logs deployment/velero -n {namespace}' to view the status."
    );
    if options.repo_password.is_none() {
        eprintln!(
            "Note: repositories are encrypted with Velero's published default password until you set your own in Secret \
             {namespace}/velero-repo-credentials, key repository-password."
        );
    }
}
