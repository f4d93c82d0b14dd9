//! The custom kind that all checks share: made before them, deleted after them.
//!
//! It has one field of everything that a structural schema can say and our CustomResourceDefinitions use.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::World;
use crate::expect::{condition, eventually};

/// Its group.
pub const GROUP: &str = "conformance.caravel.dev";
/// Where CustomResourceDefinitions are.
pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

const NAME: &str = "widgets.conformance.caravel.dev";

impl World {
    /// The widgets of this check; `rest` is empty, `/name` or `/name/status`.
    pub fn widgets(&self, rest: &str) -> String {
        self.path("conformance.caravel.dev/v1", &format!("widgets{rest}"))
    }
}

/// A valid widget.
pub fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "conformance.caravel.dev/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

/// Creates the kind, in place of what an earlier run may have left, and waits until it is served.
pub async fn make(world: &World) -> Result<()> {
    unmake(world).await?;
    world.made(DEFINITIONS, &definition()).await?;
    served(world, NAME, "/apis/conformance.caravel.dev/v1/widgets").await?;
    served(world, NAME, "/apis/conformance.caravel.dev/v1beta1/widgets").await
}

/// Deletes the kind with all its objects.
pub async fn unmake(world: &World) -> Result<()> {
    let path = format!("{DEFINITIONS}/{NAME}");
    if world.delete(&path).await?.code == 404 {
        return Ok(());
    }
    world.until_gone(&path).await
}

/// Waits until a CustomResourceDefinition is established and its objects can be listed.
pub async fn served(world: &World, name: &str, objects: &str) -> Result<()> {
    world
        .until_it(&format!("{DEFINITIONS}/{name}"), |definition| {
            let established = condition(definition, "Established");
            if established["status"] == "True" {
                Ok(())
            } else {
                Err(format!("Established is {established}"))
            }
        })
        .await
        .with_context(|| format!("{name} is not established"))?;
    eventually(objects, || async {
        let answer = world.get(objects).await?;
        Ok(if answer.code == 200 {
            Ok(())
        } else {
            Err(format!("{} {}", answer.code, answer.body))
        })
    })
    .await
}

/// The CustomResourceDefinition.
fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": GROUP, "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wid"],
                      "categories": ["conformance"]},
            "versions": [version("v1", true), version("v1beta1", false)],
        },
    })
}

fn version(name: &str, storage: bool) -> Value {
    json!({
        "name": name, "served": true, "storage": storage,
        "schema": {"openAPIV3Schema": {
            "type": "object", "description": "A Widget has one field of everything.", "required": ["spec"],
            "properties": {
                "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
                "spec": spec(), "status": status(),
            },
        }},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                      "labelSelectorPath": ".status.selector"},
        },
        "selectableFields": [{"jsonPath": ".spec.color"}],
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "description": "How large it is"},
            {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
            {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
    })
}

fn spec() -> Value {
    json!({
        "type": "object", "required": ["size"],
        "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 10, "description": "How large the widget is."},
            "color": {"type": "string", "enum": ["red", "green"], "default": "red"},
            "code": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
            "ratio": {"type": "number"},
            "on": {"type": "boolean"},
            "at": {"type": "string", "format": "date-time"},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3, "x-kubernetes-list-type": "set"},
            "parts": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string"}, "amount": {"type": "integer", "default": 1}, "note": {"type": "string"},
                }},
            },
            "steps": {"type": "array", "items": {"type": "string"}},
            "limits": {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": true}},
            "port": {"x-kubernetes-int-or-string": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "object": {"type": "object", "x-kubernetes-embedded-resource": true,
                       "x-kubernetes-preserve-unknown-fields": true},
            "nested": {"type": "object", "default": {}, "properties": {"mode": {"type": "string", "default": "fast"}}},
            "maybe": {"type": "string", "nullable": true},
            "replicas": {"type": "integer", "default": 1},
        },
    })
}

fn status() -> Value {
    json!({
        "type": "object",
        "properties": {
            "phase": {"type": "string", "enum": ["New", "Done"]},
            "replicas": {"type": "integer"},
            "selector": {"type": "string"},
            "conditions": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                "items": {"type": "object", "required": ["type", "status"], "properties": {
                    "type": {"type": "string"}, "status": {"type": "string"},
                }},
            },
        },
    })
}
