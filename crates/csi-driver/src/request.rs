//! What a request asks for, decided without touching anything: sizes, capabilities, parameters, pages.
//! Source: the CSI specification v1.11, sections CreateVolume, ValidateVolumeCapabilities, ListVolumes.

use std::collections::HashMap;

use crate::csi::volume_capability::{AccessType, access_mode::Mode};
use crate::csi::{CapacityRange, VolumeCapability, VolumeContentSource, volume_content_source};
use crate::error::{Error, Result};
use crate::filesystem::Filesystem;
use crate::records::{Source, VolumeRecord};

/// Where Kubernetes' sidecars put what is theirs among the parameters.
const SIDECAR_PREFIX: &str = "csi.storage.k8s.io/";
const FSTYPE: &str = "csi.storage.k8s.io/fstype";
const DEFAULT_BYTES: u64 = 1 << 30;
/// Image sizes are multiples of this: the largest block that ext4 and XFS are made with here.
const BLOCK: u64 = 4096;

/// How a volume is to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// As a raw device.
    pub block: bool,
    /// The filesystem asked for, if any.
    pub filesystem: Option<Filesystem>,
    /// Mount options of the StorageClass.
    pub mount_flags: Vec<String>,
    /// Nobody will write.
    pub read_only: bool,
    /// At most one pod.
    pub single_writer: bool,
}

/// Reads one capability. Writers on several nodes are refused: an image is attached to one machine.
pub fn access(capability: Option<&VolumeCapability>) -> Result<Access> {
    let capability = capability.ok_or_else(|| Error::missing("volume capability"))?;
    let mode = capability
        .access_mode
        .as_ref()
        .ok_or_else(|| Error::missing("access mode"))?
        .mode();
    if matches!(
        mode,
        Mode::Unknown | Mode::MultiNodeSingleWriter | Mode::MultiNodeMultiWriter
    ) {
        return Err(Error::Invalid(format!(
            "access mode {} is not supported: a volume of this driver is on one node (use ReadWriteOnce, ReadWriteOncePod or ReadOnlyMany)",
            mode.as_str_name()
        )));
    }
    let (block, filesystem, mount_flags) = match &capability.access_type {
        Some(AccessType::Block(_)) => (true, None, Vec::new()),
        Some(AccessType::Mount(mount)) if mount.fs_type.is_empty() => {
            (false, None, mount.mount_flags.clone())
        }
        Some(AccessType::Mount(mount)) => (false, Some(mount.fs_type.parse()?), mount.mount_flags.clone()),
        None => return Err(Error::missing("access type (block or mount)")),
    };
    let read_only = matches!(mode, Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly);
    Ok(Access {
        block,
        filesystem,
        mount_flags,
        read_only,
        single_writer: mode == Mode::SingleNodeSingleWriter,
    })
}

/// Reads all capabilities of a request; there must be one.
pub fn accesses(capabilities: &[VolumeCapability]) -> Result<Vec<Access>> {
    if capabilities.is_empty() {
        return Err(Error::missing("volume capabilities"));
    }
    capabilities.iter().map(|c| access(Some(c))).collect()
}

/// The filesystem of a volume: the capability's, else the StorageClass's, else ext4. A parameter that the driver
/// does not know is refused, never ignored; those with the sidecars' prefix are the sidecars'.
pub fn filesystem(accesses: &[Access], parameters: &HashMap<String, String>) -> Result<Filesystem> {
    if let Some(unknown) = parameters.keys().find(|key| !key.starts_with(SIDECAR_PREFIX)) {
        return Err(Error::Invalid(format!(
            "parameter {unknown:?} is not known to this driver; it reads only {FSTYPE}"
        )));
    }
    match accesses.iter().find_map(|a| a.filesystem) {
        Some(asked) => Ok(asked),
        None => parameters
            .get(FSTYPE)
            .filter(|name| !name.is_empty())
            .map_or(Ok(Filesystem::Ext4), |name| name.parse()),
    }
}

