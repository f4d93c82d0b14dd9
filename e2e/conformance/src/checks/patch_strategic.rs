//! Strategic merge patches, which know the keys of Kubernetes' own lists.

use anyhow::Result;
use serde_json::{Value, json};

use super::{STAY, deployment, topic};
use crate::World;
use crate::ask::patch;
use crate::expect::{equal, holds};

topic![
    containers_environment_and_volumes_are_merged_by_name,
    an_element_is_deleted_by_directive,
    a_list_or_map_is_replaced_by_directive,
    the_order_of_elements_can_be_set,
    values_are_deleted_from_lists_of_plain_values,
    keys_that_are_not_retained_go,
    lists_without_a_key_are_replaced,
    an_element_without_its_key_is_refused,
    finalizers_and_owner_references_are_merged,
];

/// A Deployment `d` with two containers and two volumes; its path.
async fn made(world: &World) -> Result<String> {
    let path = world.path("apps/v1", "deployments");
    let mut object = deployment("d", 0, "one", &STAY);
    object["spec"]["template"]["spec"]["containers"] = json!([
        {"name": "main", "image": "one", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "args": ["x", "y"],
         "ports": [{"containerPort": 80, "name": "http"}]},
        {"name": "side", "image": "two"},
    ]);
    object["spec"]["template"]["spec"]["volumes"] = json!([
        {"name": "scratch", "emptyDir": {}},
        {"name": "words", "configMap": {"name": "words"}},
    ]);
    world.made(&path, &object).await?;
    Ok(format!("{path}/d"))
}

/// Applies a patch to the pod template's spec; gives that spec afterwards.
async fn patched(world: &World, path: &str, spec: Value) -> Result<Value> {
    let change = json!({"spec": {"template": {"spec": spec}}});
    let mut after = world.patch(patch::STRATEGIC, path, &change).await?.ok()?;
    Ok(after["spec"]["template"]["spec"].take())
}

fn of_each(list: &Value, key: &str) -> Vec<Value> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|element| element[key].clone())
        .collect()
}

async fn containers_environment_and_volumes_are_merged_by_name(world: World) -> Result<()> {
    let path = made(&world).await?;
    let after = patched(
        &world,
        &path,
        json!({
            "containers": [{"name": "main", "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}],
                            "ports": [{"containerPort": 443}]},
                           {"name": "new", "image": "three"}],
            "volumes": [{"name": "more", "emptyDir": {}}],
        }),
    )
    .await?;
    let main = after["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["name"] == "main");
    let main = main.cloned().unwrap_or_default();
    holds(&main, &json!({"image": "one", "args": ["x", "y"]}))?;
    let mut env = of_each(&main["env"], "value");
    env.sort_by_key(Value::to_string);
    equal(env, vec![json!("1"), json!("3"), json!("4")])?;
    equal(of_each(&main["ports"], "containerPort").len(), 2)?;
    equal(of_each(&after["containers"], "name").len(), 3)?;
    equal(of_each(&after["volumes"], "name").len(), 3)
}

async fn an_element_is_deleted_by_directive(world: World) -> Result<()> {
    let path = made(&world).await?;
    let after = patched(
        &world,
        &path,
        json!({
            "containers": [{"name": "side", "$patch": "delete"},
                           {"name": "main", "env": [{"name": "A", "$patch": "delete"}]}],
            "volumes": [{"name": "words", "$patch": "delete"}],
        }),
    )
    .await?;
    equal(of_each(&after["containers"], "name"), vec![json!("main")])?;
    equal(of_each(&after["containers"][0]["env"], "name"), vec![json!("B")])?;
    equal(of_each(&after["volumes"], "name"), vec![json!("scratch")])
}

async fn a_list_or_map_is_replaced_by_directive(world: World) -> Result<()> {
    let path = made(&world).await?;
    let after = patched(
        &world,
        &path,
        json!({"containers": [{"name": "only", "image": "four"}, {"$patch": "replace"}],
               "nodeSelector": {"a": "b"}}),
    )
    .await?;
    equal(of_each(&after["containers"], "name"), vec![json!("only")])?;
    let after = patched(
        &world,
        &path,
        json!({"nodeSelector": {"$patch": "replace", "c": "d"}}),
    )
    .await?;
    equal(&after["nodeSelector"], &json!({"c": "d"}))?;
    let after = patched(&world, &path, json!({"nodeSelector": {"$patch": "delete"}})).await?;
    equal(&after["nodeSelector"], &Value::Null)
}

async fn the_order_of_elements_can_be_set(world: World) -> Result<()> {
    let path = made(&world).await?;
    let after = patched(
        &world,
        &path,
        json!({
            "$setElementOrder/containers": [{"name": "side"}, {"name": "new"}, {"name": "main"}],
            "containers": [{"name": "new", "image": "three"}],
        }),
    )
    .await?;
    equal(
        of_each(&after["containers"], "name"),
        vec![json!("side"), json!("new"), json!("main")],
    )
}

async fn values_are_deleted_from_lists_of_plain_values(world: World) -> Result<()> {
    let path = made(&world).await?;
    let hold = |names: &[&str]| json!({"metadata": {"finalizers": names}});
    world
        .patch(
            patch::STRATEGIC,
            &path,
            &hold(&["caravel.dev/a", "caravel.dev/b"]),
        )
        .await?
        .ok()?;
    let change = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["caravel.dev/a"]}});
    holds(
        &world.patch(patch::STRATEGIC, &path, &change).await?.ok()?,
        &hold(&["caravel.dev/b"]),
    )?;
    let change = json!({"metadata": {"finalizers": null}});
    holds(
        &world.patch(patch::STRATEGIC, &path, &change).await?.ok()?,
        &change,
    )
}

