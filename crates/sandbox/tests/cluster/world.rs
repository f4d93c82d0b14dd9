//! A sandbox with one image, `shell`, whose programs do what their command's words say.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api_server::TokioClock;
use caravel_sandbox::{Container, ExecRequest, Executed, Program, Sandbox};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Nothing here takes this long, unless it never happens.
const SOON: Duration = Duration::from_secs(20);

/// Each word of the command is a statement: `print TEXT`, `env NAME`, `write PATH TEXT`, `read PATH`, `last TEXT`
/// (termination message), `exit CODE`, `sleep` (until stopped), `ignore` (stop is not heard).
struct Shell;

#[async_trait]
impl Program for Shell {
    async fn run(&self, container: Container) -> i32 {
        for statement in &container.command {
            let (verb, rest) = statement.split_once(' ').unwrap_or((statement, ""));
            let place = |path: &str| container.on_machine(Path::new(path)).expect("a path in a mount");
            match verb {
                "print" => container.log.write(format!("{rest}\n").as_bytes()),
                "env" => {
                    let value = container.env.get(rest).cloned().unwrap_or_default();
                    container.log.write(format!("{value}\n").as_bytes());
                }
                "write" => {
                    let (path, text) = rest.split_once(' ').expect("PATH TEXT");
                    std::fs::write(place(path), text).expect("a place that can be written");
                }
                "read" => {
                    let text =
                        std::fs::read(place(rest)).unwrap_or_else(|error| error.to_string().into_bytes());
                    container.log.write(&text);
                    container.log.write(b"\n");
                }
                "last" => std::fs::write(&container.termination_message, rest).expect("its own file"),
                "exit" => return rest.parse().expect("a code"),
                "sleep" => container.stop.cancelled().await,
                "haunt" => drop(tokio::spawn(haunt(container.client.clone()))),
                "ignore" => std::future::pending().await,
                "panic" => panic!("as asked"),
                other => container.log.write(format!("{other}: not found\n").as_bytes()),
            }
        }
        0
    }

    async fn exec(&self, container: &Container, request: ExecRequest) -> Executed {
        let said = format!("{} in {}", request.command.join(" "), container.name);
        Executed {
            code: 3,
            ..Executed::success(said)
        }
    }
}

/// Writes ConfigMap `ghost` every second, whatever becomes of who started it.
async fn haunt(client: Client) {
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    for turn in 0.. {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ghost"}, "data": {"turn": turn.to_string()}});
        let _ = api
            .patch("ghost", &PatchParams::apply("ghost"), &Patch::Apply(map))
            .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A running cluster.
pub struct World {
    pub sandbox: Sandbox,
    pub client: Client,
    patience: Duration,
}

impl World {
    pub async fn with_nodes(nodes: usize) -> Self {
        let sandbox = Sandbox::builder()
            .nodes(nodes)
            .seed(1)
            .image("shell", Arc::new(Shell))
            .start();
        let sandbox = sandbox.await.unwrap();
        let client = sandbox.client();
        Self {
            sandbox,
            client,
            patience: SOON,
        }
    }

    /// On a paused clock, where waiting costs nothing.
    pub async fn still(nodes: usize) -> Self {
        Self::of_still(Sandbox::builder().nodes(nodes).seed(1)).await
    }

    /// As [`Self::still`], of this sandbox to be.
    pub async fn of_still(sandbox: caravel_sandbox::Builder) -> Self {
        let start = "2026-01-01T00:00:00Z".parse().unwrap();
        let sandbox = sandbox
            .inline()
            .clock(Arc::new(TokioClock::starting_at(start)))
            .image("shell", Arc::new(Shell))
            .start();
        let sandbox = sandbox.await.unwrap();
        let client = sandbox.client();
        Self {
            sandbox,
            client,
            patience: Duration::from_secs(7200),
        }
    }

    pub async fn start() -> Self {
        Self::with_nodes(1).await
    }

    /// Objects in namespace `default`.
    pub fn of<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    pub async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + serde::Serialize,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.of::<K>()
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    }

    /// A pod of one container; `spec` is merged into it.
    pub async fn run(&self, name: &str, command: &[&str], spec: Value) -> Pod {
        self.create(pod(name, command, spec)).await
    }

    /// Waits until the object is so; the object then. On a miss it says what the object was.
    pub async fn until<K>(&self, api: &Api<K>, name: &str, is_so: impl Fn(&K) -> bool) -> K
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let wanted = await_condition(api.clone(), name, |object: Option<&K>| object.is_some_and(&is_so));
        match tokio::time::timeout(self.patience, wanted).await {
            Ok(found) => found.unwrap().unwrap(),
            Err(_) => panic!("{name} never was so: {:#?}", api.get_opt(name).await),
        }
    }

    pub async fn until_gone<K>(&self, api: &Api<K>, name: &str)
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let gone = await_condition(api.clone(), name, |object: Option<&K>| object.is_none());
        if tokio::time::timeout(self.patience, gone).await.is_err() {
            panic!("{name} never went: {:#?}", api.get_opt(name).await);
        }
    }

    pub async fn until_phase(&self, name: &str, wanted: &str) -> Pod {
        self.until(&self.of::<Pod>(), name, |pod| phase(pod) == wanted)
            .await
    }

    /// `Reason: message` of every event about this object.
    pub async fn events(&self, name: &str) -> Vec<String> {
        let field = format!("involvedObject.name={name}");
        let events = self
            .of::<Event>()
            .list(&ListParams::default().fields(&field))
            .await
            .unwrap();
        let said = |event: &Event| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("{}: {}", text(&event.reason), text(&event.message))
        };
        events.items.iter().map(said).collect()
    }

    pub async fn names<K>(&self, labels: &str) -> Vec<String>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let all = self
            .of::<K>()
            .list(&ListParams::default().labels(labels))
            .await
            .unwrap();
        all.items.iter().map(ResourceExt::name_any).collect()
    }
}

pub fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Pending")
}

pub fn pod(name: &str, command: &[&str], spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": {
        "restartPolicy": "Never",
        "containers": [{"name": "c", "image": "docker.io/library/shell:1", "command": command}],
    }});
    json_patch::merge(&mut pod["spec"], &spec);
    pod
}

/// The first container's status.
pub fn container(pod: &Pod) -> k8s_openapi::api::core::v1::ContainerStatus {
    pod.status.clone().unwrap().container_statuses.unwrap().remove(0)
}

/// Why the first container waits.
pub fn waiting(pod: &Pod) -> String {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    let state = statuses.and_then(|all| all.first()?.state.clone());
    state.and_then(|state| state.waiting?.reason).unwrap_or_default()
}
