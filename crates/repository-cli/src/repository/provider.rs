//! Where a repository is: the flags of a folder and of a bucket, with Kopia's names.

use std::{
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    connection::{AMAZON, AzureContainer, Bucket, Folder, GoogleBucket, StorageSettings},
    failure::{Failure, Outcome},
    secret,
};

/// A folder of this host.
#[derive(Clone, Debug, clap::Args)]
pub struct Filesystem {
    /// Folder that holds, or shall hold, the repository.
    #[arg(long, value_name = "FOLDER")]
    path: PathBuf,
}

/// A bucket of an S3 server.
#[derive(Clone, Debug, clap::Args)]
pub struct S3 {
    /// Name of the bucket.
    #[arg(long)]
    bucket: String,
    /// Server, as HOST or HOST:PORT.
    #[arg(long, default_value = AMAZON)]
    endpoint: String,
    /// Region of the bucket.
    #[arg(long, default_value = "", hide_default_value = true)]
    region: String,
    /// What the names of all objects begin with; ends with a slash where it is a folder.
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Open the repository that Velero keeps for this namespace, below the prefix of its location.
    #[arg(long, value_name = "NAMESPACE")]
    velero_namespace: Option<String>,
    /// Access key id.
    #[arg(
        long,
        env = "AWS_ACCESS_KEY_ID",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    access_key: String,
    /// Secret access key.
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true, value_parser = secret)]
    secret_access_key: Option<SecretString>,
    /// Session token of temporary keys.
    #[arg(long, env = "AWS_SESSION_TOKEN", hide_env_values = true, value_parser = secret)]
    session_token: Option<SecretString>,
    /// Speak HTTP without TLS.
    #[arg(long)]
    disable_tls: bool,
    /// Trust any certificate.
    #[arg(long)]
    disable_tls_verification: bool,
    /// Certificate authority to trust, in PEM.
    #[arg(long, value_name = "FILE")]
    root_ca_pem_path: Option<PathBuf>,
}

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug, clap::Args)]
pub struct Gcs {
    /// Name of the bucket.
    #[arg(long)]
    bucket: String,
    /// What the names of all objects begin with; ends with a slash where it is a folder.
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Open the repository that Velero keeps for this namespace, below the prefix of its location.
    #[arg(long, value_name = "NAMESPACE")]
    velero_namespace: Option<String>,
    /// JSON file with a service account's key; without one, whatever the machine itself may do.
    #[arg(long, value_name = "FILE")]
    credentials_file: Option<PathBuf>,
    /// Keep the key in the connection's file, in place of the name of its file.
    #[arg(long, requires = "credentials_file")]
    embed_credentials: bool,
}

impl Gcs {
    /// Whether it is a repository of Velero's.
    pub fn of_velero(&self) -> bool {
        self.velero_namespace.is_some()
    }

