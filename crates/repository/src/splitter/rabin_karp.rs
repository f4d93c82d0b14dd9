//! Kopia's `rabinkarp64` (kopia-format.md 4.3): the last 64 bytes as a polynomial over GF(2), reduced by one of
//! degree 53. Neighbour: `mod.rs`, which cuts where it says.

use std::sync::LazyLock;

use super::WINDOW;

/// The first irreducible polynomial that Go's `math/rand` gives from seed 1 (rollinghash v4.0.0).
const POLYNOMIAL: u64 = 0x2e_3e3e_4a30_5605;
const DEGREE: u32 = 53;

/// What a byte adds when it leaves the window, and how the top byte is reduced.
struct Tables {
    out: [u64; 256],
    reduce: [u64; 256],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut tables = Tables {
        out: [0; 256],
        reduce: [0; 256],
    };
    for byte in 0..256u64 {
        let leaving = (0..WINDOW - 1).fold(remainder(byte), |hash, _| remainder(hash << 8));
        tables.out[byte as usize] = leaving;
        tables.reduce[byte as usize] = remainder(byte << DEGREE) | byte << DEGREE;
    }
    tables
});

fn remainder(mut value: u64) -> u64 {
    while value >> DEGREE != 0 {
        let top = 63 - value.leading_zeros();
        value ^= POLYNOMIAL << (top - DEGREE);
    }
    value
}

/// The hash after `entering` has followed and `leaving` has left.
#[inline]
pub(super) fn roll(hash: u64, leaving: u8, entering: u8) -> u64 {
    let tables = &*TABLES;
    let hash = hash ^ tables.out[leaving as usize];
    let top = (hash >> (DEGREE - 8)) as u8;
    (hash << 8 | u64::from(entering)) ^ tables.reduce[top as usize]
}
