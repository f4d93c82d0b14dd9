//! What every controller is given: the client, Velero's namespace, the clock, and how to open a location.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use caravel_api::v1::BackupStorageLocation;
use caravel_backup_repository::Environment;
use caravel_backup_store::{
    BackupStore, Credentials, Gated, Location, LocationError, NetworkStores, ObjectStore, ProcessCredentials,
    Storage, Stores,
};
use caravel_hooks::running::RunningHooks;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use secrecy::SecretString;

use crate::backup_repository::MaintenanceMetrics;
use crate::lease::Leadership;

/// Shared by all controllers of one process; cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub client: Client,
    /// Velero's own namespace.
    pub namespace: String,
    pub clock: Arc<dyn Clock>,
    pub locations: Locations,
    /// Where synchronous work is done, and what the repository engine takes from the machine.
    pub environment: Environment,
    /// The restores' exec hooks that run in this process.
    pub restore_hooks: RunningHooks,
    /// The server's right to act; asked before each commit.
    pub leadership: Leadership,
    /// Held while a repository is prepared with the password that was just read, so that none is made with the old one
    /// when a change of the password ends, which holds it alone.
    pub preparing: Arc<tokio::sync::RwLock<()>>,
    /// What maintenance of repositories counts for `/metrics`.
    pub maintenance: MaintenanceMetrics,
}

impl Context {
    /// A context on the real clock. A location that names no Secret is opened with the process's own credentials.
    pub fn new(client: Client, namespace: impl Into<String>, own: ProcessCredentials) -> Self {
        let namespace = namespace.into();
        Self {
            locations: Locations::new(client.clone(), namespace.clone(), own),
            client,
            namespace,
            clock: Arc::new(SystemClock),
            environment: Environment::system(),
            restore_hooks: RunningHooks::default(),
            leadership: Leadership::not_needed(),
            preparing: Arc::default(),
            maintenance: MaintenanceMetrics::default(),
        }
    }

    /// The same for a server that acts only while it holds its Lease: so each write to a bucket.
    #[must_use]
    pub fn led_by(mut self, leadership: Leadership) -> Self {
        self.locations.leadership = leadership.clone();
        self.leadership = leadership;
        self
    }

    /// The same with another way to object storage and another machine under the engine.
    #[must_use]
    pub fn over(mut self, stores: Arc<dyn Stores>, environment: Environment) -> Self {
        self.locations.stores = stores;
        self.environment = environment;
        self
    }

    /// The API of a kind in Velero's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The objects of a kind in Velero's namespace. One that does not decode is left out with a warning, so that it
    /// cannot stop the work on the others.
    ///
    /// # Errors
    /// The API server cannot be asked.
    pub async fn list<K>(&self, params: &ListParams) -> Result<Vec<K>, kube::Error>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + fmt::Debug,
        K::DynamicType: Default,
    {
        let (objects, bad) = crate::decoded::list(&self.api::<K>(), params).await?;
        bad.iter().for_each(crate::decoded::Undecodable::warn);
        Ok(objects)
    }

    /// Now, as the API writes it.
    pub fn now(&self) -> Time {
        Time(self.clock.now())
    }
}

/// Where controllers get the time from; passed in, so that tests and simulations set it.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> jiff::Timestamp;
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}

/// A location that can be opened: what it is, and the secret that opens it.
pub struct ResolvedLocation {
    pub location: Location,
    /// The location's own, else the process's; none: the pod's role.
    pub credentials: Option<Credentials>,
    stores: Arc<dyn Stores>,
    leadership: Leadership,
}

