//! A BackupStorageLocation without Kubernetes: what is needed to reach its bucket, and no secret, so that it
//! can be handed to a data mover pod as JSON. Config keys: velero-behaviour.md 11.

use std::{collections::BTreeMap, sync::Arc};

use caravel_api::v1::BackupStorageLocation;
use caravel_storage::{
    Storage, StorageError,
    azure::{AzureConfig, AzureStorage},
    gcs::{GcsConfig, GcsStorage},
    s3::{S3Config, S3Storage},
};
use serde::{Deserialize, Serialize};

use crate::{
    AzureObjectStore, Credentials, CredentialsError, GcsObjectStore, Identity, ObjectStore, S3ObjectStore,
};

/// Where backups are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Location {
    /// `aws`, `azure` or `gcp`, also written `velero.io/…`; any other provider works if the config has an `s3Url`.
    pub provider: String,
    /// The bucket's name.
    pub bucket: String,
    /// What every key starts with, without slashes at its ends.
    pub prefix: String,
    /// `spec.config`.
    pub config: BTreeMap<String, String>,
    /// Certificates (PEM) to trust beside the public ones.
    #[serde(with = "pem_text", skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<Vec<u8>>,
}

/// Why a location cannot be used as it is written.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    #[error("objectStorage.bucket is empty; name the bucket")]
    NoBucket,
    #[error("objectStorage.bucket {bucket:?} must not contain '/'; put a folder in objectStorage.prefix")]
    BucketWithPath { bucket: String },
    #[error("objectStorage.prefix {prefix:?} must not hold empty, '.' or '..' parts")]
    BadPrefix { prefix: String },
    #[error(
        "provider {provider:?} is not built in; built in are azure, gcp, and aws (also for every S3-compatible store with an s3Url in the config)"
    )]
    UnknownProvider { provider: String },
    #[error("config has an unknown key {key:?}; known are {}", known.join(", "))]
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    #[error("config {key}={value:?} {problem}")]
    BadValue {
        key: &'static str,
        value: String,
        problem: &'static str,
    },
    #[error("config has no {key}; name it")]
    Missing { key: &'static str },
    #[error("config {key} is not supported by this version; remove it")]
    Unsupported { key: &'static str },
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a location's object store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    /// S3, by name or by an `s3Url`.
    Aws,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Gcp,
}

/// What a location of `azure` may say: velero-plugin-for-microsoft-azure's keys and those that Velero adds itself.
/// `resourceGroup` and `subscriptionId` are for the management API, which is not spoken.
const KNOWN_AZURE_KEYS: [&str; 12] = [
    "resourceGroup",
    "storageAccount",
    "storageAccountKeyEnvVar",
    "subscriptionId",
    "storageAccountURI",
    "useAAD",
    "activeDirectoryAuthorityURI",
    "blockSizeInBytes",
    "credentialsFile",
    "caCert",
    "caCertEncoded",
    "bucket",
];

/// What a location of `gcp` may say: velero-plugin-for-gcp's keys and those that Velero adds itself.
const KNOWN_GCP_KEYS: [&str; 7] = [
    "kmsKeyName",
    "serviceAccount",
    "storeEndpoint",
    "universeDomain",
    "credentialsFile",
    "caCert",
    "bucket",
];

const KNOWN_KEYS: [&str; 17] = [
    "region",
    "s3Url",
    "publicUrl",
    "s3ForcePathStyle",
    "insecureSkipTLSVerify",
    "profile",
    "serverSideEncryption",
    "kmsKeyId",
    "customerKeyEncryptionFile",
    "customerKeyEncryptionSecret",
    "signatureVersion",
    "checksumAlgorithm",
    "tagging",
    "enableSharedConfig",
    "credentialsFile",
    "caCert",
    "bucket",
];

/// How buckets are reached: the seam of object storage.
pub trait Stores: std::fmt::Debug + Send + Sync + 'static {
    /// As [`Location::object_store`].
    ///
    /// # Errors
    /// [`LocationError`].
    fn object_store(
        &self,
        location: &Location,
        credentials: Option<&Credentials>,
    ) -> Result<Arc<dyn ObjectStore>, LocationError>;

    /// As [`Location::repository_storage`].
    ///
    /// # Errors
    /// [`LocationError`].
    fn repository_storage(
        &self,
        location: &Location,
        credentials: Option<&Credentials>,
        volume_namespace: &str,
    ) -> Result<Arc<dyn Storage>, LocationError>;
}

/// Over the network, as the location says.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkStores;

impl Stores for NetworkStores {
    fn object_store(
        &self,
        location: &Location,
        credentials: Option<&Credentials>,
    ) -> Result<Arc<dyn ObjectStore>, LocationError> {
        location.object_store(credentials)
    }

