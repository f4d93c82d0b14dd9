//! The policy that Velero leaves for every source: keep everything, compress nothing unless it is asked for
//! (kopia-format.md 13.4).
//!
//! It is for `kopia` and Velero, which read it; our own upload has these rules built in.

use std::collections::BTreeMap;

use caravel_repository::Compressor;
use serde_json::{Value, json};

use crate::request::UploadRequest;

/// As many snapshots as Go's int32 can count: all of them.
const ALL: i64 = 2_147_483_647;
/// Above this Velero's Kopia uploads one file in parts.
const PART_BYTES: i64 = 2 << 30;

/// Labels under which the source's policy is found.
pub(crate) fn labels(request: &UploadRequest) -> BTreeMap<String, String> {
    [
        ("type", "policy"),
        ("policyType", "path"),
        ("hostname", &request.source.host),
        ("username", &request.source.user_name),
        ("path", &request.source.path),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// The policy itself; it names what compresses the data.
pub(crate) fn payload(parallel_files: usize, compressor: Option<Compressor>) -> Value {
    let compressor = compressor.map_or("none", Compressor::name);
    json!({
        "retention": {
            "keepLatest": ALL, "keepHourly": ALL, "keepDaily": ALL, "keepWeekly": ALL, "keepMonthly": ALL,
            "keepAnnual": ALL
        },
        "files": {},
        "errorHandling": { "ignoreUnknownTypes": true },
        "scheduling": { "manual": true },
        "compression": { "compressorName": compressor },
        "metadataCompression": {},
        "splitter": {},
        "actions": {},
        "osSnapshots": { "volumeShadowCopy": {} },
        "logging": { "directories": {}, "entries": {} },
        "upload": { "maxParallelFileReads": parallel_files, "parallelUploadAboveSize": PART_BYTES }
    })
}