/// Why a location cannot be opened, in words for `status.message`. Never holds a credential.
#[derive(Debug, thiserror::Error)]
pub enum LocationsError {
    #[error("BackupStorageLocation {namespace}/{name} does not exist")]
    NotFound { namespace: String, name: String },
    #[error("cannot read BackupStorageLocation {namespace}/{name}: {source}")]
    Api {
        namespace: String,
        name: String,
        source: Box<kube::Error>,
    },
    #[error(
        "BackupStorageLocation {location}: Secret {namespace}/{secret} named in {field} does not exist; create it, or correct {field}"
    )]
    SecretNotFound {
        location: String,
        namespace: String,
        secret: String,
        field: &'static str,
    },
    #[error(
        "BackupStorageLocation {location}: Secret {namespace}/{secret} has no key {key:?}, which {field} names"
    )]
    SecretKeyNotFound {
        location: String,
        namespace: String,
        secret: String,
        key: String,
        field: &'static str,
    },
    #[error("BackupStorageLocation {location}: cannot read Secret {namespace}/{secret} ({field}): {source}")]
    Secret {
        location: String,
        namespace: String,
        secret: String,
        field: &'static str,
        source: Box<kube::Error>,
    },
    #[error("BackupStorageLocation {location}: caCert and caCertRef are both set; remove one of them")]
    TwoCertificates { location: String },
    #[error("BackupStorageLocation {location}: {source}")]
    Location {
        location: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// BackupStorageLocation → what opens it: reads `caCertRef` and `credential` Secrets of Velero's namespace.
#[derive(Clone)]
pub struct Locations {
    client: Client,
    namespace: String,
    own: ProcessCredentials,
    stores: Arc<dyn Stores>,
    leadership: Leadership,
}

impl fmt::Debug for Locations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locations")
            .field("namespace", &self.namespace)
            .finish()
    }
}

impl Locations {
    pub fn new(client: Client, namespace: impl Into<String>, own: ProcessCredentials) -> Self {
        Self {
            client,
            namespace: namespace.into(),
            own,
            stores: Arc::new(NetworkStores),
            leadership: Leadership::not_needed(),
        }
    }

    /// Reads the location named `name` and resolves it.
    ///
    /// # Errors
    /// [`LocationsError`], each naming the location and what to correct.
    pub async fn by_name(&self, name: &str) -> Result<ResolvedLocation, LocationsError> {
        let bsl = self.get(name).await?;
        self.resolve(&bsl).await
    }

    /// The BackupStorageLocation object itself.
    ///
    /// # Errors
    /// [`LocationsError::NotFound`] or [`LocationsError::Api`].
    pub async fn get(&self, name: &str) -> Result<BackupStorageLocation, LocationsError> {
        let api: Api<BackupStorageLocation> = Api::namespaced(self.client.clone(), &self.namespace);
        let (namespace, name) = (self.namespace.clone(), name.to_owned());
        match api.get_opt(&name).await {
            Ok(Some(bsl)) => Ok(bsl),
            Ok(None) => Err(LocationsError::NotFound { namespace, name }),
            Err(source) => Err(LocationsError::Api {
                namespace,
                name,
                source: Box::new(source),
            }),
        }
    }

    /// Reads the Secrets that `bsl` names and joins it all.
    ///
    /// # Errors
    /// [`LocationsError`]: a Secret or key is missing, both certificates are set, or the location itself is wrong.
    pub async fn resolve(&self, bsl: &BackupStorageLocation) -> Result<ResolvedLocation, LocationsError> {
        let name = bsl.name_any();
        let storage = &bsl.spec.object_storage;
        let ca = match &storage.ca_cert_ref {
            Some(_) if storage.ca_cert.is_some() => {
                return Err(LocationsError::TwoCertificates { location: name });
            }
            Some(reference) => {
                self.secret_value(
                    &name,
                    &reference.name,
                    &reference.key,
                    "spec.objectStorage.caCertRef",
                )
                .await?
            }
            None => None,
        };
        let location = Location::from_bsl(bsl, ca).map_err(|error| LocationsError::Location {
            location: name.clone(),
            source: Box::new(error),
        })?;
        let credentials = match &bsl.spec.credential {
            Some(reference) => self
                .secret_value(&name, &reference.name, &reference.key, "spec.credential")
                .await?
                .map(|content| {
                    let content = SecretString::from(String::from_utf8_lossy(&content).into_owned());
                    self.own.with_file(&location, content)
                }),
            None => self
                .own
                .for_location(&location)
                .map_err(|error| LocationsError::Location {
                    location: name,
                    source: Box::new(error),
                })?,
        };
        Ok(ResolvedLocation {
            location,
            credentials,
            stores: self.stores.clone(),
            leadership: self.leadership.clone(),
        })
    }

