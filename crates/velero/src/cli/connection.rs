//! Which cluster and which namespace a command talks to.
//!
//! Order for the namespace, as Velero's `pkg/client/config.go`: `--namespace`, the client configuration file
//! (`$HOME/.config/velero/config.json`, key `namespace`), the environment variable `VELERO_NAMESPACE`, then `velero`.

use std::path::PathBuf;

use caravel_api::labels::DEFAULT_NAMESPACE;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::failure::{Failure, Outcome, chain};

/// Flags that every command has.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Global {
    /// Path to the kubeconfig file; else the environment variable KUBECONFIG, ~/.kube/config, or the pod's own account.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig to use; else its current one.
    #[arg(long, global = true, value_name = "CONTEXT")]
    pub kubecontext: Option<String>,

    /// Namespace in which Velero runs [default: velero].
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,

    /// Colours in a terminal [default: true].
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = super::flags::boolean)]
    pub colorized: Option<bool>,

    /// The cluster of this process, instead of all of the above: what `velero sandbox` types is for its own cluster.
    #[cfg(feature = "sandbox")]
    #[arg(skip)]
    pub own_cluster: Option<OwnCluster>,
}

/// A client that was made already.
#[cfg(feature = "sandbox")]
#[derive(Clone)]
pub struct OwnCluster(pub Client);

#[cfg(feature = "sandbox")]
impl std::fmt::Debug for OwnCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnCluster")
    }
}

impl Global {
    /// The namespace of Velero.
    pub fn namespace(&self) -> String {
        #[cfg(feature = "sandbox")]
        if self.own_cluster.is_some() {
            let given = self.namespace.clone();
            return given.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        }
        self.namespace
            .clone()
            .or_else(|| client_configuration("namespace"))
            .or_else(|| std::env::var("VELERO_NAMESPACE").ok())
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
    }

    /// True when text for people may hold colours.
    pub fn colours(&self) -> bool {
        use std::io::IsTerminal;
        let wanted = self
            .colorized
            .or_else(|| client_configuration("colorized").and_then(|text| super::flags::boolean(&text).ok()));
        wanted.unwrap_or(true) && std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
    }

    /// A client for the chosen cluster. Nothing is sent yet.
    pub async fn client(&self) -> Outcome<Client> {
        #[cfg(feature = "sandbox")]
        if let Some(OwnCluster(client)) = &self.own_cluster {
            return Ok(client.clone());
        }
        let options = KubeConfigOptions {
            context: self.kubecontext.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = match &self.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| no_cluster(&error))?;
                kube::Config::from_custom_kubeconfig(file, &options)
                    .await
                    .map_err(|error| no_cluster(&error))?
            }
            None if options.context.is_some() => kube::Config::from_kubeconfig(&options)
                .await
                .map_err(|error| no_cluster(&error))?,
            None => kube::Config::infer().await.map_err(|error| no_cluster(&error))?,
        };
        // A server on this machine is never asked for through the environment's proxy, as with kubectl. One that the
        // kubeconfig itself names stays.
        let server = url::Url::parse(&config.cluster_url.to_string());
        let is_here = server.is_ok_and(|server| caravel_storage::s3::is_loopback(&server));
        if is_here && config.proxy_url == proxy_of_environment() {
            config.proxy_url = None;
        }
        Client::try_from(config).map_err(|error| no_cluster(&error))
    }
}

/// The proxy that `kube` takes where a kubeconfig names none.
fn proxy_of_environment() -> Option<http::Uri> {
    ["HTTPS_PROXY", "https_proxy"].into_iter().find_map(|name| {
        let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
        value.parse().ok()
    })
}

fn no_cluster(error: &dyn std::error::Error) -> Failure {
    Failure::new(format!("finding the cluster: {}", chain(error)))
        .next("kubectl config view    (or give --kubeconfig FILE)")
}

/// A value of the client configuration file; a missing or unreadable file holds nothing.
pub fn client_configuration(key: &str) -> Option<String> {
    let text = std::fs::read(client_configuration_file()?).ok()?;
    let value: serde_json::Value = serde_json::from_slice(&text).ok()?;
    match value.get(key)? {
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Where that file is; `None` without a home directory.
pub fn client_configuration_file() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("HOME")?).join(".config/velero/config.json"))
}
