//! The copy of the format blob at the start of every pack of format version 1 (kopia-format.md 2.7), from which a lost
//! `kopia.repository` is brought back.
//!
//! ```text
//! u16LE L ‖ format blob ‖ HMAC-SHA256("kopia-repository", format blob) ‖ u16LE L        L = both in the middle
//! ```

use aws_lc_rs::hmac;

use crate::error::{RepositoryError, Result};

const SECRET: &[u8] = b"kopia-repository";
const SUM: usize = 32;
const MAX: usize = 65_000;
/// How much of a pack's start and end may hold one.
pub(crate) const WINDOW: u64 = 64 << 10;

/// What packs begin with.
pub(super) fn encode(format_blob: &[u8]) -> Result<Vec<u8>> {
    let length = format_blob.len() + SUM;
    if length > MAX {
        return Err(RepositoryError::invalid(
            "the format blob is too long for a replica",
        ));
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let length = (length as u16).to_le_bytes();
    let sum = hmac::sign(&key, format_blob);
    Ok([&length[..], format_blob, sum.as_ref(), &length[..]].concat())
}

/// The format blob at the start or the end of some bytes of a pack.
pub(crate) fn find(bytes: &[u8]) -> Option<&[u8]> {
    let at_start = || {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        verified(rest.get(..u16::from_le_bytes(*length).into())?)
    };
    let at_end = || {
        let (rest, length) = bytes.split_last_chunk::<2>()?;
        let start = rest.len().checked_sub(u16::from_le_bytes(*length).into())?;
        verified(&rest[start..])
    };
    at_start().or_else(at_end)
}

fn verified(summed: &[u8]) -> Option<&[u8]> {
    let (blob, sum) = summed.split_at_checked(summed.len().checked_sub(SUM)?)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    hmac::verify(&key, blob, sum).ok().map(|()| blob)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn replica_is_the_one_of_the_reference_and_found_at_both_ends() {
        let blob = br#"{"tool":"x"}"#;
        let replica = encode(blob).unwrap();
        let expected = "2c007b22746f6f6c223a2278227d57be70b11cca5ee86180a82115bdc3c83445ea411e69a68a01ff4f35ea71184a2c00";
        assert_eq!(hex::encode(&replica), expected);
        assert_eq!(find(&[&replica[..], b"more"].concat()).unwrap(), blob);
        assert_eq!(find(&[b"\xff\xff before", &replica[..]].concat()).unwrap(), blob);
        let mut altered = replica;
        altered[5] ^= 1;
        assert!(find(&altered).is_none());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = find(&bytes);
        }
    }
}
