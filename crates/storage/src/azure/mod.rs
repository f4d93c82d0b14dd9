//! Azure Blob Storage: its settings, its identities and its client. What it shares with other object stores is
//! [`crate::bucket`]; a container is called a bucket there, as Velero does.
//!
//! Source: the config keys of velero-plugin-for-microsoft-azure (`backupstoragelocation.md`) and Velero's `pkg/util/azure`,
//! v1.18.3. The client is `object_store`'s. Azure's management API (ARM) is not spoken: a storage account's key is never
//! fetched with another identity, it is given, or the identity itself is used.

mod answer;
#[cfg(any(test, feature = "test-server"))]
pub mod test_server;
#[cfg(test)]
mod tests;

use std::fmt;

use object_store::{
    ClientOptions,
    azure::{MicrosoftAzure, MicrosoftAzureBuilder},
};
use url::Url;

pub(crate) use answer::{answered, not_deleted};

use crate::{
    Operation, StorageError, StorageErrorKind,
    bucket::{BucketStorage, Place, address, answer::Dialect, http::Connector, is_loopback, retries, tls},
};

/// Where the blobs of Azure's public cloud are, after the account's name.
pub const PUBLIC_DOMAIN: &str = "blob.core.windows.net";
/// The setting that holds another address.
pub(crate) const ENDPOINT_SETTING: &str = "storageAccountURI";

/// As whom requests are made. Its Debug shows nothing secret.
#[derive(Clone, PartialEq, Eq)]
pub enum AzureIdentity {
    /// The storage account's key, in base64.
    Key(String),
    /// A shared access signature, as the portal shows it.
    Sas(String),
    /// A service principal with a secret.
    ClientSecret {
        tenant: String,
        client: String,
        secret: String,
    },
    /// A service principal that trusts the cluster: the token in this file is exchanged for one of Azure's.
    Workload {
        tenant: String,
        client: String,
        token_file: String,
    },
    /// Whatever the machine itself may do, or that of its identities.
    Managed { client: Option<String> },
}

impl Default for AzureIdentity {
    fn default() -> Self {
        Self::Managed { client: None }
    }
}

impl fmt::Debug for AzureIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key(hidden)",
            Self::Sas(_) => "Sas(hidden)",
            Self::ClientSecret { .. } => "ClientSecret(hidden)",
            Self::Workload { .. } => "Workload(..)",
            Self::Managed { .. } => "Managed(..)",
        })
    }
}

/// Where a container is and how to reach it.
#[derive(Clone, Debug, Default)]
pub struct AzureConfig {
    /// The storage account's name.
    pub account: String,
    /// The container's name.
    pub container: String,
    /// What every key starts with, verbatim; normally ends with `/`.
    pub prefix: String,
    /// The account's blob address, `https://ACCOUNT.blob.core.windows.net`; none: made of account and domain.
    pub endpoint: Option<String>,
    /// What follows the account's name in its address; [`PUBLIC_DOMAIN`] where none is set.
    pub domain: Option<String>,
    /// Who gives out tokens, `https://login.microsoftonline.com` where none is set.
    pub authority: Option<String>,
    /// Certificates (PEM) that are trusted beside the public ones.
    pub ca_pem: Option<Vec<u8>>,
    /// As whom.
    pub identity: AzureIdentity,
    /// How often a request is tried again; [`crate::bucket::DEFAULT_RETRIES`] where none is set.
    pub retries: Option<usize>,
}

impl AzureConfig {
    /// The account's blob address. It may have a path: the emulator's holds the account's name there.
    pub(crate) fn address(&self) -> Result<Url, StorageError> {
        let text = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => {
                let domain = self.domain.as_deref().unwrap_or(PUBLIC_DOMAIN);
                format!("https://{}.{domain}", self.account)
            }
        };
        address(&text, "Azure's address (storageAccountURI)", true)
    }
}

/// Blobs of one prefix in one container of Azure.
pub type AzureStorage = BucketStorage<MicrosoftAzure>;

impl AzureStorage {
    /// Makes the client; nothing is sent. The prefix is used verbatim, so it normally ends with `/`.
    ///
    /// Errors: [`StorageErrorKind::Misconfigured`] for settings that cannot work.
    pub fn new(config: AzureConfig) -> Result<Self, StorageError> {
        let (place, store) = (Place::of_azure(&config), microsoft_azure(&config)?);
        Self::below(config.prefix, place, store)
    }
}

impl Place {
    /// Where these settings point.
    pub fn of_azure(config: &AzureConfig) -> Self {
        let server = config
            .address()
            .map_or_else(|_| "Azure".to_owned(), |url| url.as_str().to_owned());
        Self {
            dialect: Dialect::Azure,
            bucket: config.container.clone(),
            server: server.trim_end_matches('/').to_owned(),
            region: String::new(),
        }
    }
}

/// The `object_store` client for these settings; the prefix is not part of it. Nothing is sent.
///
/// Errors: [`StorageErrorKind::Misconfigured`].
pub fn microsoft_azure(config: &AzureConfig) -> Result<MicrosoftAzure, StorageError> {
    let misconfigured = |cause: String| {
        let subject = format!("container {:?}", config.container);
        StorageError::new(StorageErrorKind::Misconfigured, Operation::Open, subject, cause)
    };
    if config.container.is_empty() {
        return Err(misconfigured("no container is named".to_owned()));
    }
    if config.account.is_empty() {
        return Err(misconfigured("no storage account is named".to_owned()));
    }
    let address = config.address()?;
    let is_http = address.scheme() == "http";
    let tls = tls::client_config(config.ca_pem.as_deref(), false)
        .map_err(|cause| misconfigured(format!("the CA certificate cannot be used: {cause}")))?;
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(&config.account)
        .with_container_name(&config.container)
        .with_endpoint(address.as_str().trim_end_matches('/').to_owned())
        .with_client_options(ClientOptions::new().with_allow_http(is_http))
        .with_http_connector(Connector::new(tls, is_loopback(&address)))
        .with_retry(retries(config.retries));
    if let Some(authority) = &config.authority {
        builder = builder.with_authority_host(authority.trim_end_matches('/'));
    }
    // The text of a wrong key may be in the builder's error: it is not repeated.
    let wrong = match &config.identity {
        AzureIdentity::Key(_) => "the storage account's key is not base64",
        AzureIdentity::Sas(_) => "the shared access signature cannot be read",
        _ => "the identity cannot be used",
    };
    with_identity(builder, &config.identity)
        .build()
        .map_err(|_| misconfigured(wrong.to_owned()))
}

fn with_identity(builder: MicrosoftAzureBuilder, identity: &AzureIdentity) -> MicrosoftAzureBuilder {
    use object_store::azure::AzureConfigKey;
    match identity {
        AzureIdentity::Key(key) => builder.with_access_key(key),
        AzureIdentity::Sas(sas) => builder.with_config(AzureConfigKey::SasKey, sas),
        AzureIdentity::ClientSecret {
            tenant,
            client,
            secret,
        } => builder.with_client_secret_authorization(client, secret, tenant),
        AzureIdentity::Workload {
            tenant,
            client,
            token_file,
        } => builder
            .with_tenant_id(tenant)
            .with_client_id(client)
            .with_federated_token_file(token_file),
        AzureIdentity::Managed { client: None } => builder,
        AzureIdentity::Managed { client: Some(client) } => builder.with_client_id(client),
    }
}
