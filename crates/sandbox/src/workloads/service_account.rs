//! What every namespace has: ServiceAccount `default` and ConfigMap `kube-root-ca.crt`.
//!
//! `pkg/controller/serviceaccount` and `pkg/controller/certificates/rootcacertpublisher` of v1.34.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::machinery::{
    Answer, Change, Context, Controller, Kinds, Outcome, is_conflict, is_not_found, merge,
};

const ROOT_CA: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
                           endpoints such as the internal service IP or kubernetes.default.svc. No other usage is \
                           guaranteed across distributions of Kubernetes clusters.";

/// Keeps both in every namespace.
pub struct ServiceAccounts {
    context: Context,
    certificate_authority: String,
}

impl ServiceAccounts {
    /// With the certificate authority of the API server, as PEM.
    pub fn new(context: Context, certificate_authority: String) -> Self {
        Self {
            context,
            certificate_authority,
        }
    }
}

#[async_trait]
impl Controller for ServiceAccounts {
    /// A namespace.
    type Key = String;
    const NAME: &'static str = "serviceaccount-controller";

    fn touched_by(&self, change: &Change<'_>) -> Vec<String> {
        let key = change.key();
        if change.is("", "Namespace") && !change.gone {
            return vec![key.name];
        }
        let is_account = change.is("", "ServiceAccount") && key.name == "default" && change.gone;
        let is_root = change.is("", "ConfigMap") && key.name == ROOT_CA;
        if is_account || is_root {
            vec![key.namespace]
        } else {
            Vec::new()
        }
    }

    async fn reconcile(&self, namespace: &String) -> Answer<Outcome> {
        let client = &self.context.client;
        let Some(found) = client.wide::<Namespace>().get_opt(namespace).await? else {
            return Ok(Outcome::Done);
        };
        if found.metadata.deletion_timestamp.is_some() {
            return Ok(Outcome::Done);
        }
        // First, because pods mount it as soon as there is an account.
        self.publish_root(&client.of::<ConfigMap>(namespace)).await?;
        let accounts = client.of::<ServiceAccount>(namespace);
        if accounts.get_opt("default").await?.is_none() {
            let mut account = ServiceAccount::default();
            account.metadata.name = Some("default".to_owned());
            made(accounts.create(&PostParams::default(), &account).await)?;
        }
        Ok(Outcome::Done)
    }
}

impl ServiceAccounts {
    async fn publish_root(&self, maps: &Api<ConfigMap>) -> Answer<()> {
        let data = json!({"ca.crt": self.certificate_authority});
        match maps.get_opt(ROOT_CA).await? {
            None => {
                let map = json!({
                    "metadata": {"name": ROOT_CA, "annotations": {"kubernetes.io/description": DESCRIPTION}},
                    "data": data,
                });
                let map = serde_json::from_value(map).unwrap_or_default();
                made(maps.create(&PostParams::default(), &map).await)
            }
            Some(map) => {
                let kept = map.data.as_ref().and_then(|data| data.get("ca.crt"));
                if kept == Some(&self.certificate_authority) {
                    return Ok(());
                }
                made(merge(maps, ROOT_CA, &json!({"data": data})).await)
            }
        }
    }
}

/// It is there already, or its namespace goes: nothing to do.
fn made<T>(answer: Answer<T>) -> Answer<()> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        Err(error) if !is_conflict(&error) && !is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}
