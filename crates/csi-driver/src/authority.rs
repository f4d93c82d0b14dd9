//! Lets the kubelet's registration calls through: they name the socket's path as `:authority`, which HTTP/2 forbids.
//!
//! The kubelet (1.34, `pkg/kubelet/pluginmanager`) dials the registration socket by its bare path, so gRPC sends
//! `%2Fvar%2Flib%2F…` as the request's authority. `h2`, on which our server stands, rightly resets such a stream with
//! PROTOCOL_ERROR. Calls on the CSI socket itself say `localhost` and need none of this.
//!
//! So on the registration socket a relay stands in front of the server. It passes frames on (RFC 9113) and in header blocks
//! replaces the literal value of `:authority` by `localhost` (RFC 7541). The entry keeps its place in the dynamic table, so
//! later requests that refer to it by index get the same harmless value.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::UnixStream;

const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// `:authority` in HPACK's static table.
const AUTHORITY: u64 = 1;
const LOCALHOST: &[u8] = b"\x09localhost";

/// The server's end of a connection whose authority is put right on the way.
pub fn corrected(client: UnixStream) -> DuplexStream {
    let (ours, servers) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move {
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = tokio::io::split(ours);
        let inward = forward(from_client, to_server);
        let outward = copy(from_server, to_client);
        // Either side may hang up first; then the connection is over, and both ends are dropped.
        tokio::select! { _ = inward => {}, _ = outward => {} }
    });
    servers
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<u64> {
    tokio::io::copy(&mut from, &mut to).await
}

/// Passes frames on, with corrected header blocks, until the client hangs up.
async fn forward(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut preface = [0; PREFACE];
    from.read_exact(&mut preface).await?;
    to.write_all(&preface).await?;
    loop {
        let mut header = [0; FRAME_HEADER];
        from.read_exact(&mut header).await?;
        let [high, middle, low, kind, flags, ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        from.read_exact(&mut payload).await?;
        if kind == HEADERS
            && flags & END_HEADERS != 0
            && let Some(corrected) = corrected_headers(flags, &payload)
        {
            payload = corrected;
            let length = u32::try_from(payload.len()).map_err(io::Error::other)?.to_be_bytes();
            header[..3].copy_from_slice(&length[1..]);
        }
        to.write_all(&header).await?;
        to.write_all(&payload).await?;
        to.flush().await?;
    }
}

/// The payload of a HEADERS frame with another authority; none when it cannot be read, and then it is passed on as it is.
fn corrected_headers(flags: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let padding = if flags & PADDED == 0 { 0 } else { usize::from(*payload.first()?) };
    let start = usize::from(flags & PADDED != 0) + if flags & PRIORITY == 0 { 0 } else { 5 };
    let end = payload.len().checked_sub(padding)?;
    let mut corrected = payload.get(..start)?.to_vec();
    corrected.extend(corrected_block(payload.get(start..end)?)?);
    corrected.extend(&payload[end..]);
    Some(corrected)
}

/// A header block with another authority. Its fields follow each other; only literals have a name and a value.
fn corrected_block(block: &[u8]) -> Option<Vec<u8>> {
    let mut corrected = Vec::with_capacity(block.len());
    let mut at = 0;
    while at < block.len() {
        let first = block[at];
        let (prefix, literal) = match first {
            0x80.. => (7, false),
            0x40..0x80 => (6, true),
            0x20..0x40 => (5, false),
            _ => (4, true),
        };
        let (index, mut next) = integer(block, at, prefix)?;
        if literal {
            let mut is_authority = index == AUTHORITY;
            if index == 0 {
                let name = string(block, next)?;
                is_authority = block[next..name].ends_with(b":authority");
                next = name;
            }
            let value = string(block, next)?;
            if is_authority {
                corrected.extend(&block[at..next]);
                corrected.extend(LOCALHOST);
            } else {
                corrected.extend(&block[at..value]);
            }
            next = value;
        } else {
            corrected.extend(&block[at..next]);
        }
        at = next;
    }
    Some(corrected)
}

/// HPACK's integer with a prefix of so many bits: its value, and where it ends.
fn integer(block: &[u8], at: usize, prefix: u32) -> Option<(u64, usize)> {
    let full = (1_u64 << prefix) - 1;
    let mut value = u64::from(*block.get(at)?) & full;
    if value < full {
        return Some((value, at + 1));
    }
    for (position, byte) in block.get(at + 1..)?.iter().take(8).enumerate() {
        value += u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some((value, at + 2 + position));
        }
    }
    None
}

/// Where the string that begins here ends.
fn string(block: &[u8], at: usize) -> Option<usize> {
    let (length, start) = integer(block, at, 7)?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    (end <= block.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_replaced_and_everything_else_stays() {
        // :method POST (indexed) · :authority "%2Fx" (literal, indexed name, kept in the table) · te: trailers · size update
        let mut block = vec![0x83, 0x41, 4];
        block.extend(b"%2Fx");
        block.extend([0x40, 2]);
        block.extend(b"te");
        block.push(8);
        block.extend(b"trailers");
        block.push(0x20);
        let corrected = corrected_block(&block).expect("well formed");
        let mut expected = vec![0x83, 0x41];
        expected.extend(LOCALHOST);
        expected.extend(&block[7..]);
        assert_eq!(corrected, expected);
    }

    #[test]
    fn padding_and_priority_are_kept() {
        let payload = [2, 0, 0, 0, 0, 16, 0x41, 1, b'/', 0, 0];
        let corrected = corrected_headers(PADDED | PRIORITY, &payload).expect("well formed");
        assert_eq!(corrected[..7], payload[..7]);
        assert_eq!(&corrected[7..], [LOCALHOST, &[0, 0]].concat());
    }

    #[test]
    fn a_block_that_cannot_be_read_is_left_alone() {
        assert_eq!(corrected_block(&[0x41, 200]), None);
        assert_eq!(corrected_headers(PADDED, &[]), None);
    }
}
