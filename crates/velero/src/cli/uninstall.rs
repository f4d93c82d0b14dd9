//! `velero uninstall`: the namespace with everything in it, the server's cluster-wide right, and the kinds of objects. What
//! lies in object storage stays. Mirrors `pkg/cmd/cli/uninstall/uninstall.go`.
//!
//! ```text
//! ask ► objects that a controller has to let go, while it still runs ► namespace ► ClusterRoleBinding ► CRDs
//!              └ after a minute: Deployment gone, finalizers off ┘
//! ```
//! Different on purpose: a namespace without the label of an installation is not deleted, and neither are the CRDs while
//! another installation uses them: their objects, every Backup of it, would go with them.

use std::time::Duration;

use caravel_api::labels::{COMPONENT, COMPONENT_VELERO};
use caravel_api::v1::{Backup, Restore};
use caravel_api::v2alpha1::{DataDownload, DataUpload};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::ApiResource;
use kube::runtime::conditions::is_deleted;
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use serde_json::json;

use super::connection::Global;
use super::failure::{Failure, Outcome, kubernetes};
use super::flags::boolean;
use super::install::objects::cluster_role_binding_name;
use super::output::emit;
use super::select::confirm;

/// How long controllers have to let their objects go. Velero's.
const LET_GO: Duration = Duration::from_secs(60);
/// How long the namespace may take to be empty.
const NAMESPACE_DEADLINE: Duration = Duration::from_secs(600);

/// Take Velero out of the cluster. What lies in object storage stays.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Do not ask.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    force: Option<bool>,
    /// Accepted without effect: it always waits.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    wait: Option<bool>,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let client = global.client().await?;
    let found = installation(&client, &namespace).await?;
    if args.force != Some(true) {
        emit(&format!(
            "You are about to uninstall Velero from namespace {namespace}. What lies in object storage stays.\n"
        ))?;
        emit(&at_work(&client, &namespace).await)?;
        if !confirm()? {
            return Ok(());
        }
    }
    match found {
        None => emit(&format!(
            "Velero namespace {namespace:?} does not exist, skipping.\n"
        ))?,
        Some(uid) => Box::pin(delete_namespace(&client, &namespace, &uid)).await?,
    }
    delete_cluster_role_binding(&client, &namespace).await?;
    delete_definitions(&client, &namespace).await?;
    emit("Velero uninstalled ⛵\n")
}

/// The UID of the namespace; `None` where there is none.
///
/// # Errors
/// It is not one that `velero install` made.
async fn installation(client: &Client, namespace: &str) -> Outcome<Option<String>> {
    let api: Api<Namespace> = Api::all(client.clone());
    let found = api
        .get_opt(namespace)
        .await
        .map_err(|error| kubernetes(format!("getting namespace {namespace}"), &error))?;
    let Some(found) = found else { return Ok(None) };
    if found.labels().get(COMPONENT).map(String::as_str) == Some(COMPONENT_VELERO) {
        return Ok(Some(found.uid().unwrap_or_default()));
    }
    Err(Failure::new(format!(
        "namespace {namespace} has no label {COMPONENT}={COMPONENT_VELERO}: it was not made by velero install, and is not deleted with all that is in it"
    ))
    .next(format!(
        "velero -n NAMESPACE uninstall    (or, to delete this one: kubectl label namespace {namespace} {COMPONENT}={COMPONENT_VELERO})"
    )))
}

/// What would be cut off, in a sentence; empty when nothing is.
async fn at_work(client: &Client, namespace: &str) -> String {
    let backups: Api<Backup> = Api::namespaced(client.clone(), namespace);
    let restores: Api<Restore> = Api::namespaced(client.clone(), namespace);
    let mut names = Vec::new();
    // Only for the question: what cannot be read is not asked about.
    if let Ok(found) = backups.list(&ListParams::default()).await {
        let running = found.items.iter().filter(|backup| !backup.phase().is_finished());
        names.extend(running.map(|backup| format!("backup {} ({})", backup.name_any(), backup.phase())));
    }
    if let Ok(found) = restores.list(&ListParams::default()).await {
        let running = found
            .items
            .iter()
            .filter(|restore| !restore.phase().is_finished());
        names.extend(running.map(|restore| format!("restore {} ({})", restore.name_any(), restore.phase())));
    }
    if names.is_empty() {
        return String::new();
    }
    format!("This cuts off: {}.\n", names.join(", "))
}

