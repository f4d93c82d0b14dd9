//! Volumes made of files: Secret, ConfigMap, downward API, and several of them in one.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, ServiceAccount, ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use kube::ResourceExt;
use kube::api::PostParams;

use super::Mounter;
use crate::machinery::Kinds;
use crate::node::environment::{config_map, field, secret};

/// The mode that Kubernetes gives files of a volume when none is named.
const USUAL_MODE: i32 = 0o644;
/// How long a token holds when the volume does not say.
const TOKEN_SECONDS: i64 = 3600;

/// Content and mode by path in the volume.
pub type Files = BTreeMap<String, (Vec<u8>, i32)>;

impl Mounter<'_> {
    /// The files of the volume; `None` for a folder that only the pod fills.
    pub(super) async fn files(&self, volume: &Volume) -> Result<Option<Files>, String> {
        let namespace = self.pod.namespace().unwrap_or_default();
        if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            let optional = source.optional == Some(true);
            let values = secret(self.client, &namespace, name, optional).await?;
            return chosen(values, source.items.as_deref(), source.default_mode, optional).map(Some);
        }
        if let Some(source) = &volume.config_map {
            let optional = source.optional == Some(true);
            let values = config_map(self.client, &namespace, &source.name, optional).await?;
            return chosen(values, source.items.as_deref(), source.default_mode, optional).map(Some);
        }
        if let Some(source) = &volume.downward_api {
            let items = source.items.as_deref().unwrap_or_default();
            return self.own_fields(items, source.default_mode).map(Some);
        }
        let Some(source) = &volume.projected else {
            return Ok(None);
        };
        let mut all = Files::new();
        for projection in source.sources.iter().flatten() {
            all.extend(self.projected(projection, source.default_mode).await?);
        }
        Ok(Some(all))
    }

    async fn projected(&self, projection: &VolumeProjection, mode: Option<i32>) -> Result<Files, String> {
        let namespace = self.pod.namespace().unwrap_or_default();
        if let Some(source) = &projection.secret {
            let optional = source.optional == Some(true);
            let values = secret(self.client, &namespace, &source.name, optional).await?;
            return chosen(values, source.items.as_deref(), mode, optional);
        }
        if let Some(source) = &projection.config_map {
            let optional = source.optional == Some(true);
            let values = config_map(self.client, &namespace, &source.name, optional).await?;
            return chosen(values, source.items.as_deref(), mode, optional);
        }
        if let Some(source) = &projection.downward_api {
            return self.own_fields(source.items.as_deref().unwrap_or_default(), mode);
        }
        match &projection.service_account_token {
            Some(source) => self.token(source, mode).await,
            None => Ok(Files::new()),
        }
    }

    fn own_fields(&self, items: &[DownwardAPIVolumeFile], mode: Option<i32>) -> Result<Files, String> {
        let mut all = Files::new();
        for item in items {
            let Some(asked) = &item.field_ref else { continue };
            let value = field(self.pod, self.addresses, &asked.field_path)?;
            let mode = item.mode.or(mode).unwrap_or(USUAL_MODE);
            all.insert(item.path.clone(), (value.into_bytes(), mode));
        }
        Ok(all)
    }

    async fn token(
        &self,
        source: &ServiceAccountTokenProjection,
        mode: Option<i32>,
    ) -> Result<Files, String> {
        let namespace = self.pod.namespace().unwrap_or_default();
        let account = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.clone());
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: source.audience.clone().into_iter().collect(),
                expiration_seconds: Some(source.expiration_seconds.unwrap_or(TOKEN_SECONDS)),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let accounts = self.client.of::<ServiceAccount>(&namespace);
        let account = account.unwrap_or_else(|| "default".to_owned());
        let made: Result<TokenRequest, _> = accounts
            .create_subresource("token", &account, &PostParams::default(), &request)
            .await;
        let token = match made {
            Ok(made) => made.status.map(|status| status.token).unwrap_or_default(),
            Err(error) => return Err(format!("failed to fetch token: {error}")),
        };
        let mode = mode.unwrap_or(USUAL_MODE);
        Ok(Files::from([(source.path.clone(), (token.into_bytes(), mode))]))
    }
}

/// The named keys under their paths; without a choice all keys under their names.
fn chosen(
    values: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: bool,
) -> Result<Files, String> {
    let usual = mode.unwrap_or(USUAL_MODE);
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let all = values.into_iter().map(|(key, value)| (key, (value, usual)));
        return Ok(all.collect());
    };
    let mut files = Files::new();
    for item in items {
        match values.get(&item.key) {
            Some(value) => {
                let mode = item.mode.unwrap_or(usual);
                files.insert(item.path.clone(), (value.clone(), mode));
            }
            None if optional => {}
            None => return Err(format!("references non-existent secret key: {}", item.key)),
        }
    }
    Ok(files)
}

/// Writes the files; paths that would leave the folder are refused.
pub fn write(folder: &Path, files: Files) -> io::Result<()> {
    for (path, (content, mode)) in files {
        let is_inside = Path::new(&path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !is_inside {
            return Err(io::Error::other(format!(
                "{path:?} is not a path within the volume"
            )));
        }
        let file = folder.join(&path);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        // Without the old file, whose mode may forbid writing.
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::write(&file, content)?;
        // The owner reads its own files whatever the pod's user would be.
        let mode = u32::try_from(mode & 0o777).unwrap_or(0o644) | 0o400;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// A link where a kubelet would have the mount.
pub fn link(to: &Path, link: &Path) -> io::Result<()> {
    if let Some(parent) = link.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::os::unix::fs::symlink(to, link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_keys_become_files_with_their_modes() {
        let folder = tempfile::tempdir().unwrap();
        let values = BTreeMap::from([("repository-password".to_owned(), b"secret".to_vec())]);
        let items = [KeyToPath {
            key: "repository-password".to_owned(),
            path: "password".to_owned(),
            mode: None,
        }];
        let files = chosen(values.clone(), Some(&items), Some(0o400), false).unwrap();
        write(folder.path(), files.clone()).unwrap();
        write(folder.path(), files).unwrap();
        let file = folder.path().join("password");
        assert_eq!(std::fs::read(&file).unwrap(), b"secret");
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o400
        );
        let missing = [KeyToPath {
            key: "other".to_owned(),
            path: "x".to_owned(),
            mode: None,
        }];
        assert!(chosen(values, Some(&missing), None, false).is_err());
    }

    #[test]
    fn a_key_cannot_leave_its_volume() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::from([("../evil".to_owned(), (Vec::new(), 0o644))]);
        assert!(write(folder.path(), files).is_err());
    }
}
