//! Server-side apply: fields have owners.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{STAY, config_map, deployment, topic};
use crate::World;
use crate::ask::{Answer, Ask, patch};
use crate::expect::{equal, holds};
use crate::widgets::widget;

topic![
    what_is_not_there_is_made,
    a_field_of_another_manager_is_a_conflict,
    a_field_that_somebody_updated_is_a_conflict_that_tells_the_version,
    force_takes_the_field,
    a_field_that_is_applied_no_more_goes,
    a_field_with_two_owners_stays_until_both_let_go,
    a_manager_must_be_named,
    managed_fields_cannot_be_applied,
    applying_the_same_again_changes_nothing,
    containers_of_two_managers_come_together,
    lists_of_custom_kinds_are_merged_as_their_schema_says,
    status_is_applied_apart,
    managed_fields_can_be_cleared,
    what_is_applied_is_validated,
];

/// Applies as a manager; the query may add `&force=true`.
async fn apply(world: &World, path: &str, manager: &str, object: &Value) -> Result<Answer> {
    world
        .patch(patch::APPLY, &format!("{path}?fieldManager={manager}"), object)
        .await
}

/// The owner's entry in `metadata.managedFields`.
fn owned<'a>(object: &'a Value, manager: &str) -> &'a Value {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten();
    entries
        .into_iter()
        .find(|entry| entry["manager"] == manager)
        .unwrap_or(&Value::Null)
}

