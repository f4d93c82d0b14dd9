//! Error correction around sealed bytes: `REED-SOLOMON-CRC32` (kopia-format.md 3.5; Kopia `repo/ecc/ecc_rs_crc.go`
//! v0.22.3). Neighbour: `reed_solomon.rs` (the code itself).
//!
//! ```text
//! stored = parity shards (u32 CRC ‖ shard)… ‖ data shards (u32 CRC ‖ shard)…
//! data   = u32 length ‖ bytes ‖ zeros            block by block; the last zeros of several blocks are not stored
//! ```

mod reed_solomon;

use std::sync::Arc;

use crate::error::{RepositoryError, Result};
use reed_solomon::Code;

/// The only algorithm there is.
pub const ALGORITHM: &str = "REED-SOLOMON-CRC32";

const CRC: usize = 4;
const LENGTH: usize = 4;
/// Short texts are cut into so many data and parity shards.
const SMALL: (usize, usize) = (6, 2);

/// Error correction of one overhead. Cheap to clone.
#[derive(Clone)]
pub struct ErrorCorrection(Arc<Inner>);

struct Inner {
    percent: u32,
    max_shard: usize,
    small: Code,
    big: Code,
}

impl std::fmt::Debug for ErrorCorrection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{ALGORITHM} of {} %", self.0.percent)
    }
}

/// How one text is cut.
struct Sizes<'c> {
    code: &'c Code,
    shard: usize,
    blocks: usize,
    stores_padding: bool,
}

impl ErrorCorrection {
    /// By the names in the format blob; `None` when the overhead is 0 (then there is none).
    ///
    /// Errors: `Unsupported` for another algorithm, `Damaged` for an overhead that is none.
    pub fn by_name(algorithm: &str, percent: i64) -> Result<Option<Self>> {
        if percent == 0 {
            return Ok(None);
        }
        if algorithm != ALGORITHM {
            return Err(RepositoryError::unsupported(format!(
                "the error correction {algorithm}"
            )));
        }
        let percent = u32::try_from(percent)
            .ok()
            .filter(|percent| *percent <= 100)
            .ok_or_else(|| RepositoryError::damaged(format!("an error correction of {percent} %")))?;
        Ok(Some(Self::new(percent)))
    }

    /// Error correction that may take `percent` (1 to 100) of the data's room.
    pub fn new(percent: u32) -> Self {
        let max_shard = match percent {
            0 | 1 => 1024,
            2 => 512,
            3 => 256,
            4..=6 => 128,
            _ => 64,
        };
        let (data, parity) = shards(percent, max_shard);
        Self(Arc::new(Inner {
            percent,
            max_shard,
            small: Code::new(SMALL.0, SMALL.1),
            big: Code::new(data, parity),
        }))
    }

    /// How much of the data's room it may take, in percent.
    pub fn percent(&self) -> u32 {
        self.0.percent
    }

    /// Below this many bytes (length included) a text is cut as a small one.
    fn small_limit(&self) -> usize {
        2 * CRC * self.0.big.shards()
    }

