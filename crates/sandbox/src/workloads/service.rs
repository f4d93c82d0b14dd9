//! Service: Endpoints and an EndpointSlice with the pods behind it. Nothing listens on its address.
//!
//! `pkg/controller/endpoint` and `endpointslice` of v1.34; a namespace's services are looked at together.

use std::collections::BTreeSet;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::pods;
use crate::machinery::{
    Answer, Change, Context, Controller, Key, Kinds, Outcome, controller_of, fits, merge, settled,
};

const NAME_LABEL: &str = "kubernetes.io/service-name";

/// The Service controller.
pub struct Services {
    context: Context,
    /// Services there are: pods of a namespace without any wake nothing.
    known: Mutex<BTreeSet<Key>>,
}

#[async_trait]
impl Controller for Services {
    /// A namespace.
    type Key = String;
    const NAME: &'static str = "endpointslice-controller";

    fn touched_by(&self, change: &Change<'_>) -> Vec<String> {
        let key = change.key();
        if change.is("", "Service") {
            let mut known = self.known.lock();
            if change.gone {
                known.remove(&key);
            } else {
                known.insert(key.clone());
            }
            return vec![key.namespace];
        }
        let has_service = || self.known.lock().iter().any(|it| it.namespace == key.namespace);
        if change.is("", "Pod") && has_service() {
            vec![key.namespace]
        } else {
            Vec::new()
        }
    }

    async fn reconcile(&self, namespace: &String) -> Answer<Outcome> {
        let client = &self.context.client;
        let services = client
            .of::<Service>(namespace)
            .list(&ListParams::default())
            .await?
            .items;
        if services.is_empty() {
            return Ok(Outcome::Done);
        }
        let pods = client
            .of::<Pod>(namespace)
            .list(&ListParams::default())
            .await?
            .items;
        for service in services
            .iter()
            .filter(|it| it.metadata.deletion_timestamp.is_none())
        {
            let selector = service
                .spec
                .as_ref()
                .and_then(|spec| spec.selector.clone())
                .unwrap_or_default();
            if !selector.is_empty() {
                let selector = LabelSelector {
                    match_labels: Some(selector),
                    ..LabelSelector::default()
                };
                let behind = pods
                    .iter()
                    .filter(|pod| fits(&selector, pod.metadata.labels.as_ref()));
                let behind: Vec<&Pod> = behind.collect();
                self.write_endpoints(service, &behind).await?;
                self.write_slice(service, behind).await?;
            }
        }
        Ok(Outcome::Done)
    }
}

