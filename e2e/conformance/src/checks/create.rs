//! What POST does to an object, and which it refuses.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{config_map, topic};
use crate::expect::{equal, holds};
use crate::{World, ask::Ask};

topic![
    a_created_object_has_uid_resource_version_time_and_managed_fields,
    a_name_that_is_taken_already_exists,
    generate_name_appends_five_characters,
    an_object_without_a_name_is_invalid,
    a_name_must_be_a_dns_subdomain,
    the_namespace_of_the_body_must_be_that_of_the_path,
    a_namespace_that_does_not_exist_is_not_found,
    a_dry_run_stores_nothing,
    a_resource_version_must_not_be_given,
    what_the_server_sets_is_not_taken_from_the_client,
    built_in_kinds_get_their_defaults,
    unknown_fields_are_dropped_warned_of_or_refused_as_asked,
    a_field_given_twice_is_refused_when_strict,
    yaml_is_read_as_json_is,
];

async fn a_created_object_has_uid_resource_version_time_and_managed_fields(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let made = world
        .made(
            &format!("{path}?fieldManager=checker"),
            &config_map("a", json!({"k": "v"})),
        )
        .await?;
    let metadata = &made["metadata"];
    equal(metadata["uid"].as_str().unwrap_or_default().len(), 36)?;
    let version = metadata["resourceVersion"].as_str().unwrap_or_default();
    ensure!(
        version.parse::<u64>().is_ok_and(|version| version > 0),
        "resourceVersion {version:?}"
    );
    let created = metadata["creationTimestamp"].as_str().unwrap_or_default();
    ensure!(
        created.len() == 20 && created.ends_with('Z'),
        "creationTimestamp {created:?}"
    );
    holds(
        &made,
        &json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"},
            "metadata": {"name": "a", "namespace": world.namespace, "generation": null, "managedFields": [{
                "manager": "checker", "operation": "Update", "apiVersion": "v1", "time": created, "fieldsType": "FieldsV1",
                "fieldsV1": {"f:data": {".": {}, "f:k": {}}},
            }]},
        }),
    )?;
    equal(world.read(&format!("{path}/a")).await?, made)
}

async fn a_name_that_is_taken_already_exists(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world.made(&path, &config_map("a", json!({}))).await?;
    let details = world.post(&path, &config_map("a", json!({}))).await?.refused(
        409,
        "AlreadyExists",
        "configmaps \"a\" already exists",
    )?;
    equal(details, json!({"name": "a", "kind": "configmaps"}))?;
    let path = world.path("apps/v1", "deployments");
    let deployment = super::deployment("d", 0, "image", &[]);
    world.made(&path, &deployment).await?;
    let details = world.post(&path, &deployment).await?.refused(
        409,
        "AlreadyExists",
        "deployments.apps \"d\" already exists",
    )?;
    equal(
        details,
        json!({"name": "d", "group": "apps", "kind": "deployments"}),
    )
}

async fn generate_name_appends_five_characters(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "some-"}});
    let made = world.made(&path, &object).await?;
    let name = made["metadata"]["name"].as_str().unwrap_or_default();
    let suffix = name.strip_prefix("some-").unwrap_or_default();
    ensure!(
        suffix.len() == 5 && suffix.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c)),
        "generated {name:?}"
    );
    equal(made["metadata"]["generateName"].as_str(), Some("some-"))?;
    let other = world.made(&path, &object).await?;
    ensure!(
        other["metadata"]["name"] != made["metadata"]["name"],
        "the same name twice"
    );
    Ok(())
}

async fn an_object_without_a_name_is_invalid(world: World) -> Result<()> {
    let nameless = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}});
    let details = world
        .post(&world.path("v1", "configmaps"), &nameless)
        .await?
        .refused(
            422,
            "Invalid",
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        )?;
    holds(
        &details,
        &json!({"kind": "ConfigMap", "causes": [{"reason": "FieldValueRequired", "field": "metadata.name",
                "message": "Required value: name or generateName is required"}]}),
    )
}

async fn a_name_must_be_a_dns_subdomain(world: World) -> Result<()> {
    let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
                start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    world
        .post(
            &world.path("v1", "configmaps"),
            &config_map("Not_Valid", json!({})),
        )
        .await?
        .refused(
            422,
            "Invalid",
            &format!(
                "ConfigMap \"Not_Valid\" is invalid: metadata.name: Invalid value: \"Not_Valid\": {rule}"
            ),
        )?;
    let mut labelled = config_map("a", json!({}));
    labelled["metadata"]["labels"] = json!({"k": "not valid"});
    world
        .post(&world.path("v1", "configmaps"), &labelled)
        .await?
        .refused_saying(
            422,
            "Invalid",
            &["ConfigMap \"a\" is invalid: metadata.labels: Invalid value: \"not valid\": a valid label must be"],
        )?;
    Ok(())
}

async fn the_namespace_of_the_body_must_be_that_of_the_path(world: World) -> Result<()> {
    let mut object = config_map("a", json!({}));
    object["metadata"]["namespace"] = "elsewhere".into();
    world
        .post(&world.path("v1", "configmaps"), &object)
        .await?
        .refused(
            400,
            "BadRequest",
            "the namespace of the provided object does not match the namespace sent on the request",
        )?;
    Ok(())
}

