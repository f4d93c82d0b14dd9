//! The S2 stream (klauspost/compress `s2`, an extension of framed Snappy): chunks of up to 4 MiB, each a block of
//! literals and copies with a CRC-32C. Written with Snappy's operations only, which every S2 reader knows; read in
//! full, with repeated offsets. Safe and bounded: a chunk may not unfold to more than the caller still expects.
//!
//! ```text
//! stream = ff 06 00 00 "S2sTwO" chunk*      chunk = type u8 ‖ length u24LE ‖ …
//!   00 compressed: crc u32LE ‖ varint length ‖ operations       01 raw: crc ‖ bytes
//!   80…fe skipped, ff another identifier, 02…7f an error
//! ```

const IDENTIFIER: &[u8; 10] = b"\xff\x06\x00\x00S2sTwO";
const SNAPPY_IDENTIFIER: &[u8; 10] = b"\xff\x06\x00\x00sNaPpY";
const MAX_BLOCK: usize = 4 << 20;
/// What klauspost's writer cuts into by default.
const BLOCK: usize = 1 << 20;

/// CRC-32C, masked as Snappy's frames have it.
fn masked_sum(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

const fn crc_tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut n = 0;
    while n < 256 {
        let (mut value, mut bit) = (n as u32, 0);
        while bit < 8 {
            value = (value >> 1) ^ if value & 1 != 0 { 0x82f6_3b78 } else { 0 };
            bit += 1;
        }
        tables[0][n] = value;
        n += 1;
    }
    let mut row = 1;
    while row < 8 {
        let mut n = 0;
        while n < 256 {
            let before = tables[row - 1][n];
            tables[row][n] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            n += 1;
        }
        row += 1;
    }
    tables
}

static CRC: [[u32; 256]; 8] = crc_tables();

/// Eight bytes a step.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = !0u32;
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let low = u32::from_le_bytes([eight[0], eight[1], eight[2], eight[3]]) ^ sum;
        let at = |row: usize, byte: u32| CRC[row][(byte & 0xff) as usize];
        sum = at(7, low) ^ at(6, low >> 8) ^ at(5, low >> 16) ^ at(4, low >> 24);
        sum ^= CRC[3][eight[4] as usize] ^ CRC[2][eight[5] as usize];
        sum ^= CRC[1][eight[6] as usize] ^ CRC[0][eight[7] as usize];
    }
    for byte in rest {
        sum = (sum >> 8) ^ CRC[0][((sum ^ u32::from(*byte)) & 0xff) as usize];
    }
    !sum
}

/// Reads a whole stream; stops with more than `limit` bytes when there are more.
pub(super) fn decode(mut stream: &[u8], limit: usize) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(limit.min(BLOCK) + 1);
    let mut started = false;
    while let Some((head, rest)) = stream.split_first_chunk::<4>() {
        let length = u32::from_le_bytes([head[1], head[2], head[3], 0]) as usize;
        let (chunk, after) = rest.split_at_checked(length).ok_or("a chunk is cut off")?;
        if !started && head[0] != 0xff {
            return Err("it is no S2 stream");
        }
        match head[0] {
            0xff if &stream[..4 + length] == IDENTIFIER || &stream[..4 + length] == SNAPPY_IDENTIFIER => {
                started = true;
            }
            0xff => return Err("it is no S2 stream"),
            kind @ (0x00 | 0x01) => {
                let (sum, body) = chunk.split_first_chunk::<4>().ok_or("a chunk has no sum")?;
                let start = out.len();
                match kind {
                    0x00 => decode_block(body, &mut out, limit)?,
                    _ => out.extend_from_slice(body),
                }
                if out.len() > limit {
                    return Ok(out);
                }
                if masked_sum(&out[start..]).to_le_bytes() != *sum {
                    return Err("the sum of a chunk is wrong");
                }
            }
            0x80..=0xfe => {}
            _ => return Err("a chunk of an unknown kind"),
        }
        stream = after;
    }
    match stream.is_empty() {
        true => Ok(out),
        false => Err("a chunk is cut off"),
    }
}

/// A block's operations, read byte by byte.
struct Operations<'b>(&'b [u8]);

impl Operations<'_> {
    fn little_endian(&mut self, bytes: usize) -> Result<usize, &'static str> {
        let (number, rest) = self.0.split_at_checked(bytes).ok_or("a block is cut off")?;
        self.0 = rest;
        Ok(number
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    fn varint(&mut self) -> Result<usize, &'static str> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.little_endian(1)?;
            value |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("the length of a block is wrong")
    }
}

