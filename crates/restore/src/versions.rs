//! In which API version objects come back, with `--features=EnableAPIGroupVersions` (velero-behaviour.md 8.2; Velero's
//! `pkg/restore/prioritize_group_version.go`). The backup holds each object in several versions; the first of these that
//! both the backup and the cluster have is taken:
//!
//! 1. what the user wrote for the resource into the ConfigMap [`CONFIG_MAP`],
//! 2. the cluster's preferred version,
//! 3. the one that the backup's cluster preferred,
//! 4. the others, in Kubernetes' order (`v2`, `v1`, `v2beta1`, `v1alpha1`, …).
//!
//! Without a common one the plain copy is tried, and the API server says why not. Other than in Velero a version of the
//! cluster counts only where it serves this very resource, not any other of its group.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::contents::{BackupContents, ContentsError, SavedVersions};
use crate::discovery::Discovered;
use crate::group_resource::GroupResource;

/// The ConfigMap in Velero's namespace in which a user says which versions to prefer.
pub const CONFIG_MAP: &str = "enableapigroupversions";
/// Its key: lines of `resource.group=version,version`.
pub const CONFIG_KEY: &str = "restoreResourcesVersionPriority";

/// What the user prefers, by `resource.group`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserVersions {
    /// Best first.
    pub versions: BTreeMap<String, Vec<String>>,
    /// Lines that mean nothing; they are passed over, as in Velero, and said in the restore's log.
    pub unread: Vec<String>,
}

impl UserVersions {
    /// Reads the ConfigMap's text. Blanks and empty lines do not matter.
    pub fn parse(text: &str) -> Self {
        let mut read = Self::default();
        for line in text.lines() {
            let line: String = line.chars().filter(|letter| *letter != ' ').collect();
            if line.is_empty() {
                continue;
            }
            match line.split_once('=') {
                Some((resource, versions))
                    if !resource.is_empty() && !versions.is_empty() && !versions.contains('=') =>
                {
                    let versions = versions.split(',').map(str::to_owned).collect();
                    read.versions.insert(resource.to_owned(), versions);
                }
                _ => read.unread.push(line),
            }
        }
        read
    }

    fn of(&self, group_resource: &GroupResource) -> &[String] {
        self.versions
            .get(&group_resource.to_string())
            .map_or(&[], Vec::as_slice)
    }
}

/// Lets `contents` read, and `discovered` speak, the best common version of each resource. Those whose objects come back in
/// another version than the plain copies have, with it.
pub(crate) fn choose(
    contents: &mut BackupContents,
    discovered: &mut Discovered,
    user: &UserVersions,
) -> Result<BTreeMap<GroupResource, String>, ContentsError> {
    let mut changed = BTreeMap::new();
    for (resource, saved) in contents.versions()? {
        let served = discovered.versions(&resource);
        let Some(version) = best(&saved, served, user.of(&resource)).map(str::to_owned) else {
            continue;
        };
        discovered.use_version(&resource, &version);
        if saved.preferred.as_deref() != Some(&*version) {
            changed.insert(resource, version);
        }
    }
    contents.read_versions(changed.clone());
    Ok(changed)
}

/// The version to restore in; `served` begins with the cluster's preferred one. `None`: there is no common one.
fn best<'a>(saved: &'a SavedVersions, served: &'a [String], user: &'a [String]) -> Option<&'a str> {
    let mut others: Vec<&String> = served.iter().collect();
    others.sort_by(|one, other| kubernetes_order(other).cmp(&kubernetes_order(one)));
    let wanted = user.iter().chain(served.first()).chain(&saved.preferred);
    first_common(wanted.chain(others), saved, served)
}

/// The first of these versions that backup and cluster have.
pub(crate) fn first_common<'a>(
    mut wanted: impl Iterator<Item = &'a String>,
    saved: &SavedVersions,
    served: &[String],
) -> Option<&'a str> {
    wanted
        .find(|version| saved.all.contains(*version) && served.contains(version))
        .map(String::as_str)
}

/// Kubernetes' order of versions, better ones greater: `v10`, `v2`, `v1`, `v11beta2`, `v3beta1`, `v12alpha1`, then all
/// else by the alphabet (`apimachinery/pkg/version`, `CompareKubeAwareVersionStrings`).
pub(crate) fn kubernetes_order(version: &str) -> (Stability, u64, u64, Reverse<&str>) {
    let Some((major, stability, minor)) = parsed(version) else {
        return (Stability::Unknown, 0, 0, Reverse(version));
    };
    (stability, major, minor, Reverse(""))
}

/// How much a version promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stability {
    /// Not named as Kubernetes names versions.
    Unknown,
    Alpha,
    Beta,
    General,
}

