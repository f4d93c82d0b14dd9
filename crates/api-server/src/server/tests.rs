//! The server through `kube::Client`, as controllers use it.

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{
    DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::json;

use super::*;

fn client() -> Client {
    ApiServer::builder().seed(1).build().client()
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"value": value}})).unwrap()
}

fn code(result: kube::Result<impl std::fmt::Debug>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("not refused: {other:?}"),
    }
}

async fn install(client: &Client) -> Api<DynamicObject> {
    let crds: Api<DynamicObject> = Api::all_with(
        client.clone(),
        &ApiResource::from_gvk(&GroupVersionKind::gvk(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
        )),
    );
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    crds.create(&PostParams::default(), &serde_json::from_value(crd).unwrap())
        .await
        .unwrap();
    crds
}

fn widgets(client: &Client) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Widget"));
    Api::namespaced_with(client.clone(), "default", &resource)
}

fn widget(name: &str) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": 1},
        "status": {"phase": "Forged"},
    }))
    .unwrap()
}

#[tokio::test]
async fn what_is_created_is_read_back_with_uid_and_revision() {
    let api: Api<ConfigMap> = Api::default_namespaced(client());
    let made = api
        .create(&PostParams::default(), &config_map("a", "1"))
        .await
        .unwrap();
    let read = api.get("a").await.unwrap();
    assert_eq!(made, read);
    assert!(read.metadata.uid.is_some() && read.metadata.resource_version.is_some());
    assert_eq!(
        code(api.create(&PostParams::default(), &config_map("a", "1")).await),
        409
    );
    assert_eq!(code(api.get("b").await), 404);
}

#[tokio::test]
async fn generated_names_repeat_with_the_seed() {
    let mut names = Vec::new();
    for _ in 0..2 {
        let api: Api<ConfigMap> = Api::default_namespaced(client());
        let mut object = config_map("", "1");
        object.metadata.name = None;
        object.metadata.generate_name = Some("cm-".to_owned());
        let made = api.create(&PostParams::default(), &object).await.unwrap();
        names.push((made.metadata.name, made.metadata.uid));
    }
    assert_eq!(names[0], names[1]);
}

#[tokio::test]
async fn a_stale_update_is_a_conflict() {
    let api: Api<ConfigMap> = Api::default_namespaced(client());
    let first = api
        .create(&PostParams::default(), &config_map("a", "1"))
        .await
        .unwrap();
    let patch = Patch::Merge(json!({"data": {"value": "2"}}));
    let second = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(second.data.as_ref().unwrap()["value"], "2");
    assert_eq!(code(api.replace("a", &PostParams::default(), &first).await), 409);
    let same = api.replace("a", &PostParams::default(), &second).await.unwrap();
    assert_eq!(same.metadata.resource_version, second.metadata.resource_version);
}

#[tokio::test]
async fn nothing_is_created_in_a_namespace_that_is_missing_or_ending() {
    let client = client();
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "shop");
    assert_eq!(
        code(api.create(&PostParams::default(), &config_map("a", "1")).await),
        404
    );
    let namespaces: Api<Namespace> = Api::all(client);
    let shop = serde_json::from_value(json!({"metadata": {"name": "shop"}})).unwrap();
    namespaces.create(&PostParams::default(), &shop).await.unwrap();
    api.create(&PostParams::default(), &config_map("a", "1"))
        .await
        .unwrap();
    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    assert_eq!(
        code(api.create(&PostParams::default(), &config_map("b", "1")).await),
        403
    );
    assert_eq!(
        namespaces
            .get("shop")
            .await
            .unwrap()
            .status
            .unwrap()
            .phase
            .as_deref(),
        Some("Terminating")
    );
}

#[tokio::test]
async fn a_deleted_object_stays_until_its_last_finalizer_is_gone() {
    let client = client();
    install(&client).await;
    let api = widgets(&client);
    let mut object = widget("a");
    object.metadata.finalizers = Some(vec!["example.com/hold".to_owned()]);
    api.create(&PostParams::default(), &object).await.unwrap();
    let deleted = api.delete("a", &DeleteParams::default()).await.unwrap();
    let marked = deleted.left().unwrap();
    assert!(marked.metadata.deletion_timestamp.is_some());
    assert_eq!(marked.metadata.generation, Some(2));
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(code(api.get("a").await), 404);
}