/// The least and the most that a range allows, in bytes; 0 and `u64::MAX` where it is silent.
fn bounds(range: Option<&CapacityRange>) -> Result<(u64, u64)> {
    let Some(range) = range else {
        return Ok((0, u64::MAX));
    };
    let of = |value: i64| {
        u64::try_from(value).map_err(|_| Error::Invalid(format!("a capacity of {value} bytes is negative")))
    };
    let limit = match of(range.limit_bytes)? {
        0 => u64::MAX,
        limit => limit,
    };
    Ok((of(range.required_bytes)?, limit))
}

/// The size of a new volume, in bytes. A copy is never smaller than what it is a copy of.
pub fn size(
    range: Option<&CapacityRange>,
    filesystem: Option<Filesystem>,
    source_bytes: Option<u64>,
) -> Result<u64> {
    let (required, limit) = bounds(range)?;
    if let Some(source) = source_bytes.filter(|source| required > 0 && required < *source) {
        return Err(Error::OutOfRange(format!(
            "{required} bytes are asked for, but the source has {source}; a copy cannot be smaller"
        )));
    }
    let wished = if required > 0 {
        required
    } else {
        source_bytes.unwrap_or(DEFAULT_BYTES.min(limit))
    };
    let least = filesystem.map_or(BLOCK, Filesystem::smallest);
    let too_large = || Error::OutOfRange(format!("{wished} bytes cannot be provided"));
    let size = wished
        .max(least)
        .checked_next_multiple_of(BLOCK)
        .filter(|s| i64::try_from(*s).is_ok())
        .ok_or_else(too_large)?;
    if size > limit {
        return Err(Error::OutOfRange(format!(
            "the volume needs {size} bytes (at least {least}, in steps of {BLOCK}), the limit is {limit}"
        )));
    }
    Ok(size)
}

/// The source that a request names.
pub fn source(content: Option<&VolumeContentSource>) -> Result<Option<Source>> {
    match content.map(|c| c.r#type.as_ref()) {
        None => Ok(None),
        Some(Some(volume_content_source::Type::Snapshot(s))) => {
            Ok(Some(Source::Snapshot(s.snapshot_id.clone())))
        }
        Some(Some(volume_content_source::Type::Volume(v))) => Ok(Some(Source::Volume(v.volume_id.clone()))),
        Some(None) => Err(Error::missing("kind of the content source")),
    }
}

/// Whether the volume that has the requested name already is the one asked for.
pub fn same_volume(
    existing: &VolumeRecord,
    range: Option<&CapacityRange>,
    block: bool,
    source: Option<&Source>,
) -> Result<()> {
    let (required, limit) = bounds(range)?;
    let differs = if !(required..=limit).contains(&existing.capacity_bytes) {
        format!("{} bytes", existing.capacity_bytes)
    } else if existing.source.as_ref() != source {
        "another content source".to_owned()
    } else if existing.block != block {
        "another volume mode".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::AlreadyExists(format!(
        "volume {:?} exists already, with {differs}",
        existing.name
    )))
}

/// A page of a listing sorted by id: entries after the token, and the token of the next page. A token is the id of the
/// last entry given, so entries that come or go between pages neither repeat nor hide others.
pub fn page<T>(
    entries: Vec<T>,
    id: impl Fn(&T) -> &str,
    max_entries: i32,
    token: &str,
    prefix: &str,
) -> Result<(Vec<T>, String)> {
    let most =
        usize::try_from(max_entries).map_err(|_| Error::Invalid(format!("max_entries is {max_entries}")))?;
    if !token.is_empty() && !token.starts_with(prefix) {
        return Err(Error::Aborted(format!(
            "the starting token {token:?} is none of this driver's; start the listing again"
        )));
    }
    let mut rest: Vec<T> = entries
        .into_iter()
        .filter(|e| token.is_empty() || id(e) > token)
        .collect();
    if most == 0 || rest.len() <= most {
        return Ok((rest, String::new()));
    }
    rest.truncate(most);
    let next = rest.last().map_or_else(String::new, |last| id(last).to_owned());
    Ok((rest, next))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
