//! Bytes in, object id out: cut, written as contents, and listed when there are several (kopia-format.md 9).

use super::{ObjectId, indirect, indirect::Piece};
use crate::{
    content::{
        compression::{self, Compressor},
        writer::{ContentWriter, LONG},
    },
    error::Result,
    splitter::{Rule, Splitter},
};

/// What an object's list contents are called when the object itself has no prefix.
const LIST_PREFIX: u8 = b'x';

/// Writes one object. Memory: at most one content, 8 MiB with the default splitter.
pub struct ObjectWriter<'w> {
    contents: &'w ContentWriter,
    prefix: Option<u8>,
    compressor: Option<Compressor>,
    rule: Rule,
    /// Lists are cut as the repository does, whatever cuts the object.
    list_rule: Rule,
    splitter: Splitter,
    buffer: Vec<u8>,
    pieces: Vec<Piece>,
    length: u64,
    /// The content of a whole piece of zeros, once one was written.
    zeros: Option<ObjectId>,
    /// Zeros that were given and are not cut yet: they follow what is in the buffer.
    waiting_zeros: u64,
}

/// How one object is written; the default is the repository's splitter and no compression.
#[derive(Clone, Copy, Debug, Default)]
pub struct ObjectOptions {
    /// For the object's bytes; what does not get smaller is stored as it is.
    pub compressor: Option<Compressor>,
    /// Where it is cut.
    pub splitter: Option<Rule>,
}

impl<'w> ObjectWriter<'w> {
    /// For file data without a prefix; with one for metadata. `rule` is the repository's.
    pub(crate) fn new(
        contents: &'w ContentWriter,
        rule: Rule,
        prefix: Option<u8>,
        options: ObjectOptions,
    ) -> Self {
        let list_rule = rule;
        let rule = options.splitter.unwrap_or(rule);
        Self {
            contents,
            prefix,
            compressor: options.compressor,
            rule,
            list_rule,
            splitter: Splitter::new(rule),
            buffer: Vec::new(),
            pieces: Vec::new(),
            length: 0,
            zeros: None,
            waiting_zeros: 0,
        }
    }

    /// Bytes so far.
    pub fn length(&self) -> u64 {
        self.length + self.buffer.len() as u64 + self.waiting_zeros
    }

    /// Appends bytes.
    pub fn write(&mut self, mut data: &[u8]) -> Result<()> {
        self.write_waiting_zeros()?;
        while !data.is_empty() {
            let taken = self.take_some(data)?;
            data = &data[taken..];
        }
        Ok(())
    }

    /// Takes bytes up to the next cut and writes the piece that ends there, or takes all. Returns how many it took.
    fn take_some(&mut self, data: &[u8]) -> Result<usize> {
        let Some(cut) = self.splitter.next_cut(data) else {
            self.keep(data);
            return Ok(data.len());
        };
        if self.buffer.is_empty() {
            self.write_piece(&data[..cut])?;
            return Ok(cut);
        }
        self.keep(&data[..cut]);
        let buffer = std::mem::take(&mut self.buffer);
        let written = self.write_piece(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        written.map(|()| cut)
    }

    fn keep(&mut self, data: &[u8]) {
        if self.buffer.capacity() <= LONG && self.buffer.len() + data.len() > LONG {
            let mut long = self.contents.buffers.take(self.rule.max_length());
            long.extend_from_slice(&self.buffer);
            self.buffer = long;
        }
        self.buffer.extend_from_slice(data);
    }

    /// Appends `length` zeros: the same object as writing them, but a long run costs nothing. This is how
    /// holes of sparse files are saved.
    ///
    /// Behind the first cut within the zeros the splitter's window holds nothing but zeros, so that from there on every
    /// piece is [`Rule::uniform_length`] zeros: one content, which is written once and named again and again.
    pub fn write_zeros(&mut self, length: u64) -> Result<()> {
        self.waiting_zeros += length;
        let whole = self.rule.uniform_length() as u64;
        while self.waiting_zeros >= whole {
            if self.buffer.is_empty() && self.splitter.at_start_of_zeros() {
                let id = match self.zeros {
                    Some(id) => id,
                    None => self.write_content(&vec![0; whole as usize])?,
                };
                self.zeros = Some(id);
                self.note_piece(id, whole);
                self.waiting_zeros -= whole;
            } else {
                self.take_some_zeros()?;
            }
        }
        Ok(())
    }

    /// Before anything else is written.
    fn write_waiting_zeros(&mut self) -> Result<()> {
        while self.waiting_zeros > 0 {
            self.take_some_zeros()?;
        }
        Ok(())
    }

    /// Some of the waiting zeros as bytes like others, never over a cut.
    fn take_some_zeros(&mut self) -> Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let some = self.waiting_zeros.min(ZEROS.len() as u64) as usize;
        let taken = self.take_some(&ZEROS[..some])?;
        self.waiting_zeros -= taken as u64;
        Ok(())
    }

