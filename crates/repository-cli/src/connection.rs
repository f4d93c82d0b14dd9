//! Where a repository is: settings of the storage as Kopia's configuration has them, and the storage made of them.

use std::{fmt, path::PathBuf, sync::Arc};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use caravel_storage::{
    Storage,
    azure::{AzureConfig, AzureIdentity, AzureStorage},
    filesystem::FilesystemStorage,
    gcs::{GcsConfig, GcsCredentials, GcsStorage},
    s3::{S3Config, S3Credentials, S3Storage},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::{Failure, Outcome};

/// Server of Amazon, where none is named.
pub const AMAZON: &str = "s3.amazonaws.com";

/// Which storage, under Kopia's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "config", rename_all = "lowercase")]
pub enum StorageSettings {
    Filesystem(Folder),
    S3(Bucket),
    Gcs(GoogleBucket),
    #[serde(rename = "azureBlob")]
    Azure(AzureContainer),
}

/// A folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Folder {
    pub path: PathBuf,
}

/// Blobs in a bucket below a prefix.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bucket {
    pub bucket: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// `host` or `host:port`.
    pub endpoint: String,
    #[serde(rename = "doNotUseTLS", skip_serializing_if = "std::ops::Not::not")]
    pub do_not_use_tls: bool,
    #[serde(rename = "doNotVerifyTLS", skip_serializing_if = "std::ops::Not::not")]
    pub do_not_verify_tls: bool,
    /// Certificates in PEM, in base64.
    #[serde(rename = "rootCA", skip_serializing_if = "String::is_empty")]
    pub root_ca: String,
    #[serde(rename = "accessKeyID", skip_serializing_if = "String::is_empty")]
    pub access_key_id: String,
    #[serde(rename = "secretAccessKey", skip_serializing_if = "String::is_empty")]
    pub secret_access_key: String,
    #[serde(rename = "sessionToken", skip_serializing_if = "String::is_empty")]
    pub session_token: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({}/{} at {})", self.bucket, self.prefix, self.endpoint)
    }
}

/// Blobs in a bucket of Google Cloud Storage below a prefix.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GoogleBucket {
    pub bucket: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// File of a service account's key; it is read again at each start.
    #[serde(rename = "credentialsFile", skip_serializing_if = "String::is_empty")]
    pub credentials_file: String,
    /// The same, kept in the connection's file.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub credentials: Value,
    /// Kopia asks Google for a token that may only read; ours may whatever the account may.
    #[serde(rename = "readOnly", skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

impl fmt::Debug for GoogleBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GoogleBucket({}/{})", self.bucket, self.prefix)
    }
}

/// Blobs in a container of Azure below a prefix.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AzureContainer {
    pub container: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    #[serde(rename = "storageAccount", skip_serializing_if = "String::is_empty")]
    pub storage_account: String,
    #[serde(rename = "storageKey", skip_serializing_if = "String::is_empty")]
    pub storage_key: String,
    #[serde(rename = "sasToken", skip_serializing_if = "String::is_empty")]
    pub sas_token: String,
    #[serde(rename = "TenantID", skip_serializing_if = "String::is_empty")]
    pub tenant_id: String,
    #[serde(rename = "ClientID", skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    #[serde(rename = "ClientSecret", skip_serializing_if = "String::is_empty")]
    pub client_secret: String,
    /// Not supported; read so that it is refused by name.
    #[serde(rename = "clientCertificate", skip_serializing_if = "String::is_empty")]
    pub client_certificate: String,
    #[serde(rename = "azureFederatedTokenFile", skip_serializing_if = "String::is_empty")]
    pub federated_token_file: String,
    /// What follows the account's name in its address.
    #[serde(rename = "storageDomain", skip_serializing_if = "String::is_empty")]
    pub storage_domain: String,
    #[serde(rename = "doNotUseTLS", skip_serializing_if = "std::ops::Not::not")]
    pub do_not_use_tls: bool,
}

impl fmt::Debug for AzureContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "AzureContainer({}/{} at {})",
            self.container, self.prefix, self.storage_account
        )
    }
}

