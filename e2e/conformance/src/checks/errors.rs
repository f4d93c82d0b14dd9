//! Refusals of malformed requests and objects: exact reasons, codes and messages.

use anyhow::Result;
use serde_json::{Value, json};

use super::{STAY, config_map, deployment, pod, topic};
use crate::World;
use crate::ask::{Answer, Ask};
use crate::expect::{equal, holds};

topic![
    a_body_that_is_no_json_is_refused,
    a_body_of_another_kind_is_refused,
    a_body_without_kind_is_refused,
    a_field_of_another_type_is_refused,
    a_body_of_unknown_media_type_is_refused,
    a_verb_that_a_resource_does_not_have_is_not_allowed,
    an_answer_that_cannot_be_given_is_not_acceptable,
    every_bad_field_is_named_with_its_cause,
    a_pod_needs_valid_containers,
    a_deployment_selects_its_own_pods,
    a_claim_needs_access_modes_and_a_size,
    a_quantity_must_be_one,
    a_service_needs_ports,
    owner_references_must_be_whole,
    a_secret_holds_base64,
];

async fn raw(world: &World, path: &str, content_type: &str, body: &str) -> Result<Answer> {
    let ask = Ask {
        method: http::Method::POST,
        content_type,
        body: body.into(),
        ..Ask::get(path)
    };
    world.ask(ask).await
}

async fn a_body_that_is_no_json_is_refused(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    raw(&world, &path, "application/json", "{not json")
        .await?
        .refused_saying(
            400,
            "BadRequest",
            &["couldn't get version/kind; json parse error: "],
        )?;
    Ok(())
}

async fn a_body_of_another_kind_is_refused(world: World) -> Result<()> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
    world.post(&world.path("v1", "configmaps"), &secret).await?.refused(
        400,
        "BadRequest",
        "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion",
    )?;
    let other = json!({"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "a"}});
    world
        .post(&world.path("v1", "configmaps"), &other)
        .await?
        .refused_saying(
            400,
            "BadRequest",
            &["no kind \"ConfigMap\" is registered for version \"v2\" in scheme"],
        )?;
    Ok(())
}

async fn a_body_without_kind_is_refused(world: World) -> Result<()> {
    // Built-in kinds are known by the path; custom ones are not.
    world
        .post(
            &world.path("v1", "configmaps"),
            &json!({"metadata": {"name": "a"}}),
        )
        .await?
        .created()?;
    world
        .post(
            &world.widgets(""),
            &json!({"metadata": {"name": "a"}, "spec": {"size": 1}}),
        )
        .await?
        .refused_saying(400, "BadRequest", &["Object 'Kind' is missing in"])?;
    Ok(())
}

async fn a_field_of_another_type_is_refused(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world.post(&path, &config_map("a", json!({"k": 1}))).await?.refused(
        400,
        "BadRequest",
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field \
         ConfigMap.data of type string",
    )?;
    let mut object = pod("p", "image", &STAY);
    object["spec"]["containers"] = json!({"name": "main"});
    world.post(&world.path("v1", "pods"), &object).await?.refused(
        400,
        "BadRequest",
        "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal object into Go struct field \
         PodSpec.spec.containers of type []v1.Container",
    )?;
    Ok(())
}

async fn a_body_of_unknown_media_type_is_refused(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    raw(&world, &path, "text/plain", "{}").await?.refused_saying(
        415,
        "UnsupportedMediaType",
        &["the body of the request was in an unknown format - accepted media types include: application/json, application/yaml"],
    )?;
    Ok(())
}

async fn a_verb_that_a_resource_does_not_have_is_not_allowed(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world.put(&path, &config_map("a", json!({}))).await?.refused(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )?;
    world.delete("/api/v1/namespaces").await?.refused_saying(
        405,
        "MethodNotAllowed",
        &["does not allow this method"],
    )?;
    Ok(())
}

async fn an_answer_that_cannot_be_given_is_not_acceptable(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world
        .ask(Ask {
            accept: "text/html",
            ..Ask::get(&path)
        })
        .await?
        .refused_saying(
            406,
            "NotAcceptable",
            &[
                "406: Not Acceptable",
                "Available representations: application/json, application/yaml",
            ],
        )?;
    Ok(())
}

async fn every_bad_field_is_named_with_its_cause(world: World) -> Result<()> {
    let mut object = pod("p", "", &STAY);
    object["spec"]["containers"][0]["name"] = "Main".into();
    object["spec"]["restartPolicy"] = "Sometimes".into();
    let details = world.post(&world.path("v1", "pods"), &object).await?.refused(
        422,
        "Invalid",
        "Pod \"p\" is invalid: [spec.containers[0].name: Invalid value: \"Main\": a lowercase RFC 1123 label must consist of \
         lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  \
         or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?'), spec.containers[0].image: Required \
         value, spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"]",
    )?;
    holds(
        &details,
        &json!({"name": "p", "group": null, "kind": "Pod", "causes": [
            {"reason": "FieldValueInvalid", "field": "spec.containers[0].name"},
            {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers[0].image"},
            {"reason": "FieldValueNotSupported", "field": "spec.restartPolicy"},
        ]}),
    )
}

async fn a_pod_needs_valid_containers(world: World) -> Result<()> {
    let path = world.path("v1", "pods");
    let mut object = pod("p", "image", &STAY);
    object["spec"]["containers"] = json!([]);
    world.post(&path, &object).await?.refused(
        422,
        "Invalid",
        "Pod \"p\" is invalid: spec.containers: Required value",
    )?;
    let mut object = pod("p", "image", &STAY);
    object["spec"]["containers"] = json!([{"name": "main", "image": "a"}, {"name": "main", "image": "b"}]);
    world.post(&path, &object).await?.refused(
        422,
        "Invalid",
        "Pod \"p\" is invalid: spec.containers[1].name: Duplicate value: \"main\"",
    )?;
    let mut object = pod("p", "image", &STAY);
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    world.post(&path, &object).await?.refused(
        422,
        "Invalid",
        "Pod \"p\" is invalid: spec.containers[0].volumeMounts[0].name: Not found: \"data\"",
    )?;
    Ok(())
}

async fn a_deployment_selects_its_own_pods(world: World) -> Result<()> {
    let path = world.path("apps/v1", "deployments");
    let mut object = deployment("d", 1, "image", &STAY);
    object["spec"]["selector"]["matchLabels"] = json!({"app": "other"});
    world.post(&path, &object).await?.refused(
        422,
        "Invalid",
        "Deployment.apps \"d\" is invalid: spec.template.metadata.labels: Invalid value: {\"app\":\"d\"}: `selector` does \
         not match template `labels`",
    )?;
    object["spec"]["selector"] = Value::Null;
    world.post(&path, &object).await?.refused_saying(
        422,
        "Invalid",
        &[
            "Deployment.apps \"d\" is invalid: ",
            "spec.selector: Required value",
        ],
    )?;
    Ok(())
}

async fn a_claim_needs_access_modes_and_a_size(world: World) -> Result<()> {
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
                       "spec": {"storageClassName": "none"}});
    world.post(&world.path("v1", "persistentvolumeclaims"), &claim).await?.refused(
        422,
        "Invalid",
        "PersistentVolumeClaim \"c\" is invalid: [spec.accessModes: Required value: at least 1 access mode is required, \
         spec.resources[storage]: Required value]",
    )?;
    Ok(())
}

