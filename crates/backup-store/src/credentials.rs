//! An AWS shared-credentials file, as Velero's secret holds it: `[default]`, `aws_access_key_id=…`,
//! `aws_secret_access_key=…` (velero-behaviour.md 11). Nothing of its content is ever shown (guarantee 8).

use std::{fmt, io, path::PathBuf};

use caravel_storage::s3::S3Credentials;
use secrecy::{ExposeSecret as _, SecretString};

/// The content of a credentials file.
#[derive(Clone)]
pub struct Credentials(SecretString);

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
}

/// The section that is read where the config names no `profile`.
const DEFAULT_PROFILE: &str = "default";

impl Credentials {
    /// Takes the text of a credentials file.
    pub fn from_file_content(content: SecretString) -> Self {
        Self(content)
    }

    /// Reads the file that `AWS_SHARED_CREDENTIALS_FILE` names; none where it is not set or there is no file.
    ///
    /// Errors: [`CredentialsError::Unreadable`].
    pub fn from_default_file() -> Result<Option<Self>, CredentialsError> {
        let Some(path) = std::env::var_os("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from) else {
            return Ok(None);
        };
        match std::fs::read_to_string(&path) {
            Ok(content) => Ok(Some(Self(content.into()))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CredentialsError::Unreadable { path, source }),
        }
    }

    /// The access key of `profile` (`default` where none is given). Sections may be called `[x]` or, as in the
    /// AWS config file, `[profile x]`; names of keys are taken in any case.
    ///
    /// Errors: [`CredentialsError`].
    pub fn access_key(&self, profile: Option<&str>) -> Result<S3Credentials, CredentialsError> {
        let profile = profile.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_PROFILE);
        let section = self.section(profile).ok_or_else(|| CredentialsError::NoProfile {
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
    fn section(&self, profile: &str) -> Option<Vec<(String, String)>> {
        let mut inside = false;
        let mut found = None;
        for line in self.0.expose_secret().lines().map(str::trim) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(text: &str) -> Credentials {
        Credentials::from_file_content(text.into())
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
