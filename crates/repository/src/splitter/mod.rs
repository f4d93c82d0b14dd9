//! Where an object is cut into contents (kopia-format.md 4). Cuts decide what deduplicates with what Kopia
//! wrote, never whether it can be read.

mod table;

use table::TABLE;

use crate::error::{RepositoryError, Result};

const WINDOW: usize = 64;

/// How a repository cuts: `DYNAMIC-4M-BUZHASH` (the default), its other sizes, or `FIXED-…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Cut after exactly this many bytes.
    Fixed(usize),
    /// Cut between half and twice this many bytes, where the rolling hash says so.
    Buzhash(usize),
}

impl Rule {
    /// By the name in the format blob. Errors: `Unsupported` for Rabin-Karp and unknown names.
    pub fn by_name(name: &str) -> Result<Self> {
        let size = |text: &str| {
            let (digits, unit) = text.split_at(text.len().checked_sub(1)?);
            let unit = match unit {
                "K" => 1 << 10,
                "M" => 1 << 20,
                _ => return None,
            };
            let size = digits.parse::<usize>().ok()?.checked_mul(unit)?;
            matches!(size >> 17, 1 | 2 | 4 | 8 | 16 | 32 | 64).then_some(size)
        };
        let rule = match name.split('-').collect::<Vec<_>>().as_slice() {
            [""] | ["FIXED"] => Some(Rule::Fixed(4 << 20)),
            ["DYNAMIC"] => Some(Rule::Buzhash(4 << 20)),
            ["FIXED", text] => size(text).map(Rule::Fixed),
            ["DYNAMIC", text, "BUZHASH"] => size(text).map(Rule::Buzhash),
            _ => None,
        };
        rule.ok_or_else(|| RepositoryError::unsupported(format!("the splitter {name}")))
    }

    /// The longest content this cuts, in bytes.
    pub fn max_length(self) -> usize {
        match self {
            Rule::Fixed(size) => size,
            Rule::Buzhash(average) => 2 * average,
        }
    }

    /// The length of every content in a long run of one byte value: such a window hashes to 0.
    pub fn uniform_length(self) -> usize {
        match self {
            Rule::Fixed(size) => size,
            Rule::Buzhash(average) => average / 2,
        }
    }
}

/// Finds the cuts of one object, fed in pieces of any size.
#[derive(Clone, Debug)]
pub struct Splitter {
    rule: Rule,
    /// Bytes since the last cut.
    count: usize,
    /// The last [`WINDOW`] bytes; `oldest` is where the next one goes. Kept across cuts.
    window: [u8; WINDOW],
    oldest: usize,
    hash: u32,
}

impl Splitter {
    /// For a new object.
    pub fn new(rule: Rule) -> Self {
        // 64 equal bytes hash to 0 (a rotation by 64 is none), so a window of zeros starts at 0.
        Self {
            rule,
            count: 0,
            window: [0; WINDOW],
            oldest: 0,
            hash: 0,
        }
    }

    /// How many bytes of `data` belong to the current content, when it ends inside `data`; all of `data` is
    /// consumed otherwise.
    pub fn next_cut(&mut self, data: &[u8]) -> Option<usize> {
        match self.rule {
            Rule::Fixed(size) => {
                let left = size - self.count;
                self.advance(data.len().min(left));
                (self.count == size).then(|| {
                    self.count = 0;
                    left
                })
            }
            Rule::Buzhash(average) => self.next_buzhash_cut(data, average),
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.count += bytes;
    }

    fn next_buzhash_cut(&mut self, data: &[u8], average: usize) -> Option<usize> {
        let (min, max, mask) = (average / 2, 2 * average, average as u32 - 1);
        let mut at = 0;
        // Bytes that have left the window before a cut is allowed need not be rolled through it.
        let skippable = (min - 1)
            .saturating_sub(WINDOW)
            .saturating_sub(self.count)
            .min(data.len());
        if skippable > 0 {
            self.refill(&data[..skippable]);
            at = skippable;
        }
        let (mut hash, mut oldest, mut count) = (self.hash, self.oldest, self.count + at);
        let mut cut = None;
        for &byte in &data[at..] {
            hash = hash.rotate_left(1) ^ TABLE[self.window[oldest] as usize] ^ TABLE[byte as usize];
            self.window[oldest] = byte;
            oldest = (oldest + 1) % WINDOW;
            at += 1;
            count += 1;
            if count >= min && (hash & mask == 0 || count >= max) {
                cut = Some(at);
                count = 0;
                break;
            }
        }
        (self.hash, self.oldest, self.count) = (hash, oldest, count);
        cut
    }

    /// Brings the window to the end of `data` without testing for cuts.
    fn refill(&mut self, data: &[u8]) {
        let tail = &data[data.len().saturating_sub(WINDOW)..];
        for &byte in tail {
            self.window[self.oldest] = byte;
            self.oldest = (self.oldest + 1) % WINDOW;
        }
        self.hash = 0;
        for step in 0..WINDOW {
            self.hash = self.hash.rotate_left(1) ^ TABLE[self.window[(self.oldest + step) % WINDOW] as usize];
        }
    }

    /// Whether the next content would start inside an endless run of zeros: then it is a whole number of
    /// contents of [`Rule::uniform_length`] zeros, without looking at them.
    pub fn at_start_of_zeros(&self) -> bool {
        self.count == 0 && (matches!(self.rule, Rule::Fixed(_)) || self.window == [0; WINDOW])
    }
}

#[cfg(test)]
mod tests;
