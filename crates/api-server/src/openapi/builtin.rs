//! Schemas of Kubernetes' own types, from `k8s-openapi` with its feature `schemars`: names, fields and descriptions
//! of Kubernetes v1.34. What that leaves out (how lists merge) comes from the table in [`crate::builtin::types`].

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::api::{
    admissionregistration::v1 as admission, apps::v1 as apps, authentication::v1 as authentication,
    authorization::v1 as authorization, autoscaling::v1 as autoscaling, batch::v1 as batch,
    coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery, events::v1 as events,
    networking::v1 as networking, policy::v1 as policy, rbac::v1 as rbac, scheduling::v1 as scheduling,
    storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{COMPONENTS, list_schema, reference};
use crate::builtin::kinds;
use crate::builtin::types::{self, Field, ListKind, Shape};
use crate::kind::Kind;

/// Group, version and kind.
type Of = (String, String, String);

struct Schemas {
    by_name: BTreeMap<String, Value>,
    names: BTreeMap<Of, String>,
}

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(generate);

/// The name of a built-in kind's schema; `None`: it has none here.
pub(super) fn name(kind: &Kind) -> Option<String> {
    name_of(&kind.group, &kind.version, &kind.kind)
}

/// As [`name`], of a kind by its names.
pub(super) fn name_of(group: &str, version: &str, kind: &str) -> Option<String> {
    SCHEMAS
        .names
        .get(&(group.to_owned(), version.to_owned(), kind.to_owned()))
        .cloned()
}

/// A schema by its name.
pub(super) fn schema(name: &str) -> Option<&'static Value> {
    SCHEMAS.by_name.get(name)
}

/// Registers types: those with a kind of their own, then those that only requests and answers hold.
macro_rules! register {
    ($types:expr; $($kind:ty),* $(,)?; $($other:ty),* $(,)?) => {
        $($types.add::<$kind>();)*
        $($types.generator.subschema_for::<$other>();)*
    };
}

struct Types {
    generator: SchemaGenerator,
    names: BTreeMap<Of, String>,
}

impl Types {
    fn add<T: JsonSchema + k8s_openapi::Resource>(&mut self) {
        self.generator.subschema_for::<T>();
        let of = (T::GROUP.to_owned(), T::VERSION.to_owned(), T::KIND.to_owned());
        self.names.insert(of, T::schema_name().into_owned());
    }
}

#[rustfmt::skip]
fn generate() -> Schemas {
    let settings = SchemaSettings::openapi3().with(|settings| settings.transforms.clear());
    let mut types = Types { generator: settings.into_generator(), names: BTreeMap::new() };
    register!(types;
        admission::MutatingWebhookConfiguration, admission::ValidatingWebhookConfiguration,
        apiextensions::CustomResourceDefinition, apiregistration::APIService,
        apps::ControllerRevision, apps::DaemonSet, apps::Deployment, apps::ReplicaSet, apps::StatefulSet,
        authentication::SelfSubjectReview, authentication::TokenRequest, authentication::TokenReview,
        authorization::LocalSubjectAccessReview, authorization::SelfSubjectAccessReview,
        authorization::SelfSubjectRulesReview, authorization::SubjectAccessReview,
        autoscaling::Scale, batch::CronJob, batch::Job, coordination::Lease,
        core::Binding, core::ConfigMap, core::Endpoints, core::Event, core::LimitRange, core::Namespace, core::Node,
        core::PersistentVolume, core::PersistentVolumeClaim, core::Pod, core::PodTemplate,
        core::ReplicationController, core::ResourceQuota, core::Secret, core::Service, core::ServiceAccount,
        discovery::EndpointSlice, events::Event,
        networking::Ingress, networking::IngressClass, networking::NetworkPolicy,
        policy::Eviction, policy::PodDisruptionBudget,
        rbac::ClusterRole, rbac::ClusterRoleBinding, rbac::Role, rbac::RoleBinding, scheduling::PriorityClass,
        storage::CSIDriver, storage::CSINode, storage::CSIStorageCapacity, storage::StorageClass,
        storage::VolumeAttachment;
        meta::APIResourceList, meta::DeleteOptions, meta::ListMeta, meta::ObjectMeta, meta::Patch, meta::Status,
    );
    let names = types.names;
    let mut by_name: BTreeMap<String, Value> =
        types.generator.take_definitions(false).into_iter().map(|(name, schema)| published(name, schema)).collect();
    for ((group, version, kind), name) in &names {
        let Some(schema) = by_name.get_mut(name) else { continue };
        schema["x-kubernetes-group-version-kind"] = json!([{"group": group, "version": version, "kind": kind}]);
        // k8s-openapi wants metadata in its Rust types; Kubernetes takes objects without.
        if let Some(required) = schema["required"].as_array_mut() {
            required.retain(|field| field != "metadata");
            drop_empty_required(schema);
        }
    }
    for kind in kinds::kinds().iter().filter(|kind| !kinds::rules(kind).create_only) {
        let of = (kind.group.clone(), kind.version.clone(), kind.kind.clone());
        if let Some(name) = names.get(&of) {
            by_name.insert(format!("{name}List"), list_schema(kind, name));
        }
    }
    Schemas { by_name, names }
}