impl StorageSettings {
    /// Kopia's word for the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Filesystem(_) => "filesystem",
            Self::S3(_) => "s3",
            Self::Gcs(_) => "gcs",
            Self::Azure(_) => "azureBlob",
        }
    }

    /// Kopia's description where the user gives none.
    pub fn description(&self) -> String {
        match self {
            Self::Filesystem(folder) => format!("Repository in Filesystem: {}", folder.path.display()),
            Self::S3(bucket) => format!(
                "Repository in S3: {} {}",
                bucket.endpoint,
                bucket.bucket.clone() + "/" + &bucket.prefix
            ),
            // As Kopia's `repo/blob/gcs/gcs_storage.go`, v0.22.3.
            Self::Gcs(bucket) => format!("Repository in GCS: {}", bucket.bucket),
            Self::Azure(container) => format!("Repository in Azure: {}", container.container),
        }
    }

    /// The settings to show: secrets are stars.
    pub fn without_secrets(&self) -> Self {
        let hidden = |secret: &str| if secret.is_empty() { "" } else { "****************" }.to_owned();
        match self {
            Self::S3(bucket) => Self::S3(Bucket {
                secret_access_key: hidden(&bucket.secret_access_key),
                session_token: hidden(&bucket.session_token),
                ..bucket.clone()
            }),
            Self::Gcs(bucket) => Self::Gcs(GoogleBucket {
                credentials: match &bucket.credentials {
                    Value::Null => Value::Null,
                    _ => Value::from(hidden("x")),
                },
                ..bucket.clone()
            }),
            Self::Azure(container) => Self::Azure(AzureContainer {
                storage_key: hidden(&container.storage_key),
                sas_token: hidden(&container.sas_token),
                client_secret: hidden(&container.client_secret),
                client_certificate: hidden(&container.client_certificate),
                ..container.clone()
            }),
            Self::Filesystem(_) => self.clone(),
        }
    }

    /// The folder that must exist before a repository is created in it.
    pub fn folder(&self) -> Option<&PathBuf> {
        match self {
            Self::Filesystem(folder) => Some(&folder.path),
            Self::S3(_) | Self::Gcs(_) | Self::Azure(_) => None,
        }
    }

    /// Makes the storage; of a bucket nothing is read yet.
    pub async fn open(&self) -> Outcome<Arc<dyn Storage>> {
        match self {
            Self::Filesystem(folder) => Ok(Arc::new(FilesystemStorage::open(folder.path.clone()).await?)),
            Self::S3(bucket) => Ok(Arc::new(S3Storage::new(bucket.config()?)?)),
            Self::Gcs(bucket) => Ok(Arc::new(GcsStorage::new(bucket.config()?)?)),
            Self::Azure(container) => Ok(Arc::new(AzureStorage::new(container.config()?)?)),
        }
    }
}

impl Bucket {
    fn config(&self) -> Outcome<S3Config> {
        let scheme = if self.do_not_use_tls { "http" } else { "https" };
        let ca_pem = match self.root_ca.as_str() {
            "" => None,
            text => Some(BASE64_STANDARD.decode(text).map_err(|_| {
                Failure::new("the certificate authority in the connection's file is not base64")
                    .next("velero kopia repository connect s3 --help")
            })?),
        };
        let credentials = (!self.access_key_id.is_empty()).then(|| S3Credentials {
            access_key_id: self.access_key_id.clone(),
            secret_access_key: self.secret_access_key.clone(),
            session_token: Some(self.session_token.clone()).filter(|token| !token.is_empty()),
        });
        let is_amazon = self.endpoint == AMAZON;
        Ok(S3Config {
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            region: Some(self.region.clone()).filter(|region| !region.is_empty()),
            endpoint: (!is_amazon).then(|| format!("{scheme}://{}", self.endpoint)),
            path_style: !self.endpoint.ends_with("amazonaws.com"),
            ca_pem,
            insecure_skip_tls_verify: self.do_not_verify_tls,
            credentials,
            ..S3Config::default()
        })
    }
}

impl GoogleBucket {
    fn config(&self) -> Outcome<GcsConfig> {
        if self.read_only {
            return Err(Failure::new(
                "the connection asks for access that may only read (--read-only), which this version cannot ask Google for",
            )
            .next("velero kopia repository connect gcs --help    (give a service account that may only read)"));
        }
        let text = match (&self.credentials, self.credentials_file.as_str()) {
            (Value::Null, "") => None,
            (Value::Null, file) => Some(std::fs::read_to_string(file).map_err(|error| {
                Failure::new(format!("cannot read the credentials file {file}: {error}"))
            })?),
            (embedded, _) => Some(embedded.to_string()),
        };
        let credentials = text.as_deref().map(GcsCredentials::parse).transpose();
        Ok(GcsConfig {
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            credentials: credentials.map_err(|error| {
                Failure::new(error.to_string()).next("velero kopia repository connect gcs --help")
            })?,
            ..GcsConfig::default()
        })
    }
}

