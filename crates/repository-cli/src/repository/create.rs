//! `velero kopia repository create filesystem|s3|gcs|azure`.

use caravel_repository::CreateOptions;
use clap::Subcommand;

use super::{format::Format, identity::Client, provider};
use crate::{
    app::App,
    config_file::{self, Connected},
    failure::Outcome,
};

/// Where it shall be.
#[derive(Debug, Subcommand)]
pub enum Place {
    /// In a folder.
    Filesystem(Args<provider::Filesystem>),
    /// In a bucket.
    S3(Args<provider::S3>),
    /// In a bucket of Google Cloud Storage.
    Gcs(Args<provider::Gcs>),
    /// In a container of Azure Blob Storage.
    Azure(Args<provider::Azure>),
}

/// Flags of one place.
#[derive(Debug, clap::Args)]
pub struct Args<P: clap::Args> {
    #[command(flatten)]
    place: P,
    #[command(flatten)]
    any: AnyPlace,
}

/// Flags that every place has.
#[derive(Debug, clap::Args)]
struct AnyPlace {
    #[command(flatten)]
    client: Client,
    #[command(flatten)]
    format: Format,
    /// Create it and connect to nothing.
    #[arg(short = 'c', long)]
    create_only: bool,
}

/// Runs the command.
pub fn run(place: &Place, app: &App) -> Outcome {
    let (settings, of_velero, any) = match place {
        Place::Filesystem(args) => (args.place.settings()?, false, &args.any),
        Place::S3(args) => (args.place.settings()?, args.place.of_velero(), &args.any),
        Place::Gcs(args) => (args.place.settings()?, args.place.of_velero(), &args.any),
        Place::Azure(args) => (args.place.settings()?, args.place.of_velero(), &args.any),
    };
    let mut connected = any.client.connected(settings, of_velero);
    let format = any.format.options()?;
    let password = app.new_password()?;
    if let Some(folder) = connected.storage.folder() {
        provider::make_folder(folder)?;
        provider::refuse_foreign(folder)?;
    }
    let storage = app.storage(&connected.storage)?;
    let options = CreateOptions {
        username: connected.username.clone(),
        hostname: connected.hostname.clone(),
    };
    let environment = app.environment.clone();
    let creating = caravel_repository::create_with(storage, &password, &options, &format, environment);
    let created = app.wait(creating)?;
    app.console.say(format!("Created {}.", connected.description));
    if any.create_only {
        return Ok(());
    }
    connected.caching = any
        .client
        .caching
        .of_connection(&connected.storage, &created.unique_id)?;
    remember(app, &connected)
}

/// Writes the connection down.
pub(super) fn remember(app: &App, connected: &Connected) -> Outcome {
    let file = app.config_file()?;
    config_file::write(&file, connected)?;
    app.console.say(format!(
        "Connected as {}@{} ({}).",
        connected.username,
        connected.hostname,
        file.display()
    ));
    Ok(())
}