async fn a_quantity_must_be_one(world: World) -> Result<()> {
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "ten"}}}});
    world.post(&world.path("v1", "persistentvolumeclaims"), &claim).await?.refused(
        400,
        "BadRequest",
        "PersistentVolumeClaim in version \"v1\" cannot be handled as a PersistentVolumeClaim: quantities must match the \
         regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    )?;
    Ok(())
}

async fn a_service_needs_ports(world: World) -> Result<()> {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"selector": {"a": "b"}}});
    world
        .post(&world.path("v1", "services"), &service)
        .await?
        .refused(
            422,
            "Invalid",
            "Service \"s\" is invalid: spec.ports: Required value",
        )?;
    Ok(())
}

async fn owner_references_must_be_whole(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let mut object = config_map("a", json!({}));
    object["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "", "uid": ""}]);
    world.post(&path, &object).await?.refused(
        422,
        "Invalid",
        "ConfigMap \"a\" is invalid: [metadata.ownerReferences.name: Invalid value: \"\": must not be empty, \
         metadata.ownerReferences.uid: Invalid value: \"\": must not be empty]",
    )?;
    let owner = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": name, "controller": true});
    object["metadata"]["ownerReferences"] = json!([owner("x"), owner("y")]);
    world.post(&path, &object).await?.refused_saying(
        422,
        "Invalid",
        &["Only one reference can have Controller set to true. Found \"true\" in references for ConfigMap/x and ConfigMap/y"],
    )?;
    Ok(())
}

async fn a_secret_holds_base64(world: World) -> Result<()> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "%"}});
    let answer = world.post(&world.path("v1", "secrets"), &secret).await?;
    equal(answer.code, 400)?;
    answer.refused(
        400,
        "BadRequest",
        "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 0",
    )?;
    Ok(())
}