fn decode_block(block: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), &'static str> {
    let mut operations = Operations(block);
    let length = operations.varint()?;
    if length > MAX_BLOCK {
        return Err("a block is too long");
    }
    let start = out.len();
    if length > (limit + 1).saturating_sub(start) {
        // Longer than anyone wants: say so without unfolding it.
        out.resize(limit + 1, 0);
        return Ok(());
    }
    out.reserve(length);
    let end = start + length;
    let mut offset = 0;
    while !operations.0.is_empty() {
        let tag = operations.little_endian(1)?;
        let copied = match tag & 3 {
            0 => {
                let literal = match tag >> 2 {
                    short @ 0..60 => short,
                    long => operations.little_endian(long - 59)?,
                } + 1;
                let (bytes, rest) = operations
                    .0
                    .split_at_checked(literal)
                    .ok_or("a literal is cut off")?;
                out.extend_from_slice(bytes);
                operations.0 = rest;
                0
            }
            1 => {
                let near = (tag & 0xe0) << 3 | operations.little_endian(1)?;
                let short = tag >> 2 & 7;
                if near != 0 {
                    offset = near;
                    short + 4
                } else {
                    // S2's own: the offset before, again.
                    4 + match short {
                        5 => operations.little_endian(1)? + 4,
                        6 => operations.little_endian(2)? + (1 << 8),
                        7 => operations.little_endian(3)? + (1 << 16),
                        short => short,
                    }
                }
            }
            wide => {
                offset = operations.little_endian(if wide == 2 { 2 } else { 4 })?;
                (tag >> 2) + 1
            }
        };
        if copied > 0 {
            copy(out, start, offset, copied, end)?;
        }
        if out.len() > end {
            return Err("a block is longer than it says");
        }
    }
    match out.len() == end {
        true => Ok(()),
        false => Err("a block is shorter than it says"),
    }
}

/// Repeats `length` bytes from `offset` back; they may overlap what is being written.
fn copy(
    out: &mut Vec<u8>,
    start: usize,
    offset: usize,
    length: usize,
    end: usize,
) -> Result<(), &'static str> {
    if offset == 0 || offset > out.len() - start || length > end - out.len() {
        return Err("a copy reaches outside its block");
    }
    let mut from = out.len() - offset;
    let mut left = length;
    while left > 0 {
        let some = left.min(out.len() - from);
        out.extend_from_within(from..from + some);
        from += some;
        left -= some;
    }
    Ok(())
}

/// Appends the stream of `plain`.
pub(super) fn encode(plain: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(IDENTIFIER);
    let mut table = vec![0u32; TABLE];
    for block in plain.chunks(BLOCK) {
        let head = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&masked_sum(block).to_le_bytes());
        encode_block(block, &mut table, out);
        let saved = out.len() - head - 8 < block.len() - block.len() / 32;
        if !saved {
            out.truncate(head + 8);
            out.extend_from_slice(block);
        }
        let length = ((out.len() - head - 4) as u32).to_le_bytes();
        out[head..head + 4].copy_from_slice(&[u8::from(!saved), length[0], length[1], length[2]]);
    }
}

const TABLE_BITS: u32 = 15;
const TABLE: usize = 1 << TABLE_BITS;

/// Greedy: the last place where the same four bytes hashed alike; steps grow where nothing is found.
fn encode_block(block: &[u8], table: &mut [u32], out: &mut Vec<u8>) {
    let mut length = block.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);

    table.fill(0);
    let four = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let hash = |value: u32| (value.wrapping_mul(0x1e35_a7bd) >> (32 - TABLE_BITS)) as usize;
    let (mut at, mut emitted) = (1, 0);
    while at + 4 <= block.len() {
        let value = four(at);
        let slot = &mut table[hash(value)];
        let candidate = *slot as usize;
        *slot = at as u32;
        if four(candidate) != value {
            at += 1 + ((at - emitted) >> 6);
            continue;
        }
        let same = block[at + 4..]
            .iter()
            .zip(&block[candidate + 4..])
            .take_while(|(a, b)| a == b)
            .count();
        literal(&block[emitted..at], out);
        emit_copy(at - candidate, same + 4, out);
        at += same + 4;
        emitted = at;
    }
    literal(&block[emitted..], out);
}

fn literal(bytes: &[u8], out: &mut Vec<u8>) {
    let Some(last) = bytes.len().checked_sub(1) else {
        return;
    };
    match last {
        0..60 => out.push((last as u8) << 2),
        60..256 => out.extend_from_slice(&[60 << 2, last as u8]),
        256..65_536 => out.extend_from_slice(&[61 << 2, last as u8, (last >> 8) as u8]),
        _ => out.extend_from_slice(&[62 << 2, last as u8, (last >> 8) as u8, (last >> 16) as u8]),
    }
    out.extend_from_slice(bytes);
}

fn emit_copy(offset: usize, mut length: usize, out: &mut Vec<u8>) {
    while length > 0 {
        let some = length.min(64);
        let head = ((some - 1) as u8) << 2;
        match u16::try_from(offset) {
            Ok(near) => {
                out.push(head | 2);
                out.extend_from_slice(&near.to_le_bytes());
            }
            Err(_) => {
                out.push(head | 3);
                out.extend_from_slice(&(offset as u32).to_le_bytes());
            }
        }
        length -= some;
    }
}
