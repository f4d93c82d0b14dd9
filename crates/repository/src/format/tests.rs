//! What is refused when a format blob is opened, and in which words.

use serde_json::{Value, json};

use super::config::Config;
use crate::{Environment, RepositoryErrorKind};

fn config(change: impl FnOnce(&mut Value)) -> Config {
    let json = Config::new(&Environment::system()).to_json();
    let mut value: Value = serde_json::from_slice(&json).unwrap();
    change(&mut value["format"]);
    Config::parse(value.to_string().as_bytes()).unwrap()
}

#[test]
fn new_repository_has_kopias_defaults() {
    let json = Config::new(&Environment::system()).to_json();
    let value: Value = serde_json::from_slice(&json).unwrap();
    let format = &value["format"];
    assert_eq!(format["version"], 3);
    assert_eq!(format["maxPackSize"], 20_971_520);
    assert_eq!(format["indexVersion"], 2);
    assert_eq!(format["enablePasswordChange"], true);
    let epochs = json!({
        "Enabled": true, "EpochRefreshFrequency": 1_200_000_000_000_u64, "FullCheckpointFrequency": 7,
        "CleanupSafetyMargin": 14_400_000_000_000_u64, "MinEpochDuration": 86_400_000_000_000_u64,
        "EpochAdvanceOnCountThreshold": 20, "EpochAdvanceOnTotalSizeBytesThreshold": 10_485_760,
        "DeleteParallelism": 4
    });
    assert_eq!(format["epochParameters"], epochs);
    config(|_| ()).check_supported().unwrap();
}

#[test]
fn whatever_this_version_lacks_is_refused_by_name() {
    let cases: [(&str, Value, &str); 10] = [
        ("hash", json!("BLAKE3-256"), "BLAKE3-256"),
        ("encryption", json!("CHACHA20-POLY1305-HMAC-SHA256"), "CHACHA20"),
        ("version", json!(1), "format version 1"),
        ("version", json!(4), "format version 4"),
        ("indexVersion", json!(1), "index version 1"),
        ("enablePasswordChange", json!(false), "replicas"),
        ("eccOverheadPercent", json!(2), "error correction"),
        (
            "requiredFeatures",
            json!([{"feature": "quantum-packs"}]),
            "quantum-packs",
        ),
        ("epochParameters", json!({"Enabled": false}), "epochs"),
        ("maxPackSize", json!(20_971_520), ""),
    ];
    for (field, value, named) in cases {
        let result = config(|format| format[field] = value).check_supported();
        if named.is_empty() {
            result.unwrap();
            continue;
        }
        let error = result.unwrap_err();
        assert_eq!(error.kind(), RepositoryErrorKind::Unsupported);
        assert!(error.to_string().contains(named), "{error}");
    }
    let error = config(|f| f["splitter"] = json!("DYNAMIC-4M-RABINKARP"))
        .split_rule()
        .unwrap_err();
    assert!(error.to_string().contains("RABINKARP"));
}

#[test]
fn feature_that_only_warns_and_error_correction_of_zero_are_accepted() {
    let warns = json!([{"feature": "x", "ifNotUnderstood": {"warn": true}}, {"feature": "index-v2"}]);
    config(|format| format["requiredFeatures"] = warns)
        .check_supported()
        .unwrap();
    config(|format| format["ecc"] = json!("REED-SOLOMON-CRC32"))
        .check_supported()
        .unwrap();
}

#[test]
fn repository_under_an_upgrade_lock_is_locked() {
    let error = config(|format| format["upgradeLock"] = json!({"ownerID": "x"}))
        .check_supported()
        .unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::Locked);
}

#[test]
fn settings_that_are_no_settings_are_damage() {
    for text in [
        "",
        "{}",
        "[]",
        "{\"format\":{}}",
        "{\"format\":{\"version\":3,\"secret\":\"?\"}}",
    ] {
        assert_eq!(
            Config::parse(text.as_bytes()).err().unwrap().kind(),
            RepositoryErrorKind::Damaged,
            "{text}"
        );
    }
}
