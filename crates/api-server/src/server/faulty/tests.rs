//! Faults as a controller meets them, through `kube::Client`.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::TokioClock;
use crate::faults::{Rule, Rules};

const VELERO: &str = "system:serviceaccount:velero:velero";

struct World {
    rules: Arc<Rules>,
    server: ApiServer,
    velero: Api<ConfigMap>,
    others: Api<ConfigMap>,
}

fn world() -> World {
    let rules = Arc::new(Rules::new(1));
    let server = ApiServer::builder().seed(1).faults(rules.clone()).build();
    World {
        velero: Api::namespaced(server.client_as(velero()), "default"),
        others: Api::namespaced(server.client(), "default"),
        rules,
        server,
    }
}

fn velero() -> User {
    User::service_account("velero", "velero")
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

async fn create(api: &Api<ConfigMap>, name: &str) -> kube::Result<ConfigMap> {
    api.create(&PostParams::default(), &config_map(name)).await
}

fn code(result: kube::Result<ConfigMap>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("not refused: {other:?}"),
    }
}

/// The connection ended without an answer.
fn is_dead(result: kube::Result<ConfigMap>) -> bool {
    matches!(result, Err(kube::Error::Service(_)))
}

#[tokio::test]
async fn a_refused_write_is_not_done_and_only_the_user_named_is_refused() {
    let world = world();
    let rule = || {
        Rule::always(Fault::unavailable())
            .on("create")
            .of("configmaps")
            .by(VELERO)
    };
    world.rules.add(rule().named("a").first(1));
    assert!(create(&world.others, "a-others").await.is_ok());
    assert_eq!(code(create(&world.velero, "a").await), 503);
    assert!(world.others.get_opt("a").await.unwrap().is_none());
    assert!(create(&world.velero, "a").await.is_ok());
    assert!(create(&world.velero, "b").await.is_ok());
    assert_eq!(world.rules.injected(), 1);
}

#[tokio::test]
async fn a_lost_answer_and_a_late_timeout_leave_the_object_an_unreachable_server_does_not() {
    let world = world();
    for (n, fault) in [Fault::LostAnswer, Fault::timeout_after(), Fault::Unreachable]
        .into_iter()
        .enumerate()
    {
        world
            .rules
            .add(Rule::always(fault).on("create").nth(n as u64 + 1));
    }
    assert!(is_dead(create(&world.velero, "lost").await));
    assert_eq!(code(create(&world.velero, "late").await), 504);
    assert!(is_dead(create(&world.velero, "never").await));
    let there = world.others.list(&ListParams::default()).await.unwrap();
    let names: Vec<_> = there
        .items
        .iter()
        .filter_map(|map| map.metadata.name.as_deref())
        .collect();
    assert_eq!(names, ["late", "lost"]);
}

#[tokio::test]
async fn too_many_requests_says_when_to_come_again() {
    let world = world();
    let busy = Fault::too_many_requests(Duration::from_secs(3));
    world.rules.add(Rule::always(busy));
    let uri = "/api/v1/namespaces/default/configmaps";
    let request = Request::get(uri).body(Bytes::new()).unwrap();
    let answer = world.server.handle(&velero(), request).await;
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "3");
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_takes_its_time_of_tokios_clock_and_the_clock_of_objects_follows() {
    let rules = Arc::new(Rules::new(1));
    let start: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let server = ApiServer::builder()
        .clock(Arc::new(TokioClock::starting_at(start)))
        .faults(rules.clone())
        .build();
    rules.add(Rule::always(Fault::Slow(Duration::from_secs(40))).on("create"));
    let api: Api<ConfigMap> = Api::namespaced(server.client(), "default");
    let made = create(&api, "a").await.unwrap();
    let at = made.metadata.creation_timestamp.unwrap().0;
    assert_eq!(at.to_string(), "2026-01-01T00:00:40Z");
}

