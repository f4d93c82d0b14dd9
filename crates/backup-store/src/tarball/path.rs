//! Where an item lives in the tarball. Neighbours: `write.rs`, `read.rs`.

use super::TarballError;

/// The path of one item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemPath {
    /// `pods` or `deployments.apps`.
    pub group_resource: String,
    /// None for the plain copy, which is of the preferred version.
    pub version: Option<String>,
    /// Whether `version` is the group's preferred one.
    pub preferred: bool,
    /// None for cluster-scoped items.
    pub namespace: Option<String>,
    /// The item's name.
    pub name: String,
}

const PREFERRED: &str = "-preferredversion";

impl ItemPath {
    /// The entry's name in the tarball.
    ///
    /// Errors: [`TarballError::BadItemPath`] for a part that would lead elsewhere.
    pub fn entry(&self) -> Result<String, TarballError> {
        let mut parts = vec!["resources".to_owned(), self.group_resource.clone()];
        if let Some(version) = &self.version {
            parts.push(format!(
                "{version}{}",
                if self.preferred { PREFERRED } else { "" }
            ));
        }
        match self.namespace.as_deref() {
            Some(namespace) => parts.extend(["namespaces".to_owned(), namespace.to_owned()]),
            None => parts.push("cluster".to_owned()),
        }
        parts.push(format!("{}.json", self.name));
        let safe = |part: &String| !matches!(part.as_str(), "" | "." | "..") && !part.contains(['/', '\0']);
        if !self.name.is_empty() && parts.iter().all(safe) {
            Ok(parts.join("/"))
        } else {
            Err(TarballError::BadItemPath {
                entry: parts.join("/"),
            })
        }
    }

    /// Reads an entry's name; none for `metadata/version` and whatever else is no item.
    pub fn parse(entry: &str) -> Option<Self> {
        let parts: Vec<_> = entry
            .trim_start_matches("./")
            .strip_prefix("resources/")?
            .split('/')
            .collect();
        let (group_resource, rest) = parts.split_first()?;
        let (version, scope) = match rest.first()? {
            &"namespaces" | &"cluster" if rest.len() <= 3 => (None, rest),
            version => (Some(*version), &rest[1..]),
        };
        let (namespace, file) = match scope {
            ["namespaces", namespace, file] => (Some((*namespace).to_owned()), file),
            ["cluster", file] => (None, file),
            _ => return None,
        };
        let preferred = version.is_none_or(|version| version.ends_with(PREFERRED));
        Some(Self {
            group_resource: (*group_resource).to_owned(),
            version: version.map(|version| version.strip_suffix(PREFERRED).unwrap_or(version).to_owned()),
            preferred,
            namespace,
            name: file.strip_suffix(".json")?.to_owned(),
        })
    }
}