async fn what_is_not_there_is_made(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps/a");
    let made = apply(&world, &path, "one", &config_map("a", json!({"k": "v"})))
        .await?
        .created()?;
    holds(
        &made,
        &json!({"data": {"k": "v"}, "metadata": {"managedFields": [{
            "manager": "one", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:k": {}}}}]}}),
    )?;
    let again = apply(&world, &path, "one", &config_map("a", json!({"k": "w"})))
        .await?
        .ok()?;
    holds(&again, &json!({"data": {"k": "w"}}))?;
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: yaml\n";
    let query = format!("{path}?fieldManager=one");
    let ask = Ask {
        method: http::Method::PATCH,
        content_type: patch::APPLY,
        body: body.into(),
        ..Ask::get(&query)
    };
    holds(&world.ask(ask).await?.ok()?, &json!({"data": {"k": "yaml"}}))
}

async fn a_field_of_another_manager_is_a_conflict(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps/a");
    apply(
        &world,
        &path,
        "one",
        &config_map("a", json!({"k": "v", "l": "v"})),
    )
    .await?
    .created()?;
    let details = apply(&world, &path, "two", &config_map("a", json!({"k": "w"})))
        .await?
        .refused(
            409,
            "Conflict",
            "Apply failed with 1 conflict: conflict with \"one\": .data.k",
        )?;
    equal(
        details,
        json!({"causes": [{"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.k"}]}),
    )?;
    let details = apply(
        &world,
        &path,
        "two",
        &config_map("a", json!({"k": "w", "l": "w"})),
    )
    .await?
    .refused(
        409,
        "Conflict",
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .data.k\n- .data.l",
    )?;
    equal(details["causes"].as_array().map(Vec::len), Some(2))
}

async fn a_field_that_somebody_updated_is_a_conflict_that_tells_the_version(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world
        .made(
            &format!("{path}?fieldManager=writer"),
            &config_map("a", json!({"k": "v"})),
        )
        .await?;

    apply(
        &world,
        &format!("{path}/a"),
        "two",
        &config_map("a", json!({"k": "w"})),
    )
    .await?
    .refused(
        409,
        "Conflict",
        "Apply failed with 1 conflict: conflict with \"writer\" using v1: .data.k",
    )?;
    Ok(())
}

async fn force_takes_the_field(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps/a");
    apply(
        &world,
        &path,
        "one",
        &config_map("a", json!({"k": "v", "l": "v"})),
    )
    .await?
    .created()?;
    let taken = apply(
        &world,
        &path,
        "two&force=true",
        &config_map("a", json!({"k": "w"})),
    )
    .await?
    .ok()?;
    holds(&taken, &json!({"data": {"k": "w", "l": "v"}}))?;
    equal(&owned(&taken, "one")["fieldsV1"], &json!({"f:data": {"f:l": {}}}))?;
    equal(&owned(&taken, "two")["fieldsV1"], &json!({"f:data": {"f:k": {}}}))
}

async fn a_field_that_is_applied_no_more_goes(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps/a");
    let mut object = config_map("a", json!({"k": "v", "l": "v"}));
    object["metadata"]["labels"] = json!({"x": "y"});
    apply(&world, &path, "one", &object).await?.created()?;
    let other = json!({"metadata": {"annotations": {"mine": "yes"}}});
    world.patch(patch::MERGE, &path, &other).await?.ok()?;
    let after = apply(&world, &path, "one", &config_map("a", json!({"k": "v"})))
        .await?
        .ok()?;
    equal(&after["data"], &json!({"k": "v"}))?;
    holds(
        &after,
        &json!({"metadata": {"labels": null, "annotations": {"mine": "yes"}}}),
    )
}

async fn a_field_with_two_owners_stays_until_both_let_go(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps/a");
    let both = config_map("a", json!({"k": "v"}));
    apply(&world, &path, "one", &both).await?.created()?;
    apply(&world, &path, "two", &both).await?.ok()?;
    let none = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let after = apply(&world, &path, "one", &none).await?.ok()?;
    holds(&after, &json!({"data": {"k": "v"}}))?;
    let after = apply(&world, &path, "two", &none).await?.ok()?;
    holds(&after, &json!({"data": null}))
}

async fn a_manager_must_be_named(world: World) -> Result<()> {
    world
        .patch(patch::APPLY, &world.path("v1", "configmaps/a"), &config_map("a", json!({})))
        .await?
        .refused(
            422,
            "Invalid",
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        )?;
    Ok(())
}

async fn managed_fields_cannot_be_applied(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps/a");
    let made = apply(&world, &path, "one", &config_map("a", json!({"k": "v"})))
        .await?
        .created()?;
    apply(&world, &path, "one", &made).await?.refused(
        400,
        "BadRequest",
        "metadata.managedFields must be nil",
    )?;
    Ok(())
}

async fn applying_the_same_again_changes_nothing(world: World) -> Result<()> {
    let path = world.path("apps/v1", "deployments/d");
    let object = deployment("d", 0, "image", &STAY);
    let made = apply(&world, &path, "one", &object).await?.created()?;
    let again = apply(&world, &path, "one", &object).await?.ok()?;
    equal(&again["metadata"]["generation"], &made["metadata"]["generation"])?;
    equal(owned(&again, "one"), owned(&made, "one"))?;
    let path = world.widgets("/w");
    let object = widget("w", json!({"size": 1, "parts": [{"name": "a"}]}));
    let made = apply(&world, &path, "one", &object).await?.created()?;
    equal(apply(&world, &path, "one", &object).await?.ok()?, made)
}

async fn containers_of_two_managers_come_together(world: World) -> Result<()> {
    let path = world.path("apps/v1", "deployments/d");
    apply(&world, &path, "one", &deployment("d", 0, "image", &STAY))
        .await?
        .created()?;
    let side = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"template": {"spec": {"containers": [{"name": "side", "image": "two"}]}}}});
    let after = apply(&world, &path, "two", &side).await?.ok()?;
    holds(
        &after,
        &json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "image"}, {"name": "side"}]}}}}),
    )?;
    holds(
        &owned(&after, "two")["fieldsV1"],
        &json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"side\"}": {".": {}, "f:name": {}, "f:image": {}}}}}}}),
    )?;
    let conflicting = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "mine"}]}}}});
    apply(&world, &path, "three", &conflicting).await?.refused(
        409,
        "Conflict",
        "Apply failed with 1 conflict: conflict with \"one\": \
         .spec.template.spec.containers[name=\"main\"].image",
    )?;
    let none = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
    let after = apply(&world, &path, "two", &none).await?.ok()?;
    equal(
        after["spec"]["template"]["spec"]["containers"]
            .as_array()
            .map(Vec::len),
        Some(1),
    )
}

