//! Where an object is cut into contents (kopia-format.md 4). Cuts decide what deduplicates with what Kopia
//! wrote, never whether it can be read.

mod buzhash;
mod rabin_karp;
mod table;

use crate::error::{RepositoryError, Result};

const WINDOW: usize = 64;

/// How a repository cuts: `DYNAMIC-4M-BUZHASH` (the default), its other sizes, `DYNAMIC-…-RABINKARP`, or `FIXED-…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Cut after exactly this many bytes.
    Fixed(usize),
    /// Cut between half and twice this many bytes, where the rolling hash says so.
    Buzhash(usize),
    /// The same with the other rolling hash.
    RabinKarp(usize),
}

/// The names of all splitters, Kopia's default first.
pub fn names() -> Vec<String> {
    let sizes = ["4M", "128K", "256K", "512K", "1M", "2M", "8M"];
    let named = |kind: &str, suffix: &str| sizes.map(|size| format!("{kind}-{size}{suffix}"));
    let dynamic = [named("DYNAMIC", "-BUZHASH"), named("DYNAMIC", "-RABINKARP")];
    let mut all = dynamic.concat();
    all.extend(named("FIXED", ""));
    all.extend(["DYNAMIC".to_owned(), "FIXED".to_owned()]);
    all
}

impl Rule {
    /// By the name in the format blob. Errors: `Unsupported` for names that Kopia does not know either.
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
            ["DYNAMIC", text, "RABINKARP"] => size(text).map(Rule::RabinKarp),
            _ => None,
        };
        rule.ok_or_else(|| RepositoryError::unsupported(format!("the splitter {name}")))
    }

    /// The longest content this cuts, in bytes.
    pub fn max_length(self) -> usize {
        match self {
            Rule::Fixed(size) => size,
            Rule::Buzhash(average) | Rule::RabinKarp(average) => 2 * average,
        }
    }

    /// The length of every content in a long run of zeros: such a window hashes to 0.
    pub fn uniform_length(self) -> usize {
        match self {
            Rule::Fixed(size) => size,
            Rule::Buzhash(average) | Rule::RabinKarp(average) => average / 2,
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
    /// Buzhash uses the low half.
    hash: u64,
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
            Rule::RabinKarp(average) => self.next_rolling_cut(data, average, rabin_karp::roll),
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.count += bytes;
    }

    #[inline]
    fn next_rolling_cut(
        &mut self,
        data: &[u8],
        average: usize,
        roll: impl Fn(u64, u8, u8) -> u64,
    ) -> Option<usize> {
        let (min, max, mask) = (average / 2, 2 * average, average as u64 - 1);
        let mut at = 0;
        // Bytes that have left the window before a cut is allowed need not be rolled through it.
        let skippable = (min - 1)
            .saturating_sub(WINDOW)
            .saturating_sub(self.count)
            .min(data.len());
        if skippable > 0 {
            self.refill(&data[..skippable], &roll);
            at = skippable;
        }
        let (mut hash, mut oldest, mut count) = (self.hash, self.oldest, self.count + at);
        let mut cut = None;
        for &byte in &data[at..] {
            hash = roll(hash, self.window[oldest], byte);
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
    fn refill(&mut self, data: &[u8], roll: &impl Fn(u64, u8, u8) -> u64) {
        let tail = &data[data.len().saturating_sub(WINDOW)..];
        for &byte in tail {
            self.hash = roll(self.hash, self.window[self.oldest], byte);
            self.window[self.oldest] = byte;
            self.oldest = (self.oldest + 1) % WINDOW;
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
