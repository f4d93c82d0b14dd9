//! What a new repository can be made with (kopia-format.md 2.3, 2.4). Neighbour: `create.rs`, which makes it.

use super::{config::EpochParameters, retention::Retention};
use crate::{
    crypto::{Cipher, HashAlgorithm, password},
    error::{RepositoryError, Result},
    splitter,
};

/// The choices; [`FormatOptions::default`] is what Kopia v0.22 takes for each.
#[derive(Clone, Debug)]
pub struct FormatOptions {
    /// 1, 2 or 3. Version 1 has no epochs, no compressed contents, no error correction, and its password stays.
    pub version: u8,
    /// Names contents.
    pub hash: HashAlgorithm,
    /// Seals them.
    pub encryption: Cipher,
    /// Cuts objects: one of [`splitter::names`].
    pub splitter: String,
    /// Makes a key of the password: [`password::SCRYPT`] or [`password::PBKDF2`].
    pub key_derivation: String,
    /// Room that error correction may take, 0 (none) to 100.
    pub ecc_overhead_percent: u8,
    /// When a pack is full: 10 MiB to 120 MiB.
    pub max_pack_size: usize,
    /// Of versions 2 and 3.
    pub epochs: EpochParameters,
    /// How long the store must keep what is written; needs a store with object lock.
    pub retention: Option<Retention>,
}

impl Default for FormatOptions {
    fn default() -> Self {
        Self {
            version: 3,
            hash: HashAlgorithm::Blake2b256Cut128,
            encryption: Cipher::Aes256Gcm,
            splitter: "DYNAMIC-4M-BUZHASH".into(),
            key_derivation: password::SCRYPT.into(),
            ecc_overhead_percent: 0,
            max_pack_size: 20 << 20,
            epochs: EpochParameters::standard(),
            retention: None,
        }
    }
}

impl FormatOptions {
    /// Errors: `Invalid` or `Unsupported`, saying which choice cannot be made.
    pub fn check(&self) -> Result<()> {
        let invalid = |what: String| Err(RepositoryError::invalid(what));
        match self {
            o if !(1..=3).contains(&o.version) => {
                return invalid(format!(
                    "there is no format version {}; choose 1, 2 or 3",
                    o.version
                ));
            }
            o if o.ecc_overhead_percent > 100 => {
                return invalid("error correction can take 0 to 100 %".into());
            }
            o if o.version == 1 && o.ecc_overhead_percent > 0 => {
                return invalid("format version 1 has no error correction; choose 2 or 3".into());
            }
            o if !(10 << 20..=120 << 20).contains(&o.max_pack_size) => {
                return invalid("packs can have 10 MiB to 120 MiB".into());
            }
            o if ![password::SCRYPT, password::PBKDF2].contains(&o.key_derivation.as_str()) => {
                return invalid(format!("there is no key derivation {:?}", o.key_derivation));
            }
            o if o.version > 1 && !o.epochs.enabled => {
                return invalid("format versions 2 and 3 keep their index in epochs".into());
            }
            _ => {}
        }
        splitter::Rule::by_name(&self.splitter)?;
        if let Some(retention) = &self.retention {
            retention.check()?;
        }
        self.epochs.check()
    }
}
