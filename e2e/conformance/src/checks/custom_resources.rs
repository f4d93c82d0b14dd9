//! Objects of custom kinds: what their schema does to them.

use anyhow::Result;
use serde_json::{Value, json};

use super::topic;
use crate::World;
use crate::ask::patch;
use crate::expect::{equal, holds};
use crate::widgets::widget;

topic![
    defaults_are_filled_in,
    unknown_fields_are_pruned_except_where_they_are_kept,
    unknown_fields_are_refused_when_strict,
    a_missing_field_is_required,
    a_value_of_another_type_is_invalid,
    a_value_that_is_not_among_the_choices_is_not_supported,
    numbers_and_texts_have_their_limits,
    lists_have_their_limits,
    keys_of_a_list_map_are_not_repeated,
    every_bad_value_is_told_at_once,
    null_is_kept_where_it_is_allowed_and_pruned_elsewhere,
    integers_or_strings_are_both,
    an_embedded_object_needs_its_kind,
    versions_share_their_objects,
    scale_reads_and_writes_replicas,
    numbers_keep_their_form,
];

async fn refused(world: &World, spec: Value, message: &str) -> Result<Value> {
    let message = format!("Widget.conformance.caravel.dev \"w\" is invalid: {message}");
    world
        .post(&world.widgets(""), &widget("w", spec))
        .await?
        .refused(422, "Invalid", &message)
}

async fn defaults_are_filled_in(world: World) -> Result<()> {
    let spec = json!({"size": 1, "parts": [{"name": "a"}, {"name": "b", "amount": 2}]});
    let made = world.made(&world.widgets(""), &widget("w", spec)).await?;
    equal(
        &made["spec"],
        &json!({"size": 1, "color": "red", "replicas": 1, "nested": {"mode": "fast"},
                "parts": [{"name": "a", "amount": 1}, {"name": "b", "amount": 2}]}),
    )?;
    let change = json!({"spec": {"color": null, "nested": {"mode": "slow"}}});
    let after = world
        .patch(patch::MERGE, &world.widgets("/w"), &change)
        .await?
        .ok()?;
    holds(
        &after,
        &json!({"spec": {"color": "red", "nested": {"mode": "slow"}}}),
    )
}

async fn unknown_fields_are_pruned_except_where_they_are_kept(world: World) -> Result<()> {
    let mut object = widget(
        "w",
        json!({"size": 1, "sise": 2, "nested": {"other": 1}, "free": {"any": {"thing": [1]}},
               "object": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "inner", "extra": 1}, "data": {"k": "v"}}}),
    );
    object["extra"] = true.into();
    let answer = world.post(&world.widgets(""), &object).await?;
    let mut warnings = answer.warnings.clone();
    warnings.sort();
    equal(
        warnings,
        [
            "299 - \"unknown field \\\"extra\\\"\"",
            "299 - \"unknown field \\\"spec.nested.other\\\"\"",
            "299 - \"unknown field \\\"spec.object.metadata.extra\\\"\"",
            "299 - \"unknown field \\\"spec.sise\\\"\"",
        ]
        .map(str::to_owned)
        .to_vec(),
    )?;
    let made = answer.created()?;
    equal(made.get("extra"), None)?;
    equal(
        &made["spec"],
        &json!({"size": 1, "color": "red", "replicas": 1, "nested": {"mode": "fast"}, "free": {"any": {"thing": [1]}},
                "object": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "inner"}, "data": {"k": "v"}}}),
    )
}

async fn unknown_fields_are_refused_when_strict(world: World) -> Result<()> {
    world
        .post(&world.widgets("?fieldValidation=Strict"), &widget("w", json!({"size": 1, "sise": 2})))
        .await?
        .refused(
            400,
            "BadRequest",
            "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.sise\"",
        )?;
    Ok(())
}

