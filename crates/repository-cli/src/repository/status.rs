//! `velero kopia repository status`.

use std::path::Path;

use caravel_repository::Repository;
use serde_json::{Value, json};

use crate::{
    app::App,
    config_file::Connected,
    console::Console,
    failure::{Failure, Outcome},
    json, units,
};

/// What is connected, and what kind of repository it is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// JSON, with Kopia's names.
    #[arg(long)]
    json: bool,
}

/// Nanoseconds until a writer looks at the format blob again.
const FORMAT_BLOB_IS_BELIEVED: i64 = 15 * 60 * 1_000_000_000;

/// Members of the settings that belong to objects; Kopia lists them apart.
const OF_OBJECTS: [&str; 1] = ["splitter"];

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let connected = app.connected()?;
    let repository = app.open()?;
    if args.json {
        json::print(&app.console, &document(app, &connected, &repository)?)?;
    } else {
        text(app, &connected, &repository)?;
    }
    app.console.flush()
}

/// Bytes that the folder's file system has, and that are free.
fn volume(folder: &Path) -> Option<(u64, u64)> {
    let space = rustix::fs::statvfs(folder).ok()?;
    Some((space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize))
}

fn shown<T: serde::Serialize>(value: &T) -> Outcome<Value> {
    serde_json::to_value(value).map_err(|error| Failure::new(format!("printing the settings: {error}")))
}

fn document(app: &App, connected: &Connected, repository: &Repository) -> Outcome<Value> {
    let mut content_format = repository.settings()?;
    let mut object_format = json!({});
    if let Some(settings) = content_format.as_object_mut() {
        for name in OF_OBJECTS {
            object_format[name] = settings.remove(name).unwrap_or_default();
        }
    }
    let mut storage = shown(&connected.storage.without_secrets())?;
    if connected.storage.folder().is_some() {
        // How files are made here, as Kopia says it: 0600 and 0700, folders as the repository's own file has it.
        storage["config"]["fileMode"] = 0o600.into();
        storage["config"]["dirMode"] = 0o700.into();
        storage["config"]["dirShards"] = Value::Null;
    }
    let mut document = json!({
        "configFile": app.config_file()?,
        "uniqueIDHex": hex::encode(repository.unique_id()),
        "clientOptions": {
            "hostname": connected.hostname,
            "username": connected.username,
            "description": connected.description,
            // Commands of policies are never run.
            "enableActions": false,
            "formatBlobCacheDuration": FORMAT_BLOB_IS_BELIEVED,
        },
        "storage": storage,
        "contentFormat": content_format,
        "objectFormat": object_format,
        "blobRetention": blob_retention(repository),
    });
    if connected.readonly {
        document["clientOptions"]["readonly"] = true.into();
    }
    if let Some((capacity, available)) = connected.storage.folder().and_then(|folder| volume(folder)) {
        document["volume"] = json!({"capacity": capacity, "available": available});
    }
    Ok(document)
}

/// How long the storage must keep what is written; empty without object lock.
fn blob_retention(repository: &Repository) -> Value {
    match repository.format_options().retention {
        Some(retention) => json!({"retentionMode": retention.mode, "retentionPeriod": retention.period}),
        None => json!({}),
    }
}

fn text(app: &App, connected: &Connected, repository: &Repository) -> Outcome {
    let console = &app.console;
    let field = |name: &str, value: &str| console.line(format!("{name:<21}{value}"));
    field("Config file:", &app.config_file()?.display().to_string())?;
    console.line("")?;
    field("Description:", &connected.description)?;
    field("Hostname:", &connected.hostname)?;
    field("Username:", &connected.username)?;
    field("Read-only:", &connected.readonly.to_string())?;
    console.line("")?;
    field("Storage type:", connected.storage.kind())?;
    if let Some((capacity, available)) = connected.storage.folder().and_then(|folder| volume(folder)) {
        field("Storage capacity:", &units::bytes(capacity))?;
        field("Storage available:", &units::bytes(available))?;
    }
    let storage = shown(&connected.storage.without_secrets())?;
    let config = json::indent(&storage["config"].to_string()).replace('\n', &format!("\n{:21}", ""));
    field("Storage config:", &config)?;
    console.line("")?;
    format(console, repository)
}

fn format(console: &Console, repository: &Repository) -> Outcome {
    let settings = repository.settings()?;
    let field = |name: &str, value: String| console.line(format!("{name:<21}{value}"));
    let text = |name: &str| settings[name].as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    field("Unique ID:", hex::encode(repository.unique_id()))?;
    field("Hash:", text("hash"))?;
    field("Encryption:", text("encryption"))?;
    field("Splitter:", text("splitter"))?;
    field("Format version:", settings["version"].to_string())?;
    let index_version = number(&settings["indexVersion"]);
    field("Content compression:", (index_version >= 2).to_string())?;
    field("Password changes:", settings["enablePasswordChange"].to_string())?;
    if number(&settings["eccOverheadPercent"]) > 0 {
        field("Error correction:", text("ecc"))?;
        field(
            "Error correction overhead:",
            format!("{}%", settings["eccOverheadPercent"]),
        )?;
    }
    field("Max pack length:", units::bytes(number(&settings["maxPackSize"])))?;
    field("Index Format:", format!("v{index_version}"))?;
    console.line("")?;
    let epochs = &settings["epochParameters"];
    if epochs["Enabled"] != Value::Bool(true) {
        return field("Epoch Manager:", "disabled".into());
    }
    field("Epoch Manager:", "enabled".into())?;
    console.line(format!("Current Epoch: {}", repository.epochs()?.write_epoch))?;
    console.line("")?;
    let duration = |name: &str| units::duration(epochs[name].as_i64().unwrap_or(0));
    console.line(format!(
        "Epoch refresh frequency: {}",
        duration("EpochRefreshFrequency")
    ))?;
    console.line(format!(
        "Epoch advance on:        {} blobs or {}, minimum {}",
        epochs["EpochAdvanceOnCountThreshold"],
        units::bytes(number(&epochs["EpochAdvanceOnTotalSizeBytesThreshold"])),
        duration("MinEpochDuration")
    ))?;
    console.line(format!(
        "Epoch cleanup margin:    {}",
        duration("CleanupSafetyMargin")
    ))?;
    console.line(format!(
        "Epoch checkpoint every:  {} epochs",
        epochs["FullCheckpointFrequency"]
    ))
}
