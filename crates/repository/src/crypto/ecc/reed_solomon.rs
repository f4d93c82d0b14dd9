//! Systematic Reed–Solomon over GF(2^8), polynomial 0x11D: the matrix is Vandermonde's times the inverse of its own
//! top, as in klauspost/reedsolomon's defaults (v1.12), which Kopia uses.

use std::sync::LazyLock;

/// Products of all pairs; 64 KiB.
static PRODUCTS: LazyLock<Box<[[u8; 256]; 256]>> = LazyLock::new(|| {
    let mut table = Box::new([[0u8; 256]; 256]);
    for a in 0..256usize {
        for b in 0..256usize {
            table[a][b] = slow_product(a as u8, b as u8);
        }
    }
    table
});

fn slow_product(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a = (a << 1) ^ if a & 0x80 != 0 { 0x1d } else { 0 };
        b >>= 1;
    }
    product
}

fn times(a: u8, b: u8) -> u8 {
    PRODUCTS[a as usize][b as usize]
}

fn inverse(a: u8) -> u8 {
    // a^254 = a^-1 in a field of 256.
    let square = |x| times(x, x);
    let mut power = square(a);
    let mut result = power;
    for _ in 0..6 {
        power = square(power);
        result = times(result, power);
    }
    result
}

fn power(base: u8, exponent: usize) -> u8 {
    (0..exponent).fold(1, |product, _| times(product, base))
}

/// `to ^= factor · from`, byte by byte.
fn add_times(to: &mut [u8], from: &[u8], factor: u8) {
    if factor == 0 {
        return;
    }
    let row = &PRODUCTS[factor as usize];
    for (to, from) in to.iter_mut().zip(from) {
        *to ^= row[*from as usize];
    }
}

type Matrix = Vec<Vec<u8>>;

/// Gauss–Jordan; `None` when there is no inverse.
fn inverted(mut matrix: Matrix) -> Option<Matrix> {
    let size = matrix.len();
    let mut result: Matrix = (0..size)
        .map(|row| (0..size).map(|column| u8::from(row == column)).collect())
        .collect();
    for at in 0..size {
        let pivot = (at..size).find(|row| matrix[*row][at] != 0)?;
        matrix.swap(at, pivot);
        result.swap(at, pivot);
        let factor = inverse(matrix[at][at]);
        for value in matrix[at].iter_mut().chain(result[at].iter_mut()) {
            *value = times(*value, factor);
        }
        let (own, own_result) = (matrix[at].clone(), result[at].clone());
        for row in (0..size).filter(|row| *row != at) {
            let factor = matrix[row][at];
            add_times(&mut matrix[row], &own, factor);
            add_times(&mut result[row], &own_result, factor);
        }
    }
    Some(result)
}

/// A code of so many data and parity shards.
pub(super) struct Code {
    pub data: usize,
    pub parity: usize,
    /// `parity` rows of `data` factors.
    rows: Matrix,
}

impl Code {
    /// At most 256 shards in all.
    pub fn new(data: usize, parity: usize) -> Self {
        let vandermonde =
            |row: usize| -> Vec<u8> { (0..data).map(|column| power(row as u8, column)).collect() };
        let top = inverted((0..data).map(vandermonde).collect())
            .expect("a Vandermonde matrix of different points has an inverse");
        let rows = (data..data + parity).map(vandermonde).map(|row| {
            let mut product = vec![0; data];
            row.iter()
                .zip(&top)
                .for_each(|(factor, top)| add_times(&mut product, top, *factor));
            product
        });
        Self {
            data,
            parity,
            rows: rows.collect(),
        }
    }

    /// Data and parity together.
    pub fn shards(&self) -> usize {
        self.data + self.parity
    }

    /// Fills `parity` from the `data` of one block, both shard after shard.
    pub fn encode(&self, data: &[u8], shard: usize, parity: &mut [u8]) {
        parity.fill(0);
        for (row, parity) in self.rows.iter().zip(parity.chunks_exact_mut(shard)) {
            for (factor, data) in row.iter().zip(data.chunks_exact(shard)) {
                add_times(parity, data, *factor);
            }
        }
    }

    /// Restores the `lost` data shards from the others and the `usable` parity shards; shards lie `framed` bytes
    /// apart and begin after `skip` bytes. `None` when there are not enough.
    pub fn repair(
        &self,
        data: &mut [u8],
        parity: &[u8],
        framed: usize,
        skip: usize,
        lost: &[usize],
        usable: &[usize],
    ) -> Option<()> {
        let usable = usable.get(..lost.len())?;
        let bytes = |at: usize| at * framed + skip..(at + 1) * framed;
        // What the lost shards contribute to each parity shard.
        let sums: Vec<Vec<u8>> = usable
            .iter()
            .map(|row| {
                let mut sum = parity[bytes(*row)].to_vec();
                for at in (0..self.data).filter(|at| !lost.contains(at)) {
                    add_times(&mut sum, &data[bytes(at)], self.rows[*row][at]);
                }
                sum
            })
            .collect();
        let own: Matrix = usable
            .iter()
            .map(|row| lost.iter().map(|at| self.rows[*row][*at]).collect())
            .collect();
        for (at, factors) in lost.iter().zip(inverted(own)?) {
            let shard = &mut data[bytes(*at)];
            shard.fill(0);
            factors
                .iter()
                .zip(&sums)
                .for_each(|(factor, sum)| add_times(shard, sum, *factor));
        }
        Some(())
    }
}