    fn repository_storage(
        &self,
        location: &Location,
        credentials: Option<&Credentials>,
        volume_namespace: &str,
    ) -> Result<Arc<dyn Storage>, LocationError> {
        location.repository_storage(credentials, volume_namespace)
    }
}

impl Location {
    /// Reads the object; `resolved_ca` is what `caCertRef` names, and is used where `caCert` is not set.
    ///
    /// Errors: [`LocationError`] for settings that cannot work.
    pub fn from_bsl(
        bsl: &BackupStorageLocation,
        resolved_ca: Option<Vec<u8>>,
    ) -> Result<Self, LocationError> {
        let storage = &bsl.spec.object_storage;
        let inline = storage.ca_cert.as_ref().map(|bytes| bytes.0.clone());
        let location = Self {
            provider: bsl.spec.provider.clone(),
            bucket: storage.bucket.trim_matches('/').to_owned(),
            prefix: storage.prefix.trim_matches('/').to_owned(),
            config: bsl.spec.config.clone(),
            ca_cert: inline.or(resolved_ca).filter(|pem| !pem.is_empty()),
        };
        location.check()?;
        Ok(location)
    }

    fn check(&self) -> Result<(), LocationError> {
        let Self {
            bucket,
            prefix,
            config,
            ..
        } = self;
        if bucket.is_empty() {
            return Err(LocationError::NoBucket);
        }
        if bucket.contains('/') && !bucket.starts_with("arn:aws:s3:") {
            return Err(LocationError::BucketWithPath {
                bucket: bucket.clone(),
            });
        }
        if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(LocationError::BadPrefix {
                prefix: prefix.clone(),
            });
        }
        let known: &[&str] = match self.provider()? {
            Provider::Azure => &KNOWN_AZURE_KEYS,
            Provider::Gcp => &KNOWN_GCP_KEYS,
            Provider::Aws if self.short_provider() == "aws" => &KNOWN_KEYS,
            // Another's plug-in with an s3Url: its own keys are its own.
            Provider::Aws => return Ok(()),
        };
        match config
            .keys()
            .find(|key| !known.contains(&key.as_str()) && *key != "prefix")
        {
            Some(key) => Err(LocationError::UnknownKey {
                key: key.clone(),
                known,
            }),
            None => Ok(()),
        }
    }

    fn short_provider(&self) -> &str {
        self.provider.strip_prefix("velero.io/").unwrap_or(&self.provider)
    }

    /// Which of the built-in stores this is.
    ///
    /// Errors: [`LocationError::UnknownProvider`].
    pub(crate) fn provider(&self) -> Result<Provider, LocationError> {
        match self.short_provider() {
            "aws" => Ok(Provider::Aws),
            "azure" => Ok(Provider::Azure),
            "gcp" => Ok(Provider::Gcp),
            _ if self.config.contains_key("s3Url") => Ok(Provider::Aws),
            _ => Err(LocationError::UnknownProvider {
                provider: self.provider.clone(),
            }),
        }
    }

    fn setting(&self, key: &str) -> Option<&str> {
        self.config
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn flag(&self, key: &'static str) -> Result<bool, LocationError> {
        // What Go's strconv.ParseBool takes.
        match self.setting(key) {
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some(value) => Err(LocationError::BadValue {
                key,
                value: value.to_owned(),
                problem: "must be \"true\" or \"false\"",
            }),
        }
    }

    /// The S3 settings with this key prefix.
    fn s3_config(&self, credentials: Option<&Credentials>, prefix: &str) -> Result<S3Config, LocationError> {
        self.check()?;
        for key in [
            "customerKeyEncryptionFile",
            "customerKeyEncryptionSecret",
            "tagging",
        ] {
            if self.setting(key).is_some() {
                return Err(LocationError::Unsupported { key });
            }
        }
        let (key, role) = match credentials {
            None => (None, BTreeMap::new()),
            Some(credentials) => match credentials.identity(self.setting("profile"))? {
                Identity::Key(key) => (Some(key), BTreeMap::new()),
                Identity::Role(role) => (None, role),
            },
        };
        Ok(S3Config {
            bucket: self.bucket.clone(),
            prefix: prefix.to_owned(),
            region: self.setting("region").map(str::to_owned),
            endpoint: self.setting("s3Url").map(str::to_owned),
            path_style: self.flag("s3ForcePathStyle")?,
            ca_pem: self.ca_cert.clone(),
            insecure_skip_tls_verify: self.flag("insecureSkipTLSVerify")?,
            credentials: key,
            role,
            server_side_encryption: self.setting("serverSideEncryption").map(str::to_owned),
            kms_key_id: self.setting("kmsKeyId").map(str::to_owned),
            retries: None,
        })
    }

    /// The settings of Google Cloud Storage with this key prefix.
    fn gcs_config(
        &self,
        credentials: Option<&Credentials>,
        prefix: &str,
    ) -> Result<GcsConfig, LocationError> {
        self.check()?;
        if self
            .setting("universeDomain")
            .is_some_and(|domain| domain != "googleapis.com")
        {
            return Err(LocationError::Unsupported {
                key: "universeDomain",
            });
        }
        Ok(GcsConfig {
            bucket: self.bucket.clone(),
            prefix: prefix.to_owned(),
            endpoint: self.setting("storeEndpoint").map(str::to_owned),
            ca_pem: self.ca_cert.clone(),
            credentials: credentials.map(Credentials::google).transpose()?,
            service_account: self.setting("serviceAccount").map(str::to_owned),
            kms_key_name: self.setting("kmsKeyName").map(str::to_owned),
            retries: None,
        })
    }

    /// The settings of Azure with this key prefix.
    fn azure_config(
        &self,
        credentials: Option<&Credentials>,
        prefix: &str,
    ) -> Result<AzureConfig, LocationError> {
        self.check()?;
        // Our parts are larger than its default, and smaller than its largest: it is only checked.
        if let Some(size) = self.setting("blockSizeInBytes")
            && size.parse::<u64>().is_err()
        {
            return Err(LocationError::BadValue {
                key: "blockSizeInBytes",
                value: size.to_owned(),
                problem: "must be a number of bytes",
            });
        }
        let account = self.setting("storageAccount").ok_or(LocationError::Missing {
            key: "storageAccount",
        })?;
        let credentials = credentials.map(Credentials::azure).unwrap_or_default();
        let cloud = credentials.cloud()?;
        let authority = self
            .setting("activeDirectoryAuthorityURI")
            .or_else(|| credentials.authority());
        Ok(AzureConfig {
            account: account.to_owned(),
            container: self.bucket.clone(),
            prefix: prefix.to_owned(),
            endpoint: self.setting("storageAccountURI").map(str::to_owned),
            domain: Some(cloud.domain.to_owned()),
            authority: Some(authority.unwrap_or(cloud.authority).to_owned()),
            ca_pem: self.ca_cert.clone(),
            identity: credentials.identity(self.setting("storageAccountKeyEnvVar"), self.flag("useAAD")?)?,
            retries: None,
        })
    }

    /// The client for tarballs and metadata. Nothing is sent. `credentials` are the location's own or those of the
    /// process ([`crate::ProcessCredentials`]); without any the pod's role is used.
    ///
    /// Errors: [`LocationError`].
    pub fn object_store(
        &self,
        credentials: Option<&Credentials>,
    ) -> Result<Arc<dyn ObjectStore>, LocationError> {
        match self.provider()? {
            Provider::Aws => {
                let config = self.s3_config(credentials, "")?;
                Ok(Arc::new(S3ObjectStore::new(&config, self.setting("publicUrl"))?))
            }
            Provider::Azure => {
                let config = self.azure_config(credentials, "")?;
                Ok(Arc::new(AzureObjectStore::new(&config)?))
            }
            Provider::Gcp => Ok(Arc::new(GcsObjectStore::new(&self.gcs_config(credentials, "")?)?)),
        }
    }

    /// The client for the repository of a volume namespace, below `<prefix>/kopia/<namespace>/`.
    ///
    /// Errors: [`LocationError`].
    pub fn repository_storage(
        &self,
        credentials: Option<&Credentials>,
        volume_namespace: &str,
    ) -> Result<Arc<dyn Storage>, LocationError> {
        let prefix = self.repository_prefix(volume_namespace);
        match self.provider()? {
            Provider::Aws => Ok(Arc::new(S3Storage::new(self.s3_config(credentials, &prefix)?)?)),
            Provider::Azure => Ok(Arc::new(AzureStorage::new(
                self.azure_config(credentials, &prefix)?,
            )?)),
            Provider::Gcp => Ok(Arc::new(GcsStorage::new(self.gcs_config(credentials, &prefix)?)?)),
        }
    }

    /// What every key of a volume namespace's repository starts with, as `velero/kopia/shop/`.
    pub fn repository_prefix(&self, volume_namespace: &str) -> String {
        let root = crate::Layout::new(&self.prefix);
        format!("{}kopia/{volume_namespace}/", root.root())
    }
}

/// PEM is text: it is kept readable in JSON.
mod pem_text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(pem: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        match pem {
            Some(pem) => serializer.serialize_str(&String::from_utf8_lossy(pem)),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(String::into_bytes))
    }
}

#[cfg(test)]
mod tests;