    /// What is written down.
    pub fn settings(&self) -> Outcome<StorageSettings> {
        let mut bucket = GoogleBucket {
            bucket: self.bucket.clone(),
            prefix: whole_prefix(&self.prefix, self.velero_namespace.as_deref()),
            ..GoogleBucket::default()
        };
        let Some(file) = &self.credentials_file else {
            return Ok(StorageSettings::Gcs(bucket));
        };
        let wrong = |cause: String| Failure::usage(format!("--credentials-file {}: {cause}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        if self.embed_credentials {
            // serde_json's own words may repeat what stands in the file.
            bucket.credentials =
                serde_json::from_str(&text).map_err(|_| wrong("it is not JSON".to_owned()))?;
        } else {
            let path = std::path::absolute(file).map_err(|error| wrong(error.to_string()))?;
            bucket.credentials_file = path.display().to_string();
        }
        Ok(StorageSettings::Gcs(bucket))
    }
}

/// A container of Azure Blob Storage.
#[derive(Clone, Debug, clap::Args)]
pub struct Azure {
    /// Name of the container.
    #[arg(long)]
    container: String,
    /// Name of the storage account.
    #[arg(long, env = "AZURE_STORAGE_ACCOUNT")]
    storage_account: String,
    /// Key of the storage account.
    #[arg(long, env = "AZURE_STORAGE_KEY", hide_env_values = true, value_parser = secret)]
    storage_key: Option<SecretString>,
    /// What follows the account's name in its address.
    #[arg(
        long,
        env = "AZURE_STORAGE_DOMAIN",
        default_value = "",
        hide_default_value = true
    )]
    storage_domain: String,
    /// Shared access signature.
    #[arg(long, env = "AZURE_STORAGE_SAS_TOKEN", hide_env_values = true, value_parser = secret)]
    sas_token: Option<SecretString>,
    /// What the names of all blobs begin with; ends with a slash where it is a folder.
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Open the repository that Velero keeps for this namespace, below the prefix of its location.
    #[arg(long, value_name = "NAMESPACE")]
    velero_namespace: Option<String>,
    /// Tenant of a service principal.
    #[arg(long, env = "AZURE_TENANT_ID", default_value = "", hide_default_value = true)]
    tenant_id: String,
    /// Client id of a service principal.
    #[arg(long, env = "AZURE_CLIENT_ID", default_value = "", hide_default_value = true)]
    client_id: String,
    /// Secret of a service principal.
    #[arg(long, env = "AZURE_CLIENT_SECRET", hide_env_values = true, value_parser = secret)]
    client_secret: Option<SecretString>,
    /// File with a token of the cluster's that a service principal trusts.
    #[arg(
        long,
        value_name = "FILE",
        env = "AZURE_FEDERATED_TOKEN_FILE",
        default_value = "",
        hide_default_value = true
    )]
    azure_federated_token_file: String,
}

impl Azure {
    /// Whether it is a repository of Velero's.
    pub fn of_velero(&self) -> bool {
        self.velero_namespace.is_some()
    }

    /// What is written down.
    pub fn settings(&self) -> Outcome<StorageSettings> {
        Ok(StorageSettings::Azure(AzureContainer {
            container: self.container.clone(),
            prefix: whole_prefix(&self.prefix, self.velero_namespace.as_deref()),
            storage_account: self.storage_account.clone(),
            storage_key: exposed(&self.storage_key),
            sas_token: exposed(&self.sas_token),
            tenant_id: self.tenant_id.clone(),
            client_id: self.client_id.clone(),
            client_secret: exposed(&self.client_secret),
            federated_token_file: self.azure_federated_token_file.clone(),
            storage_domain: self.storage_domain.clone(),
            ..AzureContainer::default()
        }))
    }
}

fn exposed(secret: &Option<SecretString>) -> String {
    secret
        .as_ref()
        .map_or_else(String::new, |secret| secret.expose_secret().to_owned())
}

/// Velero keeps the repository of a namespace below `<prefix of the location>/kopia/<namespace>/`.
fn whole_prefix(prefix: &str, velero_namespace: Option<&str>) -> String {
    let Some(namespace) = velero_namespace else {
        return prefix.to_owned();
    };
    match prefix.trim_matches('/') {
        "" => format!("kopia/{namespace}/"),
        prefix => format!("{prefix}/kopia/{namespace}/"),
    }
}

impl Filesystem {
    /// What is written down.
    pub fn settings(&self) -> Outcome<StorageSettings> {
        let path = std::path::absolute(&self.path)
            .map_err(|error| Failure::usage(format!("--path {}: {error}", self.path.display())))?;
        Ok(StorageSettings::Filesystem(Folder { path }))
    }
}

impl S3 {
    /// Whether it is a repository of Velero's.
    pub fn of_velero(&self) -> bool {
        self.velero_namespace.is_some()
    }

    /// What is written down.
    pub fn settings(&self) -> Outcome<StorageSettings> {
        if self.endpoint.contains("://") {
            return Err(Failure::usage(format!(
                "--endpoint {:?} is HOST or HOST:PORT, without a scheme; --disable-tls is for http",
                self.endpoint
            )));
        }
        let root_ca = match &self.root_ca_pem_path {
            Some(path) => {
                let pem = std::fs::read(path).map_err(|error| {
                    Failure::usage(format!("--root-ca-pem-path {}: {error}", path.display()))
                })?;
                BASE64_STANDARD.encode(pem)
            }
            None => String::new(),
        };
        Ok(StorageSettings::S3(Bucket {
            bucket: self.bucket.clone(),
            prefix: whole_prefix(&self.prefix, self.velero_namespace.as_deref()),
            endpoint: self.endpoint.clone(),
            do_not_use_tls: self.disable_tls,
            do_not_verify_tls: self.disable_tls_verification,
            root_ca,
            access_key_id: self.access_key.clone(),
            secret_access_key: exposed(&self.secret_access_key),
            session_token: exposed(&self.session_token),
            region: self.region.clone(),
        }))
    }
}

