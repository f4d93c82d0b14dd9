//! Compression of contents (kopia-format.md 5): `u32BE header id ‖ stream`, inside the seal.
//! Neighbours: `compressor.rs` (names and ids), `s2.rs` (klauspost's S2 stream).

mod compressor;
mod s2;

use std::io::{Read, Write};

use flate2::{
    Compression,
    read::{DeflateDecoder, MultiGzDecoder},
    write::{DeflateEncoder, GzEncoder},
};

use crate::error::{RepositoryError, Result};
pub use compressor::Compressor;
use compressor::Family;

/// Bytes of the id in front of every stream.
pub const HEADER: usize = 4;

/// Kopia's encoders stay under 8 MiB of window; 2^27 is zstd's own limit for streams.
const MAX_WINDOW_LOG: u32 = 27;

/// Compresses, header included; `None` when that would not be smaller, and the bytes are stored as they are.
pub fn compress(compressor: Compressor, plain: &[u8]) -> Option<Vec<u8>> {
    let mut out = compressor.id().to_be_bytes().to_vec();
    let level = compressor.level();
    match compressor.family() {
        Family::Zstd => out.extend(zstd::bulk::compress(plain, level).ok()?),
        Family::Gzip => {
            let mut gzip = GzEncoder::new(&mut out, Compression::new(level.unsigned_abs()));
            gzip.write_all(plain).ok()?;
            gzip.finish().ok()?;
        }
        Family::Deflate => {
            let mut deflate = DeflateEncoder::new(&mut out, Compression::new(level.unsigned_abs()));
            deflate.write_all(plain).ok()?;
            deflate.finish().ok()?;
        }
        Family::S2 => s2::encode(plain, &mut out),
        // Deprecated, and newer versions of Kopia cannot read it: never written.
        Family::Lz4 => return None,
    }
    (out.len() < plain.len()).then_some(out)
}

/// Undoes compression `id`; the result must have exactly `length` bytes, so that a small stream cannot fill
/// the memory.
///
/// Errors: text without the content's name, which the caller knows; `Unsupported` for ids that Kopia does not know.
pub fn decompress(id: u32, payload: &[u8], length: usize) -> Result<Vec<u8>> {
    let (header, stream) = split_header(payload)?;
    if header != id {
        return Err(damaged("its compression header is not the one in the index"));
    }
    let out = unfold(header, stream, length)?;
    match out.len() == length {
        true => Ok(out),
        false => Err(damaged("its uncompressed length is not the one in the index")),
    }
}

/// Undoes the compression that the header in front names: object-level compression, where no index knows the length.
/// At most `limit` bytes come out, or it is damage.
pub fn decompress_by_header(payload: &[u8], limit: usize) -> Result<Vec<u8>> {
    let (header, stream) = split_header(payload)?;
    let out = unfold(header, stream, limit)?;
    match out.len() <= limit {
        true => Ok(out),
        false => Err(damaged("it unfolds to more than a content can hold")),
    }
}

fn split_header(payload: &[u8]) -> Result<(u32, &[u8])> {
    match payload.split_first_chunk::<HEADER>() {
        Some((header, stream)) => Ok((u32::from_be_bytes(*header), stream)),
        None => Err(damaged("it has no compression header")),
    }
}

/// Up to `limit + 1` bytes of the stream.
fn unfold(id: u32, stream: &[u8], limit: usize) -> Result<Vec<u8>> {
    let compressor = Compressor::by_id(id)
        .ok_or_else(|| RepositoryError::unsupported(format!("the compression {id:#x}")))?;
    match compressor.family() {
        Family::Gzip => read_up_to(MultiGzDecoder::new(stream), limit),
        Family::Zstd => read_up_to(zstd_stream(stream)?, limit),
        Family::Deflate => read_up_to(DeflateDecoder::new(stream), limit),
        Family::Lz4 => read_up_to(lz4_flex::frame::FrameDecoder::new(stream), limit),
        Family::S2 => s2::decode(stream, limit).map_err(damaged),
    }
}

fn zstd_stream(stream: &[u8]) -> Result<impl Read> {
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(stream).map_err(|e| damaged(&e.to_string()))?;
    decoder
        .window_log_max(MAX_WINDOW_LOG)
        .map_err(|e| damaged(&e.to_string()))?;
    Ok(decoder)
}

fn read_up_to(stream: impl Read, limit: usize) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(limit.min(1 << 20) + 1);
    stream
        .take(limit as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|e| damaged(&e.to_string()))?;
    Ok(out)
}

fn damaged(what: &str) -> RepositoryError {
    RepositoryError::damaged(format!("a compressed content cannot be read: {what}"))
}

#[cfg(test)]
mod tests;
