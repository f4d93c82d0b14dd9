//! `velero kopia repository connect filesystem|s3|gcs|azure`: the repository is opened before anything is written down.

use clap::Subcommand;

use super::{create::remember, identity::Client, provider};
use crate::{
    app::{App, Sight},
    failure::Outcome,
};

/// Where it is.
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
    client: Client,
}

/// Runs the command.
pub fn run(place: &Place, app: &App) -> Outcome {
    let (settings, client, of_velero) = match place {
        Place::Filesystem(args) => (args.place.settings()?, &args.client, false),
        Place::S3(args) => (args.place.settings()?, &args.client, args.place.of_velero()),
        Place::Gcs(args) => (args.place.settings()?, &args.client, args.place.of_velero()),
        Place::Azure(args) => (args.place.settings()?, &args.client, args.place.of_velero()),
    };
    let mut connected = client.connected(settings, of_velero);
    let password = app.password()?;
    let repository = app.open_as(&connected, &password, Sight::Storage)?;
    connected.caching = client
        .caching
        .of_connection(&connected.storage, repository.unique_id())?;
    remember(app, &connected)
}
