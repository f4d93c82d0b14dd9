//! Rows of namespaces, nodes, services, configuration, events and access.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Cells, age, count, labels, list, number, text, text_or};

const NONE: &str = "<none>";
const ROLE_LABEL: &str = "node-role.kubernetes.io/";

pub(super) fn namespace(object: &Value, now: Timestamp) -> Cells {
    vec![
        json!(text(object, "/metadata/name")),
        json!(text(object, "/status/phase")),
        age::of(object, now),
    ]
}

pub(super) fn node(object: &Value, now: Timestamp) -> Cells {
    let ready = list(object, "/status/conditions")
        .iter()
        .find(|condition| condition["type"] == "Ready");
    let mut status = match ready {
        Some(ready) if ready["status"] == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if object["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let of_labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    let roles: BTreeSet<&str> = of_labels
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_LABEL) {
            Some(role) => Some(role),
            None => value.as_str().filter(|_| key == "kubernetes.io/role"),
        })
        .filter(|role| !role.is_empty())
        .collect();
    let roles: Vec<&str> = roles.into_iter().collect();
    let address = |kind: &str| {
        let found = list(object, "/status/addresses")
            .iter()
            .find(|address| address["type"] == kind);
        json!(found.map_or(NONE, |address| text(address, "/address")))
    };
    let software = |field: &str| json!(text_or(object, &format!("/status/nodeInfo/{field}"), "<unknown>"));
    vec![
        json!(text(object, "/metadata/name")),
        json!(status),
        json!(if roles.is_empty() {
            NONE.into()
        } else {
            roles.join(",")
        }),
        age::of(object, now),
        json!(text(object, "/status/nodeInfo/kubeletVersion")),
        address("InternalIP"),
        address("ExternalIP"),
        software("osImage"),
        software("kernelVersion"),
        software("containerRuntimeVersion"),
    ]
}

pub(super) fn service(object: &Value, now: Timestamp) -> Cells {
    let ports: Vec<String> = list(object, "/spec/ports")
        .iter()
        .map(|port| {
            let (number_of, protocol) = (number(port, "/port"), text(port, "/protocol"));
            match number(port, "/nodePort") {
                0 => format!("{number_of}/{protocol}"),
                node_port => format!("{number_of}:{node_port}/{protocol}"),
            }
        })
        .collect();
    vec![
        json!(text(object, "/metadata/name")),
        json!(text(object, "/spec/type")),
        json!(text_or(
            object,
            "/spec/clusterIPs/0",
            text_or(object, "/spec/clusterIP", NONE)
        )),
        json!(external_ip(object)),
        json!(if ports.is_empty() {
            NONE.into()
        } else {
            ports.join(",")
        }),
        age::of(object, now),
        json!(labels(object, "/spec/selector")),
    ]
}

fn external_ip(object: &Value) -> String {
    let mut given: Vec<&str> = Vec::new();
    let otherwise = match text(object, "/spec/type") {
        "ExternalName" => return text(object, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let ingress = list(object, "/status/loadBalancer/ingress");
            let of_balancer: BTreeSet<&str> = ingress
                .iter()
                .map(|ingress| text_or(ingress, "/ip", text(ingress, "/hostname")))
                .collect();
            given.extend(of_balancer.into_iter().filter(|address| !address.is_empty()));
            "<pending>"
        }
        "ClusterIP" | "NodePort" => NONE,
        _ => return "<unknown>".into(),
    };
    given.extend(list(object, "/spec/externalIPs").iter().filter_map(Value::as_str));
    if given.is_empty() {
        otherwise.into()
    } else {
        given.join(",")
    }
}

pub(super) fn endpoints(object: &Value, now: Timestamp) -> Cells {
    let mut shown = Vec::new();
    for subset in list(object, "/subsets") {
        let addresses = || {
            list(subset, "/addresses")
                .iter()
                .map(|address| text(address, "/ip"))
        };
        let ports = list(subset, "/ports");
        if ports.is_empty() {
            shown.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            shown.extend(addresses().map(|ip| format!("{ip}:{}", number(port, "/port"))));
        }
    }
    vec![
        json!(text(object, "/metadata/name")),
        json!(first_three(&shown, NONE)),
        age::of(object, now),
    ]
}