impl AzureContainer {
    /// A signature comes before the account's key, that before a service principal, as in Kopia.
    fn identity(&self) -> Outcome<AzureIdentity> {
        let refused = |cause: &str| Failure::new(cause).next("velero kopia repository connect azure --help");
        let principal = !self.tenant_id.is_empty() && !self.client_id.is_empty();
        if !self.sas_token.is_empty() {
            Ok(AzureIdentity::Sas(self.sas_token.clone()))
        } else if !self.storage_key.is_empty() {
            Ok(AzureIdentity::Key(self.storage_key.clone()))
        } else if principal && !self.client_secret.is_empty() {
            Ok(AzureIdentity::ClientSecret {
                tenant: self.tenant_id.clone(),
                client: self.client_id.clone(),
                secret: self.client_secret.clone(),
            })
        } else if !self.client_certificate.is_empty() {
            Err(refused(
                "a client certificate is not supported by this version; give a key, a signature or a client secret",
            ))
        } else if principal && !self.federated_token_file.is_empty() {
            Ok(AzureIdentity::Workload {
                tenant: self.tenant_id.clone(),
                client: self.client_id.clone(),
                token_file: self.federated_token_file.clone(),
            })
        } else {
            Err(refused(
                "no storage account key, SAS token, or tenant, client and client secret (or federated token file) is given",
            ))
        }
    }

    fn config(&self) -> Outcome<AzureConfig> {
        let scheme = if self.do_not_use_tls { "http" } else { "https" };
        let domain = match self.storage_domain.as_str() {
            "" => caravel_storage::azure::PUBLIC_DOMAIN,
            domain => domain,
        };
        Ok(AzureConfig {
            account: self.storage_account.clone(),
            container: self.container.clone(),
            prefix: self.prefix.clone(),
            endpoint: Some(format!("{scheme}://{}.{domain}", self.storage_account)),
            identity: self.identity()?,
            ..AzureConfig::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_written_as_kopia_writes_them_and_shown_without_secrets() {
        let bucket = Bucket {
            bucket: "b".into(),
            endpoint: AMAZON.into(),
            access_key_id: "key".into(),
            secret_access_key: "hush".into(),
            ..Bucket::default()
        };
        let settings = StorageSettings::S3(bucket);
        let json = serde_json::to_string(&settings).unwrap();
        assert_eq!(
            json,
            r#"{"type":"s3","config":{"bucket":"b","endpoint":"s3.amazonaws.com","accessKeyID":"key","secretAccessKey":"hush"}}"#
        );
        assert_eq!(serde_json::from_str::<StorageSettings>(&json).unwrap(), settings);
        let shown = serde_json::to_string(&settings.without_secrets()).unwrap();
        assert!(!shown.contains("hush") && shown.contains("****"), "{shown}");
        assert!(!format!("{settings:?}").contains("hush"));
    }

    #[test]
    fn settings_of_azure_are_kopia_s_and_shown_without_secrets() {
        let json = concat!(
            r#"{"type":"azureBlob","config":{"container":"c","storageAccount":"a","storageKey":"hush","#,
            r#""TenantID":"t","ClientID":"i","ClientSecret":"hush"}}"#
        );
        let settings: StorageSettings = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&settings).unwrap(), json);
        let shown = serde_json::to_string(&settings.without_secrets()).unwrap();
        assert!(!shown.contains("hush") && shown.contains("****"), "{shown}");
        assert!(!format!("{settings:?}").contains("hush"));
        let StorageSettings::Azure(container) = settings else {
            panic!("a container of Azure's");
        };
        assert!(matches!(container.identity().unwrap(), AzureIdentity::Key(_)));
        let config = container.config().unwrap();
        assert_eq!(
            config.endpoint.as_deref(),
            Some("https://a.blob.core.windows.net")
        );
        let nothing = AzureContainer::default();
        assert!(nothing.identity().unwrap_err().message().contains("SAS token"));
    }

    #[test]
    fn settings_of_google_are_kopia_s_and_an_embedded_key_is_not_shown() {
        let json =
            r#"{"type":"gcs","config":{"bucket":"b","prefix":"p/","credentials":{"private_key":"hush"}}}"#;
        let settings: StorageSettings = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&settings).unwrap(), json);
        let shown = serde_json::to_string(&settings.without_secrets()).unwrap();
        assert!(!shown.contains("hush") && shown.contains("****"), "{shown}");
        assert!(!format!("{settings:?}").contains("hush"));
        let read_only = r#"{"type":"gcs","config":{"bucket":"b","readOnly":true}}"#;
        let StorageSettings::Gcs(bucket) = serde_json::from_str(read_only).unwrap() else {
            panic!("a bucket of Google's");
        };
        assert!(bucket.config().unwrap_err().message().contains("--read-only"));
    }
}
