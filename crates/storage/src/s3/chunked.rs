//! Bodies in chunks, as HTTP/1.1 and S3's signed streams frame them: `size in hex [;extension] CRLF data CRLF`, ended by a
//! chunk of size 0 and perhaps trailers. For the server of tests next door (`storage_server.rs`).

use std::io::{self, BufRead};

/// The data of all chunks, up to and with the last one and its trailers.
///
/// Errors: `InvalidData` for a size that is none, `UnexpectedEof` when it breaks off.
pub(super) fn decode(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("chunk size {size:?}: {error}"),
            )
        })?;
        if size == 0 {
            // Trailers, then an empty line or the end.
            while {
                line.clear();
                reader.read_line(&mut line)? > 0 && !line.trim_end().is_empty()
            } {}
            return Ok(data);
        }
        let before = data.len() as u64;
        io::Read::read_to_end(&mut io::Read::take(&mut *reader, size), &mut data)?;
        if data.len() as u64 - before != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.clear();
        reader.read_line(&mut line)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_with_signatures_and_trailers_are_joined() {
        let mut body = &b"4;chunk-signature=ab\r\nwiki\r\nA\r\n0123456789\r\n0;chunk-signature=cd\r\nx-amz-checksum:1\r\n\r\nnext"[..];
        assert_eq!(decode(&mut body).unwrap(), b"wiki0123456789");
        assert_eq!(body, b"next");
    }

    #[test]
    fn a_body_that_breaks_off_is_an_error() {
        for body in [&b"4\r\nwi"[..], b"", b"x\r\n", b"4\r\nwiki\r\n"] {
            assert!(decode(&mut &body[..]).is_err(), "{body:?}");
        }
    }
}
