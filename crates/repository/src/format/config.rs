//! The sealed JSON inside `kopia.repository` (kopia-format.md 2.3, 2.4, 7.5).

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::Zeroizing;

use crate::{
    environment::Environment,
    error::{RepositoryError, RepositoryErrorKind, Result},
    splitter,
};

pub(crate) const HASH: &str = "BLAKE2B-256-128";
pub(crate) const ENCRYPTION: &str = "AES256-GCM-HMAC-SHA256";
pub(crate) const SPLITTER: &str = "DYNAMIC-4M-BUZHASH";
const DEFAULT_PACK_SIZE: usize = 20 << 20;
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
    #[serde(default, skip_serializing)]
    ecc: String,
    #[serde(default, skip_serializing)]
    ecc_overhead_percent: i64,
    #[serde(default)]
    pub secret: Key,
    #[serde(default)]
    pub master_key: Key,
    pub version: u8,
    #[serde(default)]
    pub max_pack_size: usize,
    #[serde(default)]
    pub index_version: u8,
    #[serde(default)]
    pub epoch_parameters: EpochParameters,
    #[serde(default)]
    enable_password_change: bool,
    #[serde(default)]
    pub splitter: String,
    #[serde(default, skip_serializing)]
    upgrade_lock: Option<serde_json::Value>,
    #[serde(default, skip_serializing)]
    required_features: Vec<RequiredFeature>,
}

/// When epochs advance; durations are nanoseconds.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct EpochParameters {
    pub enabled: bool,
    pub epoch_refresh_frequency: i64,
    pub full_checkpoint_frequency: i64,
    pub cleanup_safety_margin: i64,
    pub min_epoch_duration: i64,
    pub epoch_advance_on_count_threshold: i64,
    pub epoch_advance_on_total_size_bytes_threshold: i64,
    pub delete_parallelism: i64,
}

impl EpochParameters {
    /// Kopia's defaults.
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
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequiredFeature {
    feature: String,
    #[serde(default)]
    if_not_understood: IfNotUnderstood,
}

#[derive(Clone, Default, Deserialize)]
struct IfNotUnderstood {
    #[serde(default)]
    warn: bool,
}

impl Config {
    /// What Kopia v0.22 makes a new repository with, and fresh keys.
    pub fn new(environment: &Environment) -> Self {
        let key = || Key(Zeroizing::new(environment.random::<32>().to_vec()));
        Self {
            hash: HASH.into(),
            encryption: ENCRYPTION.into(),
            ecc: String::new(),
            ecc_overhead_percent: 0,
            secret: key(),
            master_key: key(),
            version: 3,
            max_pack_size: DEFAULT_PACK_SIZE,
            index_version: 2,
            epoch_parameters: EpochParameters::standard(),
            enable_password_change: true,
            splitter: SPLITTER.into(),
            upgrade_lock: None,
            required_features: Vec::new(),
        }
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

    /// The first thing in the settings that this version does not implement, as an error that names it.
    pub fn check_supported(&self) -> Result<()> {
        let unsupported = |what: String| Err(RepositoryError::unsupported(what));
        if self.upgrade_lock.is_some() {
            return Err(RepositoryError::new(
                RepositoryErrorKind::Locked,
                "the repository is being upgraded by another client; try again when the upgrade is finished",
            ));
        }
        let missing =
            |f: &&RequiredFeature| !KNOWN_FEATURES.contains(&f.feature.as_str()) && !f.if_not_understood.warn;
        if let Some(feature) = self.required_features.iter().find(missing) {
            return unsupported(format!("the feature {:?}", feature.feature));
        }
        match self {
            c if !(2..=3).contains(&c.version) => unsupported(format!("format version {}", c.version)),
            c if c.hash != HASH => unsupported(format!("the hash {}", c.hash)),
            c if c.encryption != ENCRYPTION => unsupported(format!("the encryption {}", c.encryption)),
            c if c.ecc_overhead_percent > 0 => unsupported(format!("error correction {}", c.ecc)),
            c if c.index_version != 2 => unsupported(format!("index version {}", c.index_version)),
            c if !c.epoch_parameters.enabled => unsupported("the index manager without epochs".into()),
            c if !c.enable_password_change => unsupported("format replicas inside packs".into()),
            c if c.secret.0.len() > 64 => unsupported("a hash key of more than 64 bytes".into()),
            _ => Ok(()),
        }
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
