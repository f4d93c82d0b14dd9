//! The sealed JSON inside `kopia.repository` (kopia-format.md 2.3, 2.4, 7.5).

use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::Zeroizing;

use crate::{
    crypto::{Algorithms, Cipher, ErrorCorrection, HashAlgorithm, ecc},
    environment::Environment,
    epoch::IndexManager,
    error::{RepositoryError, RepositoryErrorKind, Result},
    format::{FormatOptions, Retention, upgrade_lock::UpgradeLock},
    splitter,
};

const DEFAULT_PACK_SIZE: usize = 20 << 20;
/// What Kopia takes for a pack; a damaged figure must not become an allocation.
const MAX_PACK_SIZE: usize = 120 << 20;
/// The newest format version that this version, like Kopia v0.22, knows.
const NEWEST: i64 = 3;
/// Index layouts are the only features that this version, like Kopia, understands.
const KNOWN_FEATURES: [&str; 2] = ["index-v1", "index-v2"];

/// Base64 bytes that are wiped when dropped.
#[derive(Clone, Default)]
pub(crate) struct Key(pub Zeroizing<Vec<u8>>);

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&*self.0))
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = BASE64_STANDARD
            .decode(text.as_bytes())
            .map_err(|_| D::Error::custom("not base64"))?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

#[derive(Serialize, Deserialize)]
struct Wrapped {
    format: Config,
}

/// The settings; field names are Kopia's.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    #[serde(default)]
    pub hash: String,
    #[serde(default)]
    pub encryption: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    ecc: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    ecc_overhead_percent: i64,
    #[serde(default)]
    pub secret: Key,
    #[serde(default)]
    pub master_key: Key,
    version: i64,
    #[serde(default)]
    pub max_pack_size: usize,
    #[serde(default)]
    index_version: i64,
    #[serde(default)]
    pub epoch_parameters: EpochParameters,
    #[serde(default)]
    enable_password_change: bool,
    #[serde(default)]
    pub splitter: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upgrade_lock: Option<UpgradeLock>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    required_features: Vec<RequiredFeature>,
    /// What a newer client added; it survives being written again.
    #[serde(flatten)]
    unknown: serde_json::Map<String, serde_json::Value>,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// What can be changed while a repository is in use.
#[derive(Clone, Debug, Default)]
pub struct ParameterChange {
    /// When a pack is full, in bytes: 10 MiB to 120 MiB.
    pub max_pack_size: Option<usize>,
    /// When epochs advance and are compacted.
    pub epochs: Option<EpochParameters>,
    /// How long what is written from now on is locked; `Some(None)`: no longer.
    pub retention: Option<Option<Retention>>,
}

/// Errors: `Invalid` for a size that Kopia does not take.
pub(super) fn check_pack_size(size: usize) -> Result<()> {
    match (10 << 20..=MAX_PACK_SIZE).contains(&size) {
        true => Ok(()),
        false => Err(RepositoryError::invalid("packs can have 10 MiB to 120 MiB")),
    }
}

/// When epochs advance and are compacted (kopia-format.md 7.5); durations are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EpochParameters {
    /// Whether there are epochs at all; without them the repository keeps its index as format version 1 does.
    pub enabled: bool,
    /// How old a listing of epochs may be; also how long one reading of the index may take.
    pub epoch_refresh_frequency: i64,
    /// So many epochs are compacted into a range.
    pub full_checkpoint_frequency: i64,
    /// How long compacted blobs are kept beside what they were compacted into.
    pub cleanup_safety_margin: i64,
    /// An epoch lasts at least so long.
    pub min_epoch_duration: i64,
    /// An epoch ends when it has so many index blobs, or …
    pub epoch_advance_on_count_threshold: i64,
    /// … so many bytes of them.
    pub epoch_advance_on_total_size_bytes_threshold: i64,
    /// How many blobs are deleted at the same time.
    pub delete_parallelism: i64,
}