pub(super) fn endpoint_slice(object: &Value, now: Timestamp) -> Cells {
    let ports: Vec<String> = list(object, "/ports")
        .iter()
        .map(|port| match port.get("port").and_then(Value::as_i64) {
            Some(number) => number.to_string(),
            None => text_or(port, "/name", "*").to_owned(),
        })
        .collect();
    let addresses: Vec<String> = list(object, "/endpoints")
        .iter()
        .flat_map(|endpoint| list(endpoint, "/addresses"))
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    vec![
        json!(text(object, "/metadata/name")),
        json!(text(object, "/addressType")),
        json!(first_three(&ports, "<unset>")),
        json!(first_three(&addresses, "<unset>")),
        age::of(object, now),
    ]
}

fn first_three(all: &[String], none: &str) -> String {
    match all {
        [] => none.to_owned(),
        [a, b, c, more @ ..] if !more.is_empty() => format!("{a},{b},{c} + {} more...", more.len()),
        few => few.join(","),
    }
}

pub(super) fn secret(object: &Value, now: Timestamp) -> Cells {
    vec![
        json!(text(object, "/metadata/name")),
        json!(text(object, "/type")),
        json!(count(object, "/data")),
        age::of(object, now),
    ]
}

pub(super) fn config_map(object: &Value, now: Timestamp) -> Cells {
    vec![
        json!(text(object, "/metadata/name")),
        json!(count(object, "/data") + count(object, "/binaryData")),
        age::of(object, now),
    ]
}

pub(super) fn service_account(object: &Value, now: Timestamp) -> Cells {
    vec![
        json!(text(object, "/metadata/name")),
        json!(list(object, "/secrets").len()),
        age::of(object, now),
    ]
}

/// An Event, of the core group or of `events.k8s.io` (whose fields have other names).
pub(super) fn event(object: &Value, now: Timestamp) -> Cells {
    let either =
        |core: &'static str, new: &'static str| if object.pointer(core).is_some() { core } else { new };
    let first = match text(object, either("/firstTimestamp", "/deprecatedFirstTimestamp")) {
        "" => age::at(object, "/eventTime", now),
        _ => age::at(
            object,
            either("/firstTimestamp", "/deprecatedFirstTimestamp"),
            now,
        ),
    };
    let series = object.get("series").is_some_and(Value::is_object);
    let last = either("/lastTimestamp", "/deprecatedLastTimestamp");
    let last = match text(object, last) {
        _ if series => age::at(object, "/series/lastObservedTime", now),
        "" => first.clone(),
        _ => age::at(object, last, now),
    };
    let times = match number(object, either("/count", "/deprecatedCount")) {
        _ if series => number(object, "/series/count"),
        0 => 1,
        times => times,
    };
    let about = &object[&either("/involvedObject", "/regarding")[1..]];
    let mut target = text(about, "/kind").to_lowercase();
    if !text(about, "/name").is_empty() {
        target = format!("{target}/{}", text(about, "/name"));
    }
    vec![
        json!(last),
        json!(text(object, "/type")),
        json!(text(object, "/reason")),
        json!(target),
        json!(text(about, "/fieldPath")),
        json!(event_source(object)),
        json!(text(object, either("/message", "/note")).trim()),
        json!(first),
        json!(times),
        json!(text(object, "/metadata/name")),
    ]
}

fn event_source(object: &Value) -> String {
    let component = text_or(object, "/source/component", text(object, "/reportingComponent"));
    match text_or(object, "/source/host", text(object, "/reportingInstance")) {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    }
}

pub(super) fn binding(object: &Value, now: Timestamp) -> Cells {
    let subjects = |kind: &str| {
        let named: Vec<String> = list(object, "/subjects")
            .iter()
            .filter(|subject| subject["kind"] == kind)
            .map(|subject| match kind {
                "ServiceAccount" => format!("{}/{}", text(subject, "/namespace"), text(subject, "/name")),
                _ => text(subject, "/name").to_owned(),
            })
            .collect();
        json!(named.join(", "))
    };
    vec![
        json!(text(object, "/metadata/name")),
        json!(format!(
            "{}/{}",
            text(object, "/roleRef/kind"),
            text(object, "/roleRef/name")
        )),
        age::of(object, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

pub(super) fn lease(object: &Value, now: Timestamp) -> Cells {
    vec![
        json!(text(object, "/metadata/name")),
        json!(text(object, "/spec/holderIdentity")),
        age::of(object, now),
    ]
}

pub(super) fn priority_class(object: &Value, now: Timestamp) -> Cells {
    vec![
        json!(text(object, "/metadata/name")),
        json!(number(object, "/value")),
        json!(object["globalDefault"] == true),
        age::of(object, now),
        json!(text(object, "/preemptionPolicy")),
    ]
}