async fn a_namespace_that_does_not_exist_is_not_found(world: World) -> Result<()> {
    let details = world
        .post(
            "/api/v1/namespaces/nowhere/configmaps",
            &config_map("a", json!({})),
        )
        .await?
        .refused(404, "NotFound", "namespaces \"nowhere\" not found")?;
    equal(details, json!({"name": "nowhere", "kind": "namespaces"}))?;
    // Reading there finds nothing, and that is not an error.
    let list = world.read("/api/v1/namespaces/nowhere/configmaps").await?;
    holds(&list, &json!({"kind": "ConfigMapList", "items": []}))
}

async fn a_dry_run_stores_nothing(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let made = world
        .made(&format!("{path}?dryRun=All"), &config_map("a", json!({"k": "v"})))
        .await?;
    ensure!(
        made["metadata"]["uid"].is_string(),
        "a dry run fills in what creation would"
    );
    world
        .get(&format!("{path}/a"))
        .await?
        .refused(404, "NotFound", "configmaps \"a\" not found")?;
    world
        .post(&format!("{path}?dryRun=Some"), &config_map("a", json!({})))
        .await?
        .refused_saying(
            422,
            "Invalid",
            &["CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""],
        )?;
    Ok(())
}

async fn a_resource_version_must_not_be_given(world: World) -> Result<()> {
    let mut object = config_map("a", json!({}));
    object["metadata"]["resourceVersion"] = "12".into();
    world
        .post(&world.path("v1", "configmaps"), &object)
        .await?
        .refused(
            500,
            "",
            "resourceVersion should not be set on objects to be created",
        )?;
    Ok(())
}

async fn what_the_server_sets_is_not_taken_from_the_client(world: World) -> Result<()> {
    let mut object = config_map("a", json!({}));
    object["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000".into();
    object["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z".into();
    object["metadata"]["deletionTimestamp"] = "2001-01-01T00:00:00Z".into();
    object["metadata"]["generation"] = 7.into();
    let made = world.made(&world.path("v1", "configmaps"), &object).await?;
    let metadata = &made["metadata"];
    ensure!(
        metadata["uid"] != object["metadata"]["uid"],
        "the client's uid was taken"
    );
    ensure!(
        metadata["creationTimestamp"] != "2001-01-01T00:00:00Z",
        "the client's time was taken"
    );
    holds(metadata, &json!({"deletionTimestamp": null}))
}

async fn built_in_kinds_get_their_defaults(world: World) -> Result<()> {
    let deployment = super::deployment("d", 0, "image", &[]);
    let made = world
        .made(&world.path("apps/v1", "deployments"), &deployment)
        .await?;
    holds(
        &made,
        &json!({"metadata": {"generation": 1}, "spec": {
            "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {"metadata": {"creationTimestamp": null}, "spec": {
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {},
                "containers": [{"name": "main", "terminationMessagePath": "/dev/termination-log",
                                "terminationMessagePolicy": "File", "resources": {}}],
            }},
        }}),
    )?;
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}});
    let made = world
        .made(&world.path("v1", "persistentvolumeclaims"), &claim)
        .await?;
    holds(
        &made,
        &json!({"spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}}),
    )?;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"selector": {"app": "d"}, "ports": [{"port": 80}]}});
    let made = world.made(&world.path("v1", "services"), &service).await?;
    holds(
        &made,
        &json!({"spec": {"type": "ClusterIP", "sessionAffinity": "None", "ipFamilyPolicy": "SingleStack",
                "internalTrafficPolicy": "Cluster", "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}]},
                "status": {"loadBalancer": {}}}),
    )?;
    ensure!(
        made["spec"]["clusterIP"].is_string(),
        "a Service has an address: {}",
        made["spec"]
    );
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}});
    let made = world.made(&world.path("v1", "secrets"), &secret).await?;
    holds(
        &made,
        &json!({"type": "Opaque", "data": {"k": "dg=="}, "stringData": null}),
    )
}

async fn unknown_fields_are_dropped_warned_of_or_refused_as_asked(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let object = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "datum": {"k": "v"}});
    let answer = world.post(&path, &object("a")).await?;
    equal(
        answer.warnings.clone(),
        vec!["299 - \"unknown field \\\"datum\\\"\"".to_owned()],
    )?;
    holds(&answer.created()?, &json!({"datum": null}))?;
    let answer = world
        .post(&format!("{path}?fieldValidation=Ignore"), &object("b"))
        .await?;
    equal(answer.warnings.len(), 0)?;
    answer.created()?;
    world
        .post(&format!("{path}?fieldValidation=Strict"), &object("c"))
        .await?
        .refused(
            400,
            "BadRequest",
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"datum\"",
        )?;
    Ok(())
}

async fn a_field_given_twice_is_refused_when_strict(world: World) -> Result<()> {
    let body =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"1"},"data":{"k":"2"}}"#;
    let path = format!("{}?fieldValidation=Strict", world.path("v1", "configmaps"));
    let ask = Ask {
        method: http::Method::POST,
        body: body.into(),
        ..Ask::get(&path)
    };
    world.ask(ask).await?.refused(
        400,
        "BadRequest",
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: duplicate field \"data\"",
    )?;
    Ok(())
}

async fn yaml_is_read_as_json_is(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  lines: |\n    one\n    two\n";
    let ask = Ask {
        method: http::Method::POST,
        content_type: "application/yaml",
        body: body.into(),
        ..Ask::get(&path)
    };
    let made = world.ask(ask).await?.created()?;
    holds(&made, &json!({"data": {"lines": "one\ntwo\n"}}))
}
