//! What Velero's secret holds: for `aws` a shared-credentials file (`[default]`, `aws_access_key_id=…`,
//! `aws_secret_access_key=…`; velero-behaviour.md 11), for `gcp` the JSON of a service account, for `azure` lines of
//! `AZURE_…=…` (`azure_credentials.rs`). Nothing of its content is ever shown (guarantee 8).

use std::{collections::BTreeMap, fmt, io, path::Path, path::PathBuf};

use caravel_storage::{
    gcs::{GcsCredentials, GcsCredentialsError},
    s3::{ROLE_VARIABLES, S3Credentials},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{Location, azure_credentials::AzureCredentials, location::Provider};

/// The content of a credentials file, a key alone, or a role.
#[derive(Clone)]
pub struct Credentials(Content);

#[derive(Clone)]
enum Content {
    File(SecretString),
    /// A file, or none, of a process that has these of [`WORKLOAD_VARIABLES`].
    Azure {
        file: Option<SecretString>,
        workload: BTreeMap<String, String>,
    },
    Key(S3Credentials),
    Role(BTreeMap<String, String>),
}

/// As whom requests are signed.
#[derive(Clone, Debug)]
pub enum Identity {
    Key(S3Credentials),
    /// `S3Config::role`; empty: whatever the machine itself may do.
    Role(BTreeMap<String, String>),
}

/// What a process has itself, for locations that name no Secret. For `aws`: an access key in its variables, else the file
/// that `AWS_SHARED_CREDENTIALS_FILE` names, else the role that its variables name. For `gcp`: the file that
/// `GOOGLE_APPLICATION_CREDENTIALS` names, else whatever the machine itself may do. For `azure`: the file that
/// `AZURE_CREDENTIALS_FILE` names, and the identity that the cluster gives to a pod by variables. Which process that is,
/// the caller says: this crate reads no variables.
#[derive(Clone, Debug, Default)]
pub struct ProcessCredentials {
    key: Option<S3Credentials>,
    file: Option<PathBuf>,
    role: BTreeMap<String, String>,
    google: Option<PathBuf>,
    azure: Option<PathBuf>,
    workload: BTreeMap<String, String>,
}

/// The variables by which Azure's workload identity gives a pod an identity.
pub(crate) const WORKLOAD_VARIABLES: [&str; 4] = [
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
];

impl ProcessCredentials {
    /// Takes what matters of the process's variables; `on_machine` says where a path of the process really is.
    pub fn new(variable: impl Fn(&str) -> Option<String>, on_machine: impl Fn(&Path) -> PathBuf) -> Self {
        let filled = |name| variable(name).filter(|value| !value.is_empty());
        let key = filled("AWS_ACCESS_KEY_ID")
            .zip(filled("AWS_SECRET_ACCESS_KEY"))
            .map(|(access_key_id, secret_access_key)| S3Credentials {
                access_key_id,
                secret_access_key,
                session_token: filled("AWS_SESSION_TOKEN"),
            });
        let file = variable("AWS_SHARED_CREDENTIALS_FILE").map(|path| on_machine(Path::new(&path)));
        let google = filled("GOOGLE_APPLICATION_CREDENTIALS").map(|path| on_machine(Path::new(&path)));
        let azure = filled("AZURE_CREDENTIALS_FILE").map(|path| on_machine(Path::new(&path)));
        let workload = WORKLOAD_VARIABLES
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), filled(name)?)))
            .collect();
        let role = ROLE_VARIABLES
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), filled(name)?)));
        Self {
            role: role.collect(),
            key,
            file,
            google,
            azure,
            workload,
        }
    }

    /// The credentials for this location as they are now; none where there is nothing, and what the machine itself may do
    /// is left.
    ///
    /// Errors: [`CredentialsError::Unreadable`].
    pub fn for_location(&self, location: &Location) -> Result<Option<Credentials>, CredentialsError> {
        match location.provider() {
            Ok(Provider::Gcp) => Ok(self.google.as_deref().map(read_file).transpose()?.flatten()),
            Ok(Provider::Azure) => {
                let read = self.azure.as_deref().map(read_text).transpose()?.flatten();
                Ok(Some(Credentials(Content::Azure {
                    file: read.map(SecretString::from),
                    workload: self.workload.clone(),
                })))
            }
            // One that is not built in is refused by whoever opens its store.
            Ok(Provider::Aws) | Err(_) => self.read(),
        }
    }

    /// The credentials of a location that has a Secret of its own. For `azure` the process's variables count beside it, as in
    /// Velero.
    pub fn with_file(&self, location: &Location, content: SecretString) -> Credentials {
        match location.provider() {
            Ok(Provider::Azure) => Credentials(Content::Azure {
                file: Some(content),
                workload: self.workload.clone(),
            }),
            _ => Credentials::from_file_content(content),
        }
    }

    /// The credentials for `aws`.
    fn read(&self) -> Result<Option<Credentials>, CredentialsError> {
        if let Some(key) = &self.key {
            return Ok(Some(Credentials(Content::Key(key.clone()))));
        }
        let role = || (!self.role.is_empty()).then(|| Credentials(Content::Role(self.role.clone())));
        let Some(path) = &self.file else { return Ok(role()) };
        Ok(read_file(path)?.or_else(role))
    }
}

