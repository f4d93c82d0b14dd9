use super::*;

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "generation": 1},
        "spec": {"containers": [{"name": "c", "image": "shop", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "initContainers": [{"name": "i", "image": "shop"}]},
    }))
    .unwrap()
}

fn now() -> Time {
    Time(jiff::Timestamp::UNIX_EPOCH)
}

fn ended(code: i32) -> State {
    State::Ended(Ended {
        code,
        message: "bye".to_owned(),
        started: now(),
        finished: now(),
        id: "sandbox://1".to_owned(),
        reason: None,
    })
}

fn condition(status: &Value, kind: &str) -> (String, String) {
    let all = status["conditions"].as_array().unwrap();
    let found = all.iter().find(|it| it["type"] == kind).unwrap();
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (
        text("status"),
        format!("{} {}", text("reason"), text("message"))
            .trim()
            .to_owned(),
    )
}

#[test]
fn a_pod_is_pending_until_its_init_containers_have_succeeded() {
    let mut record = PodRecord::new(&pod(), "172.18.0.2", now());
    let status = record.status(&pod(), &now());
    assert_eq!(status["phase"], "Pending");
    assert_eq!(
        status["containerStatuses"][0]["state"]["waiting"]["reason"],
        "PodInitializing"
    );
    assert_eq!(
        condition(&status, "Initialized"),
        (
            "False".to_owned(),
            "ContainersNotInitialized containers with incomplete status: [i]".to_owned()
        )
    );
    record.init[0].state = ended(0);
    record.containers[0].state = State::Running {
        since: now(),
        id: "sandbox://2".to_owned(),
    };
    record.pod_ip = Some("10.244.0.2".to_owned());
    let status = record.status(&pod(), &now());
    assert_eq!(status["phase"], "Running");
    assert_eq!(condition(&status, "Ready").0, "True");
    assert_eq!(status["containerStatuses"][0]["ready"], true);
    assert_eq!(
        status["containerStatuses"][0]["volumeMounts"][0]["mountPath"],
        "/v"
    );
}

#[test]
fn a_pod_whose_containers_have_ended_has_succeeded_or_failed() {
    for (code, phase, reason) in [(0, "Succeeded", "PodCompleted"), (3, "Failed", "PodFailed")] {
        let mut record = PodRecord::new(&pod(), "172.18.0.2", now());
        record.init[0].state = ended(0);
        record.containers[0].state = ended(code);
        record.is_over = true;
        let status = record.status(&pod(), &now());
        assert_eq!(status["phase"], phase);
        assert_eq!(
            condition(&status, "Ready"),
            ("False".to_owned(), reason.to_owned())
        );
        let terminated = &status["containerStatuses"][0]["state"]["terminated"];
        assert_eq!(
            (&terminated["exitCode"], &terminated["message"]),
            (&json!(code), &json!("bye"))
        );
    }
}

#[test]
fn a_condition_keeps_its_time_while_its_status_stays() {
    let mut before = pod();
    before.status = serde_json::from_value(json!({"conditions": [
        {"type": "PodScheduled", "status": "False", "message": "old", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]})).unwrap();
    let new =
        json!({"type": "PodScheduled", "status": "False", "message": "new", "lastTransitionTime": now()});
    let all = replace_condition(&before, new.clone()).unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0]["message"], "new");
    assert_eq!(all[0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
    before.status = serde_json::from_value(json!({"conditions": all})).unwrap();
    assert_eq!(replace_condition(&before, new), None);
}

#[test]
fn a_pod_that_ran_when_the_machine_went_down_has_failed_unless_it_may_be_restarted() {
    let met_again = |policy: &str| {
        let mut pod = pod();
        pod.spec.as_mut().unwrap().restart_policy = Some(policy.to_owned());
        let mut record = PodRecord::new(&pod, "172.18.0.2", now());
        record.init[0].state = ended(0);
        record.containers[0].state = State::Running {
            since: now(),
            id: "sandbox://2".to_owned(),
        };
        pod.status = Some(serde_json::from_value(record.status(&pod, &now())).unwrap());
        PodRecord::new(&pod, "172.18.0.2", now()).status(&pod, &now())
    };
    let status = met_again("Never");
    assert_eq!(status["phase"], "Failed");
    let ended = &status["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(
        (&ended["exitCode"], &ended["reason"]),
        (&json!(137), &json!("ContainerStatusUnknown"))
    );
    assert_eq!(
        status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"],
        0
    );
    let status = met_again("Always");
    assert_eq!(status["phase"], "Pending");
    assert_eq!(status["containerStatuses"][0]["restartCount"], 1);
}
