//! What must exist in Velero's namespace before the controllers start.

use anyhow::{Context as _, bail};
use caravel_api::labels;
use caravel_backup_repository::{DEFAULT_PASSWORD, PASSWORD_KEY, PASSWORD_SECRET};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::install::data_mover_role;

pub(super) async fn namespace(client: &Client, name: &str) -> anyhow::Result<()> {
    let api: Api<Namespace> = Api::all(client.clone());
    if api
        .get_opt(name)
        .await
        .with_context(|| format!("cannot read namespace {name}"))?
        .is_none()
    {
        bail!("namespace {name} does not exist; run `velero install`, or set VELERO_NAMESPACE");
    }
    Ok(())
}

/// The Secret that opens all repositories. Velero's constant unless the user made the Secret: a password that lived
/// only in this cluster would be lost with it. One that exists is never changed.
pub(super) async fn repository_password(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let what = || format!("Secret {namespace}/{PASSWORD_SECRET}");
    let found = api
        .get_opt(PASSWORD_SECRET)
        .await
        .with_context(|| format!("cannot read {}", what()))?;
    let is_constant = match &found {
        Some(secret) => {
            let password = secret.data.as_ref().and_then(|data| data.get(PASSWORD_KEY));
            let Some(password) = password else {
                bail!(
                    "{} has no key {PASSWORD_KEY}; add the repository password under it, or delete the Secret",
                    what()
                )
            };
            // White space around it is not part of it.
            password.0.trim_ascii() == DEFAULT_PASSWORD.as_bytes()
        }
        None => {
            let mut secret = Secret::default();
            secret.metadata.name = Some(PASSWORD_SECRET.to_owned());
            secret.metadata.labels =
                Some([(labels::COMPONENT.to_owned(), labels::COMPONENT_VELERO.to_owned())].into());
            secret.type_ = Some("Opaque".to_owned());
            let password = ByteString(DEFAULT_PASSWORD.as_bytes().to_vec());
            secret.data = Some([(PASSWORD_KEY.to_owned(), password)].into());
            create(&api, &secret)
                .await
                .with_context(|| format!("cannot create {}", what()))?;
            true
        }
    };
    if is_constant {
        tracing::warn!(
            "repositories are encrypted with Velero's well-known password: whoever can read the bucket can read the data. \
             Protect the bucket, or set an own password before the first backup: key {PASSWORD_KEY} of {}",
            what()
        );
    }
    Ok(())
}

/// The data mover pods' own ServiceAccount with its few rights. `velero install` makes it; an installation of Velero
/// whose image was replaced by ours does not have it.
pub(super) async fn data_mover_rights(client: &Client, namespace: &str) -> anyhow::Result<()> {
    for object in data_mover_role::objects(namespace) {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let created = match kind.as_str() {
            "ServiceAccount" => namespaced::<ServiceAccount>(client, namespace, object).await,
            "Role" => namespaced::<Role>(client, namespace, object).await,
            _ => namespaced::<RoleBinding>(client, namespace, object).await,
        };
        created.with_context(|| {
            format!(
                "cannot create {kind} {namespace}/{} for data mover pods",
                labels::DATA_MOVER_SERVICE_ACCOUNT
            )
        })?;
    }
    Ok(())
}

async fn namespaced<K>(client: &Client, namespace: &str, object: Value) -> anyhow::Result<()>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Serialize
        + DeserializeOwned
        + std::fmt::Debug,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let object: K = serde_json::from_value(object)?;
    create(&api, &object).await
}

/// Creates an object; one that exists already stays as it is.
async fn create<K>(api: &Api<K>, object: &K) -> anyhow::Result<()>
where
    K: Resource + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error.into()),
    }
}
