//! `velero kopia content list`.

use caravel_repository::ContentInfo;
use serde::Serialize;

use super::Range;
use crate::{
    app::{App, Sight},
    failure::Outcome,
    json, units,
};

/// List contents.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Length, time, pack and place of each.
    #[arg(short, long)]
    long: bool,
    /// How each is compressed.
    #[arg(short, long)]
    compression: bool,
    /// Also those marked for deletion.
    #[arg(long)]
    deleted: bool,
    /// Only those marked for deletion.
    #[arg(long)]
    deleted_only: bool,
    /// Count and size of all, at the end.
    #[arg(short, long)]
    summary: bool,
    /// Sizes for people.
    #[arg(long)]
    human: bool,
    #[command(flatten)]
    range: Range,
    /// JSON, with Kopia's names.
    #[arg(long)]
    json: bool,
}

/// A content with Kopia's names.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    pack_file: &'a str,
    time: u32,
    original_length: u32,
    length: u32,
    pack_offset: u32,
    #[serde(skip_serializing_if = "is_zero")]
    compression: u32,
    #[serde(rename = "contentID")]
    content_id: String,
    deleted: bool,
    format_version: u8,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl<'a> From<&'a ContentInfo> for Content<'a> {
    fn from(content: &'a ContentInfo) -> Self {
        Self {
            pack_file: &content.pack,
            time: content.timestamp,
            original_length: content.original_length,
            length: content.packed_length,
            pack_offset: content.pack_offset,
            compression: content.compression,
            content_id: content.id.to_string(),
            deleted: content.deleted,
            format_version: content.format_version,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open_seeing(Sight::Storage)?;
    let mut contents = repository.contents();
    contents.retain(|content| {
        let state = if args.deleted_only {
            content.deleted
        } else {
            args.deleted || !content.deleted
        };
        state && args.range.has(content)
    });
    if args.json {
        json::list(&app.console, contents.iter().map(Content::from))?;
        return app.console.flush();
    }
    for content in &contents {
        app.console.line(line(content, args))?;
    }
    if args.summary {
        let size = contents
            .iter()
            .map(|content| u64::from(content.packed_length))
            .sum();
        app.console.line(format!(
            "Total: {} contents, {} total size",
            contents.len(),
            units::bytes_or_raw(size, args.human)
        ))?;
    }
    app.console.flush()
}

fn line(content: &ContentInfo, args: &Args) -> String {
    let size = |length: u32| units::bytes_or_raw(length.into(), args.human);
    let deleted = if content.deleted { " (deleted)" } else { "" };
    let id = content.id;
    if args.compression {
        let (length, packed) = (size(content.original_length), size(content.packed_length));
        return format!(
            "{id} length {length} packed {packed} {}{deleted}",
            compressed(content)
        );
    }
    if args.long {
        let time = units::time(units::seconds(content.timestamp));
        let (length, pack, offset) = (content.original_length, &content.pack, content.pack_offset);
        let packed = size(content.packed_length);
        return format!(
            "{id} {length} {time} {pack} {offset}+{packed}{deleted} {}",
            compressed(content)
        );
    }
    id.to_string()
}

fn compressed(content: &ContentInfo) -> String {
    if content.compression == 0 {
        return "-".into();
    }
    let name = units::compressor(content.compression);
    let saved = units::compression(content.original_length.into(), content.packed_length.into());
    format!("{name} {saved}")
}
