//! What the name of an `x` blob says (kopia-format.md 1.1, 7.5, 7.6).

/// The kinds of `x` blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `xn<epoch>_…`: written by a flush.
    Uncompacted,
    /// `xs<epoch>_…`: one epoch, compacted.
    Compacted,
    /// `xr<min>_<max>_…`: several epochs, compacted.
    Range,
    /// `xe<epoch>`: this epoch has begun.
    Marker,
    /// `xw<seconds>`: tombstones up to then are dropped.
    Watermark,
}

/// A parsed name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexBlob<'a> {
    pub name: &'a str,
    pub kind: Kind,
    /// The epoch (or, for a watermark, the second).
    pub first: u64,
    /// The last epoch of a range, else the same.
    pub last: u64,
}

/// Which set a compacted blob belongs to and how many blobs complete it.
pub(crate) struct SetMember<'a> {
    pub id: &'a str,
    pub count: u64,
}

fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

impl<'a> IndexBlob<'a> {
    pub fn parse(name: &'a str) -> Option<Self> {
        let kind = match name.get(..2)? {
            "xn" => Kind::Uncompacted,
            "xs" => Kind::Compacted,
            "xr" => Kind::Range,
            "xe" => Kind::Marker,
            "xw" => Kind::Watermark,
            _ => return None,
        };
        let rest = &name[2..];
        let mut parts = rest.split('_');
        let (first, last) = match kind {
            Kind::Marker | Kind::Watermark => {
                let n = number(rest)?;
                (n, n)
            }
            Kind::Uncompacted | Kind::Compacted => {
                let epoch = number(parts.next()?)?;
                parts.next()?;
                (epoch, epoch)
            }
            Kind::Range => {
                let range = (number(parts.next()?)?, number(parts.next()?)?);
                parts.next()?;
                range
            }
        };
        Some(Self {
            name,
            kind,
            first,
            last,
        })
    }

    /// Blobs with names of another shape complete a set of their own.
    pub fn set(&self) -> SetMember<'a> {
        let mut parts = self.name.split('-').skip(1);
        match (parts.next(), parts.next().and_then(|c| c.strip_prefix('c'))) {
            (Some(id), Some(count)) if id.starts_with('s') => SetMember {
                id,
                count: number(count).unwrap_or(u64::MAX),
            },
            _ => SetMember {
                id: self.name,
                count: 1,
            },
        }
    }
}
