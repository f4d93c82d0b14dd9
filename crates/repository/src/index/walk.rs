//! The entries of several tables in the order of their names, the winner of each name (kopia-format.md 6.5).

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use super::{Entry, PackNames, Table, precedence};
use crate::content::ContentId;

/// Walks over all tables at once.
pub(crate) struct Walk<'t> {
    tables: &'t [Arc<Table>],
    packs: &'t PackNames,
    /// The next entry of each table that has one: name, table, place.
    next: BinaryHeap<Reverse<(ContentId, usize, usize)>>,
}

impl<'t> Walk<'t> {
    /// From the first entry whose key is not less than `from`.
    pub fn new(tables: &'t [Arc<Table>], packs: &'t PackNames, from: &[u8]) -> Self {
        let mut walk = Self {
            tables,
            packs,
            next: BinaryHeap::with_capacity(tables.len()),
        };
        for (n, table) in tables.iter().enumerate() {
            walk.push(n, table.lower_bound(from));
        }
        walk
    }

    fn push(&mut self, table: usize, at: usize) {
        let tables = self.tables;
        if at < tables[table].len() {
            let key = tables[table].key(at);
            let id = ContentId::new(Some(key[0]), &key[1..]);
            self.next.push(Reverse((id, table, at)));
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        let Reverse((_, table, at)) = self.next.pop()?;
        self.push(table, at + 1);
        Some(self.tables[table].get(at))
    }
}

impl Iterator for Walk<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let mut winner = self.pop()?;
        while self.next.peek().is_some_and(|Reverse((id, ..))| *id == winner.id) {
            let other = self.pop()?;
            if precedence(&other, &winner, self.packs).is_gt() {
                winner = other;
            }
        }
        Some(winner)
    }
}
