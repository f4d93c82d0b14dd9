//! A world from a kubeconfig: a real cluster, or a sandbox that listens.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use http::{HeaderName, HeaderValue};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::World;

impl World {
    /// The cluster of this kubeconfig, an API server alone until the fields say more. Other users are impersonated, which
    /// an administrator may do.
    pub async fn of_kubeconfig(path: &Path) -> Result<Self> {
        // An error means that a provider is installed already, which is just as well.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let kubeconfig =
            Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config.clone())?;
        let as_user = move |name: &str, groups: &[&str]| {
            let mut config = config.clone();
            config.auth_info.impersonate = None;
            let mut headers = vec![("impersonate-user", name)];
            headers.extend(groups.iter().map(|group| ("impersonate-group", *group)));
            for (header, value) in headers {
                let value =
                    HeaderValue::from_str(value).with_context(|| format!("{value:?} is no user or group"))?;
                config.headers.push((HeaderName::from_static(header), value));
            }
            Ok(Client::try_from(config)?)
        };
        let mut world = Self::new(client, Arc::new(as_user));
        if kubectl_is_installed() {
            world.kubeconfig = Some(path.to_owned());
        }
        Ok(world)
    }
}

/// Whether the checks that run kubectl can.
pub fn kubectl_is_installed() -> bool {
    let version = std::process::Command::new("kubectl")
        .args(["version", "--client"])
        .output();
    version.is_ok_and(|output| output.status.success())
}
