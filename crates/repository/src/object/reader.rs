//! Object id in, bytes out (kopia-format.md 9).

use super::{ObjectId, indirect, indirect::Piece};
use crate::{
    content::{ContentId, reader::ContentReader},
    error::{RepositoryError, Result},
};

/// A list inside a list inside a list …: nobody writes more than a few levels.
const MAX_DEPTH: usize = 16;
/// A list longer than this (four million pieces, 20 TB of file) is not held in memory.
const MAX_LIST_BYTES: u64 = 256 << 20;

/// Reads one object piece by piece, in order. Memory: one content.
pub struct ObjectReader<'r> {
    contents: &'r ContentReader,
    id: ObjectId,
    /// Pieces still to read, the next one last.
    pending: Vec<(usize, Piece)>,
    length: Option<u64>,
}

impl<'r> ObjectReader<'r> {
    pub(crate) fn open(contents: &'r ContentReader, id: ObjectId) -> Result<Self> {
        Self::open_at(contents, id, 0)
    }

    fn open_at(contents: &'r ContentReader, id: ObjectId, depth: usize) -> Result<Self> {
        let (pending, length) = match id.list() {
            None => (vec![(depth, Piece { start: 0, length: 0, object: id })], None),
            Some(list) => {
                let pieces = read_list(contents, id, list, depth)?;
                let length = pieces.last().map_or(0, |p| p.start + p.length);
                (pieces.into_iter().rev().map(|p| (depth + 1, p)).collect(), Some(length))
            }
        };
        Ok(Self { contents, id, pending, length })
    }

    /// The object's length, when it is known without reading it.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next piece's bytes; `None` at the end.
    ///
    /// Errors: as of reading a content, naming the object; `Damaged` when a piece has another length than its
    /// list says.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>> {
        while let Some((depth, piece)) = self.pending.pop() {
            match piece.object.list() {
                Some(list) if self.length.is_some() => {
                    let inner = read_list(self.contents, self.id, list, depth)?;
                    self.pending.extend(inner.into_iter().rev().map(|p| (depth + 1, p)));
                }
                _ => return self.read_piece(piece).map(Some),
            }
        }
        Ok(None)
    }

    fn read_piece(&self, piece: Piece) -> Result<Vec<u8>> {
        let bytes = self
            .contents
            .read(&piece.object.content)
            .map_err(|e| e.while_doing(format_args!("cannot read object {}", self.id)))?;
        if self.length.is_some() && bytes.len() as u64 != piece.length {
            return Err(RepositoryError::damaged(format!(
                "object {}: the piece at {} has {} bytes, its list says {}",
                self.id,
                piece.start,
                bytes.len(),
                piece.length
            )));
        }
        Ok(bytes)
    }

    /// All remaining bytes; at most `limit`, or the object is called damaged.
    pub fn read_to_end(mut self, limit: u64) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.next_piece()? {
            if (all.len() + piece.len()) as u64 > limit {
                return Err(RepositoryError::damaged(format!("object {} is longer than {limit} bytes", self.id)));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}

fn read_list(contents: &ContentReader, whole: ObjectId, list: ObjectId, depth: usize) -> Result<Vec<Piece>> {
    if depth >= MAX_DEPTH {
        return Err(RepositoryError::damaged(format!("object {whole} is nested more than {MAX_DEPTH} levels deep")));
    }
    let bytes = ObjectReader::open_at(contents, list, depth + 1)?.read_to_end(MAX_LIST_BYTES)?;
    indirect::decode(&bytes).map_err(|e| e.while_doing(format_args!("cannot read object {whole}")))
}

/// Every content that an object consists of, lists included.
pub(crate) fn for_each_content(
    contents: &ContentReader,
    id: ObjectId,
    visit: &mut dyn FnMut(&ContentId) -> Result<bool>,
) -> Result<bool> {
    walk(contents, id, 0, visit)
}

fn walk(
    contents: &ContentReader,
    id: ObjectId,
    depth: usize,
    visit: &mut dyn FnMut(&ContentId) -> Result<bool>,
) -> Result<bool> {
    let Some(list) = id.list() else { return visit(&id.content) };
    if !walk(contents, list, depth + 1, visit)? {
        return Ok(false);
    }
    for piece in read_list(contents, id, list, depth)? {
        if !walk(contents, piece.object, depth + 1, visit)? {
            return Ok(false);
        }
    }
    Ok(true)
}
