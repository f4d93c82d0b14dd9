//! The real Velero as a peer: built from its module, in images made without a container daemon.
//!
//! Two images, as its documentation has them: the server, and the object store plug-in, whose only work is to copy itself into
//! the server's folder (an init container).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::facts::Peer;
use crate::go_pieces::{self, Piece};
use crate::image::{self, Image};
use crate::{cluster, places};

/// Its server. The tag is a version, so that the kubelet does not look for a registry.
pub const VELERO_IMAGE: &str = "docker.io/local/velero-peer:v1.18.3";
/// Its plug-in for S3.
pub const PLUGIN_IMAGE: &str = "docker.io/local/velero-plugin-for-aws:v1.14.3";

/// Builds both pieces and their images where they are missing, and loads the images into our cluster.
pub fn load() -> Result<Peer> {
    let velero = go_pieces::provide(Piece::Velero)?;
    let plugin = go_pieces::provide(Piece::VeleroPluginForAws)?;
    let folder = places::cache()?.join("images");
    fs::create_dir_all(&folder)?;

    let mut server = Image::new(VELERO_IMAGE, &["/velero"]);
    // It keeps backups in the system's folder for temporary files until they are uploaded.
    server.folder("tmp", 0o1777)?;
    server.file("velero", 0o755, &read(&velero)?)?;
    import(server, &folder.join("velero-peer.tar"))?;

    let mut carrier = image::busybox(PLUGIN_IMAGE, &["/bin/sh", "-c", "cp /plugins/* /target/"])?;
    carrier.folder("plugins", 0o755)?;
    carrier.file("plugins/velero-plugin-for-aws", 0o755, &read(&plugin)?)?;
    import(carrier, &folder.join("velero-plugin-for-aws.tar"))?;
    Ok(Peer {
        velero,
        image: VELERO_IMAGE.to_owned(),
        plugin_image: PLUGIN_IMAGE.to_owned(),
    })
}

fn import(image: Image, archive: &Path) -> Result<()> {
    image.write(archive)?;
    cluster::load_image(archive)?;
    // The cluster has a copy; a hundred megabytes need not lie about.
    fs::remove_file(archive).with_context(|| format!("cannot remove {}", archive.display()))
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