fn parsed(version: &str) -> Option<(u64, Stability, u64)> {
    let rest = version.strip_prefix('v')?;
    let (major, rest) = number(rest)?;
    if rest.is_empty() {
        return Some((major, Stability::General, 0));
    }
    let (stability, rest) = match (rest.strip_prefix("alpha"), rest.strip_prefix("beta")) {
        (Some(rest), _) => (Stability::Alpha, rest),
        (_, Some(rest)) => (Stability::Beta, rest),
        _ => return None,
    };
    let (minor, rest) = number(rest)?;
    rest.is_empty().then_some((major, stability, minor))
}

/// The number that a text begins with, and what follows it; none begins with 0.
fn number(text: &str) -> Option<(u64, &str)> {
    let digits = text.len()
        - text
            .trim_start_matches(|letter: char| letter.is_ascii_digit())
            .len();
    let (number, rest) = text.split_at(digits);
    let is_number = !number.starts_with('0');
    number
        .parse()
        .ok()
        .filter(|_| is_number)
        .map(|number| (number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::ServedResource;
    use serde_json::json;

    fn saved(preferred: &str, others: &[&str]) -> SavedVersions {
        let all = others
            .iter()
            .chain([&preferred])
            .map(|version| (*version).to_owned());
        SavedVersions {
            preferred: Some(preferred.to_owned()),
            all: all.collect(),
        }
    }

    fn list(versions: &[&str]) -> Vec<String> {
        versions.iter().map(|version| (*version).to_owned()).collect()
    }

    #[test]
    fn the_users_word_comes_first_then_this_clusters_then_the_backups_then_kubernetes_order() {
        let in_backup = saved("v1", &["v2beta1", "v2beta2", "v2alpha1"]);
        for (served, user, wanted) in [
            (
                &["v2", "v2beta2", "v1"][..],
                &["v3", "v2beta2"][..],
                Some("v2beta2"),
            ),
            (&["v2beta2", "v1"], &[], Some("v2beta2")),
            (&["v2", "v1", "v2beta2"], &[], Some("v1")),
            (&["v2", "v2alpha1", "v2beta1", "v2beta2"], &[], Some("v2beta2")),
            (&["v2", "v3"], &["v1"], None),
            (&[], &["v1"], None),
        ] {
            let (served, user) = (list(served), list(user));
            assert_eq!(best(&in_backup, &served, &user), wanted, "{served:?} {user:?}");
        }
    }

    #[test]
    fn objects_are_read_and_created_in_the_chosen_version_and_as_they_were_where_it_is_not_saved() {
        let folder = tempfile::tempdir().unwrap();
        for (below, version) in [
            ("namespaces/shop/a.json", "v1"),
            ("namespaces/shop/b.json", "v1"),
            ("v1-preferredversion/namespaces/shop/a.json", "v1"),
            ("v2/namespaces/shop/a.json", "v2"),
        ] {
            let file = folder.path().join("resources/widgets.example.com").join(below);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, json!({"apiVersion": version}).to_string()).unwrap();
        }
        let mut contents = BackupContents::read(folder.path()).unwrap();
        let widgets = GroupResource::parse("widgets.example.com");
        let mut discovered = Discovered::default();
        for version in ["v2", "v1"] {
            discovered.add(ServedResource {
                version: version.into(),
                ..crate::discovery::tests::served("example.com", "widgets", "Widget", true)
            });
        }
        let changed = choose(&mut contents, &mut discovered, &UserVersions::default()).unwrap();
        assert_eq!(changed, BTreeMap::from([(widgets.clone(), "v2".to_owned())]));
        let version = |name: &str| contents.object(&widgets, "shop", name).unwrap()["apiVersion"].clone();
        assert_eq!((version("a"), version("b")), (json!("v2"), json!("v1")));
        assert_eq!(discovered.get(&widgets).unwrap().version, "v2");
        let user = UserVersions::parse("widgets.example.com = v1");
        let changed = choose(&mut contents, &mut discovered, &user).unwrap();
        assert_eq!(changed, BTreeMap::new());
        assert_eq!(
            contents.object(&widgets, "shop", "a").unwrap()["apiVersion"],
            "v1"
        );
        assert_eq!(discovered.get(&widgets).unwrap().version, "v1");
    }

    #[test]
    fn a_line_that_means_nothing_is_kept_for_the_log() {
        let read = UserVersions::parse("pods=v1\n\nwidgets\n a=b=c \n=v1\nx=\n");
        assert_eq!(read.versions.len(), 1);
        assert_eq!(read.unread, ["widgets", "a=b=c", "=v1", "x="]);
    }
}