#[tokio::test]
async fn status_is_written_only_through_its_subresource() {
    let client = client();
    install(&client).await;
    let api = widgets(&client);
    let made = api.create(&PostParams::default(), &widget("a")).await.unwrap();
    assert!(made.data["status"].is_null());
    assert_eq!(made.metadata.generation, Some(1));
    let patch = Patch::Merge(json!({"spec": {"size": 2}, "status": {"phase": "New"}}));
    let by_status = api
        .patch_status("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(by_status.data["spec"]["size"], 1);
    assert_eq!(by_status.data["status"]["phase"], "New");
    assert_eq!(by_status.metadata.generation, Some(1));
    let by_object = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(by_object.metadata.generation, Some(2));
}

#[tokio::test]
async fn a_watch_tells_what_happens_after_its_revision() {
    let api: Api<ConfigMap> = Api::default_namespaced(client());
    api.create(&PostParams::default(), &config_map("a", "1"))
        .await
        .unwrap();
    let listed = api.list(&ListParams::default()).await.unwrap();
    let revision = listed.metadata.resource_version.unwrap();
    let events = api
        .watch(&WatchParams::default().timeout(1), &revision)
        .await
        .unwrap();
    api.create(&PostParams::default(), &config_map("b", "1"))
        .await
        .unwrap();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let seen: Vec<String> = events
        .map_ok(|event| match event {
            WatchEvent::Added(object) => format!("+{}", object.metadata.name.unwrap()),
            WatchEvent::Deleted(object) => format!("-{}", object.metadata.name.unwrap()),
            WatchEvent::Bookmark(_) => "bookmark".to_owned(),
            other => format!("{other:?}"),
        })
        .try_collect()
        .await
        .unwrap();
    assert_eq!(seen, ["+b", "-a", "bookmark"]);
}

#[tokio::test]
async fn pages_show_one_moment() {
    let api: Api<ConfigMap> = Api::default_namespaced(client());
    for name in ["a", "b", "c"] {
        api.create(&PostParams::default(), &config_map(name, "1"))
            .await
            .unwrap();
    }
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(first.items.len(), 2);
    assert_eq!(first.metadata.remaining_item_count, Some(1));
    api.create(&PostParams::default(), &config_map("d", "1"))
        .await
        .unwrap();
    let token = first.metadata.continue_.unwrap();
    let second = api
        .list(&ListParams::default().limit(2).continue_token(&token))
        .await
        .unwrap();
    let names: Vec<_> = second
        .items
        .into_iter()
        .filter_map(|item| item.metadata.name)
        .collect();
    assert_eq!(names, ["c"]);
}

#[tokio::test]
async fn a_pod_on_a_node_is_given_its_grace_period() {
    let api: Api<Pod> = Api::default_namespaced(client());
    let pod = |name: &str, node: Option<&str>| -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]},
        }))
        .unwrap()
    };
    api.create(&PostParams::default(), &pod("a", Some("one")))
        .await
        .unwrap();
    api.create(&PostParams::default(), &pod("b", None)).await.unwrap();
    let marked = api
        .delete("a", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(marked.metadata.deletion_grace_period_seconds, Some(30));
    api.get("a").await.unwrap();
    api.delete("a", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    assert_eq!(code(api.get("a").await), 404);
    api.delete("b", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(api.get("b").await), 404);
}

#[tokio::test]
async fn a_definition_takes_its_instances_with_it() {
    let client = client();
    let crds = install(&client).await;
    let api = widgets(&client);
    api.create(&PostParams::default(), &widget("a")).await.unwrap();
    crds.delete("widgets.example.com", &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(code(crds.get("widgets.example.com").await), 404);
    assert_eq!(code(api.get("a").await), 404);
    assert_eq!(code(api.list(&ListParams::default()).await), 404);
}

#[tokio::test]
async fn a_saved_server_goes_on_where_it_was() {
    let server = ApiServer::builder().seed(1).build();
    install(&server.client()).await;
    widgets(&server.client())
        .create(&PostParams::default(), &widget("a"))
        .await
        .unwrap();
    let again = ApiServer::builder().seed(2).build();
    again.load(&server.save()).unwrap();
    assert_eq!(again.save(), server.save());
    widgets(&again.client()).get("a").await.unwrap();
    assert!(again.load(&json!({"version": 99})).is_err());
}

struct Echo;

#[async_trait::async_trait]
impl crate::Nodes for Echo {
    async fn logs(
        &self,
        pod: &serde_json::Value,
        options: crate::LogOptions,
    ) -> Result<futures::stream::BoxStream<'static, Bytes>, ApiError> {
        let line = format!("{} {} says hello\n", pod["metadata"]["name"], options.container);
        Ok(Box::pin(futures::stream::iter([Bytes::from(line)])))
    }

    async fn exec(
        &self,
        _: &serde_json::Value,
        options: crate::ExecOptions,
    ) -> Result<crate::Executed, ApiError> {
        let said = format!(
            "{:?} {}",
            options.command,
            String::from_utf8_lossy(&options.stdin)
        );
        Ok(crate::Executed {
            stdout: Bytes::from(said),
            ..crate::Executed::failure(3, "and a complaint")
        })
    }
}

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web"}, "spec": {"containers": [{"name": "c", "image": "i"}]},
    }))
    .unwrap()
}

