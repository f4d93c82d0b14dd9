//! Who may do what, and tokens of ServiceAccounts.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use serde_json::{Value, json};

use super::{config_map, topic};
use crate::World;
use crate::expect::{equal, eventually, holds};
use crate::room::MADE_BY;

topic![
    an_administrator_may_do_everything,
    a_service_account_may_do_what_its_roles_allow,
    what_is_not_allowed_is_forbidden_in_words_that_say_what,
    a_cluster_role_can_be_bound_in_one_namespace,
    a_cluster_role_binding_holds_everywhere,
    a_rule_may_name_objects_and_subresources,
    rules_of_a_user_are_listed,
    a_token_of_a_service_account_says_whose_it_is,
    a_role_binding_keeps_its_role,
];

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const RBAC: &str = "rbac.authorization.k8s.io/v1";

fn account(world: &World) -> String {
    format!("system:serviceaccount:{}:worker", world.namespace)
}

/// Whether the check's ServiceAccount may do this.
async fn may(world: &World, attributes: Value) -> Result<bool> {
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{}", world.namespace),
        "system:authenticated".to_owned(),
    ];
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": account(world), "groups": groups, "resourceAttributes": attributes}});
    let answer = world.made(REVIEWS, &review).await?;
    answer["status"]["allowed"]
        .as_bool()
        .with_context(|| format!("no answer in {answer}"))
}

/// The authorizer learns of roles a moment later.
async fn eventually_may(world: &World, attributes: Value) -> Result<()> {
    eventually("the permission", || async {
        Ok(if may(world, attributes.clone()).await? {
            Ok(())
        } else {
            Err("not allowed".to_owned())
        })
    })
    .await
}

fn on_config_maps(world: &World, verb: &str) -> Value {
    json!({"namespace": world.namespace, "verb": verb, "resource": "configmaps"})
}

fn role(world: &World, kind: &str, name: &str, rules: Value) -> Value {
    json!({"apiVersion": RBAC, "kind": kind, "metadata": {"name": name, "labels": {MADE_BY: world.namespace}}, "rules": rules})
}

fn binding(world: &World, kind: &str, name: &str, role_kind: &str, role: &str) -> Value {
    json!({"apiVersion": RBAC, "kind": kind, "metadata": {"name": name, "labels": {MADE_BY: world.namespace}},
           "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role},
           "subjects": [{"kind": "ServiceAccount", "name": "worker", "namespace": world.namespace}]})
}

fn readers() -> Value {
    json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}])
}

async fn an_administrator_may_do_everything(world: World) -> Result<()> {
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "*", "group": "*", "resource": "*"}}});
    let answer = world.made(path, &review).await?;
    holds(
        &answer,
        &json!({"kind": "SelfSubjectAccessReview", "status": {"allowed": true}}),
    )
}

async fn a_service_account_may_do_what_its_roles_allow(world: World) -> Result<()> {
    ensure!(
        !may(&world, on_config_maps(&world, "list")).await?,
        "it may list without a role"
    );
    world
        .made(
            &world.path(RBAC, "roles"),
            &role(&world, "Role", "reader", readers()),
        )
        .await?;
    let bindings = world.path(RBAC, "rolebindings");
    world
        .made(
            &bindings,
            &binding(&world, "RoleBinding", "reads", "Role", "reader"),
        )
        .await?;
    eventually_may(&world, on_config_maps(&world, "list")).await?;
    ensure!(
        !may(&world, on_config_maps(&world, "delete")).await?,
        "it may delete, too"
    );
    let elsewhere = json!({"namespace": "default", "verb": "list", "resource": "configmaps"});
    ensure!(!may(&world, elsewhere).await?, "it may list in another namespace");
    world.delete(&format!("{bindings}/reads")).await?.ok()?;
    eventually("the end of the permission", || async {
        let still = may(&world, on_config_maps(&world, "list")).await?;
        Ok(if still {
            Err("still allowed".to_owned())
        } else {
            Ok(())
        })
    })
    .await
}

async fn what_is_not_allowed_is_forbidden_in_words_that_say_what(world: World) -> Result<()> {
    let name = account(&world);
    let namespace = &world.namespace;
    let worker = world.as_user(&name, &["system:serviceaccounts", "system:authenticated"])?;
    let details = worker.get(&world.path("v1", "configmaps")).await?.refused(
        403,
        "Forbidden",
        &format!("configmaps is forbidden: User \"{name}\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"{namespace}\""),
    )?;
    equal(details, json!({"kind": "configmaps"}))?;
    worker.get(&world.path("v1", "secrets/s")).await?.refused(
        403,
        "Forbidden",
        &format!("secrets \"s\" is forbidden: User \"{name}\" cannot get resource \"secrets\" in API group \"\" in the namespace \"{namespace}\""),
    )?;
    worker.get("/apis/apps/v1/deployments").await?.refused(
        403,
        "Forbidden",
        &format!("deployments.apps is forbidden: User \"{name}\" cannot list resource \"deployments\" in API group \"apps\" at the cluster scope"),
    )?;
    worker.post(&world.widgets(""), &crate::widgets::widget("w", json!({"size": 1}))).await?.refused(
        403,
        "Forbidden",
        &format!(
            "widgets.conformance.caravel.dev is forbidden: User \"{name}\" cannot create resource \"widgets\" in API group \
             \"conformance.caravel.dev\" in the namespace \"{namespace}\""
        ),
    )?;
    worker.delete(&world.path("v1", "pods")).await?.refused_saying(
        403,
        "Forbidden",
        &["cannot deletecollection resource \"pods\""],
    )?;
    Ok(())
}

