//! Seeded mutations of samples: flipped bits, odd numbers, pieces removed, repeated and mixed, words of the formats.

/// Numbers that break comparisons and additions.
const ODD: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX as u64,
    u64::MAX,
];

/// Words that decoders look for.
const WORDS: [&[u8]; 22] = [
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"\"\\ud800\"",
    b"[[[[[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":",
    b"\"entries\":",
    b"\"stream\":",
    b"kopia:directory",
    b"kopia:indirect",
    b"9999-12-31T23:59:59.999999999Z",
    b"-009999-01-01T00:00:00Z",
    b"\x00\x00\x11\x00",
    b"\x00\x00\x12\x00",
    b"\x28\xb5\x2f\xfd",
    b"\x1f\x8b\x08\x00",
    b"\xff\x06\x00\x00S2sTwO",
    b"\x04\x22\x4d\x18",
    b"I",
    b"Z",
    b"\xc3\x28",
];

/// Longer inputs say nothing new and cost time.
const LONGEST: usize = 64 << 10;

pub struct Mutator(u64);

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub fn half(&mut self) -> bool {
        self.next() & 16 == 0
    }

    /// One sample with a few changes; now and then nothing but noise.
    pub fn mutated(&mut self, samples: &[Vec<u8>]) -> Vec<u8> {
        if self.below(32) == 0 {
            return (0..self.below(600)).map(|_| self.next() as u8).collect();
        }
        let mut bytes = samples[self.below(samples.len())].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut bytes, samples);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, samples: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        let end = at + self.below(bytes.len() - at + 1);
        match self.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.next() as u8,
            2 => {
                let width = [1, 2, 4, 8][self.below(4)];
                let odd = ODD[self.below(ODD.len())];
                let number = match self.half() {
                    true => odd.to_be_bytes()[8 - width..].to_vec(),
                    false => odd.to_le_bytes()[..width].to_vec(),
                };
                let end = (at + width).min(bytes.len());
                bytes.splice(at..end, number);
            }
            3 => drop(bytes.drain(at..end)),
            4 => bytes.truncate(at),
            5 => {
                let again = bytes[at..end].repeat(1 + self.below(4));
                bytes.splice(at..at, again);
            }
            6 => {
                let word = WORDS[self.below(WORDS.len())];
                let end = if self.half() { at } else { end };
                bytes.splice(at..end, word.iter().copied());
            }
            7 => {
                let other = &samples[self.below(samples.len())];
                let from = self.below(other.len() + 1);
                bytes.splice(at..end, other[from..].iter().copied());
            }
            _ => bytes.extend((0..self.below(20)).map(|_| self.0 as u8)),
        }
    }
}
