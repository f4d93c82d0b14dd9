//! Object id in, bytes out (kopia-format.md 9). Neighbours: `list.rs` (reading the lists of long objects),
//! `ahead.rs` (fetching what comes next).

pub(crate) mod ahead;
mod list;

use std::sync::Arc;

use bytes::Bytes;

use super::{ObjectId, indirect::Piece};
use crate::{
    content::{ContentId, compression, reader::ContentReader},
    error::{RepositoryError, Result},
};
pub(crate) use list::for_each_content;

/// Where some bytes of an object are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Where they start in the object.
    pub start: u64,
    /// How many they are; not known beforehand for an object of one content.
    pub length: Option<u64>,
    content: ContentId,
    compressed: bool,
}

impl Location {
    /// The content that holds them.
    pub fn content(&self) -> &ContentId {
        &self.content
    }
}

/// What one content of a compressed object may unfold to: twice the longest that any splitter cuts.
const MAX_UNFOLDED: usize = 32 << 20;

/// Reads one object in order, with [`ObjectReader::next_piece`], or walks over its locations, which several threads
/// may then read, with [`ObjectReader::next_location`]; not both. Memory: the lists, the last content, and four to
/// come.
pub struct ObjectReader<'r> {
    contents: &'r Arc<ContentReader>,
    id: ObjectId,
    /// What is still to come, the next one last.
    pending: Vec<Pending>,
    length: Option<u64>,
    /// Long runs of zeros refer to one content again and again.
    last: Option<(ContentId, bool, Bytes)>,
    ahead: ahead::Ahead,
}

struct Pending {
    piece: Piece,
    /// Where the list that names the piece starts in the object.
    base: u64,
    depth: usize,
}

impl<'r> ObjectReader<'r> {
    pub(crate) fn open(contents: &'r Arc<ContentReader>, id: ObjectId) -> Result<Self> {
        Self::open_at(contents, id, 0)
    }

    fn open_at(contents: &'r Arc<ContentReader>, id: ObjectId, depth: usize) -> Result<Self> {
        let mut reader = Self {
            contents,
            id,
            pending: Vec::new(),
            length: None,
            last: None,
            ahead: ahead::Ahead::default(),
        };
        match id.list() {
            None => reader.pending.push(Pending {
                piece: Piece {
                    start: 0,
                    length: 0,
                    object: id,
                },
                base: 0,
                depth,
            }),
            Some(of) => {
                let pieces = list::read(contents, id, of, depth)?;
                reader.length = Some(pieces.last().map_or(0, |p| p.start + p.length));
                reader.push(pieces, 0, depth + 1);
            }
        }
        Ok(reader)
    }

    fn push(&mut self, pieces: Vec<Piece>, base: u64, depth: usize) {
        self.pending.extend(
            pieces
                .into_iter()
                .rev()
                .map(|piece| Pending { piece, base, depth }),
        );
    }

    /// The object's length, when it is known without reading it.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Where the next bytes are; `None` at the end. Reads lists, no data.
    pub fn next_location(&mut self) -> Result<Option<Location>> {
        while let Some(Pending { piece, base, depth }) = self.pending.pop() {
            let start = base + piece.start;
            match piece.object.list() {
                Some(of) => {
                    let inner = list::read(self.contents, self.id, of, depth)?;
                    self.push(inner, start, depth + 1);
                }
                None => {
                    let length = self.length.map(|_| piece.length);
                    return Ok(Some(Location {
                        start,
                        length,
                        content: piece.object.content,
                        compressed: piece.object.compressed,
                    }));
                }
            }
        }
        Ok(None)
    }

    /// The next bytes, up to 8 MiB; `None` at the end. In a long run of zeros, which names one content again and again,
    /// they are the same memory each time.
    ///
    /// Errors: as of reading a content, naming the object; `Damaged` when a piece has another length than its
    /// list says.
    pub fn next_piece(&mut self) -> Result<Option<Bytes>> {
        let reads_ahead =
            self.length.is_some_and(|length| length >= ahead::FROM_BYTES) && !self.contents.is_inline();
        while reads_ahead && !self.ahead.is_full() {
            let Some(location) = self.next_location()? else {
                break;
            };
            self.ahead.add(self.contents, self.id, location);
        }
        let (location, read) = match self.ahead.pop() {
            Some(next) => next,
            None => match self.next_location()? {
                Some(location) => (location, None),
                None => return Ok(None),
            },
        };
        let known = self.last.take().filter(|(content, compressed, _)| {
            (*content, *compressed) == (location.content, location.compressed)
        });
        let bytes = match (known, read) {
            (Some((.., bytes)), _) => bytes,
            (None, Some(read)) => read?,
            (None, None) => read_location(self.contents, self.id, &location)?,
        };
        // Kept only when it comes again at once.
        if self.next_content() == Some(location.content) {
            self.last = Some((location.content, location.compressed, bytes.clone()));
        }
        Ok(Some(bytes))
    }

    /// The content that comes next, where no list must be read to say so.
    fn next_content(&self) -> Option<ContentId> {
        let ahead = self.ahead.front().map(|location| location.content);
        ahead.or_else(|| {
            let next = self.pending.last()?.piece.object;
            next.list().is_none().then_some(next.content)
        })
    }

    /// All remaining bytes; at most `limit`, or the object is called damaged.
    pub fn read_to_end(mut self, limit: u64) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.next_piece()? {
            if (all.len() + piece.len()) as u64 > limit {
                return Err(RepositoryError::damaged(format!(
                    "object {} is longer than {limit} bytes",
                    self.id
                )));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}

/// The pieces that the outermost list of a long object names; none for an object of one content.
pub(crate) fn pieces(contents: &Arc<ContentReader>, id: ObjectId) -> Result<Vec<Piece>> {
    match id.list() {
        Some(of) => list::read(contents, id, of, 0),
        None => Ok(Vec::new()),
    }
}

/// The bytes at a location that a reader of `object` gave.
pub(crate) fn read_location(
    contents: &ContentReader,
    object: ObjectId,
    location: &Location,
) -> Result<Bytes> {
    let read = || {
        let bytes = contents.read(&location.content)?;
        if !location.compressed {
            return Ok(bytes);
        }
        let limit = location.length.and_then(|length| usize::try_from(length).ok());
        compression::decompress_by_header(&bytes, limit.unwrap_or(MAX_UNFOLDED).min(MAX_UNFOLDED))
            .map(Bytes::from)
            .map_err(|e| e.while_doing(format_args!("content {}", location.content)))
    };
    let bytes = read().map_err(|e| e.while_doing(format_args!("cannot read object {object}")))?;
    match location.length {
        Some(length) if length != bytes.len() as u64 => Err(RepositoryError::damaged(format!(
            "object {object}: the piece at {} has {} bytes, its list says {length}",
            location.start,
            bytes.len(),
        ))),
        _ => Ok(bytes),
    }
}
