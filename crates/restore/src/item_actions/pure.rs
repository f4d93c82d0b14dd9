//! The actions that look at nothing but the item, behind the one trait.

use async_trait::async_trait;
use caravel_item_action::{
    ActionError, ResourceIdentifier, ResourceSelector, RestoreItemAction, RestoreItemInput as Input,
    RestoreItemOutput as Output,
};
use serde_json::Value;

use super::{pod, service, small};
use crate::group_resource::known;

/// An action that is a function.
#[derive(Clone, Copy)]
pub struct PureAction {
    name: &'static str,
    resources: &'static [&'static str],
    run: fn(Input<'_>) -> Output,
}

#[async_trait]
impl RestoreItemAction for PureAction {
    fn name(&self) -> &str {
        self.name
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(self.resources)
    }

    async fn execute(&self, input: Input<'_>) -> Result<Output, ActionError> {
        Ok((self.run)(input))
    }
}

/// An action that only edits.
macro_rules! edit {
    ($edit:expr) => {
        |input| {
            let mut item = input.item;
            $edit(&mut item);
            Output::item(item)
        }
    };
}

/// All of them.
pub fn actions() -> impl Iterator<Item = PureAction> {
    PURE_ACTIONS.iter().copied()
}

const PURE_ACTIONS: &[PureAction] = &[
    PureAction {
        name: "velero.io/job",
        resources: &[known::JOBS],
        run: edit!(small::job),
    },
    PureAction {
        name: "velero.io/pod",
        resources: &[known::PODS],
        run: pod_action,
    },
    PureAction {
        name: "velero.io/add-pvc-from-pod",
        resources: &[known::PODS],
        run: claims_of_pod,
    },
    PureAction {
        name: "velero.io/service",
        resources: &["services"],
        run: service_action,
    },
    PureAction {
        name: "velero.io/service-account",
        resources: &[known::SERVICE_ACCOUNTS],
        run: edit!(small::service_account),
    },
    PureAction {
        name: "velero.io/role-bindings",
        resources: &[
            "rolebindings.rbac.authorization.k8s.io",
            "clusterrolebindings.rbac.authorization.k8s.io",
        ],
        run: role_bindings,
    },
    PureAction {
        name: "velero.io/crd-preserve-fields",
        resources: &[known::CUSTOM_RESOURCE_DEFINITIONS],
        run: edit!(small::definition),
    },
    PureAction {
        name: "velero.io/admission-webhook-configuration",
        resources: &[
            "mutatingwebhookconfigurations.admissionregistration.k8s.io",
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
        ],
        run: edit!(small::webhook_configuration),
    },
    PureAction {
        name: "velero.io/apiservice",
        resources: &["apiservices.apiregistration.k8s.io"],
        run: api_service,
    },
];

fn pod_action(input: Input<'_>) -> Output {
    let mut item = input.item;
    let class = pod::execute(&mut item);
    let additional_items =
        class.map(|name| ResourceIdentifier::new("scheduling.k8s.io", "priorityclasses", "", name));
    Output {
        additional_items: additional_items.into_iter().collect(),
        ..Output::item(item)
    }
}

fn claims_of_pod(input: Input<'_>) -> Output {
    let namespace = input
        .item
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let additional_items = pod::claims(&input.item)
        .into_iter()
        .map(|name| ResourceIdentifier::new("", known::PERSISTENT_VOLUME_CLAIMS, namespace, name))
        .collect();
    Output {
        additional_items,
        ..Output::item(input.item)
    }
}

fn service_action(input: Input<'_>) -> Output {
    let mut item = input.item;
    service::execute(&mut item, input.restore.spec.preserve_node_ports == Some(true));
    Output::item(item)
}

fn role_bindings(input: Input<'_>) -> Output {
    let mut item = input.item;
    small::role_binding(&mut item, &input.restore.spec.namespace_mapping);
    Output::item(item)
}

fn api_service(input: Input<'_>) -> Output {
    if small::is_auto_managed_api_service(&input.item) {
        Output::skip()
    } else {
        Output::item(input.item)
    }
}
