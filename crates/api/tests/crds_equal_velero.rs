//! Our CRDs against those that Velero 1.18.3 installs (shared/samples/objects/install.yaml).
//!
//! Left out of the comparison: descriptions, the order of lists that are sets (`required`, `enum`), controller-gen's
//! annotation, `creationTimestamp: null` and `served`'s empty `subresources: {}`, which mean nothing to the API server.

use std::path::PathBuf;

use serde_json::Value;

/// This package's folder, as cargo says at run time: checkouts share one target folder, so the path that was compiled in
/// may be that of another one, long gone.
fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
        .into()
}

fn sample() -> Option<Vec<Value>> {
    let samples = std::env::var_os("CARAVEL_SAMPLES")
        .map_or_else(|| package().join("../../../shared/samples"), PathBuf::from);
    let path = samples.join("objects/install.yaml");
    let Ok(text) = std::fs::read_to_string(&path) else {
        assert!(std::env::var("CI").is_err(), "{} is missing", path.display());
        eprintln!("skipped: {} is missing", path.display());
        return None;
    };
    let list: Value = serde_saphyr::from_str(&text).expect("the sample is YAML");
    let items = list["items"].as_array().expect("a List").clone();
    Some(
        items
            .into_iter()
            .filter(|item| item["kind"] == "CustomResourceDefinition")
            .collect(),
    )
}

/// Takes out what the comparison ignores.
fn bare(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if object.get("description").is_some_and(Value::is_string) {
                object.remove("description");
            }
            for list in ["required", "enum"] {
                if let Some(Value::Array(words)) = object.get_mut(list) {
                    words.sort_by_key(Value::to_string);
                }
            }
            if object
                .get("subresources")
                .is_some_and(|it| it == &serde_json::json!({}))
            {
                object.remove("subresources");
            }
            object.remove("annotations");
            object.remove("creationTimestamp");
            object.values_mut().for_each(bare);
        }
        Value::Array(list) => list.iter_mut().for_each(bare),
        _ => {}
    }
}

fn differences(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                differences(
                    &format!("{path}.{key}"),
                    a.get(key).unwrap_or(&Value::Null),
                    b.get(key).unwrap_or(&Value::Null),
                    found,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{at}]"), a, b, found);
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{path}: ours {a}, Velero's {b}")),
    }
}

#[test]
fn every_crd_equals_the_one_velero_installs() {
    let Some(theirs) = sample() else { return };
    let ours: Vec<Value> = caravel_api::crds()
        .iter()
        .map(|crd| serde_json::to_value(crd).unwrap())
        .collect();
    let name = |crd: &Value| crd["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!(
        ours.iter().map(name).collect::<Vec<_>>(),
        theirs.iter().map(name).collect::<Vec<_>>()
    );
    let mut found = Vec::new();
    for (mut ours, mut theirs) in ours.into_iter().zip(theirs) {
        let name = name(&ours);
        // Property names may be called "description" or "required"; those are objects and are kept.
        bare(&mut ours);
        bare(&mut theirs);
        differences(&name, &ours, &theirs, &mut found);
    }
    assert!(
        found.is_empty(),
        "{} differences:\n{}",
        found.len(),
        found.join("\n")
    );
}