impl EpochParameters {
    /// Kopia's, for format versions 2 and 3.
    pub fn standard() -> Self {
        const MINUTE: i64 = 60_000_000_000;
        Self {
            enabled: true,
            epoch_refresh_frequency: 20 * MINUTE,
            full_checkpoint_frequency: 7,
            cleanup_safety_margin: 4 * 60 * MINUTE,
            min_epoch_duration: 24 * 60 * MINUTE,
            epoch_advance_on_count_threshold: 20,
            epoch_advance_on_total_size_bytes_threshold: 10 << 20,
            delete_parallelism: 4,
        }
    }

    /// Kopia's own rules for what works. Errors: `Invalid`, saying which one is broken.
    pub fn check(&self) -> Result<()> {
        const MINUTE: i64 = 60_000_000_000;
        let refresh = self.epoch_refresh_frequency.saturating_mul(3);
        let broken = match self {
            p if !p.enabled => None,
            p if p.min_epoch_duration < 10 * MINUTE => Some("an epoch must last at least 10 minutes"),
            p if refresh > p.min_epoch_duration => Some("an epoch must last three refresh intervals or more"),
            p if p.full_checkpoint_frequency <= 0 => Some("the checkpoint frequency must be 1 or more"),
            p if p.cleanup_safety_margin < refresh => {
                Some("the cleanup margin must be three refresh intervals or more")
            }
            p if p.epoch_advance_on_count_threshold < 10 => Some("an epoch must take 10 index blobs or more"),
            p if p.epoch_advance_on_total_size_bytes_threshold < 1 << 20 => {
                Some("an epoch must take 1 MiB of index blobs or more")
            }
            _ => None,
        };
        broken.map_or(Ok(()), |what| {
            Err(RepositoryError::invalid(format!("epoch parameters: {what}")))
        })
    }
}

/// A feature that whoever writes must understand; all of it survives being written again.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequiredFeature {
    feature: String,
    #[serde(default)]
    if_not_understood: IfNotUnderstood,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct IfNotUnderstood {
    warn: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    upgrade_to_version: String,
}

impl Config {
    /// As asked for, with fresh keys. Errors: `Invalid` for choices that do not go together.
    pub fn new(options: &FormatOptions, environment: &Environment) -> Result<Self> {
        options.check()?;
        let key = || Key(Zeroizing::new(environment.random::<32>().to_vec()));
        let first = options.version == 1;
        let config = Self {
            hash: options.hash.name().into(),
            encryption: options.encryption.name().into(),
            ecc: if options.ecc_overhead_percent > 0 {
                ecc::ALGORITHM.into()
            } else {
                String::new()
            },
            ecc_overhead_percent: options.ecc_overhead_percent.into(),
            secret: key(),
            master_key: key(),
            version: options.version.into(),
            max_pack_size: options.max_pack_size,
            index_version: if first { 1 } else { 2 },
            epoch_parameters: if first {
                EpochParameters::default()
            } else {
                options.epochs.clone()
            },
            enable_password_change: !first,
            splitter: options.splitter.clone(),
            upgrade_lock: None,
            required_features: Vec::new(),
            unknown: serde_json::Map::new(),
        };
        Ok(config)
    }

    /// With other parameters that can be changed later. Errors: `Invalid` for values that do not work.
    pub fn with_parameters(mut self, change: &ParameterChange) -> Result<Self> {
        if let Some(size) = change.max_pack_size {
            self.max_pack_size = size;
        }
        if let Some(epochs) = &change.epochs {
            if epochs.enabled != self.epoch_parameters.enabled {
                return Err(RepositoryError::invalid(
                    "epochs are switched on by an upgrade of the repository only",
                ));
            }
            self.epoch_parameters = epochs.clone();
        }
        check_pack_size(self.max_pack_size)?;
        self.epoch_parameters.check()?;
        Ok(self)
    }

