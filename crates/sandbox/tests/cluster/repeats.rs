//! With one seed, on one thread and a paused clock, a run is the same run: every write to the API server, byte for byte.

use std::sync::Arc;
use std::time::Duration;

use caravel_api_server::faults::{Fault, Observer, Rule, Rules, WatchFault, Write};
use caravel_csi::VolumeSnapshot;
use caravel_sandbox::Sandbox;
use caravel_sandbox::storage::{CsiFault, CsiRules};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, LogParams};
use parking_lot::Mutex;
use serde_json::json;

use crate::world::World;

/// A line for each write: who, what, how it was answered, and the object as it was stored.
#[derive(Default)]
struct Trace(Mutex<Vec<String>>);

impl Observer for Trace {
    fn wrote(&self, write: &Write<'_>) {
        let asked = write.subject;
        // A certificate authority is made anew for each run: its key must not be guessed.
        let is_secret = write.name() == "kube-root-ca.crt";
        let object = write.object.filter(|_| !is_secret).map(ToString::to_string);
        let line = format!(
            "{} {} {}/{} {}/{} {} {}",
            asked.user,
            asked.operation,
            asked.resource,
            asked.subresource,
            asked.namespace,
            write.name(),
            write.code,
            object.unwrap_or_default()
        );
        self.0.lock().push(line);
    }
}

/// What goes wrong in the story.
fn rules(seed: u64) -> Arc<Rules> {
    let rules = Rules::new(seed);
    rules.add(
        Rule::always(Fault::unavailable())
            .by("system:sandbox")
            .with_probability(0.08),
    );
    rules.add(
        Rule::always(Fault::LostAnswer)
            .on("patch")
            .by("system:sandbox")
            .with_probability(0.03),
    );
    rules.add_watch(
        Rule::always(WatchFault::Drop)
            .by("system:sandbox")
            .with_probability(0.03),
    );
    rules.add_watch(
        Rule::always(WatchFault::Expired)
            .by("system:sandbox")
            .with_probability(0.02),
    );
    Arc::new(rules)
}

/// A database on a volume is snapshotted, a copy of its volume read, its node lost, and all of it deleted.
async fn story(seed: u64) -> Vec<String> {
    let trace = Arc::new(Trace::default());
    let rules = rules(seed);
    let csi = Arc::new(CsiRules::new(seed));
    csi.add(Rule::always(CsiFault::NotReadyFor(Duration::from_secs(3))).on("CreateSnapshot"));
    csi.add(Rule::always(CsiFault::LostAnswer).on("CreateVolume").nth(2));
    let world = World::of_still(
        Sandbox::builder()
            .nodes(2)
            .seed(seed)
            .observer(trace.clone())
            .csi_faults(csi.clone()),
    )
    .await;
    world.sandbox.api().set_faults(Some(rules.clone()));
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "4Mi"}}});
    let set = json!({"metadata": {"name": "db"}, "spec": {
        "replicas": 1, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [
            {"name": "c", "image": "shell", "command": ["write /v/file kept", "sleep"],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
        ]}},
        "volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": claim}],
    }});
    world.create::<StatefulSet>(set).await;
    world.until_phase("db-0", "Running").await;
    let snapshot = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": {"name": "s"},
        "spec": {"source": {"persistentVolumeClaimName": "v-db-0"}},
    });
    world.create::<VolumeSnapshot>(snapshot).await;
    let is_ready = |it: &VolumeSnapshot| it.status.as_ref().is_some_and(|it| it.ready_to_use == Some(true));
    world.until(&world.of::<VolumeSnapshot>(), "s", is_ready).await;
    let mut copy = claim;
    copy["dataSource"] =
        json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
    world
        .create::<PersistentVolumeClaim>(json!({"metadata": {"name": "copy"}, "spec": copy}))
        .await;
    let using = json!({
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "copy"}}],
        "containers": [{"name": "c", "image": "shell", "command": ["read /v/file"],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
    });
    world.run("reader", &[], using).await;
    world.until_phase("reader", "Succeeded").await;
    let said = world
        .of::<Pod>()
        .logs("reader", &LogParams::default())
        .await
        .unwrap();
    assert_eq!(said, "kept\n");

    let db = world.of::<Pod>().get("db-0").await.unwrap();
    let node = db.spec.clone().unwrap().node_name.unwrap();
    world.sandbox.machines().fail_node(&node);
    tokio::time::sleep(Duration::from_secs(400)).await;
    let all = DeleteParams::foreground();
    world.of::<StatefulSet>().delete("db", &all).await.unwrap();
    // It asks as the sandbox does, so the rules are for it, too: switched on until it stays on.
    let mut tries = 0;
    while let Err(error) = world.sandbox.machines().recover_node(&node).await {
        tries += 1;
        assert!(tries < 10, "{error}");
    }
    world.until_gone(&world.of::<Pod>(), "db-0").await;
    world
        .of::<Pod>()
        .delete("reader", &DeleteParams::default())
        .await
        .unwrap();
    world
        .of::<VolumeSnapshot>()
        .delete("s", &DeleteParams::default())
        .await
        .unwrap();
    let claims: Api<PersistentVolumeClaim> = world.of();
    for claim in ["copy", "v-db-0"] {
        claims.delete(claim, &DeleteParams::default()).await.unwrap();
        world.until_gone(&claims, claim).await;
    }
    world.until_gone(&world.of::<VolumeSnapshot>(), "s").await;
    assert!(rules.injected() > 20, "only {} faults", rules.injected());
    assert_eq!(csi.injected(), 2);
    let written = trace.0.lock().clone();
    world.sandbox.shutdown().await;
    written
}

fn run(seed: u64) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(story(seed))
}

#[test]
fn one_seed_is_one_run_and_another_is_another() {
    let (first, again) = (run(7), run(7));
    let differs = first.iter().zip(&again).position(|(one, other)| one != other);
    if let Some(at) = differs {
        let shown = |trace: &[String]| trace[at.saturating_sub(3)..=at].join("\n");
        panic!("write {at} differs:\n{}\n\n{}", shown(&first), shown(&again));
    }
    assert_eq!(first.len(), again.len());
    assert!(first.len() > 150, "only {} writes", first.len());
    assert_ne!(first, run(8));
}