async fn a_cluster_role_can_be_bound_in_one_namespace(world: World) -> Result<()> {
    let name = world.namespace.clone();
    let role = role(&world, "ClusterRole", &name, readers());
    world.made(&format!("/apis/{RBAC}/clusterroles"), &role).await?;
    let bound = binding(&world, "RoleBinding", "reads", "ClusterRole", &name);
    world.made(&world.path(RBAC, "rolebindings"), &bound).await?;
    eventually_may(&world, on_config_maps(&world, "watch")).await?;
    let elsewhere = json!({"namespace": "default", "verb": "watch", "resource": "configmaps"});
    ensure!(
        !may(&world, elsewhere).await?,
        "it may watch in another namespace"
    );
    // The client of that account can do it, too.
    world
        .made(&world.path("v1", "configmaps"), &config_map("a", json!({})))
        .await?;
    let worker = world.as_user(
        &account(&world),
        &["system:serviceaccounts", "system:authenticated"],
    )?;
    worker.read(&world.path("v1", "configmaps/a")).await?;
    Ok(())
}

async fn a_cluster_role_binding_holds_everywhere(world: World) -> Result<()> {
    let name = world.namespace.clone();
    let rules = json!([{"apiGroups": ["conformance.caravel.dev"], "resources": ["*"], "verbs": ["*"]},
                       {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]);
    world
        .made(
            &format!("/apis/{RBAC}/clusterroles"),
            &role(&world, "ClusterRole", &name, rules),
        )
        .await?;
    let bindings = format!("/apis/{RBAC}/clusterrolebindings");
    let bound = binding(&world, "ClusterRoleBinding", &name, "ClusterRole", &name);
    world.made(&bindings, &bound).await?;
    let attributes = json!({"namespace": "default", "verb": "delete", "group": "conformance.caravel.dev", "resource": "widgets"});
    let result = eventually_may(&world, attributes).await;
    let other = may(
        &world,
        json!({"namespace": "default", "verb": "delete", "resource": "secrets"}),
    )
    .await;
    world.delete(&format!("{bindings}/{name}")).await?.ok()?;
    result?;
    ensure!(!other?, "it may delete what it was not given");
    Ok(())
}

async fn a_rule_may_name_objects_and_subresources(world: World) -> Result<()> {
    let rules = json!([
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    ]);
    world
        .made(&world.path(RBAC, "roles"), &role(&world, "Role", "some", rules))
        .await?;
    let bound = binding(&world, "RoleBinding", "some", "Role", "some");
    world.made(&world.path(RBAC, "rolebindings"), &bound).await?;
    let get = |resource: &str, subresource: &str, name: &str| json!({"namespace": world.namespace, "verb": "get", "resource": resource, "subresource": subresource, "name": name});
    eventually_may(&world, get("configmaps", "", "one")).await?;
    ensure!(
        !may(&world, get("configmaps", "", "two")).await?,
        "it may get another object"
    );
    eventually_may(&world, get("pods", "log", "p")).await?;
    ensure!(
        !may(&world, get("pods", "", "p")).await?,
        "it may get the pod, too"
    );
    Ok(())
}

async fn rules_of_a_user_are_listed(world: World) -> Result<()> {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": world.namespace}});
    let answer = world
        .made("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &review)
        .await?;
    let rules = answer["status"]["resourceRules"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let all = rules
        .iter()
        .any(|rule| rule["verbs"] == json!(["*"]) && rule["resources"] == json!(["*"]));
    ensure!(all, "an administrator's rules are {rules:?}");
    Ok(())
}

async fn a_token_of_a_service_account_says_whose_it_is(world: World) -> Result<()> {
    let path = world.path("v1", "serviceaccounts");
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "worker"}});
    let account = world.made(&path, &account).await?;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
    let answer = world.made(&format!("{path}/worker/token"), &request).await?;
    let status = &answer["status"];
    let expires: jiff::Timestamp = status["expirationTimestamp"]
        .as_str()
        .unwrap_or_default()
        .parse()?;
    let left = expires.duration_since(jiff::Timestamp::now()).as_secs();
    ensure!((3500..=3600).contains(&left), "it expires in {left} s");
    let token = status["token"].as_str().unwrap_or_default();
    let claims = token
        .split('.')
        .nth(1)
        .with_context(|| format!("not a JWT: {token:?}"))?;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(claims)
        .context("not base64")?;
    let claims: Value = serde_json::from_slice(&claims)?;
    holds(
        &claims,
        &json!({"sub": format!("system:serviceaccount:{}:worker", world.namespace), "kubernetes.io": {
            "namespace": world.namespace, "serviceaccount": {"name": "worker", "uid": account["metadata"]["uid"]}}}),
    )?;
    world
        .post(&format!("{path}/nobody/token"), &request)
        .await?
        .refused(404, "NotFound", "serviceaccounts \"nobody\" not found")?;
    Ok(())
}

async fn a_role_binding_keeps_its_role(world: World) -> Result<()> {
    let path = world.path(RBAC, "rolebindings");
    let mut made = world
        .made(&path, &binding(&world, "RoleBinding", "b", "Role", "one"))
        .await?;
    made["roleRef"]["name"] = "two".into();
    world.put(&format!("{path}/b"), &made).await?.refused_saying(
        422,
        "Invalid",
        &[
            "RoleBinding.rbac.authorization.k8s.io \"b\" is invalid: roleRef: Invalid value: ",
            "cannot change roleRef",
        ],
    )?;
    Ok(())
}
