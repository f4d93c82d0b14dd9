//! Compression of contents (kopia-format.md 5): `u32BE header id ‖ stream`, inside the seal.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder};

use crate::error::{RepositoryError, Result};

/// `zstd-fastest`, what Kopia compresses metadata with.
pub const ZSTD_FASTEST: u32 = 0x1101;

/// Kopia's encoders stay under 8 MiB of window; 2^27 is zstd's own limit for streams.
const MAX_WINDOW_LOG: u32 = 27;

/// Compresses as `zstd-fastest`; `None` when that would not be smaller, and the content is stored as it is.
pub fn compress(plain: &[u8]) -> Option<Vec<u8>> {
    let mut out = ZSTD_FASTEST.to_be_bytes().to_vec();
    out.extend(zstd::bulk::compress(plain, 1).ok()?);
    (out.len() < plain.len()).then_some(out)
}

/// Undoes compression `id`; the result must have exactly `length` bytes, so that a small stream cannot fill
/// the memory.
///
/// Errors: text without the content's name, which the caller knows; `Unsupported` for S2 and LZ4.
pub fn decompress(id: u32, payload: &[u8], length: usize) -> Result<Vec<u8>> {
    let (header, stream) = payload
        .split_at_checked(4)
        .ok_or_else(|| damaged("it has no compression header"))?;
    if header != id.to_be_bytes() {
        return Err(damaged("its compression header is not the one in the index"));
    }
    match id >> 8 {
        0x10 | 0x13 => read_exactly(MultiGzDecoder::new(stream), length),
        0x11 => read_exactly(zstd_stream(stream)?, length),
        0x15 => read_exactly(DeflateDecoder::new(stream), length),
        0x12 => Err(RepositoryError::unsupported("s2 compression")),
        0x14 => Err(RepositoryError::unsupported("lz4 compression")),
        _ => Err(RepositoryError::unsupported(format!("compression {id:#x}"))),
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

fn read_exactly(stream: impl Read, length: usize) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(length.min(16 << 20) + 1);
    stream
        .take(length as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|e| damaged(&e.to_string()))?;
    match out.len() == length {
        true => Ok(out),
        false => Err(damaged("its uncompressed length is not the one in the index")),
    }
}

fn damaged(what: &str) -> RepositoryError {
    RepositoryError::damaged(format!("a compressed content cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zstd_round_trips_and_incompressible_bytes_stay_raw() {
        let plain = vec![7u8; 100_000];
        let packed = compress(&plain).unwrap();
        assert_eq!(decompress(ZSTD_FASTEST, &packed, plain.len()).unwrap(), plain);
        assert!(compress(b"ab").is_none());
    }

    #[test]
    fn stream_longer_than_the_index_says_is_damaged() {
        let packed = compress(&vec![0u8; 50 << 20]).unwrap();
        assert!(decompress(ZSTD_FASTEST, &packed, 10).is_err());
        assert!(decompress(0x1100, &packed, 50 << 20).is_err());
    }

    #[test]
    fn s2_is_unsupported_by_name() {
        let error = decompress(0x1200, &0x1200u32.to_be_bytes(), 1).unwrap_err();
        assert!(error.to_string().contains("s2"), "{error}");
    }

    proptest! {
        #[test]
        fn random_streams_never_panic(kind in 0x10u32..0x17, mut bytes in proptest::collection::vec(any::<u8>(), 4..200)) {
            let id = kind << 8;
            bytes[..4].copy_from_slice(&id.to_be_bytes());
            let _ = decompress(id, &bytes, 1000);
        }
    }
}
