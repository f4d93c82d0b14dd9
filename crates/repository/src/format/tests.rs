//! What is refused when a format blob is opened, and in which words.

use serde_json::{Value, json};

use super::{FormatOptions, config::Config};
use crate::{Environment, RepositoryErrorKind, epoch::IndexManager};

fn new(options: &FormatOptions) -> Config {
    Config::new(options, &Environment::system()).unwrap()
}

fn check(config: &Config) -> crate::error::Result<()> {
    config.check_supported("2026-11-21T12:00:00Z".parse().unwrap())
}

fn config(change: impl FnOnce(&mut Value)) -> Config {
    let json = new(&FormatOptions::default()).to_json();
    let mut value: Value = serde_json::from_slice(&json).unwrap();
    change(&mut value["format"]);
    Config::parse(value.to_string().as_bytes()).unwrap()
}

#[test]
fn new_repository_has_kopias_defaults() {
    let json = new(&FormatOptions::default()).to_json();
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
    check(&config(|_| ())).unwrap();
    assert!(format.get("ecc").is_none() && format.get("upgradeLock").is_none());
}

#[test]
fn version_1_is_made_as_kopia_makes_it() {
    let options = FormatOptions {
        version: 1,
        ..FormatOptions::default()
    };
    let config = new(&options);
    let value: Value = serde_json::from_slice(&config.to_json()).unwrap();
    assert_eq!(value["format"]["indexVersion"], 1);
    assert_eq!(value["format"]["enablePasswordChange"], false);
    assert_eq!(value["format"]["epochParameters"]["Enabled"], false);
    assert_eq!(config.index_manager(), IndexManager::Legacy);
    check(&config).unwrap();
}

#[test]
fn choices_that_do_not_go_together_are_refused() {
    let refused = |change: fn(&mut FormatOptions)| {
        let mut options = FormatOptions::default();
        change(&mut options);
        options.check().unwrap_err()
    };
    for change in [
        (|o| o.version = 4) as fn(&mut FormatOptions),
        |o| (o.version, o.ecc_overhead_percent) = (1, 2),
        |o| o.max_pack_size = 1 << 20,
        |o| o.key_derivation = "argon2".into(),
        |o| o.splitter = "FIXED-3M".into(),
        |o| o.epochs.min_epoch_duration = 1,
        |o| o.epochs.enabled = false,
    ] {
        refused(change);
    }
}

#[test]
fn whatever_this_version_lacks_is_refused_by_name_and_by_kind() {
    use RepositoryErrorKind::{MissingFeature, NewerVersion, Unsupported};
    let cases: [(&str, Value, &str, RepositoryErrorKind); 8] = [
        ("hash", json!("MD5"), "MD5", Unsupported),
        ("encryption", json!("ROT13"), "ROT13", Unsupported),
        ("version", json!(0), "format version 0", Unsupported),
        ("version", json!(4), "format version 4", NewerVersion),
        ("indexVersion", json!(3), "index version 3", Unsupported),
        ("eccOverheadPercent", json!(2), "error correction", Unsupported),
        ("maxPackSize", json!(1_u64 << 40), "packs of", Unsupported),
        (
            "requiredFeatures",
            json!([{"feature": "quantum-packs", "ifNotUnderstood": {"message": "ask Ann", "upgradeToVersion": "9.1"}}]),
            "ask Ann; it came with version 9.1",
            MissingFeature,
        ),
    ];
    for (field, value, named, kind) in cases {
        let error = check(&config(|format| format[field] = value)).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(named), "{error}");
    }
    let error = config(|f| f["splitter"] = json!("DYNAMIC-4M-ROLLSUM"))
        .split_rule()
        .unwrap_err();
    assert!(error.to_string().contains("ROLLSUM"));
}

#[test]
fn layout_follows_from_its_own_fields_and_not_from_the_version() {
    let odd = config(|format| {
        format["version"] = json!(1);
        format["epochParameters"] = json!({"Enabled": false});
    });
    check(&odd).unwrap();
    assert_eq!(
        (odd.index_version(), odd.index_manager()),
        (2, IndexManager::Legacy)
    );
}

#[test]
fn feature_that_only_warns_and_error_correction_of_zero_are_accepted() {
    let warns = json!([{"feature": "x", "ifNotUnderstood": {"warn": true}}, {"feature": "index-v2"}]);
    check(&config(|format| format["requiredFeatures"] = warns)).unwrap();
    check(&config(|format| format["ecc"] = json!("REED-SOLOMON-CRC32"))).unwrap();
}

#[test]
fn repository_under_an_upgrade_lock_is_locked() {
    let lock = json!({"ownerID": "x", "creationTime": "2026-11-21T11:00:00Z", "ioDrainTimeout": 1});
    let error = check(&config(|format| format["upgradeLock"] = lock)).unwrap_err();
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