async fn lists_of_custom_kinds_are_merged_as_their_schema_says(world: World) -> Result<()> {
    let path = world.widgets("/w");
    let spec = json!({"size": 1, "parts": [{"name": "a", "note": "x"}], "tags": ["t"], "steps": ["s"]});
    apply(&world, &path, "one", &widget("w", spec)).await?.created()?;
    let mut second = widget("w", json!({"parts": [{"name": "b"}], "tags": ["u"]}));
    let after = apply(&world, &path, "two", &second).await?.ok()?;
    holds(
        &after,
        &json!({"spec": {"parts": [{"name": "a", "note": "x", "amount": 1}, {"name": "b", "amount": 1}], "tags": ["t", "u"]}}),
    )?;
    holds(
        &owned(&after, "two")["fieldsV1"]["f:spec"],
        &json!({"f:parts": {"k:{\"name\":\"b\"}": {".": {}, "f:name": {}}}, "f:tags": {"v:\"u\"": {}}}),
    )?;
    second["spec"]["steps"] = json!(["other"]);
    apply(&world, &path, "two", &second).await?.refused(
        409,
        "Conflict",
        "Apply failed with 1 conflict: conflict with \"one\": .spec.steps",
    )?;
    Ok(())
}

async fn status_is_applied_apart(world: World) -> Result<()> {
    let path = world.widgets("/w");
    apply(&world, &path, "one", &widget("w", json!({"size": 1})))
        .await?
        .created()?;
    let status = json!({"apiVersion": "conformance.caravel.dev/v1", "kind": "Widget", "metadata": {"name": "w"},
                        "status": {"phase": "Done"}});
    let after = apply(&world, &format!("{path}/status"), "two", &status)
        .await?
        .ok()?;
    holds(&after, &json!({"spec": {"size": 1}, "status": {"phase": "Done"}}))?;
    holds(
        owned(&after, "two"),
        &json!({"operation": "Apply", "subresource": "status", "fieldsV1": {"f:status": {"f:phase": {}}}}),
    )?;
    let after = apply(&world, &path, "one", &widget("w", json!({"size": 2})))
        .await?
        .ok()?;
    holds(&after, &json!({"status": {"phase": "Done"}}))
}

async fn managed_fields_can_be_cleared(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps/a");
    apply(&world, &path, "one", &config_map("a", json!({"k": "v"})))
        .await?
        .created()?;
    let change = json!({"metadata": {"managedFields": [{}]}});
    let cleared = world.patch(patch::MERGE, &path, &change).await?.ok()?;
    ensure!(
        owned(&cleared, "one").is_null(),
        "{}",
        cleared["metadata"]["managedFields"]
    );
    Ok(())
}

async fn what_is_applied_is_validated(world: World) -> Result<()> {
    let path = world.widgets("/w");
    apply(&world, &path, "one", &widget("w", json!({"size": 0}))).await?.refused(
        422,
        "Invalid",
        "Widget.conformance.caravel.dev \"w\" is invalid: spec.size: Invalid value: 0: spec.size in body should be \
         greater than or equal to 1",
    )?;
    apply(&world, &path, "one", &widget("other", json!({"size": 1})))
        .await?
        .refused(
            400,
            "BadRequest",
            "the name of the object (other) does not match the name on the URL (w)",
        )?;
    let path = world.path("v1", "configmaps/a");
    apply(
        &world,
        &path,
        "one",
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "datum": {}}),
    )
    .await?
    .refused_saying(
        500,
        "",
        &[
            "failed to create typed patch object",
            ".datum: field not declared in schema",
        ],
    )?;
    Ok(())
}
