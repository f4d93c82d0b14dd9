//! JSON as Go's encoder writes it: `<`, `>`, `&` and two line separators are escaped. Directories that are
//! encoded alike have the same content as Kopia's and are stored once.

use std::io;

use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        let mut start = 0;
        for (at, found) in text.char_indices() {
            let escaped = match found {
                '<' => "\\u003c",
                '>' => "\\u003e",
                '&' => "\\u0026",
                '\u{2028}' => "\\u2028",
                '\u{2029}' => "\\u2029",
                _ => continue,
            };
            writer.write_all(&text.as_bytes()[start..at])?;
            writer.write_all(escaped.as_bytes())?;
            start = at + found.len_utf8();
        }
        writer.write_all(&text.as_bytes()[start..])
    }
}

/// The compact JSON of `value`, without a closing newline.
pub fn to_vec<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut out, GoFormatter))
        .expect("snapshot documents are plain JSON");
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn strings_are_escaped_as_go_does() {
        let json = super::to_vec(&"a<b>&\"c\"\u{2028}é\n\u{1}\u{7f}");
        assert_eq!(
            std::str::from_utf8(&json).unwrap(),
            "\"a\\u003cb\\u003e\\u0026\\\"c\\\"\\u2028é\\n\\u0001\u{7f}\""
        );
    }
}
