//! Listed items wait in a file, not in memory: a namespace can hold more JSON than the server has memory.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::Value;

/// A temporary file of JSON values; gone with this.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    end: u64,
}

/// Where a value is in its spool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spooled {
    offset: u64,
    length: usize,
}

impl Spool {
    pub(crate) fn create(folder: &Path) -> io::Result<Self> {
        Ok(Self {
            file: tempfile::tempfile_in(folder)?,
            end: 0,
        })
    }

    pub(crate) fn push(&mut self, value: &Value) -> io::Result<Spooled> {
        let bytes = serde_json::to_vec(value)?;
        self.file.write_all(&bytes)?;
        let spooled = Spooled {
            offset: self.end,
            length: bytes.len(),
        };
        self.end += bytes.len() as u64;
        Ok(spooled)
    }

    pub(crate) fn read(&self, spooled: Spooled) -> io::Result<Value> {
        let mut bytes = vec![0; spooled.length];
        self.file.read_exact_at(&mut bytes, spooled.offset)?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}
