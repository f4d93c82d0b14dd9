//! How many data movers one node runs at once (Velero v1.18.3, `getDataPathConcurrentNum`).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::LoadConcurrency;

type Labels = BTreeMap<String, String>;

impl LoadConcurrency {
    /// The smallest number of the rules that name this node, else the global one.
    pub fn on_node(&self, labels: &Labels) -> usize {
        let named = self
            .per_node
            .iter()
            .filter(|rule| selects(&rule.node_selector, labels));
        named.map(|rule| rule.number).min().unwrap_or(self.global)
    }
}

/// Whether a label selector picks an object with these labels; an empty one picks everything.
pub(super) fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    let mut same = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    same.all(|(key, value)| labels.get(key) == Some(value)) && expressions.all(|it| holds(it, labels))
}

fn holds(expression: &LabelSelectorRequirement, labels: &Labels) -> bool {
    let value = labels.get(&expression.key);
    let is_in = value.is_some_and(|value| expression.values.iter().flatten().any(|one| one == value));
    match expression.operator.as_str() {
        "In" => is_in,
        "NotIn" => !is_in,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        // `read.rs` lets no other through.
        _ => false,
    }
}
