//! Rows of what runs pods.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Cells, age, commas, labels, list, number, text, text_or};

pub(super) fn deployment(object: &Value, now: Timestamp) -> Cells {
    let ready = format!(
        "{}/{}",
        number(object, "/status/readyReplicas"),
        number(object, "/spec/replicas")
    );
    let mut cells = vec![
        json!(text(object, "/metadata/name")),
        json!(ready),
        json!(number(object, "/status/updatedReplicas")),
        json!(number(object, "/status/availableReplicas")),
        age::of(object, now),
    ];
    cells.extend(template(object, "/spec/template"));
    cells.push(json!(selector(object, "/spec/selector", "")));
    cells
}

pub(super) fn replica_set(object: &Value, now: Timestamp) -> Cells {
    let mut cells = vec![
        json!(text(object, "/metadata/name")),
        json!(number(object, "/spec/replicas")),
        json!(number(object, "/status/replicas")),
        json!(number(object, "/status/readyReplicas")),
        age::of(object, now),
    ];
    cells.extend(template(object, "/spec/template"));
    cells.push(json!(selector(object, "/spec/selector", "<none>")));
    cells
}

pub(super) fn stateful_set(object: &Value, now: Timestamp) -> Cells {
    let ready = format!(
        "{}/{}",
        number(object, "/status/readyReplicas"),
        number(object, "/spec/replicas")
    );
    let mut cells = vec![
        json!(text(object, "/metadata/name")),
        json!(ready),
        age::of(object, now),
    ];
    cells.extend(template(object, "/spec/template"));
    cells
}

pub(super) fn daemon_set(object: &Value, now: Timestamp) -> Cells {
    let mut cells = vec![
        json!(text(object, "/metadata/name")),
        json!(number(object, "/status/desiredNumberScheduled")),
        json!(number(object, "/status/currentNumberScheduled")),
        json!(number(object, "/status/numberReady")),
        json!(number(object, "/status/updatedNumberScheduled")),
        json!(number(object, "/status/numberAvailable")),
        json!(labels(object, "/spec/template/spec/nodeSelector")),
        age::of(object, now),
    ];
    cells.extend(template(object, "/spec/template"));
    cells.push(json!(selector(object, "/spec/selector", "<none>")));
    cells
}

pub(super) fn revision(object: &Value, now: Timestamp) -> Cells {
    let owner = list(object, "/metadata/ownerReferences")
        .iter()
        .find(|owner| owner["controller"] == true);
    let controller = owner.map_or_else(
        || "<none>".to_owned(),
        |owner| {
            let kind = text(owner, "/kind").to_lowercase();
            let kind = match text(owner, "/apiVersion").split_once('/') {
                Some((group, _)) => format!("{kind}.{group}"),
                None => kind,
            };
            format!("{kind}/{}", text(owner, "/name"))
        },
    );
    vec![
        json!(text(object, "/metadata/name")),
        json!(controller),
        json!(number(object, "/revision")),
        age::of(object, now),
    ]
}

pub(super) fn job(object: &Value, now: Timestamp) -> Cells {
    let done = number(object, "/status/succeeded");
    let parallel = number(object, "/spec/parallelism");
    let completions = match object.pointer("/spec/completions").and_then(Value::as_i64) {
        Some(wanted) => format!("{done}/{wanted}"),
        None if parallel > 1 => format!("{done}/1 of {parallel}"),
        None => format!("{done}/1"),
    };
    let mut cells = vec![
        json!(text(object, "/metadata/name")),
        json!(job_status(object)),
        json!(completions),
        json!(job_duration(object, now)),
        age::of(object, now),
    ];
    cells.extend(template(object, "/spec/template"));
    cells.push(json!(selector(object, "/spec/selector", "<none>")));
    cells
}

fn job_status(object: &Value) -> &'static str {
    let is_true = |kind: &str| {
        let condition = list(object, "/status/conditions")
            .iter()
            .find(|condition| condition["type"] == kind);
        condition.is_some_and(|condition| condition["status"] == "True")
    };
    for kind in ["Complete", "Failed"] {
        if is_true(kind) {
            return kind;
        }
    }
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return "Terminating";
    }
    for kind in ["Suspended", "FailureTarget", "SuccessCriteriaMet"] {
        if is_true(kind) {
            return kind;
        }
    }
    "Running"
}

fn job_duration(object: &Value, now: Timestamp) -> String {
    let Ok(start) = text(object, "/status/startTime").parse() else {
        return String::new();
    };
    let end = text(object, "/status/completionTime").parse().unwrap_or(now);
    age::between(start, end)
}

pub(super) fn cron_job(object: &Value, now: Timestamp) -> Cells {
    let last = match object.pointer("/status/lastScheduleTime") {
        Some(_) => age::at(object, "/status/lastScheduleTime", now),
        None => "<none>".into(),
    };
    let mut cells = vec![
        json!(text(object, "/metadata/name")),
        json!(text(object, "/spec/schedule")),
        json!(text_or(object, "/spec/timeZone", "<none>")),
        json!(object["spec"]["suspend"] == true),
        json!(list(object, "/status/active").len()),
        json!(last),
        age::of(object, now),
    ];
    cells.extend(template(object, "/spec/jobTemplate/spec/template"));
    cells.push(json!(selector(
        object,
        "/spec/jobTemplate/spec/selector",
        "<none>"
    )));
    cells
}

pub(super) fn disruption_budget(object: &Value, now: Timestamp) -> Cells {
    let amount = |field: &str| match &object["spec"][field] {
        Value::Null => "N/A".to_owned(),
        Value::String(share) => share.clone(),
        number => number.to_string(),
    };
    vec![
        json!(text(object, "/metadata/name")),
        json!(amount("minAvailable")),
        json!(amount("maxUnavailable")),
        json!(number(object, "/status/disruptionsAllowed")),
        age::of(object, now),
    ]
}

/// Names and images of a template's containers.
fn template(object: &Value, pointer: &str) -> [Value; 2] {
    let containers = format!("{pointer}/spec/containers");
    ["/name", "/image"].map(|field| json!(commas(object, &containers, field)))
}

/// A label selector as text, `a=b,c in (d,e),!f`, by key.
fn selector(object: &Value, pointer: &str, empty: &str) -> String {
    let Some(selector) = object.pointer(pointer) else {
        return empty.to_owned();
    };
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    let mut rules: Vec<(String, String)> = equal
        .map(|(key, value)| {
            (
                key.clone(),
                format!("{key}={}", value.as_str().unwrap_or_default()),
            )
        })
        .collect();
    for rule in list(selector, "/matchExpressions") {
        let key = text(rule, "/key");
        let mut values: Vec<&str> = list(rule, "/values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let said = match text(rule, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        };
        rules.push((key.to_owned(), said));
    }
    rules.sort();
    if rules.is_empty() {
        return empty.to_owned();
    }
    let said: Vec<String> = rules.into_iter().map(|(_, said)| said).collect();
    said.join(",")
}