/// The credentials in a file; none where it is missing.
fn read_file(path: &Path) -> Result<Option<Credentials>, CredentialsError> {
    let content = read_text(path)?;
    Ok(content.map(|content| Credentials::from_file_content(content.into())))
}

fn read_text(path: &Path) -> Result<Option<String>, CredentialsError> {
    match std::fs::read_to_string(path) {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CredentialsError::Unreadable {
            path: path.to_owned(),
            source,
        }),
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}

/// Why no key was found. Never holds a part of the file.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("cannot read the credentials file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the credentials file has no section [{profile}]; add it, or correct the config's profile")]
    NoProfile { profile: String },
    #[error(
        "section [{profile}] of the credentials file has no {key}; it must hold aws_access_key_id and aws_secret_access_key"
    )]
    NoKey { profile: String, key: &'static str },
    #[error(
        "section [{profile}] of the credentials file uses {key}, which this version does not support; give an access key"
    )]
    Unsupported { profile: String, key: &'static str },
    #[error(
        "the location is Google's, and what was found is a key of AWS; give the file of a service account"
    )]
    NotGoogle,
    #[error(transparent)]
    Google(#[from] GcsCredentialsError),
    #[error("the location is in S3, and what was found is an identity of Azure; give a credentials file")]
    NotAmazon,
    #[error(
        "the credentials file has no {name}, which the config's storageAccountKeyEnvVar names; add it, with the storage account's key"
    )]
    NoAzureKey { name: String },
    #[error(
        "the config names no storageAccountKeyEnvVar and useAAD is not \"true\": the storage account's key would have to be \
         fetched from Azure's management API, which this version does not do; set useAAD to \"true\" and give the identity the \
         role Storage Blob Data Contributor, or give the key and name it by storageAccountKeyEnvVar"
    )]
    AzureKeyFromManagement,
    #[error(
        "the credentials file has {key}, which this version does not support; give AZURE_CLIENT_SECRET with AZURE_TENANT_ID and \
         AZURE_CLIENT_ID, a storage account's key, or workload identity"
    )]
    UnsupportedAzure { key: &'static str },
    #[error("the credentials file has no {key}, which goes with AZURE_CLIENT_SECRET; add it")]
    NoAzure { key: &'static str },
    #[error(
        "AZURE_CLOUD_NAME in the credentials file names no cloud that is known; AzurePublicCloud, AzureChinaCloud and AzureUSGovernmentCloud are"
    )]
    AzureCloud,
}

/// The section that is read where the config names no `profile`.
const DEFAULT_PROFILE: &str = "default";

impl Credentials {
    /// Takes the text of a credentials file.
    pub fn from_file_content(content: SecretString) -> Self {
        Self(Content::File(content))
    }

    /// The role, or the access key of `profile` (`default` where none is given). Sections may be called `[x]` or, as in
    /// the AWS config file, `[profile x]`; names of keys are taken in any case. A key alone has no profiles.
    ///
    /// Errors: [`CredentialsError`].
    pub fn identity(&self, profile: Option<&str>) -> Result<Identity, CredentialsError> {
        let profile = profile.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_PROFILE);
        match &self.0 {
            Content::Role(role) => Ok(Identity::Role(role.clone())),
            Content::Key(key) => Ok(Identity::Key(key.clone())),
            Content::File(text) => access_key(text.expose_secret(), profile).map(Identity::Key),
            Content::Azure { .. } => Err(CredentialsError::NotAmazon),
        }
    }
}