async fn bind(client: &Client) {
    let body = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "web"}, "target": {"kind": "Node", "name": "one"},
    });
    let request = http::Request::post("/api/v1/namespaces/default/pods/web/binding")
        .body(serde_json::to_vec(&body).unwrap())
        .unwrap();
    let _: serde_json::Value = client.request(request).await.unwrap();
}

#[tokio::test]
async fn a_pod_is_bound_once_then_its_node_is_asked_for_logs_and_commands() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = ApiServer::builder().seed(1).build();
    server.attach(Arc::new(Echo));
    let client = server.client();
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    api.create(&PostParams::default(), &pod()).await.unwrap();
    assert_eq!(
        api.logs("web", &kube::api::LogParams::default()).await.unwrap(),
        ""
    );
    bind(&client).await;
    let bound = api.get("web").await.unwrap();
    assert_eq!(bound.spec.unwrap().node_name.as_deref(), Some("one"));
    let log = api.logs("web", &kube::api::LogParams::default()).await.unwrap();
    assert_eq!(log, "\"web\" c says hello\n");

    let params = kube::api::AttachParams::default().stdin(true);
    let mut process = api.exec("web", ["cat", "-"], &params).await.unwrap();
    let mut stdin = process.stdin().unwrap();
    stdin.write_all(b"some words").await.unwrap();
    stdin.shutdown().await.unwrap();
    drop(stdin);
    let mut out = String::new();
    process.stdout().unwrap().read_to_string(&mut out).await.unwrap();
    let mut complaint = String::new();
    let mut stderr = process.stderr().unwrap();
    stderr.read_to_string(&mut complaint).await.unwrap();
    assert_eq!(complaint, "and a complaint");
    assert_eq!(out, "[\"cat\", \"-\"] some words");
    let status = process.take_status().unwrap().await.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
    process.join().await.unwrap();
}

#[tokio::test]
async fn what_is_not_served_says_so() {
    let client = client();
    for sub in ["attach", "portforward", "proxy"] {
        let request = http::Request::get(format!("/api/v1/namespaces/default/pods/web/{sub}"));
        let answer = client.request::<serde_json::Value>(request.body(Vec::new()).unwrap());
        assert_eq!(code(answer.await), 501, "{sub}");
    }
}

#[tokio::test]
async fn over_https_only_the_token_opens() {
    let server = ApiServer::builder().seed(1).build();
    let serving = server.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&serving.kubeconfig()).unwrap();
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
            .await
            .unwrap();
    let mut stranger = config.clone();
    stranger.auth_info.token = Some("guess".to_owned().into());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let _ = provider.install_default();
    let client = Client::try_from(config).unwrap();
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    api.create(&PostParams::default(), &config_map("a", "1"))
        .await
        .unwrap();
    let strange: Api<ConfigMap> = Api::default_namespaced(Client::try_from(stranger).unwrap());
    assert_eq!(code(strange.get("a").await), 401);
    serving.shutdown().await;
    assert!(api.get("a").await.is_err());
    assert!(matches!(
        server.serve("0.0.0.0:0".parse().unwrap()).await,
        Err(crate::ServeError::NotLoopback(_))
    ));
}