    fn write_piece(&mut self, piece: &[u8]) -> Result<()> {
        let id = self.write_content(piece)?;
        self.note_piece(id, piece.len() as u64);
        Ok(())
    }

    /// One content. Where indexes cannot say that a content is compressed (version 1), file data is compressed before
    /// it is named, and the object's id says so; metadata is not compressed there.
    fn write_content(&self, plain: &[u8]) -> Result<ObjectId> {
        if !self.contents.compresses_contents() {
            let packed = match (self.prefix, self.compressor) {
                (None, Some(compressor)) => compression::compress(compressor, plain),
                _ => None,
            };
            return Ok(match packed {
                Some(packed) => ObjectId::compressed(self.contents.write(None, &packed, None)?),
                None => ObjectId::direct(self.contents.write(self.prefix, plain, None)?),
            });
        }
        let id = self.contents.write(self.prefix, plain, self.compressor)?;
        Ok(ObjectId::direct(id))
    }

    /// Appends a whole object that was written before: part after part of a long file, written side by side. Bytes
    /// given to [`ObjectWriter::write`] before end in a piece of their own. `pieces` are the object's, in order.
    pub fn append_pieces(&mut self, pieces: &[Piece]) -> Result<()> {
        self.write_waiting_zeros()?;
        if !self.buffer.is_empty() {
            let buffer = std::mem::take(&mut self.buffer);
            self.write_piece(&buffer)?;
        }
        self.splitter = Splitter::new(self.rule);
        pieces
            .iter()
            .for_each(|piece| self.note_piece(piece.object, piece.length));
        Ok(())
    }

    fn note_piece(&mut self, object: ObjectId, length: u64) {
        self.pieces.push(Piece {
            start: self.length,
            length,
            object,
        });
        self.length += length;
    }

    /// The object of the pieces that are complete so far, and its length; none before the first is. Writing goes on
    /// afterwards: this is how a checkpoint names a file that is still being read.
    pub fn so_far(&self) -> Result<Option<(ObjectId, u64)>> {
        match self.pieces.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some((only.object, self.length))),
            pieces => Ok(Some((self.write_list(pieces.to_vec())?, self.length))),
        }
    }

    /// Writes what is left and returns the object's id and length. The object is readable after the next commit.
    pub fn finish(mut self) -> Result<(ObjectId, u64)> {
        self.write_waiting_zeros()?;
        if !self.buffer.is_empty() || self.pieces.is_empty() {
            let buffer = std::mem::take(&mut self.buffer);
            let written = self.write_piece(&buffer);
            self.buffer = buffer;
            written?;
        }
        if let [only] = self.pieces.as_slice() {
            return Ok((only.object, self.length));
        }
        let pieces = std::mem::take(&mut self.pieces);
        Ok((self.write_list(pieces)?, self.length))
    }

    fn write_list(&self, pieces: Vec<Piece>) -> Result<ObjectId> {
        let prefix = Some(self.prefix.unwrap_or(LIST_PREFIX));
        let options = ObjectOptions {
            compressor: Some(Compressor::ZSTD_FASTEST),
            splitter: None,
        };
        let mut list = ObjectWriter::new(self.contents, self.list_rule, prefix, options);
        list.write(&indirect::encode(pieces))?;
        let (list, _) = list.finish()?;
        Ok(list.indirect())
    }
}

impl Drop for ObjectWriter<'_> {
    fn drop(&mut self) {
        self.contents.buffers.give_back(std::mem::take(&mut self.buffer));
    }
}

/// Joins objects one after another into one (kopia-format.md 9): what they consist of is listed anew, nothing is
/// read or written again. `parts` are objects with their lengths and, for long ones, their pieces.
pub(crate) fn concatenate(
    mut to: ObjectWriter<'_>,
    parts: &[(ObjectId, Vec<Piece>, u64)],
) -> Result<(ObjectId, u64)> {
    for (object, pieces, length) in parts {
        match object.list() {
            Some(_) => to.append_pieces(pieces)?,
            None => to.append_pieces(&[Piece {
                start: 0,
                length: *length,
                object: *object,
            }])?,
        }
    }
    if let [only] = to.pieces.as_slice() {
        return Ok((only.object, to.length));
    }
    let pieces = std::mem::take(&mut to.pieces);
    Ok((to.write_list(pieces)?, to.length))
}

#[cfg(test)]
mod tests;
