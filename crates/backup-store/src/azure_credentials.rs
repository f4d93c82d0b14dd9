//! What Velero's secret says for Azure, and as whom that is: lines of `AZURE_…=…`, the variables of workload identity, and
//! the config of the location together. Source: Velero's `pkg/util/azure/{credential,storage}.go`, v1.18.3.

use std::{collections::BTreeMap, fmt};

use caravel_storage::azure::AzureIdentity;

use crate::{CredentialsError, credentials::WORKLOAD_VARIABLES};

/// The pairs of a credentials file and the variables of the process. Its Debug shows nothing of them.
#[derive(Clone, Default)]
pub(crate) struct AzureCredentials {
    file: BTreeMap<String, String>,
    workload: BTreeMap<String, String>,
}

impl fmt::Debug for AzureCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AzureCredentials(hidden)")
    }
}

/// Where one of Azure's clouds keeps blobs, and who gives out its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AzureCloud {
    /// What follows the account's name in its address.
    pub domain: &'static str,
    pub authority: &'static str,
}

const PUBLIC: AzureCloud = AzureCloud {
    domain: caravel_storage::azure::PUBLIC_DOMAIN,
    authority: "https://login.microsoftonline.com",
};
const CHINA: AzureCloud = AzureCloud {
    domain: "blob.core.chinacloudapi.cn",
    authority: "https://login.chinacloudapi.cn",
};
const US_GOVERNMENT: AzureCloud = AzureCloud {
    domain: "blob.core.usgovcloudapi.net",
    authority: "https://login.microsoftonline.us",
};

/// What Velero can sign in with and this version cannot.
const UNSUPPORTED: [&str; 3] = [
    "AZURE_CLIENT_CERTIFICATE",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_USERNAME",
];

impl AzureCredentials {
    /// Takes the text of a credentials file, and those of [`WORKLOAD_VARIABLES`] that the process has.
    pub(crate) fn new(text: &str, workload: BTreeMap<String, String>) -> Self {
        Self {
            file: text.lines().filter_map(pair).collect(),
            workload,
        }
    }