    fn sizes_of_original(&self, length: usize) -> Sizes<'_> {
        let length = length + LENGTH;
        let Inner { small, big, .. } = &*self.0;
        let block = big.data * self.0.max_shard;
        let one = |code, data| Sizes {
            code,
            shard: length.div_ceil(data),
            blocks: 1,
            stores_padding: true,
        };
        if length <= self.small_limit() {
            one(small, small.data)
        } else if length <= block {
            one(big, big.data)
        } else {
            Sizes {
                code: big,
                shard: self.0.max_shard,
                blocks: length.div_ceil(block),
                stores_padding: false,
            }
        }
    }

    fn sizes_of_stored(&self, length: usize) -> Sizes<'_> {
        let Inner {
            small,
            big,
            max_shard,
            ..
        } = &*self.0;
        let small_end = small.shards() * (CRC + self.small_limit().div_ceil(small.data));
        let block = big.shards() * (CRC + max_shard);
        let one = |code: &'_ Code| length.div_ceil(code.shards()).max(1 + CRC) - CRC;
        let (code, shard, blocks) = if length <= small_end {
            (small, one(small), 1)
        } else if length <= block {
            (big, one(big), 1)
        } else {
            (big, *max_shard, length.div_ceil(block))
        };
        Sizes {
            code,
            shard,
            blocks,
            stores_padding: length <= block,
        }
    }

    /// Appends `plain` with its error correction to `out`.
    pub fn encode(&self, plain: &[u8], out: &mut Vec<u8>) {
        let sizes = self.sizes_of_original(plain.len());
        let block = sizes.code.data * sizes.shard;
        let mut data = Vec::with_capacity(block * sizes.blocks);
        data.extend_from_slice(&(plain.len() as u32).to_be_bytes());
        data.extend_from_slice(plain);
        let end = if sizes.stores_padding {
            block * sizes.blocks
        } else {
            data.len()
        };
        data.resize(block * sizes.blocks, 0);
        let mut parity = vec![0; sizes.code.parity * sizes.shard];
        for block in data.chunks_exact(block) {
            sizes.code.encode(block, sizes.shard, &mut parity);
            parity
                .chunks_exact(sizes.shard)
                .for_each(|shard| put(out, shard, sizes.shard));
        }
        for (n, shard) in data.chunks_exact(sizes.shard).enumerate() {
            match end.checked_sub(n * sizes.shard) {
                None | Some(0) => break,
                Some(left) => put(out, shard, left.min(sizes.shard)),
            }
        }
    }

    /// The bytes that were encoded, repaired where shards were altered; `None` when more were altered than can be
    /// repaired, or this is nothing that was encoded.
    pub fn decode(&self, stored: &[u8]) -> Option<Vec<u8>> {
        let sizes = self.sizes_of_stored(stored.len());
        let (framed, code) = (CRC + sizes.shard, sizes.code);
        let mut all = stored.to_vec();
        all.resize(code.shards() * framed * sizes.blocks, 0);
        let (parity, data) = all.split_at_mut(code.parity * framed * sizes.blocks);
        let stored_data = stored.len().checked_sub(parity.len())?;
        let mut plain = Vec::with_capacity(code.data * sizes.shard * sizes.blocks);
        let blocks = data.chunks_exact_mut(code.data * framed);
        for (n, (data, parity)) in blocks.zip(parity.chunks_exact(code.parity * framed)).enumerate() {
            let start = n * code.data * framed;
            // What lies in the zeros that were not stored has no sum of its own.
            let intact = |at: usize, shard: &[u8]| start + at * framed >= stored_data || sum_matches(shard);
            let lost: Vec<usize> = (0..code.data)
                .filter(|at| !intact(*at, &data[at * framed..(at + 1) * framed]))
                .collect();
            if !lost.is_empty() {
                let usable: Vec<usize> = (0..code.parity)
                    .filter(|at| sum_matches(&parity[at * framed..(at + 1) * framed]))
                    .collect();
                code.repair(data, parity, framed, CRC, &lost, &usable)?;
            }
            data.chunks_exact(framed)
                .for_each(|shard| plain.extend_from_slice(&shard[CRC..]));
        }
        let length = u32::from_be_bytes(*plain.first_chunk::<LENGTH>()?) as usize;
        plain.drain(..LENGTH);
        (length <= plain.len()).then(|| plain.truncate(length))?;
        Some(plain)
    }
}

fn put(out: &mut Vec<u8>, shard: &[u8], stored: usize) {
    out.extend_from_slice(&crc32fast::hash(shard).to_be_bytes());
    out.extend_from_slice(&shard[..stored]);
}

fn sum_matches(framed: &[u8]) -> bool {
    let (sum, shard) = framed.split_at(CRC);
    crc32fast::hash(shard).to_be_bytes() == sum
}

/// Data and parity shards of a full block: the room that sums take counts against the overhead. 32-bit arithmetic,
/// as Kopia's, so that rounding is the same.
fn shards(percent: u32, max_shard: usize) -> (usize, usize) {
    let overhead = (percent as f32 - 100.0 * CRC as f32 / max_shard as f32).max(0.01);
    let part = |of: usize, ratio: f32| (of as f64 * f64::from(ratio)).floor() as usize;
    match part(128, overhead / 100.0).clamp(1, 128) {
        1 => (part(2, 100.0 / overhead).clamp(128, 254), 2),
        parity => (128, parity),
    }
}

#[cfg(test)]
mod tests;