/// A schema of schemars as Kubernetes publishes it.
fn published(name: String, mut schema: Value) -> (String, Value) {
    if name.ends_with(".Quantity") {
        schema =
            json!({"description": schema["description"], "oneOf": [{"type": "string"}, {"type": "number"}]});
    } else if name.ends_with(".IntOrString") {
        let either = json!([{"type": "integer"}, {"type": "string"}]);
        schema = json!({"description": schema["description"], "format": "int-or-string", "oneOf": either});
    }
    tidy(&mut schema);
    // `io.k8s.api.core.v1.PodSpec` is `core.v1.PodSpec` in the table.
    let short: Vec<&str> = name.rsplitn(4, '.').take(3).collect();
    if let [kind, version, package] = short.as_slice()
        && let Some(of) = types::named(&format!("{package}.{version}.{kind}"))
    {
        if of.atomic {
            schema["x-kubernetes-map-type"] = "atomic".into();
        }
        for (name, field) in &of.fields {
            if let Some(schema) = schema["properties"].get_mut(*name).and_then(Value::as_object_mut) {
                say_how_it_merges(field, schema);
            }
        }
    }
    (name, schema)
}

/// OpenAPI 3.0 knows nothing beside a `$ref`: what schemars puts there goes around it.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.len() > 1
                && let Some(Value::String(target)) = fields.get("$ref").cloned()
            {
                fields.remove("$ref");
                let name = target.strip_prefix(COMPONENTS).unwrap_or(&target);
                fields.insert("allOf".to_owned(), json!([reference(name)]));
            }
            if fields
                .get("required")
                .and_then(Value::as_array)
                .is_some_and(Vec::is_empty)
            {
                fields.remove("required");
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn drop_empty_required(schema: &mut Value) {
    if let Some(fields) = schema
        .as_object_mut()
        .filter(|fields| fields["required"] == json!([]))
    {
        fields.remove("required");
    }
}

/// The extensions after which clients merge: kubectl computes its patches by them.
fn say_how_it_merges(field: &Field, schema: &mut Map<String, Value>) {
    let mut say = |keyword: &str, value: Value| {
        schema.insert(format!("x-kubernetes-{keyword}"), value);
    };
    let is_list = matches!(field.shape, Shape::List(_));
    match &field.list {
        ListKind::Set => say("list-type", "set".into()),
        ListKind::Map(keys) => {
            say("list-type", "map".into());
            say("list-map-keys", json!(keys));
        }
        ListKind::Atomic if is_list && field.merge_key.is_none() => say("list-type", "atomic".into()),
        ListKind::Atomic => {}
    }
    if field.atomic && !is_list {
        say("map-type", "atomic".into());
    }
    let strategy = match (field.merge_key.is_some(), field.retain_keys) {
        (true, true) => "merge,retainKeys",
        (true, false) => "merge",
        (false, true) => "retainKeys",
        (false, false) => return,
    };
    say("patch-strategy", strategy.into());
    if let Some(key) = field.merge_key.filter(|key| !key.is_empty()) {
        say("patch-merge-key", key.into());
    }
}