async fn a_missing_field_is_required(world: World) -> Result<()> {
    let details = refused(&world, json!({}), "spec.size: Required value").await?;
    equal(
        details,
        json!({"name": "w", "group": "conformance.caravel.dev", "kind": "Widget", "causes": [
            {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.size"}]}),
    )?;
    let mut bare = widget("w", Value::Null);
    if let Some(fields) = bare.as_object_mut() {
        fields.remove("spec");
    }
    world.post(&world.widgets(""), &bare).await?.refused(
        422,
        "Invalid",
        "Widget.conformance.caravel.dev \"w\" is invalid: spec: Required value",
    )?;
    Ok(())
}

async fn a_value_of_another_type_is_invalid(world: World) -> Result<()> {
    let message =
        "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"";
    let details = refused(&world, json!({"size": "large"}), message).await?;
    holds(
        &details,
        &json!({"causes": [{"reason": "FieldValueTypeInvalid", "field": "spec.size"}]}),
    )?;
    for (spec, message) in [
        (
            json!({"size": 1, "on": "yes"}),
            "spec.on: Invalid value: \"string\": spec.on in body must be of type boolean: \"string\"",
        ),
        (
            json!({"size": 1, "steps": "one"}),
            "spec.steps: Invalid value: \"string\": spec.steps in body must be of type array: \"string\"",
        ),
        (
            json!({"size": 1, "nested": []}),
            "spec.nested: Invalid value: \"array\": spec.nested in body must be of type object: \"array\"",
        ),
        (
            json!({"size": 1, "steps": [1]}),
            "spec.steps[0]: Invalid value: \"integer\": spec.steps[0] in body must be of type string: \"integer\"",
        ),
        (
            json!({"size": 1.5}),
            "spec.size: Invalid value: \"number\": spec.size in body must be of type integer: \"number\"",
        ),
    ] {
        refused(&world, spec, message).await?;
    }
    Ok(())
}

async fn a_value_that_is_not_among_the_choices_is_not_supported(world: World) -> Result<()> {
    let message = "spec.color: Unsupported value: \"blue\": supported values: \"red\", \"green\"";
    let details = refused(&world, json!({"size": 1, "color": "blue"}), message).await?;
    holds(
        &details,
        &json!({"causes": [{"reason": "FieldValueNotSupported", "field": "spec.color"}]}),
    )
}

async fn numbers_and_texts_have_their_limits(world: World) -> Result<()> {
    for (spec, message) in [
        (
            json!({"size": 0}),
            "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
        ),
        (
            json!({"size": 11}),
            "spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10",
        ),
        (
            json!({"size": 1, "code": "A1"}),
            "spec.code: Invalid value: \"A1\": spec.code in body should match '^[a-z]+$'",
        ),
        (
            json!({"size": 1, "code": "abcdef"}),
            "spec.code: Too long: may not be more than 5 bytes",
        ),
        (
            json!({"size": 1, "at": "noon"}),
            "spec.at: Invalid value: \"noon\": spec.at in body must be of type date-time: \"noon\"",
        ),
    ] {
        refused(&world, spec, message).await?;
    }
    Ok(())
}

async fn lists_have_their_limits(world: World) -> Result<()> {
    refused(
        &world,
        json!({"size": 1, "tags": ["a", "b", "c", "d"]}),
        "spec.tags: Too many: 4: must have at most 3 items",
    )
    .await?;
    refused(
        &world,
        json!({"size": 1, "tags": ["a", "a"]}),
        "spec.tags[1]: Duplicate value: \"a\"",
    )
    .await?;
    Ok(())
}

async fn keys_of_a_list_map_are_not_repeated(world: World) -> Result<()> {
    let details = refused(
        &world,
        json!({"size": 1, "parts": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}),
        "spec.parts[2]: Duplicate value: {\"name\":\"a\"}",
    )
    .await?;
    holds(
        &details,
        &json!({"causes": [{"reason": "FieldValueDuplicate", "field": "spec.parts[2]"}]}),
    )
}

async fn every_bad_value_is_told_at_once(world: World) -> Result<()> {
    let details = world
        .post(
            &world.widgets(""),
            &widget("w", json!({"size": 0, "color": "blue", "parts": [{}]})),
        )
        .await?
        .refused_saying(
            422,
            "Invalid",
            &["Widget.conformance.caravel.dev \"w\" is invalid: ["],
        )?;
    let mut fields: Vec<&str> = details["causes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|cause| cause["field"].as_str())
        .collect();
    fields.sort_unstable();
    equal(fields, vec!["spec.color", "spec.parts[0].name", "spec.size"])
}

async fn null_is_kept_where_it_is_allowed_and_pruned_elsewhere(world: World) -> Result<()> {
    let made = world
        .made(
            &world.widgets(""),
            &widget(
                "w",
                json!({"size": 1, "maybe": null, "color": null, "code": null, "free": {"n": null}}),
            ),
        )
        .await?;
    equal(made["spec"].get("maybe"), Some(&Value::Null))?;
    equal(made["spec"]["free"].get("n"), Some(&Value::Null))?;
    equal(made["spec"].get("color"), Some(&json!("red")))?;
    equal(made["spec"].get("code"), None)
}

async fn integers_or_strings_are_both(world: World) -> Result<()> {
    let spec = json!({"size": 1, "port": "http", "limits": {"cpu": 2, "memory": "1Gi"}});
    let made = world.made(&world.widgets(""), &widget("v", spec.clone())).await?;
    holds(&made["spec"], &spec)?;
    refused(
        &world,
        json!({"size": 1, "port": true}),
        "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
    )
    .await?;
    Ok(())
}

async fn an_embedded_object_needs_its_kind(world: World) -> Result<()> {
    let details = world
        .post(
            &world.widgets(""),
            &widget("w", json!({"size": 1, "object": {"metadata": {}}})),
        )
        .await?
        .refused_saying(
            422,
            "Invalid",
            &["is invalid: [spec.object.apiVersion: Required value, spec.object.kind: Required value]"],
        )?;
    equal(details["kind"].as_str(), Some("Widget"))
}

async fn versions_share_their_objects(world: World) -> Result<()> {
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 1})))
        .await?;
    let path = world.path("conformance.caravel.dev/v1beta1", "widgets/w");
    let mut other = world.read(&path).await?;
    holds(
        &other,
        &json!({"apiVersion": "conformance.caravel.dev/v1beta1", "spec": {"size": 1}}),
    )?;
    other["spec"]["size"] = 2.into();
    world.put(&path, &other).await?.ok()?;
    holds(
        &world.read(&world.widgets("/w")).await?,
        &json!({"apiVersion": "conformance.caravel.dev/v1", "spec": {"size": 2}}),
    )?;
    world.post(&world.widgets(""), &other).await?.refused_saying(
        400,
        "BadRequest",
        &["the API version in the data (conformance.caravel.dev/v1beta1) does not match the expected API version (conformance.caravel.dev/v1)"],
    )?;
    Ok(())
}

async fn scale_reads_and_writes_replicas(world: World) -> Result<()> {
    world
        .made(
            &world.widgets(""),
            &widget("w", json!({"size": 1, "replicas": 2})),
        )
        .await?;
    let change = json!({"status": {"replicas": 1, "selector": "app=w"}});
    world
        .patch(patch::MERGE, &world.widgets("/w/status"), &change)
        .await?
        .ok()?;
    let mut scale = world.read(&world.widgets("/w/scale")).await?;
    holds(
        &scale,
        &json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "w", "namespace": world.namespace},
                "spec": {"replicas": 2}, "status": {"replicas": 1, "selector": "app=w"}}),
    )?;
    scale["spec"]["replicas"] = 3.into();
    holds(
        &world.put(&world.widgets("/w/scale"), &scale).await?.ok()?,
        &json!({"spec": {"replicas": 3}}),
    )?;
    let change = json!({"spec": {"replicas": 4}});
    world
        .patch(patch::MERGE, &world.widgets("/w/scale"), &change)
        .await?
        .ok()?;
    holds(
        &world.read(&world.widgets("/w")).await?,
        &json!({"spec": {"replicas": 4, "size": 1}}),
    )
}

async fn numbers_keep_their_form(world: World) -> Result<()> {
    let spec = json!({"size": 1, "ratio": 0.5, "free": {"large": 9_007_199_254_740_993_i64, "small": 1e-7}});
    let made = world.made(&world.widgets(""), &widget("w", spec.clone())).await?;
    holds(&made["spec"], &spec)?;
    let spec = json!({"size": 1, "ratio": 1});
    holds(
        &world.made(&world.widgets(""), &widget("v", spec.clone())).await?["spec"],
        &spec,
    )
}
