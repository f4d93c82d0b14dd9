//! The cluster of a whole-restore case: its `apiResources` behind a `kube::Client`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use caravel_cases::Case;
use caravel_cases::api::{self, Asked};
use kube::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// A resource that the case's API serves.
#[derive(Clone)]
struct Served {
    group: String,
    version: String,
    plural: String,
    kind: String,
    namespaced: bool,
}

impl Served {
    fn base(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }
}

/// The cluster of a case. Objects by plural, namespace and name.
pub(super) struct Api {
    served: Vec<Served>,
    pub(super) objects: Mutex<BTreeMap<(String, String, String), Value>>,
    pub(super) created: Mutex<Vec<(String, String)>>,
    /// Method and path of each request, but for discovery.
    pub(super) requests: Mutex<Vec<String>>,
    /// How many requests wait for their answer, and how many did at most.
    waiting: Mutex<(usize, usize)>,
}

/// How long an answer takes: none comes before all requests that are sent at a time are under way.
const LATENCY: Duration = Duration::from_millis(1);

pub(super) fn field<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

impl Api {
    pub(super) fn of(case: &Case) -> Arc<Self> {
        let mut served = vec![Served {
            group: String::new(),
            version: "v1".to_owned(),
            plural: "namespaces".to_owned(),
            kind: "Namespace".to_owned(),
            namespaced: false,
        }];
        let mut objects = BTreeMap::new();
        for entry in case.input("apiResources").as_array().into_iter().flatten() {
            let resource = Served {
                group: field(entry, "/group").to_owned(),
                version: field(entry, "/version").to_owned(),
                plural: field(entry, "/plural").to_owned(),
                kind: field(entry, "/kind").to_owned(),
                namespaced: entry["namespaced"] == true,
            };
            for item in entry["items"].as_array().into_iter().flatten() {
                let (namespace, name) = (field(item, "/metadata/namespace"), field(item, "/metadata/name"));
                objects.insert(
                    (resource.plural.clone(), namespace.to_owned(), name.to_owned()),
                    item.clone(),
                );
            }
            if resource.plural != "namespaces" {
                served.push(resource);
            }
        }
        Arc::new(Self {
            served,
            objects: Mutex::new(objects),
            created: Mutex::default(),
            requests: Mutex::default(),
            waiting: Mutex::default(),
        })
    }

    fn discovery(&self) -> Vec<Value> {
        let mut groups: Vec<(String, Vec<Value>)> = Vec::new();
        for resource in &self.served {
            let entry = json!({"resource": resource.plural, "singularResource": resource.kind.to_lowercase(),
                "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
                "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
                "verbs": ["create", "delete", "get", "list", "patch"]});
            let version = json!({"version": resource.version, "resources": [entry]});
            match groups.iter_mut().find(|(name, _)| *name == resource.group) {
                Some((_, versions)) => versions.push(version),
                None => groups.push((resource.group.clone(), vec![version])),
            }
        }
        groups
            .into_iter()
            .map(|(name, versions)| json!({"metadata": {"name": name}, "versions": versions}))
            .collect()
    }

    fn answer(&self, asked: &Asked) -> (u16, Value) {
        if matches!(asked.path(), "/api" | "/apis") {
            return api::discovery(&self.discovery(), asked.path());
        }
        self.requests
            .lock()
            .push(format!("{} {}", asked.method, asked.path()));
        for resource in &self.served {
            let Some(rest) = asked.path().strip_prefix(&resource.base()) else {
                continue;
            };
            let parts: Vec<&str> = rest.trim_start_matches('/').split('/').collect();
            let (namespace, rest) = match &parts[..] {
                ["namespaces", namespace, rest @ ..] if resource.namespaced && !rest.is_empty() => {
                    (*namespace, rest)
                }
                all => ("", all),
            };
            match rest {
                [plural, rest @ ..]
                    if *plural == resource.plural && (rest.len() <= 1 || rest.get(1) == Some(&"status")) =>
                {
                    return self.object(asked, resource, namespace, rest.first().copied());
                }
                _ => {}
            }
        }
        api::failure(404, "NotFound")
    }

    fn object(&self, asked: &Asked, resource: &Served, namespace: &str, name: Option<&str>) -> (u16, Value) {
        let sent = asked.body.clone();
        let name = name.unwrap_or_else(|| field(&sent, "/metadata/name")).to_owned();
        let key = (resource.plural.clone(), namespace.to_owned(), name.clone());
        let mut objects = self.objects.lock();
        match (asked.method.as_str(), objects.get_mut(&key)) {
            ("POST", Some(_)) => api::failure(409, "AlreadyExists"),
            ("POST", None) => {
                let listed = if namespace.is_empty() {
                    name
                } else {
                    format!("{namespace}/{name}")
                };
                self.created.lock().push((resource.plural.clone(), listed));
                objects.insert(key, sent.clone());
                (201, sent)
            }
            ("PATCH", Some(known)) => {
                json_patch::merge(known, &sent);
                (200, known.clone())
            }
            ("GET", Some(known)) => (200, known.clone()),
            _ => api::failure(404, "NotFound"),
        }
    }

    pub(super) fn client(self: &Arc<Self>) -> Client {
        let api = Arc::clone(self);
        api::slow_client(move |asked| {
            let api = Arc::clone(&api);
            async move {
                api.wait().await;
                api.answer(&asked)
            }
        })
    }

    async fn wait(&self) {
        {
            let mut waiting = self.waiting.lock();
            waiting.0 += 1;
            waiting.1 = waiting.1.max(waiting.0);
        }
        tokio::time::sleep(LATENCY).await;
        self.waiting.lock().0 -= 1;
    }

    /// How many requests were under way at the same time, at most.
    pub(super) fn most_at_once(&self) -> usize {
        self.waiting.lock().1
    }

    /// `namespace/name` of the objects of a resource.
    pub(super) fn names(&self, plural: &str) -> BTreeSet<String> {
        let objects = self.objects.lock();
        let here = objects.keys().filter(|(resource, ..)| resource == plural);
        here.map(|(_, namespace, name)| format!("{namespace}/{name}"))
            .collect()
    }
}