#[tokio::test]
async fn with_rbac_a_service_account_may_do_what_a_role_says() {
    let server = ApiServer::builder()
        .seed(1)
        .authorization(Authorization::Rbac)
        .build();
    let client = server.client_as(User::service_account("default", "web"));
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let refused = api.list(&ListParams::default()).await.unwrap_err().to_string();
    assert!(
        refused.contains(
            "configmaps is forbidden: User \"system:serviceaccount:default:web\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
        ),
        "{refused}"
    );
    let roles: Api<k8s_openapi::api::rbac::v1::ClusterRoleBinding> = Api::all(server.client());
    let binding = serde_json::from_value(json!({
        "metadata": {"name": "web"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "web"}],
    }))
    .unwrap();
    roles.create(&PostParams::default(), &binding).await.unwrap();
    api.list(&ListParams::default()).await.unwrap();
}

#[tokio::test]
async fn scale_is_another_view_of_replicas() {
    let client = client();
    let api: Api<k8s_openapi::api::apps::v1::Deployment> = Api::default_namespaced(client);
    let deployment = serde_json::from_value(json!({
        "metadata": {"name": "d"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]},
        }},
    }))
    .unwrap();
    api.create(&PostParams::default(), &deployment).await.unwrap();
    let scale = api.get_scale("d").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(2));
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("a=b"));
    let patch = Patch::Merge(json!({"spec": {"replicas": 5}}));
    api.patch_scale("d", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let read = api.get("d").await.unwrap();
    assert_eq!(read.spec.unwrap().replicas, Some(5));
    assert_eq!(read.metadata.generation, Some(2));
}

#[tokio::test]
async fn an_applier_owns_its_fields_and_is_refused_those_of_others() {
    let api: Api<ConfigMap> = Api::default_namespaced(client());
    let wanted = |value: &str| {
        Patch::Apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"value": value},
        }))
    };
    let first = PatchParams::apply("first");
    let made = api.patch("a", &first, &wanted("1")).await.unwrap();
    assert_eq!(
        made.metadata.managed_fields.as_ref().unwrap()[0]
            .manager
            .as_deref(),
        Some("first")
    );
    let same = api.patch("a", &first, &wanted("1")).await.unwrap();
    assert_eq!(same.metadata.resource_version, made.metadata.resource_version);
    let second = PatchParams::apply("second");
    assert_eq!(code(api.patch("a", &second, &wanted("2")).await), 409);
    let taken = api.patch("a", &second.force(), &wanted("2")).await.unwrap();
    assert_eq!(taken.data.unwrap()["value"], "2");
}

#[tokio::test]
async fn a_field_that_is_not_known_is_refused_when_asked_to_be_strict() {
    let api: Api<ConfigMap> = Api::default_namespaced(client());
    let patch = Patch::Merge(json!({"dta": {"value": "1"}}));
    api.create(&PostParams::default(), &config_map("a", "1"))
        .await
        .unwrap();
    let strict = PatchParams::default().validation_strict();
    assert_eq!(code(api.patch("a", &strict, &patch).await), 422);
    api.patch("a", &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn what_a_cluster_fills_in_is_filled_in() {
    let client = client();
    let services: Api<k8s_openapi::api::core::v1::Service> = Api::default_namespaced(client.clone());
    let service =
        serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}))
            .unwrap();
    let made = services.create(&PostParams::default(), &service).await.unwrap();
    let spec = made.spec.clone().unwrap();
    assert_eq!(spec.cluster_ip.as_deref(), Some("10.96.0.2"));
    let mut bare = service.clone();
    bare.metadata.resource_version = made.metadata.resource_version;
    let kept = services
        .replace("s", &PostParams::default(), &bare)
        .await
        .unwrap();
    assert_eq!(kept.spec, Some(spec));
    let pods: Api<Pod> = Api::default_namespaced(client);
    let made = pods
        .create(&PostParams::default(), &pod())
        .await
        .unwrap()
        .spec
        .unwrap();
    assert_eq!(made.service_account_name.as_deref(), Some("default"));
    assert_eq!(made.tolerations.unwrap().len(), 2);
}
