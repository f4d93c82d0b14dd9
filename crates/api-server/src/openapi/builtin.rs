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

/// `enum` of fields, one to a line: type, field, values; `-` stands for the empty text.
/// Source: the OpenAPI documents of Kubernetes v1.34.4.
static ENUMS: LazyLock<Vec<(&str, &str, Vec<&str>)>> = LazyLock::new(|| {
    let read = |line: &'static str| {
        let mut words = line.split(' ');
        let (of, field) = (words.next()?, words.next()?);
        Some((
            of,
            field,
            words.map(|word| if word == "-" { "" } else { word }).collect(),
        ))
    };
    include_str!("enums.txt").lines().filter_map(read).collect()
});

/// Fields that k8s-openapi requires for its Rust types and Kubernetes does not; and the other way round.
const OPTIONAL: [(&str, &str); 10] = [
    ("core.v1.ConfigMapEnvSource", "name"),
    ("core.v1.ConfigMapKeySelector", "name"),
    ("core.v1.ConfigMapProjection", "name"),
    ("core.v1.ConfigMapVolumeSource", "name"),
    ("core.v1.LocalObjectReference", "name"),
    ("core.v1.SecretEnvSource", "name"),
    ("core.v1.SecretKeySelector", "name"),
    ("core.v1.SecretProjection", "name"),
    ("events.v1.Event", "metadata"),
    ("meta.v1.Status", "metadata"),
];
const REQUIRED: [(&str, &str); 2] = [("core.v1.Event", "metadata"), ("events.v1.Event", "eventTime")];

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

/// `apiVersion`, `kind` and `metadata` as every kind has them.
pub(super) fn resource_field(name: &str) -> Value {
    let pod = SCHEMAS.by_name.get("io.k8s.api.core.v1.Pod");
    pod.map(|pod| pod["properties"][name].clone()).unwrap_or_default()
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
        storage::VolumeAttachment, meta::APIResourceList, meta::Status;
        meta::DeleteOptions, meta::ListMeta, meta::ObjectMeta, meta::Patch,
    );
    let names = types.names;
    let mut by_name: BTreeMap<String, Value> =
        types.generator.take_definitions(false).into_iter().map(|(name, schema)| published(name, schema)).collect();
    for ((group, version, kind), name) in &names {
        let Some(schema) = by_name.get_mut(name) else { continue };
        schema["x-kubernetes-group-version-kind"] = json!([{"group": group, "version": version, "kind": kind}]);
        // k8s-openapi wants metadata in its Rust types; Kubernetes takes objects without.
        if kind != "Event" {
            require(schema, "metadata", false);
        }
    }
    let fields = ["apiVersion", "kind"].map(|field| by_name["io.k8s.api.core.v1.Pod"]["properties"][field].clone());
    for kind in kinds::kinds().iter().filter(|kind| !kinds::rules(kind).create_only) {
        let of = (kind.group.clone(), kind.version.clone(), kind.kind.clone());
        if let Some(name) = names.get(&of) {
            by_name.insert(format!("{name}List"), list_schema(kind, name, &fields));
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
    } else if name.ends_with(".JSON") || name.contains(".JSONSchemaPropsOr") {
        schema = json!({"description": schema["description"]});
    }
    tidy(&mut schema);
    // `io.k8s.api.core.v1.PodSpec` is `core.v1.PodSpec` in the tables.
    let start = name.rmatch_indices('.').nth(2).map_or(0, |(at, _)| at + 1);
    let short = &name[start..];
    if let Some(of) = types::named(short) {
        if of.atomic {
            schema["x-kubernetes-map-type"] = "atomic".into();
        }
        for (name, field) in &of.fields {
            if let Some(property) = property(&mut schema, name) {
                say_how_it_merges(field, property);
            }
        }
    }
    for (_, field, values) in ENUMS.iter().filter(|(of, ..)| *of == short) {
        let Some(property) = property(&mut schema, field) else {
            continue;
        };
        let is_list = property.contains_key("items");
        let of_values = if is_list {
            property.get_mut("items").and_then(Value::as_object_mut)
        } else {
            Some(property)
        };
        if let Some(of_values) = of_values {
            of_values.insert("enum".to_owned(), json!(values));
        }
    }
    for (required, table) in [(false, &OPTIONAL[..]), (true, &REQUIRED[..])] {
        for (_, field) in table.iter().filter(|(of, _)| *of == short) {
            require(&mut schema, field, required);
        }
    }
    (name, schema)
}

fn property<'a>(schema: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    schema.get_mut("properties")?.get_mut(name)?.as_object_mut()
}

/// Puts a field on the list of required ones, or takes it off.
fn require(schema: &mut Value, field: &str, required: bool) {
    let Some(keywords) = schema.as_object_mut() else {
        return;
    };
    let list = keywords.entry("required").or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        list.retain(|one| one != field);
        if required {
            list.push(field.into());
        }
        if list.is_empty() {
            keywords.remove("required");
        }
    }
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
