//! The S3 server: versitygw over a folder, with TLS, on the bridge's address.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;

use super::health;
use super::layout::Layout;
use super::network::Ports;
use super::processes::Recipe;
use crate::go_pieces::{self, Piece};

/// The bucket that every cluster starts with.
pub const BUCKET: &str = "backups";
/// The server's region.
pub const REGION: &str = "us-east-1";

const ACCESS_KEY: &str = "caravel";

/// Starts the server and makes the bucket and the credentials file.
pub fn ensure(layout: &Layout, ports: &Ports) -> Result<()> {
    // A bucket is a folder of the server's root; its settings are attributes that it adds when needed.
    layout.folder(format!("s3/{BUCKET}"))?;
    let secret = secret(layout)?;
    let credentials = layout.write(
        "s3-credentials",
        format!("[default]\naws_access_key_id={ACCESS_KEY}\naws_secret_access_key={secret}\n"),
    )?;
    fs::set_permissions(credentials, fs::Permissions::from_mode(0o600))?;
    Recipe::new("versitygw", go_pieces::provide(Piece::Versitygw)?)
        .environment("ROOT_ACCESS_KEY_ID", ACCESS_KEY)
        .environment("ROOT_SECRET_ACCESS_KEY", secret)
        .arguments([
            format!("--port={}", ports.s3_address()),
            format!("--region={REGION}"),
            format!("--cert={}", layout.text("pki/s3.crt")),
            format!("--key={}", layout.text("pki/s3.key")),
            "--keep-alive".to_owned(),
            "--quiet".to_owned(),
            "posix".to_owned(),
            layout.text("s3"),
        ])
        .ensure(layout)?;
    health::wait_for(layout, "versitygw", "the S3 server", || {
        health::listens(ports.s3_address())
    })
}

/// The secret key, made once per cluster.
fn secret(layout: &Layout) -> Result<String> {
    let file = layout.path("pki/s3-secret");
    if let Ok(secret) = fs::read_to_string(&file) {
        return Ok(secret);
    }
    let secret: String = hex::encode(rand::random::<[u8; 16]>());
    layout.write("pki/s3-secret", &secret)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
    Ok(secret)
}