/// Makes the folder of a repository, readable to its owner alone, unless it is there.
pub(super) fn make_folder(folder: &Path) -> Outcome {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(|error| {
        Failure::new(format!("cannot create {}: {error}", folder.display()))
            .next("velero kopia repository create filesystem --path FOLDER    (where you may write)")
    })
}

/// A folder that another program uses is no place for a repository, also where none of its files looks like a blob.
/// What a fresh file system holds does not count, nor do files whose names begin with a dot.
pub(super) fn refuse_foreign(folder: &Path) -> Outcome {
    let failed = |error: std::io::Error| Failure::new(format!("cannot read {}: {error}", folder.display()));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| !name.starts_with('.') && name != "lost+found" && !name.starts_with("kopia."));
    names.sort();
    // A repository says itself what is wrong with creating another over it.
    let repository = folder.join("kopia.repository.f").exists();
    match names.first().filter(|_| !repository) {
        None => Ok(()),
        Some(first) => Err(Failure::new(format!(
            "{} holds other things already ({first:?}, {} in all) and no repository; nothing was written",
            folder.display(),
            names.len()
        ))
        .next("velero kopia repository create filesystem --path FOLDER    (an empty one, for nothing but the repository)")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        s3: S3,
    }

    fn bucket(flags: &[&str]) -> Bucket {
        let flags = ["x", "--bucket", "b"].iter().chain(flags);
        match Flags::parse_from(flags).s3.settings().unwrap() {
            StorageSettings::S3(bucket) => bucket,
            other => unreachable!("a bucket was asked for, not {other:?}"),
        }
    }

    #[test]
    fn a_namespace_of_velero_is_a_prefix() {
        assert_eq!(bucket(&["--velero-namespace", "shop"]).prefix, "kopia/shop/");
        let below = bucket(&["--prefix", "/dr/", "--velero-namespace", "shop"]);
        assert_eq!(below.prefix, "dr/kopia/shop/");
        assert_eq!(bucket(&["--prefix", "as-it-is"]).prefix, "as-it-is");
    }

    #[test]
    fn a_key_of_google_s_is_named_by_its_file_or_kept() {
        #[derive(Parser)]
        struct Flags {
            #[command(flatten)]
            gcs: Gcs,
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "{\"type\": \"service_account\"}").unwrap();
        let path = file.path().to_str().unwrap();
        let bucket = |flags: &[&str]| {
            let named = ["x", "--bucket", "b", "--credentials-file", path];
            let flags = named.iter().chain(flags);
            match Flags::parse_from(flags).gcs.settings() {
                Ok(StorageSettings::Gcs(bucket)) => Ok(bucket),
                Ok(other) => unreachable!("a bucket of Google's was asked for, not {other:?}"),
                Err(failure) => Err(failure.message().to_owned()),
            }
        };
        let named = bucket(&["--velero-namespace", "shop"]).unwrap();
        assert_eq!(
            (named.prefix.as_str(), named.credentials_file.as_str()),
            ("kopia/shop/", path)
        );
        assert!(named.credentials.is_null());
        let kept = bucket(&["--embed-credentials"]).unwrap();
        assert_eq!(kept.credentials["type"], "service_account");
        assert_eq!(kept.credentials_file, "");
        std::fs::write(&file, "hush").unwrap();
        let refused = bucket(&["--embed-credentials"]).unwrap_err();
        assert!(
            refused.contains("not JSON") && !refused.contains("hush"),
            "{refused}"
        );
    }

    #[test]
    fn an_address_in_place_of_a_host_is_refused() {
        let flags = Flags::parse_from(["x", "--bucket", "b", "--endpoint", "http://h"]);
        assert!(
            flags
                .s3
                .settings()
                .unwrap_err()
                .message()
                .contains("--disable-tls")
        );
    }
}
