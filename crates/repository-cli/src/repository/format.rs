//! What a new repository is made with: Kopia's flags, its defaults.

use caravel_repository::{Cipher, FormatOptions, HashAlgorithm};

use super::retention::Retention;
use crate::failure::Outcome;

/// Flags of `create` about the format; without them Kopia's own choices.
#[derive(Clone, Debug, clap::Args)]
pub struct Format {
    /// Names contents, as BLAKE2B-256-128.
    #[arg(long, value_name = "ALGORITHM")]
    block_hash: Option<String>,
    /// Seals contents, as AES256-GCM-HMAC-SHA256.
    #[arg(long, value_name = "ALGORITHM")]
    encryption: Option<String>,
    /// Cuts files, as DYNAMIC-4M-BUZHASH.
    #[arg(long, value_name = "ALGORITHM")]
    object_splitter: Option<String>,
    /// Makes a key of the password, as scrypt-65536-8-1.
    #[arg(long, value_name = "ALGORITHM")]
    format_block_key_derivation_algorithm: Option<String>,
    /// 1, 2 or 3.
    #[arg(long, value_name = "VERSION")]
    format_version: Option<u8>,
    /// Room for error correction, in percent.
    #[arg(long, value_name = "PERCENT")]
    ecc_overhead_percent: Option<u8>,
    #[command(flatten)]
    retention: Retention,
}

impl Format {
    /// The choices.
    pub fn options(&self) -> Outcome<FormatOptions> {
        let standard = FormatOptions::default();
        let options = FormatOptions {
            version: self.format_version.unwrap_or(standard.version),
            hash: match &self.block_hash {
                Some(name) => HashAlgorithm::by_name(name)?,
                None => standard.hash,
            },
            encryption: match &self.encryption {
                Some(name) => Cipher::by_name(name)?,
                None => standard.encryption,
            },
            splitter: self.object_splitter.clone().unwrap_or(standard.splitter),
            key_derivation: self
                .format_block_key_derivation_algorithm
                .clone()
                .unwrap_or(standard.key_derivation),
            ecc_overhead_percent: self.ecc_overhead_percent.unwrap_or(standard.ecc_overhead_percent),
            retention: self.retention.change(None)?.flatten(),
            ..FormatOptions::default()
        };
        options.check()?;
        Ok(options)
    }
}