impl Credentials {
    /// The key of a service account of Google's.
    ///
    /// Errors: [`CredentialsError`].
    pub fn google(&self) -> Result<GcsCredentials, CredentialsError> {
        match &self.0 {
            Content::File(text) => Ok(GcsCredentials::parse(text.expose_secret())?),
            Content::Key(_) | Content::Role(_) | Content::Azure { .. } => Err(CredentialsError::NotGoogle),
        }
    }

    /// What a file says for Azure, and what the process's variables say.
    pub(crate) fn azure(&self) -> AzureCredentials {
        match &self.0 {
            Content::File(text) => AzureCredentials::new(text.expose_secret(), BTreeMap::new()),
            Content::Azure { file, workload } => {
                let text = file.as_ref().map_or("", |text| text.expose_secret());
                AzureCredentials::new(text, workload.clone())
            }
            Content::Key(_) | Content::Role(_) => AzureCredentials::default(),
        }
    }
}

fn access_key(text: &str, profile: &str) -> Result<S3Credentials, CredentialsError> {
    let section = section(text, profile).ok_or_else(|| CredentialsError::NoProfile {
        profile: profile.to_owned(),
    })?;
    let find = |key: &str| {
        let found = section
            .iter()
            .rev()
            .find(|(name, _)| name.eq_ignore_ascii_case(key));
        found
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty())
    };
    for key in ["credential_process", "sso_session", "role_arn"] {
        if find(key).is_some() && find("aws_access_key_id").is_none() {
            return Err(CredentialsError::Unsupported {
                profile: profile.to_owned(),
                key,
            });
        }
    }
    let needed = |key| {
        find(key).ok_or_else(|| CredentialsError::NoKey {
            profile: profile.to_owned(),
            key,
        })
    };
    Ok(S3Credentials {
        access_key_id: needed("aws_access_key_id")?,
        secret_access_key: needed("aws_secret_access_key")?,
        session_token: find("aws_session_token"),
    })
}

