//! `velero.io/service`: cluster IPs and node ports that the old cluster chose are chosen anew; what a user chose
//! stays. Source: Velero `pkg/restore/actions/service_action.go`.

use std::collections::HashSet;

use serde_json::Value;

use crate::metadata::annotation;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Clears `clusterIP(s)` of services that are not headless, and, unless `preserve_node_ports`, the node ports and the
/// health check port that no user set: neither `kubectl apply`'s annotation nor the managed fields name them.
pub fn execute(service: &mut Value, preserve_node_ports: bool) {
    forget_cluster_ips(service);
    if preserve_node_ports {
        return;
    }
    let chosen = Chosen::of(service);
    if let Some(ports) = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut) {
        for port in ports {
            if !chosen.node_port(port)
                && let Some(port) = port.as_object_mut()
            {
                port.remove("nodePort");
            }
        }
    }
    let local_balancer = service.pointer("/spec/type").and_then(Value::as_str) == Some("LoadBalancer")
        && service
            .pointer("/spec/externalTrafficPolicy")
            .and_then(Value::as_str)
            == Some("Local");
    if local_balancer
        && !chosen.health_check
        && let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.remove("healthCheckNodePort");
    }
}

fn forget_cluster_ips(service: &mut Value) {
    if let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) {
        let headless = spec.get("clusterIP").and_then(Value::as_str) == Some("None");
        if !headless {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
    }
}

/// What a user set, as far as the object tells.
struct Chosen {
    /// Names of ports, from the annotation and from managed fields.
    named: HashSet<String>,
    /// Node ports of ports without a name, from the annotation.
    unnamed: HashSet<i64>,
    /// `k:{"port":80,"protocol":"TCP"}` in managed fields: (port, protocol).
    keyed: HashSet<(i64, String)>,
    health_check: bool,
}

impl Chosen {
    fn of(service: &Value) -> Self {
        let mut chosen = Self {
            named: HashSet::new(),
            unnamed: HashSet::new(),
            keyed: HashSet::new(),
            health_check: false,
        };
        if let Some(applied) =
            annotation(service, LAST_APPLIED).and_then(|text| serde_json::from_str::<Value>(text).ok())
        {
            chosen.read_applied(&applied);
        }
        for entry in service
            .pointer("/metadata/managedFields")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            chosen.read_managed(entry);
        }
        chosen
    }

    fn read_applied(&mut self, applied: &Value) {
        for port in applied
            .pointer("/spec/ports")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let Some(number) = port
                .get("nodePort")
                .and_then(as_number)
                .filter(|number| *number > 0)
            else {
                continue;
            };
            match port
                .get("name")
                .and_then(Value::as_str)
                .filter(|name| !name.is_empty())
            {
                Some(name) => self.named.insert(name.to_owned()),
                None => self.unnamed.insert(number),
            };
        }
        self.health_check |= applied
            .pointer("/spec/healthCheckNodePort")
            .and_then(as_number)
            .is_some_and(|number| number > 0);
    }

    fn read_managed(&mut self, entry: &Value) {
        let Some(spec) = entry.pointer("/fieldsV1/f:spec") else {
            return;
        };
        self.health_check |= spec.get("f:healthCheckNodePort").is_some();
        for (key, fields) in spec
            .get("f:ports")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            if fields.get("f:nodePort").is_none() {
                continue;
            }
            let Some(key) = key
                .strip_prefix("k:")
                .and_then(|key| serde_json::from_str::<Value>(key).ok())
            else {
                continue;
            };
            if let Some(port) = key.get("port").and_then(Value::as_i64) {
                let protocol = key.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
                self.keyed.insert((port, protocol.to_owned()));
            }
        }
    }

    fn node_port(&self, port: &Value) -> bool {
        let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
        let number = port.get("nodePort").and_then(Value::as_i64).unwrap_or_default();
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
        let key = (
            port.get("port").and_then(Value::as_i64).unwrap_or_default(),
            protocol.to_owned(),
        );
        (!name.is_empty() && self.named.contains(name))
            || (name.is_empty() && self.unnamed.contains(&number))
            || self.keyed.contains(&key)
    }
}

/// A number, or one that somebody quoted.
fn as_number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}
