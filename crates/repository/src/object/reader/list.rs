//! The lists of long objects, which are objects themselves and may name further lists.

use std::sync::Arc;

use super::{ObjectReader, Piece};
use crate::{
    content::{ContentId, reader::ContentReader},
    error::{RepositoryError, Result},
    object::{ObjectId, indirect},
};

/// A list inside a list inside a list …: nobody writes more than a few levels.
const MAX_DEPTH: usize = 16;
/// A list longer than this (four million pieces, 20 TB of file) is not held in memory.
const MAX_BYTES: u64 = 256 << 20;

/// The pieces of `whole`, whose list is the object `list`.
pub(super) fn read(
    contents: &Arc<ContentReader>,
    whole: ObjectId,
    list: ObjectId,
    depth: usize,
) -> Result<Vec<Piece>> {
    if depth >= MAX_DEPTH {
        return Err(RepositoryError::damaged(format!(
            "object {whole} is nested more than {MAX_DEPTH} levels deep"
        )));
    }
    let bytes = ObjectReader::open_at(contents, list, depth + 1)?.read_to_end(MAX_BYTES)?;
    indirect::decode(&bytes).map_err(|e| e.while_doing(format_args!("cannot read object {whole}")))
}

/// Visits every content that an object consists of, its lists included, until a visit says `false`.
pub(crate) fn for_each_content(
    contents: &Arc<ContentReader>,
    id: ObjectId,
    visit: &mut dyn FnMut(&ContentId) -> Result<bool>,
) -> Result<bool> {
    walk(contents, id, 0, visit)
}

fn walk(
    contents: &Arc<ContentReader>,
    id: ObjectId,
    depth: usize,
    visit: &mut dyn FnMut(&ContentId) -> Result<bool>,
) -> Result<bool> {
    let Some(list) = id.list() else {
        return visit(&id.content);
    };
    if !walk(contents, list, depth + 1, visit)? {
        return Ok(false);
    }
    for piece in read(contents, id, list, depth)? {
        if !walk(contents, piece.object, depth + 1, visit)? {
            return Ok(false);
        }
    }
    Ok(true)
}