/// The pairs of a section; none where there is no such section.
fn section(text: &str, profile: &str) -> Option<Vec<(String, String)>> {
    let mut inside = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            let name = header.split(']').next().unwrap_or_default().trim();
            inside = name.strip_prefix("profile ").map_or(name, str::trim) == profile;
            if inside {
                found.get_or_insert_with(Vec::new);
            }
        } else if let (true, Some((key, value))) = (inside, line.split_once('=')) {
            let value = value.trim();
            let unquoted = value
                .strip_prefix('"')
                .and_then(|v| v.strip_suffix('"'))
                .unwrap_or(value);
            found
                .get_or_insert_with(Vec::new)
                .push((key.trim().to_owned(), unquoted.to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(text: &str) -> Credentials {
        Credentials::from_file_content(text.into())
    }

    impl Credentials {
        fn access_key(&self, profile: Option<&str>) -> Result<S3Credentials, CredentialsError> {
            match self.identity(profile)? {
                Identity::Key(key) => Ok(key),
                Identity::Role(role) => panic!("a role, no key: {role:?}"),
            }
        }
    }

    const TWO: &str = "# made by hand\n[default]\naws_access_key_id = AKDEFAULT\naws_secret_access_key=s3cret+/=\n\n\
        [other]\r\nAWS_ACCESS_KEY_ID=\"AKOTHER\"\r\naws_secret_access_key = t0p\r\naws_session_token=tok\r\n";

    #[test]
    fn the_section_of_the_profile_is_read() {
        let key = credentials(TWO).access_key(None).unwrap();
        assert_eq!(
            (key.access_key_id.as_str(), key.secret_access_key.as_str()),
            ("AKDEFAULT", "s3cret+/=")
        );
        assert_eq!(key.session_token, None);
        let key = credentials(TWO).access_key(Some("other")).unwrap();
        assert_eq!(
            (key.access_key_id.as_str(), key.secret_access_key.as_str()),
            ("AKOTHER", "t0p")
        );
        assert_eq!(key.session_token.as_deref(), Some("tok"));
    }

    #[test]
    fn a_process_with_a_key_in_its_variables_uses_it_and_else_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, TWO).unwrap();
        let read = |variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let own = ProcessCredentials::new(variable, |path| match path.to_str() {
                Some("/credentials/cloud") => file.path().to_owned(),
                _ => path.to_owned(),
            });
            let id = |credentials: Credentials| credentials.access_key(Some("other")).unwrap().access_key_id;
            own.read().unwrap().map(id)
        };
        let of_file = ("AWS_SHARED_CREDENTIALS_FILE", "/credentials/cloud");
        let key = [("AWS_ACCESS_KEY_ID", "AKOWN"), ("AWS_SECRET_ACCESS_KEY", "s")];
        assert_eq!(read(&[of_file]).as_deref(), Some("AKOTHER"));
        assert_eq!(read(&[of_file, key[0], key[1]]).as_deref(), Some("AKOWN"));
        assert_eq!(read(&[of_file, key[0]]).as_deref(), Some("AKOTHER"));
        assert_eq!(read(&[("AWS_SHARED_CREDENTIALS_FILE", "/no/such/file")]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn a_process_with_neither_key_nor_file_uses_the_role_that_its_own_variables_name_and_no_others() {
        let role = |variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let own = ProcessCredentials::new(variable, Path::to_owned).read().unwrap();
            own.map(|credentials| match credentials.identity(None).unwrap() {
                Identity::Role(role) => role,
                Identity::Key(_) => panic!("a key, no role"),
            })
        };
        let arn = ("AWS_ROLE_ARN", "arn:aws:iam::1:role/backup");
        let of_arn = BTreeMap::from([(arn.0.to_owned(), arn.1.to_owned())]);
        assert_eq!(role(&[arn, ("AWS_PROFILE", "mine")]), Some(of_arn.clone()));
        let no_file = ("AWS_SHARED_CREDENTIALS_FILE", "/no/such/file");
        assert_eq!(role(&[arn, no_file]), Some(of_arn));
        assert_eq!(role(&[("AWS_ROLE_ARN", "")]), None);
    }

    #[test]
    fn each_provider_has_its_own_file_and_a_missing_one_leaves_the_machine_s_identity() {
        let folder = tempfile::tempdir().unwrap();
        let google = folder.path().join("google.json");
        let variable = |name: &str| match name {
            "GOOGLE_APPLICATION_CREDENTIALS" => Some(google.to_str().unwrap().to_owned()),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("of-aws".to_owned()),
            _ => None,
        };
        let own = ProcessCredentials::new(variable, Path::to_owned);
        let of = |provider: &str| {
            let location = Location {
                provider: provider.to_owned(),
                bucket: "b".to_owned(),
                ..Location::default()
            };
            own.for_location(&location)
        };
        assert!(
            of("velero.io/gcp").unwrap().is_none(),
            "the key of AWS is not Google's"
        );
        assert!(of("aws").unwrap().unwrap().google().is_err());
        std::fs::write(&google, "{\"type\": \"external_account\"}").unwrap();
        let refused = of("gcp").unwrap().unwrap().google().unwrap_err().to_string();
        assert!(refused.contains("external_account"), "{refused}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |text: &str, profile| credentials(text).access_key(profile).unwrap_err().to_string();
        assert!(error(TWO, Some("third")).contains("[third]"));
        assert!(error("[default]\naws_access_key_id=AK\n", None).contains("aws_secret_access_key"));
        assert!(error("aws_access_key_id=AK\n", None).contains("no section [default]"));
        assert!(error("[default]\ncredential_process=/bin/x\n", None).contains("credential_process"));
    }

    #[test]
    fn guarantee_8_credentials_never_show_their_content() {
        let all = credentials(TWO);
        let key = all.access_key(None).unwrap();
        for shown in [format!("{all:?}"), format!("{key:?}")] {
            assert!(
                !shown.contains("AKDEFAULT") && !shown.contains("s3cret"),
                "{shown}"
            );
        }
        let error = credentials("[default]\naws_access_key_id=AKDEFAULT")
            .access_key(None)
            .unwrap_err();
        assert!(!format!("{error} {error:?}").contains("AKDEFAULT"));
    }
}