    pub fn parse(plain: &[u8]) -> Result<Self> {
        let wrapped: Wrapped = serde_json::from_slice(plain).map_err(|e| {
            RepositoryError::damaged(format!(
                "the settings inside {} are not well formed: {e}",
                super::FORMAT_BLOB
            ))
        })?;
        Ok(wrapped.format)
    }

    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let wrapped = Wrapped { format: self.clone() };
        Zeroizing::new(serde_json::to_vec(&wrapped).expect("settings are plain JSON"))
    }

    /// The first thing in the settings that keeps this version from using the repository at `now`, as an error that
    /// says what to do.
    pub fn check_supported(&self, now: Timestamp) -> Result<()> {
        if let Some(lock) = self.upgrade_lock.as_ref().filter(|lock| lock.is_locked(now)) {
            return Err(lock.error());
        }
        if self.version > NEWEST {
            return Err(RepositoryError::new(
                RepositoryErrorKind::NewerVersion,
                format!(
                    "the repository has format version {}, and this program knows versions up to {NEWEST}; use a newer \
                     version of it",
                    self.version
                ),
            ));
        }
        self.required_features
            .iter()
            .try_for_each(RequiredFeature::check)?;
        let unsupported = |what: String| Err(RepositoryError::unsupported(what));
        match self {
            c if c.version < 1 => unsupported(format!("format version {}", c.version)),
            c if !(0..=2).contains(&c.index_version) => {
                unsupported(format!("index version {}", c.index_version))
            }
            c if c.max_pack_size > MAX_PACK_SIZE => {
                unsupported(format!("packs of {} bytes", c.max_pack_size))
            }
            c => c.algorithms().map(drop),
        }
    }

    /// What names and seals contents. Errors: `Unsupported`, naming what this version lacks.
    pub fn algorithms(&self) -> Result<Algorithms> {
        Ok(Algorithms {
            hash: HashAlgorithm::by_name(&self.hash)?,
            cipher: Cipher::by_name(&self.encryption)?,
            correction: ErrorCorrection::by_name(&self.ecc, self.ecc_overhead_percent)?,
        })
    }

    /// The format version, 1 to 3.
    pub fn version(&self) -> u8 {
        u8::try_from(self.version).unwrap_or(u8::MAX)
    }

    /// Of indexes: 1, or 2, which knows compressed contents.
    pub fn index_version(&self) -> u8 {
        match self.index_version {
            2 => 2,
            _ => 1,
        }
    }

    /// How index blobs are kept; the format version does not say it.
    pub fn index_manager(&self) -> IndexManager {
        match self.epoch_parameters.enabled {
            true => IndexManager::Epochs,
            false => IndexManager::Legacy,
        }
    }

    /// Whether the password can be changed; where it cannot, every pack begins with a replica of the format blob.
    pub fn password_change_enabled(&self) -> bool {
        self.enable_password_change
    }

    /// When a pack is full, in bytes.
    pub fn pack_size(&self) -> usize {
        match self.max_pack_size {
            0 => DEFAULT_PACK_SIZE,
            size => size,
        }
    }

    /// How objects are cut; only a writer needs to know.
    pub fn split_rule(&self) -> Result<splitter::Rule> {
        splitter::Rule::by_name(&self.splitter)
    }
}

impl RequiredFeature {
    fn check(&self) -> Result<()> {
        let IfNotUnderstood {
            warn,
            message,
            url,
            upgrade_to_version,
        } = &self.if_not_understood;
        if KNOWN_FEATURES.contains(&self.feature.as_str()) {
            return Ok(());
        }
        let mut text = format!(
            "the repository needs the feature {:?}, which this program lacks",
            self.feature
        );
        for (before, what) in [
            ("", message),
            ("see ", url),
            ("it came with version ", upgrade_to_version),
        ] {
            if !what.is_empty() {
                text.push_str(&format!("; {before}{what}"));
            }
        }
        if *warn {
            tracing::warn!(feature = self.feature, "{text}");
            return Ok(());
        }
        text.push_str("; use a newer version");
        Err(RepositoryError::new(RepositoryErrorKind::MissingFeature, text))
    }
}