    /// The backups and restores of a location.
    ///
    /// # Errors
    /// [`LocationsError`].
    pub async fn backup_store(&self, bsl: &BackupStorageLocation) -> Result<BackupStore, LocationsError> {
        let resolved = self.resolve(bsl).await?;
        resolved.backup_store(&bsl.name_any())
    }

    async fn secret_value(
        &self,
        location: &str,
        secret: &str,
        key: &str,
        field: &'static str,
    ) -> Result<Option<Vec<u8>>, LocationsError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let (location, namespace, secret) = (location.to_owned(), self.namespace.clone(), secret.to_owned());
        let found = match api.get_opt(&secret).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                return Err(LocationsError::SecretNotFound {
                    location,
                    namespace,
                    secret,
                    field,
                });
            }
            Err(source) => {
                return Err(LocationsError::Secret {
                    location,
                    namespace,
                    secret,
                    field,
                    source: Box::new(source),
                });
            }
        };
        let mut data: BTreeMap<_, _> = found.data.unwrap_or_default();
        match data.remove(key) {
            Some(value) => Ok(Some(value.0)),
            None => Err(LocationsError::SecretKeyNotFound {
                location,
                namespace,
                secret,
                key: key.to_owned(),
                field,
            }),
        }
    }
}

impl ResolvedLocation {
    /// Opens the location for backups and restores; nothing is read yet.
    ///
    /// # Errors
    /// [`LocationsError::Location`].
    pub fn backup_store(&self, name: &str) -> Result<BackupStore, LocationsError> {
        let store = self.object_store().map_err(|error| LocationsError::Location {
            location: name.to_owned(),
            source: Box::new(error),
        })?;
        Ok(BackupStore::new(store, self.location.prefix.clone()))
    }

    /// The location's objects, below no prefix. Writes ask first whether this server still holds its Lease.
    ///
    /// # Errors
    /// [`LocationError`].
    pub fn object_store(&self) -> Result<Arc<dyn ObjectStore>, LocationError> {
        let store = self
            .stores
            .object_store(&self.location, self.credentials.as_ref())?;
        Ok(Arc::new(Gated::new(store, Arc::new(self.leadership.clone()))))
    }

    /// The blobs of a volume namespace's repository.
    ///
    /// # Errors
    /// [`LocationError`].
    pub fn repository_storage(&self, volume_namespace: &str) -> Result<Arc<dyn Storage>, LocationError> {
        self.stores
            .repository_storage(&self.location, self.credentials.as_ref(), volume_namespace)
    }
}

#[cfg(test)]
mod tests {
    use caravel_cases::{api, each_async, same};
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_key_of_a_secret_is_read_as_in_velero() {
        each_async("pkg_util_kube/TestGetSecretKey.json", async |case| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let namespace = text(case.input("namespace"));
            let secrets = case.input("secrets").as_array().cloned().unwrap_or_default();
            let client = api::client(move |asked| {
                let path = |secret: &Value| {
                    let metadata = &secret["metadata"];
                    format!(
                        "/api/v1/namespaces/{}/secrets/{}",
                        text(&metadata["namespace"]),
                        text(&metadata["name"])
                    )
                };
                let found = secrets.iter().find(|secret| path(secret) == asked.path());
                found.map_or_else(|| api::failure(404, "NotFound"), |secret| (200, secret.clone()))
            });
            let context = Context::new(client, namespace, Default::default());
            let selector = case.input("selector");
            let (name, key) = (text(&selector["name"]), text(&selector["key"]));
            let ours = context
                .locations
                .secret_value("default", &name, &key, "spec.credential")
                .await;
            same(&ours.is_err(), &(case.want("expectedErr") != ""))?;
            if let Err(error) = &ours {
                let named = error.to_string().contains(&name);
                same(&named, &true).map_err(|_| error.to_string())?;
            }
            let ours = ours.ok().flatten().unwrap_or_default();
            same(
                &String::from_utf8_lossy(&ours).into_owned(),
                &text(case.want("expectedData")),
            )
        });
    }
}