async fn keys_that_are_not_retained_go(world: World) -> Result<()> {
    let path = made(&world).await?;
    let change = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let after = world.patch(patch::STRATEGIC, &path, &change).await?.ok()?;
    equal(&after["spec"]["strategy"], &json!({"type": "Recreate"}))?;
    let after = patched(
        &world,
        &path,
        json!({"volumes": [{"name": "words", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}}]}),
    )
    .await?;
    let words = after["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["name"] == "words");
    equal(words, Some(&json!({"name": "words", "emptyDir": {}})))
}

async fn lists_without_a_key_are_replaced(world: World) -> Result<()> {
    let path = made(&world).await?;
    let after = patched(
        &world,
        &path,
        json!({"containers": [{"name": "main", "args": ["z"]}],
               "tolerations": [{"key": "a", "operator": "Exists"}]}),
    )
    .await?;
    let main = after["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["name"] == "main");
    equal(main.map(|main| &main["args"]), Some(&json!(["z"])))?;
    let after = patched(
        &world,
        &path,
        json!({"tolerations": [{"key": "b", "operator": "Exists"}]}),
    )
    .await?;
    equal(of_each(&after["tolerations"], "key"), vec![json!("b")])
}

async fn an_element_without_its_key_is_refused(world: World) -> Result<()> {
    let path = made(&world).await?;
    let change = json!({"spec": {"template": {"spec": {"containers": [{"image": "three"}]}}}});
    world
        .patch(patch::STRATEGIC, &path, &change)
        .await?
        .refused_saying(500, "", &["does not contain declared merge key: name"])?;
    Ok(())
}

async fn finalizers_and_owner_references_are_merged(world: World) -> Result<()> {
    let path = made(&world).await?;
    let change = json!({"metadata": {"finalizers": ["caravel.dev/a"]}});
    world.patch(patch::STRATEGIC, &path, &change).await?.ok()?;
    let owner =
        |name: &str, uid: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid});
    let owners = json!([
        owner("a", "11111111-1111-1111-1111-111111111111"),
        owner("b", "22222222-2222-2222-2222-222222222222")
    ]);
    let change = json!({"metadata": {"finalizers": ["caravel.dev/b"], "ownerReferences": owners}});
    // A dry run, because the garbage collector would take an object whose owners do not exist.
    let after = world
        .patch(patch::STRATEGIC, &format!("{path}?dryRun=All"), &change)
        .await?
        .ok()?;
    let mut finalizers: Vec<&str> = after["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    finalizers.sort_unstable();
    equal(finalizers, vec!["caravel.dev/a", "caravel.dev/b"])?;
    equal(of_each(&after["metadata"]["ownerReferences"], "name").len(), 2)?;
    let change = json!({"metadata": {"finalizers": null}});
    world.patch(patch::STRATEGIC, &path, &change).await?.ok()?;
    Ok(())
}