async fn delete_namespace(client: &Client, namespace: &str, uid: &str) -> Outcome {
    emit("Waiting for resource with attached finalizer to be deleted\n")?;
    if tokio::time::timeout(LET_GO, let_go(client, namespace))
        .await
        .is_err()
    {
        Box::pin(by_force(client, namespace)).await?;
    }
    let api: Api<Namespace> = Api::all(client.clone());
    let deleted = api.delete(namespace, &DeleteParams::default()).await;
    unless_gone(deleted.map(drop), || format!("deleting namespace {namespace}"))?;
    emit(&format!(
        "Waiting for velero namespace {namespace:?} to be deleted\n"
    ))?;
    let gone = await_condition(api.clone(), namespace, is_deleted(uid));
    if tokio::time::timeout(NAMESPACE_DEADLINE, gone).await.is_err() {
        return Err(Failure::new(format!(
            "namespace {namespace} is still there after {} s: {}",
            NAMESPACE_DEADLINE.as_secs(),
            why_it_stays(&api, namespace).await
        ))
        .next(format!("kubectl get namespace {namespace} -o yaml")));
    }
    emit(&format!("Velero namespace {namespace:?} deleted\n"))
}

async fn why_it_stays(api: &Api<Namespace>, namespace: &str) -> String {
    let found = api.get_opt(namespace).await.ok().flatten();
    let conditions = found.and_then(|namespace| namespace.status?.conditions);
    let reasons: Vec<String> = conditions
        .into_iter()
        .flatten()
        .filter(|condition| condition.status == "True")
        .filter_map(|condition| condition.message)
        .collect();
    if reasons.is_empty() {
        "no reason is known".to_owned()
    } else {
        reasons.join("; ")
    }
}

/// The kinds that controllers hold by finalizers.
fn held() -> [ApiResource; 3] {
    [
        ApiResource::erase::<Restore>(&()),
        ApiResource::erase::<DataUpload>(&()),
        ApiResource::erase::<DataDownload>(&()),
    ]
}

/// Deletes what controllers hold, and waits until they have let it go. A kind that there is not holds nothing.
async fn let_go(client: &Client, namespace: &str) {
    for kind in held() {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
        let Ok(found) = api.list(&ListParams::default()).await else {
            continue;
        };
        for object in &found.items {
            // What is not deleted here goes with the namespace, which says so if it cannot.
            let _ = api.delete(&object.name_any(), &DeleteParams::default()).await;
        }
        for object in found.items {
            let uid = object.uid().unwrap_or_default();
            let _ = await_condition(api.clone(), &object.name_any(), is_deleted(&uid)).await;
        }
    }
}

/// Nobody lets them go: the server goes first, for it would hold them again.
async fn by_force(client: &Client, namespace: &str) -> Outcome {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let name = "velero";
    let server = deployments
        .get_opt(name)
        .await
        .map_err(|error| kubernetes(format!("getting Deployment {namespace}/{name}"), &error))?;
    if let Some(server) = server {
        let deleted = deployments.delete(name, &DeleteParams::foreground()).await;
        unless_gone(deleted.map(drop), || {
            format!("deleting Deployment {namespace}/{name}")
        })?;
        let uid = server.uid().unwrap_or_default();
        let gone = await_condition(deployments, name, is_deleted(&uid));
        if tokio::time::timeout(LET_GO, gone).await.is_err() {
            return Err(
                Failure::new(format!("Deployment {namespace}/{name} does not go away"))
                    .next(format!("kubectl -n {namespace} get pods")),
            );
        }
    }
    for kind in held() {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
        let Ok(found) = api.list(&ListParams::default()).await else {
            continue;
        };
        for object in found.items {
            let name = object.name_any();
            let others: Vec<&String> = object
                .finalizers()
                .iter()
                .filter(|finalizer| !is_veleros(finalizer))
                .collect();
            let patch = Patch::Merge(json!({"metadata": {"finalizers": others}}));
            let patched = api.patch(&name, &PatchParams::default(), &patch).await;
            unless_gone(patched.map(drop), || {
                format!("taking the finalizers off {} {namespace}/{name}", kind.kind)
            })?;
        }
    }
    Ok(())
}

/// `velero.io/data-upload-download-finalizer`, `restores.velero.io/external-resources-finalizer`.
fn is_veleros(finalizer: &str) -> bool {
    let domain = finalizer.split('/').next().unwrap_or_default();
    domain == "velero.io" || domain.ends_with(".velero.io")
}

async fn delete_cluster_role_binding(client: &Client, namespace: &str) -> Outcome {
    let api: Api<ClusterRoleBinding> = Api::all(client.clone());
    let name = cluster_role_binding_name(namespace);
    match api.delete(&name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => emit(&format!(
            "Velero ClusterRoleBinding {name:?} does not exist, skipping.\n"
        )),
        deleted => unless_gone(deleted.map(drop), || {
            format!("deleting ClusterRoleBinding {name}")
        }),
    }
}

