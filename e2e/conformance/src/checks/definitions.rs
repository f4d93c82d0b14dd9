//! CustomResourceDefinitions themselves.

use anyhow::Result;
use serde_json::{Value, json};

use super::topic;
use crate::World;
use crate::expect::{condition, equal, eventually, holds};
use crate::room::MADE_BY;
use crate::widgets::{DEFINITIONS, served};

topic![
    a_definition_is_established_and_its_names_are_accepted,
    names_that_are_taken_are_not_accepted,
    a_definition_is_named_after_plural_and_group,
    a_definition_needs_a_structural_schema_and_one_stored_version,
    a_version_that_is_not_served_is_not_found,
    a_later_version_is_served_once_it_is_there,
    deleting_a_definition_deletes_its_objects,
    cluster_scoped_custom_objects_have_no_namespace,
];

/// A definition in a group of the check's own.
fn definition(world: &World, plural: &str, kind: &str) -> Value {
    let group = group(world);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}"), "labels": {MADE_BY: world.namespace}},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind}, "versions": [version("v1", true)]},
    })
}

fn version(name: &str, storage: bool) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {
        "type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}})
}

fn group(world: &World) -> String {
    format!("{}.caravel.dev", world.namespace)
}

async fn a_definition_is_established_and_its_names_are_accepted(world: World) -> Result<()> {
    let group = group(&world);
    let made = world
        .made(DEFINITIONS, &definition(&world, "things", "Thing"))
        .await?;
    holds(
        &made,
        &json!({"spec": {"conversion": {"strategy": "None"},
                "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}}}),
    )?;
    let name = format!("things.{group}");
    let path = format!("/apis/{group}/v1/namespaces/{}/things", world.namespace);
    served(&world, &name, &path).await?;
    let established = world.read(&format!("{DEFINITIONS}/{name}")).await?;
    holds(
        condition(&established, "NamesAccepted"),
        &json!({"status": "True", "reason": "NoConflicts", "message": "no conflicts found"}),
    )?;
    holds(
        condition(&established, "Established"),
        &json!({"status": "True", "reason": "InitialNamesAccepted", "message": "the initial names have been accepted"}),
    )?;
    holds(
        &established["status"],
        &json!({"storedVersions": ["v1"],
                "acceptedNames": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}}),
    )?;
    let thing = json!({"apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": "t"}, "spec": {"any": 1}});
    holds(
        &world.made(&path, &thing).await?,
        &json!({"kind": "Thing", "spec": {"any": 1}}),
    )
}

async fn names_that_are_taken_are_not_accepted(world: World) -> Result<()> {
    let group = group(&world);
    world
        .made(DEFINITIONS, &definition(&world, "things", "Thing"))
        .await?;
    served(
        &world,
        &format!("things.{group}"),
        &format!("/apis/{group}/v1/things"),
    )
    .await?;
    world
        .made(DEFINITIONS, &definition(&world, "others", "Thing"))
        .await?;
    let path = format!("{DEFINITIONS}/others.{group}");
    let (refused, ()) = world
        .until_it(&path, |definition| {
            let accepted = condition(definition, "NamesAccepted");
            if accepted["status"] == "False" {
                Ok(())
            } else {
                Err(format!("NamesAccepted is {accepted}"))
            }
        })
        .await?;
    holds(
        condition(&refused, "NamesAccepted"),
        &json!({"reason": "ListKindConflict", "message": "\"ThingList\" is already in use"}),
    )?;
    holds(
        condition(&refused, "Established"),
        &json!({"status": "False", "reason": "NotAccepted"}),
    )
}

async fn a_definition_is_named_after_plural_and_group(world: World) -> Result<()> {
    let group = group(&world);
    let mut object = definition(&world, "things", "Thing");
    object["metadata"]["name"] = format!("wrong.{group}").into();
    world.post(DEFINITIONS, &object).await?.refused(
        422,
        "Invalid",
        &format!(
            "CustomResourceDefinition.apiextensions.k8s.io \"wrong.{group}\" is invalid: metadata.name: Invalid value: \
             \"wrong.{group}\": must be spec.names.plural+\".\"+spec.group"
        ),
    )?;
    Ok(())
}

async fn a_definition_needs_a_structural_schema_and_one_stored_version(world: World) -> Result<()> {
    let group = group(&world);
    let start = format!("CustomResourceDefinition.apiextensions.k8s.io \"things.{group}\" is invalid: ");
    let mut object = definition(&world, "things", "Thing");
    object["spec"]["versions"][0]["schema"] = Value::Null;
    world.post(DEFINITIONS, &object).await?.refused_saying(
        422,
        "Invalid",
        &[&start, "spec.versions[0].schema.openAPIV3Schema: Required value"],
    )?;
    let mut object = definition(&world, "things", "Thing");
    object["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
        json!({"type": "object", "properties": {"spec": {"properties": {"a": {"type": "string"}}}}});
    world.post(DEFINITIONS, &object).await?.refused_saying(
        422,
        "Invalid",
        &[&start, "openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields"],
    )?;
    let mut object = definition(&world, "things", "Thing");
    object["spec"]["versions"] = json!([version("v1", false)]);
    world.post(DEFINITIONS, &object).await?.refused_saying(
        422,
        "Invalid",
        &[
            &start,
            "spec.versions: Invalid value: ",
            "must have exactly one version marked as storage version",
        ],
    )?;
    Ok(())
}

async fn a_version_that_is_not_served_is_not_found(world: World) -> Result<()> {
    let group = group(&world);
    let mut object = definition(&world, "things", "Thing");
    let mut old = version("v1alpha1", false);
    old["served"] = false.into();
    object["spec"]["versions"] = json!([version("v1", true), old]);
    world.made(DEFINITIONS, &object).await?;
    served(
        &world,
        &format!("things.{group}"),
        &format!("/apis/{group}/v1/things"),
    )
    .await?;
    equal(
        world.get(&format!("/apis/{group}/v1alpha1/things")).await?.code,
        404,
    )
}

async fn a_later_version_is_served_once_it_is_there(world: World) -> Result<()> {
    let group = group(&world);
    let name = format!("things.{group}");
    let path = format!("{DEFINITIONS}/{name}");
    world
        .made(DEFINITIONS, &definition(&world, "things", "Thing"))
        .await?;
    served(&world, &name, &format!("/apis/{group}/v1/things")).await?;
    let objects = |version: &str| format!("/apis/{group}/{version}/namespaces/{}/things", world.namespace);
    let thing = json!({"apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": "t"}});
    world.made(&objects("v1"), &thing).await?;
    let mut changed = world.read(&path).await?;
    changed["spec"]["versions"] = json!([version("v1", false), version("v2", true)]);
    world.put(&path, &changed).await?.ok()?;
    eventually("v2 of the things", || async {
        let answer = world.get(&format!("{}/t", objects("v2"))).await?;
        Ok(if answer.code == 200 {
            Ok(())
        } else {
            Err(answer.body.to_string())
        })
    })
    .await?;
    holds(
        &world.read(&format!("{}/t", objects("v2"))).await?,
        &json!({"apiVersion": format!("{group}/v2")}),
    )?;
    world
        .until(&path, &json!({"status": {"storedVersions": ["v1", "v2"]}}))
        .await?;
    Ok(())
}

async fn deleting_a_definition_deletes_its_objects(world: World) -> Result<()> {
    let group = group(&world);
    let name = format!("things.{group}");
    let path = format!("/apis/{group}/v1/namespaces/{}/things", world.namespace);
    let thing = json!({"apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": "t"}});
    world
        .made(DEFINITIONS, &definition(&world, "things", "Thing"))
        .await?;
    served(&world, &name, &path).await?;
    world.made(&path, &thing).await?;
    world.delete(&format!("{DEFINITIONS}/{name}")).await?.ok()?;
    world.until_gone(&format!("{DEFINITIONS}/{name}")).await?;
    eventually("the end of the things", || async {
        let answer = world.get(&path).await?;
        Ok(if answer.code == 404 {
            Ok(())
        } else {
            Err(answer.body.to_string())
        })
    })
    .await?;
    world
        .made(DEFINITIONS, &definition(&world, "things", "Thing"))
        .await?;
    served(&world, &name, &path).await?;
    holds(&world.read(&path).await?, &json!({"items": []}))
}

async fn cluster_scoped_custom_objects_have_no_namespace(world: World) -> Result<()> {
    let group = group(&world);
    let mut object = definition(&world, "things", "Thing");
    object["spec"]["scope"] = "Cluster".into();
    world.made(DEFINITIONS, &object).await?;
    let path = format!("/apis/{group}/v1/things");
    served(&world, &format!("things.{group}"), &path).await?;
    let thing = json!({"apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": "t"}});
    let made = world.made(&path, &thing).await?;
    equal(made["metadata"].get("namespace"), None)?;
    equal(
        world
            .get(&format!("/apis/{group}/v1/namespaces/{}/things", world.namespace))
            .await?
            .code,
        404,
    )
}
