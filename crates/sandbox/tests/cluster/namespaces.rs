//! The end of a namespace.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::world::{World, pod};

#[tokio::test]
async fn a_namespace_goes_with_all_that_is_in_it_and_says_what_it_waits_for() {
    let world = World::start().await;
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let shop = serde_json::from_value(json!({"metadata": {"name": "shop"}})).unwrap();
    namespaces.create(&PostParams::default(), &shop).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), "shop");
    let web = serde_json::from_value(pod("web", &["sleep"], json!({}))).unwrap();
    pods.create(&PostParams::default(), &web).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), "shop");
    let held = json!({"metadata": {"name": "held", "finalizers": ["test.example/hold"]}});
    maps.create(&PostParams::default(), &serde_json::from_value(held).unwrap())
        .await
        .unwrap();
    world
        .until(&pods, "web", |pod| crate::world::phase(pod) == "Running")
        .await;
    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    world.until_gone(&pods, "web").await;
    let message = |namespace: &Namespace| {
        let conditions = namespace
            .status
            .clone()
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        let one = conditions
            .into_iter()
            .find(|it| it.type_ == "NamespaceFinalizersRemaining" && it.status == "True");
        one.and_then(|it| it.message).unwrap_or_default()
    };
    let shop = world
        .until(&namespaces, "shop", |it| !message(it).is_empty())
        .await;
    assert_eq!(
        message(&shop),
        "Some content in the namespace has finalizers remaining: test.example/hold in 1 resource instances"
    );
    let none = json!({"metadata": {"finalizers": []}});
    maps.patch("held", &PatchParams::default(), &Patch::Merge(none))
        .await
        .unwrap();
    world.until_gone(&namespaces, "shop").await;
    world.sandbox.shutdown().await;
}
