//! JSON on standard output: one document, or a list with one element a line, as Kopia prints them.

use caravel_repository::snapshot::go_json;
use jiff::Timestamp;
use serde::Serialize;

use crate::{console::Console, failure::Outcome};

/// Prints one document and a newline.
pub fn print(console: &Console, value: &impl Serialize) -> Outcome {
    console.raw(&go_json::to_vec(value))?;
    console.raw(b"\n")
}

/// Prints a list, an element a line.
pub fn list<T: Serialize>(console: &Console, elements: impl IntoIterator<Item = T>) -> Outcome {
    console.raw(b"[")?;
    for (number, element) in elements.into_iter().enumerate() {
        console.raw(if number == 0 { b"\n " } else { b",\n " })?;
        console.raw(&go_json::to_vec(&element))?;
    }
    console.raw(b"\n]\n")
}

/// A blob in a list, with Kopia's names.
#[derive(Serialize)]
pub struct Blob<'a> {
    pub id: &'a str,
    pub length: u64,
    pub timestamp: Timestamp,
}

impl<'a> From<&'a caravel_storage::BlobMetadata> for Blob<'a> {
    fn from(blob: &'a caravel_storage::BlobMetadata) -> Self {
        Self {
            id: blob.id.as_str(),
            length: blob.length,
            timestamp: blob.timestamp,
        }
    }
}

/// The same JSON with every member on a line of its own, two spaces a level; order and numbers stay as they are.
pub fn indent(compact: &str) -> String {
    let mut out = String::with_capacity(compact.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    let mut characters = compact.chars().peekable();
    while let Some(character) = characters.next() {
        if in_string {
            out.push(character);
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            '"' => {
                in_string = true;
                out.push(character);
            }
            '{' | '[' => {
                out.push(character);
                while characters.peek().is_some_and(|next| next.is_ascii_whitespace()) {
                    characters.next();
                }
                if let Some(closing) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(closing);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(character);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            space if space.is_ascii_whitespace() => {}
            other => out.push(other),
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    #[test]
    fn indented_json_keeps_order_numbers_and_strings() {
        let text = r#"{"z":1.50,"a":["x, {y}\"",{}],"e":[]}"#;
        let indented = "{\n  \"z\": 1.50,\n  \"a\": [\n    \"x, {y}\\\"\",\n    {}\n  ],\n  \"e\": []\n}";
        assert_eq!(super::indent(text), indented);
    }
}
