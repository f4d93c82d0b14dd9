//! The made-up actions of the cases, replayed call by call.

use std::sync::Arc;

use async_trait::async_trait;
use caravel_cases::{Case, texts};
use caravel_item_action::{
    ActionError, ResourceIdentifier, ResourceSelector, RestoreItemAction, RestoreItemInput, RestoreItemOutput,
};
use kube::core::{Expression, Selector};
use parking_lot::Mutex;
use serde_json::Value;

use super::cluster::field;
use super::plans::discovered;
use crate::discovery::Discovered;

/// A made-up action of a case: does what Velero's test plug-in did.
struct Replayed {
    selector: ResourceSelector,
    calls: Vec<Value>,
    called: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl RestoreItemAction for Replayed {
    fn name(&self) -> &str {
        "replayed"
    }

    fn applies_to(&self) -> ResourceSelector {
        self.selector.clone()
    }

    async fn execute(&self, input: RestoreItemInput<'_>) -> Result<RestoreItemOutput, ActionError> {
        let item = input.item;
        let names = |object: &Value| {
            (
                field(object, "/metadata/namespace").to_owned(),
                field(object, "/metadata/name").to_owned(),
            )
        };
        let (namespace, name) = names(&item);
        let listed = if namespace.is_empty() {
            name
        } else {
            format!("{namespace}/{name}")
        };
        self.called.lock().push(listed);
        let about =
            |call: &&Value| names(&call["item"]) == names(&item) && call["item"]["kind"] == item["kind"];
        let Some(call) = self.calls.iter().find(about) else {
            return Ok(RestoreItemOutput::item(item));
        };
        if let Some(error) = call["error"]["$error"].as_str() {
            return Err(ActionError::new(error));
        }
        Ok(RestoreItemOutput {
            item: call["updatedItem"].clone(),
            additional_items: identifiers(&call["additionalItems"]),
            skip_restore: call["skipRestore"] == true,
            operation_id: call["operationID"]
                .as_str()
                .filter(|id| !id.is_empty())
                .map(str::to_owned),
            ..RestoreItemOutput::default()
        })
    }
}

fn identifiers(list: &Value) -> Vec<ResourceIdentifier> {
    let entries = list.as_array().into_iter().flatten();
    entries
        .map(|id| {
            let gr = &id["GroupResource"];
            let (group, resource) = match gr.as_str() {
                Some(text) => text
                    .split_once('.')
                    .map_or(("", text), |(resource, group)| (group, resource)),
                None => (field(gr, "/Group"), field(gr, "/Resource")),
            };
            ResourceIdentifier::new(group, resource, field(id, "/Namespace"), field(id, "/Name"))
        })
        .collect()
}

pub(super) type Called = Arc<Mutex<Vec<String>>>;

/// The actions of a case, and who they were called for. Cases without a list of actions have one per selector called.
pub(super) fn actions(case: &Case) -> Vec<(Box<dyn RestoreItemAction>, Called)> {
    let resources: Discovered = discovered(case.input("apiResources"));
    let calls = case.input("pluginCalls")["restoreItemAction"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut selectors: Vec<Value> = case
        .input("actions")
        .as_array()
        .into_iter()
        .flatten()
        .map(|action| action["selector"].clone())
        .collect();
    if case.input("actions").is_null() {
        for call in &calls {
            if !selectors.contains(&call["selector"]) {
                selectors.push(call["selector"].clone());
            }
        }
    }
    let resolved = |words: &Value| {
        let full = |word: &String| match resources.resolve(word) {
            Some(served) => served.group_resource.to_string(),
            None => word.clone(),
        };
        texts(words).iter().map(full).collect()
    };
    selectors
        .into_iter()
        .map(|given| {
            let called = Called::default();
            let action = Replayed {
                selector: ResourceSelector {
                    included_namespaces: texts(&given["IncludedNamespaces"]),
                    excluded_namespaces: texts(&given["ExcludedNamespaces"]),
                    included_resources: resolved(&given["IncludedResources"]),
                    excluded_resources: resolved(&given["ExcludedResources"]),
                    labels: labels(field(&given, "/LabelSelector")),
                },
                calls: calls
                    .iter()
                    .filter(|call| call["selector"] == given)
                    .cloned()
                    .collect(),
                called: Arc::clone(&called),
            };
            (Box::new(action) as Box<dyn RestoreItemAction>, called)
        })
        .collect()
}

/// `key` or `key=value`; that is all there is in the cases.
fn labels(text: &str) -> Option<Selector> {
    let requirement = match text.split_once('=') {
        _ if text.is_empty() => return None,
        Some((key, value)) => Expression::Equal(key.to_owned(), value.to_owned()),
        None => Expression::Exists(text.to_owned()),
    };
    Some(requirement.into())
}