    fn of_file(&self, key: &str) -> Option<&str> {
        self.file
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The cloud that `AZURE_CLOUD_NAME` names; the public one where it names none.
    ///
    /// Errors: [`CredentialsError::AzureCloud`].
    pub(crate) fn cloud(&self) -> Result<AzureCloud, CredentialsError> {
        let name = self.of_file("AZURE_CLOUD_NAME").unwrap_or_default();
        match name.to_ascii_uppercase().as_str() {
            "" | "AZURECLOUD" | "AZUREPUBLICCLOUD" => Ok(PUBLIC),
            "AZURECHINACLOUD" => Ok(CHINA),
            "AZUREUSGOVERNMENT" | "AZUREUSGOVERNMENTCLOUD" => Ok(US_GOVERNMENT),
            _ => Err(CredentialsError::AzureCloud),
        }
    }

    /// Who gives out tokens, where the process's variables say so.
    pub(crate) fn authority(&self) -> Option<&str> {
        self.workload.get("AZURE_AUTHORITY_HOST").map(String::as_str)
    }

    /// As whom: by the account's key that `key_name` names, else (`use_aad`) by a secret, by workload identity, or as the
    /// machine, in this order.
    ///
    /// Errors: [`CredentialsError`].
    pub(crate) fn identity(
        &self,
        key_name: Option<&str>,
        use_aad: bool,
    ) -> Result<AzureIdentity, CredentialsError> {
        if let Some(name) = key_name {
            let key = self.of_file(name).ok_or_else(|| CredentialsError::NoAzureKey {
                name: name.to_owned(),
            })?;
            return Ok(AzureIdentity::Key(key.to_owned()));
        }
        if !use_aad {
            return Err(CredentialsError::AzureKeyFromManagement);
        }
        if let Some(secret) = self.of_file("AZURE_CLIENT_SECRET") {
            let needed = |key| {
                self.of_file(key)
                    .map(str::to_owned)
                    .ok_or(CredentialsError::NoAzure { key })
            };
            return Ok(AzureIdentity::ClientSecret {
                tenant: needed("AZURE_TENANT_ID")?,
                client: needed("AZURE_CLIENT_ID")?,
                secret: secret.to_owned(),
            });
        }
        if let Some(key) = UNSUPPORTED.into_iter().find(|key| self.of_file(key).is_some()) {
            return Err(CredentialsError::UnsupportedAzure { key });
        }
        let [client, tenant, token_file, _] = WORKLOAD_VARIABLES.map(|name| self.workload.get(name).cloned());
        match (client, tenant, token_file) {
            (Some(client), Some(tenant), Some(token_file)) => Ok(AzureIdentity::Workload {
                tenant,
                client,
                token_file,
            }),
            _ => Ok(AzureIdentity::Managed {
                client: self.of_file("AZURE_CLIENT_ID").map(str::to_owned),
            }),
        }
    }
}

/// `KEY=value`, perhaps after `export` and in quotes; none for a comment or an empty line.
fn pair(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let (key, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
    let value = value.trim();
    let quoted = |quote: char| {
        value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
    };
    let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
    Some((key.trim().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str, variables: &[(&str, &str)]) -> AzureCredentials {
        let workload = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        AzureCredentials::new(text, workload.collect())
    }

    #[test]
    fn the_key_that_the_config_names_comes_before_everything_else() {
        let all = given(
            "# made by hand\nAZURE_STORAGE_ACCOUNT_ACCESS_KEY=\"a2V5==\"\nexport AZURE_CLIENT_SECRET=hush\n",
            &[],
        );
        let identity = all
            .identity(Some("AZURE_STORAGE_ACCOUNT_ACCESS_KEY"), true)
            .unwrap();
        assert!(identity == AzureIdentity::Key("a2V5==".to_owned()));
        let missing = all.identity(Some("OTHER"), true).unwrap_err().to_string();
        assert!(
            missing.contains("OTHER") && !missing.contains("hush"),
            "{missing}"
        );
        let exchange = all.identity(None, false).unwrap_err().to_string();
        assert!(
            exchange.contains("management API") && exchange.contains("useAAD"),
            "{exchange}"
        );
        assert!(!format!("{all:?}").contains("hush"));
    }

    #[test]
    fn a_secret_comes_before_workload_identity_and_that_before_the_machine_s() {
        let of_pod = [
            ("AZURE_CLIENT_ID", "pod"),
            ("AZURE_TENANT_ID", "tenant"),
            ("AZURE_FEDERATED_TOKEN_FILE", "/token"),
        ];
        let secret = "AZURE_TENANT_ID=t\nAZURE_CLIENT_ID=c\nAZURE_CLIENT_SECRET=hush";
        let as_whom = |text: &str, variables: &[(&str, &str)]| given(text, variables).identity(None, true);
        assert!(matches!(
            as_whom(secret, &of_pod).unwrap(),
            AzureIdentity::ClientSecret { client, .. } if client == "c"
        ));
        assert!(matches!(
            as_whom("AZURE_CLOUD_NAME=AzurePublicCloud", &of_pod).unwrap(),
            AzureIdentity::Workload { client, token_file, .. } if client == "pod" && token_file == "/token"
        ));
        assert!(matches!(
            as_whom("AZURE_CLIENT_ID=c", &of_pod[..2]).unwrap(),
            AzureIdentity::Managed { client: Some(client) } if client == "c"
        ));
        let half = as_whom("AZURE_CLIENT_SECRET=hush", &of_pod)
            .unwrap_err()
            .to_string();
        assert!(
            half.contains("AZURE_TENANT_ID") && !half.contains("hush"),
            "{half}"
        );
        let certificate = as_whom("AZURE_CLIENT_CERTIFICATE_PATH=/x", &[])
            .unwrap_err()
            .to_string();
        assert!(
            certificate.contains("AZURE_CLIENT_CERTIFICATE_PATH"),
            "{certificate}"
        );
    }

    #[test]
    fn clouds_have_velero_s_names() {
        for (name, domain) in [
            ("", "blob.core.windows.net"),
            ("AzureCloud", "blob.core.windows.net"),
            ("AZURECHINACLOUD", "blob.core.chinacloudapi.cn"),
            ("AzureUSGovernment", "blob.core.usgovcloudapi.net"),
        ] {
            let cloud = given(&format!("AZURE_CLOUD_NAME={name}"), &[]).cloud().unwrap();
            assert_eq!(cloud.domain, domain);
        }
        assert!(given("AZURE_CLOUD_NAME=moon", &[]).cloud().is_err());
    }
}
