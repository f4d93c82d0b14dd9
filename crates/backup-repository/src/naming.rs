//! Velero's names around repositories (upstream `pkg/repository/keys`, `pkg/repository/udmrepo`, v1.18).

use secrecy::SecretString;

/// The Secret in Velero's namespace that holds the password of all repositories.
pub const PASSWORD_SECRET: &str = "velero-repo-credentials";
/// The key in [`PASSWORD_SECRET`].
pub const PASSWORD_KEY: &str = "repository-password";
/// The key beside it while the password is being changed: what every repository will open with. Ours; never taken away
/// by hand, because some repositories may open with nothing else.
pub const NEXT_PASSWORD_KEY: &str = "repository-password-next";
/// What Velero puts there when the Secret is missing: needed to open repositories that Velero made.
pub const DEFAULT_PASSWORD: &str = "static-passw0rd";
/// Who owns repositories, snapshots and maintenance: `default@default`.
pub const USER: &str = "default";
/// See [`USER`].
pub const HOST: &str = "default";

/// The name of a BackupRepository object, as `shop-default-kopia`.
pub fn name(volume_namespace: &str, location: &str, repository_type: &str) -> String {
    format!("{volume_namespace}-{location}-{repository_type}")
}

/// The password in the Secret's or file's content: white space around it is not part of it. None if nothing is
/// left, or if it is no text.
pub fn password(content: &[u8]) -> Option<SecretString> {
    let text = std::str::from_utf8(content).ok()?.trim();
    (!text.is_empty()).then(|| text.to_owned().into())
}