impl Services {
    /// No service known yet.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            known: Mutex::default(),
        }
    }

    async fn write_endpoints(&self, service: &Service, behind: &[&Pod]) -> Answer<()> {
        let api = self
            .context
            .client
            .of::<Endpoints>(&service.namespace().unwrap_or_default());
        let all: Vec<Value> = behind.iter().filter_map(|pod| endpoint(pod)).collect();
        let mut subset = json!({});
        for (field, is_ready) in [("addresses", true), ("notReadyAddresses", false)] {
            let some = all.iter().filter(|it| it["conditions"]["ready"] == is_ready);
            let mut some: Vec<Value> = some.map(address).collect();
            some.sort_by_key(|it| it["targetRef"]["name"].as_str().unwrap_or_default().to_owned());
            if !some.is_empty() {
                subset[field] = some.into();
            }
        }
        let mut subsets = Vec::new();
        if subset.as_object().is_some_and(|fields| !fields.is_empty()) {
            let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
            let ports = ports.map(|it| {
                let mut port = port(it, behind.first().copied());
                if port["name"] == "" {
                    port.as_object_mut().map(|fields| fields.remove("name"));
                }
                port
            });
            subset["ports"] = ports.collect::<Vec<_>>().into();
            subsets.push(subset);
        }
        let name = service.name_any();
        let Some(found) = api.get_opt(&name).await? else {
            let made = json!({
                "metadata": {"name": name, "labels": {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}},
                "subsets": subsets,
            });
            return match serde_json::from_value::<Endpoints>(made) {
                Ok(made) => settled(api.create(&PostParams::default(), &made).await),
                Err(_) => Ok(()),
            };
        };
        let before = serde_json::to_value(found.subsets.unwrap_or_default()).unwrap_or_default();
        if before == json!(subsets) {
            return Ok(());
        }
        settled(merge(&api, &name, &json!({"subsets": subsets})).await)
    }

    async fn write_slice(&self, service: &Service, behind: Vec<&Pod>) -> Answer<()> {
        let api = self
            .context
            .client
            .of::<EndpointSlice>(&service.namespace().unwrap_or_default());
        let mut endpoints: Vec<Value> = behind.iter().filter_map(|pod| endpoint(pod)).collect();
        endpoints.sort_by_key(|it| it["targetRef"]["name"].as_str().unwrap_or_default().to_owned());
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let ports: Vec<Value> = ports.map(|it| port(it, behind.first().copied())).collect();
        let uid = service.uid();
        let slices = api.list(&ListParams::default()).await?.items;
        let is_ours =
            |slice: &&EndpointSlice| controller_of(&slice.metadata).map(|owner| &owner.uid) == uid.as_ref();
        let wanted = json!({"endpoints": endpoints, "ports": ports});
        match slices.iter().find(is_ours) {
            Some(slice) => {
                let now = serde_json::to_value(slice).unwrap_or_default();
                let is_same = |field: &str| {
                    now[field] == wanted[field] || (now[field].is_null() && wanted[field] == json!([]))
                };
                if is_same("endpoints") && is_same("ports") {
                    return Ok(());
                }
                settled(merge(&api, &slice.name_any(), &wanted).await)
            }
            None => {
                let mut slice = json!({
                    "metadata": {
                        "generateName": format!("{}-", service.name_any()),
                        "labels": {
                            NAME_LABEL: service.name_any(),
                            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                        },
                        "ownerReferences": [pods::controller_reference(service)],
                    },
                    "addressType": "IPv4",
                });
                slice["endpoints"] = wanted["endpoints"].clone();
                slice["ports"] = wanted["ports"].clone();
                match serde_json::from_value::<EndpointSlice>(slice) {
                    Ok(slice) => settled(api.create(&PostParams::default(), &slice).await),
                    Err(_) => Ok(()),
                }
            }
        }
    }
}

/// Of an endpoint of a slice, one of Endpoints.
fn address(endpoint: &Value) -> Value {
    json!({"ip": endpoint["addresses"][0], "nodeName": endpoint["nodeName"], "targetRef": endpoint["targetRef"]})
}

/// A pod that has an address and has not ended.
fn endpoint(pod: &Pod) -> Option<Value> {
    let address = pod.status.as_ref()?.pod_ip.as_ref()?;
    if matches!(pods::phase(pod), "Succeeded" | "Failed") {
        return None;
    }
    let is_ready = pods::ready_since(pod).is_some();
    let is_going = pod.metadata.deletion_timestamp.is_some();
    Some(json!({
        "addresses": [address],
        "conditions": {"ready": is_ready && !is_going, "serving": is_ready, "terminating": is_going},
        "nodeName": pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()),
        "targetRef": {"kind": "Pod", "name": pod.name_any(), "namespace": pod.namespace(), "uid": pod.uid()},
    }))
}

fn port(port: &ServicePort, pod: Option<&Pod>) -> Value {
    let named = |name: &str| {
        let containers = pod?.spec.as_ref()?.containers.iter();
        let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
        Some(ports.find(|it| it.name.as_deref() == Some(name))?.container_port)
    };
    let number = match &port.target_port {
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => named(name).unwrap_or(port.port),
        None => port.port,
    };
    json!({"name": port.name.as_deref().unwrap_or_default(), "port": number,
        "protocol": port.protocol.as_deref().unwrap_or("TCP")})
}