#[tokio::test]
async fn a_dropped_watch_ends_and_an_expired_one_says_410() {
    let world = world();
    let watch = || async {
        let stream = world.velero.watch(&WatchParams::default(), "0").await.unwrap();
        stream.boxed()
    };
    let (mut dropped, mut kept) = (watch().await, watch().await);
    world
        .rules
        .add_watch(Rule::always(WatchFault::Drop).of("configmaps").nth(1));
    world
        .rules
        .add_watch(Rule::always(WatchFault::Expired).of("configmaps").nth(3));
    create(&world.others, "a").await.unwrap();
    let named = |event: Option<WatchEvent<ConfigMap>>| match event {
        Some(WatchEvent::Added(map)) => map.metadata.name.unwrap_or_default(),
        other => panic!("{other:?}"),
    };
    assert!(dropped.try_next().await.unwrap().is_none());
    let first = kept.try_next().await.unwrap();
    assert_eq!(named(first), "a");
    create(&world.others, "b").await.unwrap();
    match kept.try_next().await {
        Ok(Some(WatchEvent::Error(status))) => assert_eq!(status.code, 410),
        other => panic!("{other:?}"),
    }
    assert!(kept.try_next().await.unwrap().is_none());
    let history = watch().await.try_next().await.unwrap();
    assert_eq!(named(history), "a", "nothing is lost for who asks again");
}

#[tokio::test]
async fn a_client_is_dead_from_when_its_token_is_set() {
    let world = world();
    let until = CancellationToken::new();
    let client = world.server.client_until(velero(), until.clone());
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    create(&api, "before").await.unwrap();
    let mut watch = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    assert!(watch.try_next().await.unwrap().is_some());
    until.cancel();
    assert!(is_dead(create(&api, "after").await));
    assert!(is_dead(api.get("before").await));
    create(&world.others, "later").await.unwrap();
    assert!(matches!(watch.try_next().await, Ok(None)));
    assert!(world.others.get_opt("after").await.unwrap().is_none());
}

#[tokio::test]
async fn a_request_under_way_ends_with_its_client() {
    let world = world();
    world
        .rules
        .add(Rule::always(Fault::Slow(Duration::from_secs(3600))).on("create"));
    let until = CancellationToken::new();
    let client = world.server.client_until(velero(), until.clone());
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    let (answer, ()) = tokio::join!(create(&api, "a"), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        until.cancel();
    });
    assert!(is_dead(answer));
}

#[derive(Default)]
struct Trace(Mutex<Vec<String>>);

impl Observer for Trace {
    fn wrote(&self, write: &Write<'_>) {
        let Subject {
            operation, resource, ..
        } = write.subject;
        let revision = if write.resource_version().is_some() {
            "stored"
        } else {
            "-"
        };
        let line = format!(
            "{operation} {resource} {} {} {revision}",
            write.name(),
            write.code
        );
        self.0.lock().push(line);
    }
}

#[tokio::test]
async fn every_write_is_told_in_order_and_reads_and_dry_runs_are_not() {
    let world = world();
    let trace = Arc::new(Trace::default());
    world.server.set_observer(Some(trace.clone()));
    let lost = Rule::always(Fault::LostAnswer).on("create").named("c");
    world.rules.add(lost);
    world
        .rules
        .add(Rule::always(Fault::Unreachable).on("create").named("d"));
    let api = &world.velero;
    create(api, "a").await.unwrap();
    assert_eq!(code(create(api, "a").await), 409);
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    api.create(&dry, &config_map("b")).await.unwrap();
    assert!(is_dead(create(api, "c").await));
    assert!(is_dead(create(api, "d").await));
    let patch = Patch::Merge(json!({"data": {"x": "y"}}));
    api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    api.get("a").await.unwrap();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(
        *trace.0.lock(),
        [
            "create configmaps a 201 stored",
            "create configmaps a 409 -",
            "create configmaps c 201 stored",
            "create configmaps d 0 -",
            "patch configmaps a 200 stored",
            "delete configmaps a 200 -",
        ]
    );
}