/// The kinds, unless another installation has objects of them.
async fn delete_definitions(client: &Client, namespace: &str) -> Outcome {
    let selector = ListParams::default().labels(&format!("{COMPONENT}={COMPONENT_VELERO}"));
    let deployments: Api<Deployment> = Api::all(client.clone());
    let servers = deployments
        .list(&selector)
        .await
        .map_err(|error| kubernetes("looking for other installations", &error))?;
    let others: Vec<String> = servers
        .items
        .iter()
        .filter_map(ResourceExt::namespace)
        .filter(|other| other != namespace)
        .collect();
    if !others.is_empty() {
        return emit(&format!(
            "Velero CRDs stay: namespace {} has an installation that needs them.\n",
            others.join(", ")
        ));
    }
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let deleted = api.delete_collection(&DeleteParams::default(), &selector).await;
    unless_gone(deleted.map(drop), || "deleting the CRDs of Velero".to_owned())
}

fn unless_gone(done: Result<(), kube::Error>, doing: impl Fn() -> String) -> Outcome {
    match done {
        Ok(()) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(kubernetes(doing(), &error)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use kube::client::Body;
    use serde_json::Value;

    use super::*;

    /// A cluster with these objects by path; what is deleted is noted, and gone then.
    fn cluster(objects: &[(&str, Value)]) -> (Client, Arc<Mutex<Vec<String>>>) {
        let deleted = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&deleted);
        let objects: Vec<(String, Value)> = objects
            .iter()
            .map(|(path, object)| ((*path).to_owned(), object.clone()))
            .collect();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let path = request.uri().path().to_owned();
            let mut noted = noted.lock().unwrap();
            let gone = noted.contains(&path);
            let (code, answer) = match objects.iter().find(|(at, _)| *at == path) {
                Some((_, object)) if !gone => {
                    if request.method() == http::Method::DELETE {
                        noted.push(path);
                    }
                    (200, object.clone())
                }
                _ => (
                    404,
                    json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "not found"}),
                ),
            };
            let response = http::Response::builder()
                .status(code)
                .header("content-type", "application/json")
                .body(Body::from(answer.to_string().into_bytes()));
            async move { response.map_err(std::io::Error::other) }
        });
        (Client::new(service, "velero"), deleted)
    }

    const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

    fn servers_in(namespaces: &[&str]) -> Value {
        let servers: Vec<Value> = namespaces
            .iter()
            .map(|namespace| json!({"metadata": {"name": "velero", "namespace": namespace}}))
            .collect();
        json!({"apiVersion": "apps/v1", "kind": "DeploymentList", "metadata": {}, "items": servers})
    }

    fn no_crds() -> Value {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinitionList", "metadata": {}, "items": []})
    }

    #[tokio::test]
    async fn the_kinds_stay_while_another_installation_has_backups_of_them() {
        for (namespaces, goes) in [(&["velero", "dr"][..], false), (&["velero"], true), (&[], true)] {
            let (client, deleted) = cluster(&[
                ("/apis/apps/v1/deployments", servers_in(namespaces)),
                (CRDS, no_crds()),
            ]);
            delete_definitions(&client, "velero").await.unwrap();
            assert_eq!(*deleted.lock().unwrap() == [CRDS], goes, "{namespaces:?}");
        }
    }

    #[tokio::test]
    async fn a_namespace_that_velero_did_not_make_is_not_deleted() {
        let namespace = |labels: Value| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "uid": "u", "labels": labels}});
        let (client, _) = cluster(&[("/api/v1/namespaces/shop", namespace(json!({"team": "a"})))]);
        let refused = installation(&client, "shop").await.unwrap_err().to_string();
        assert!(
            refused.contains("shop") && refused.contains("component=velero"),
            "{refused}"
        );
        let made = namespace(json!({"component": "velero"}));
        let (client, _) = cluster(&[("/api/v1/namespaces/shop", made)]);
        assert_eq!(installation(&client, "shop").await.unwrap().as_deref(), Some("u"));
        assert_eq!(installation(&client, "other").await.unwrap(), None);
    }

    #[test]
    fn only_veleros_own_finalizers_are_taken_off() {
        assert!(is_veleros("restores.velero.io/external-resources-finalizer"));
        assert!(is_veleros("velero.io/data-upload-download-finalizer"));
        assert!(!is_veleros("example.com/velero.io"));
        assert!(!is_veleros("notvelero.io/x"));
    }

    #[test]
    fn the_binding_is_the_one_that_install_made() {
        assert_eq!(cluster_role_binding_name("velero"), "velero");
        assert_eq!(cluster_role_binding_name("dr"), "velero-dr");
    }
}
