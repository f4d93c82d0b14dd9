//! Which policies apply to a source, most specific first: its path, the folders above it, user, host, everything, and
//! Kopia's built-in defaults (kopia-format.md 10.9). What an earlier one sets, later ones do not change; lists of
//! rules add up.

use serde::Serialize;

use super::{Compression, Files, Policy, PolicyTarget, Retention, Scheduling};
use crate::{
    error::{RepositoryError, Result},
    manifest::{Labels, Manifest, ManifestId},
    repository::Repository,
};

/// A policy, its manifest and what it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyRecord {
    pub id: ManifestId,
    pub target: PolicyTarget,
    pub policy: Policy,
}

/// What all policies that apply say together.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    pub policy: Policy,
    /// The policies that apply, most specific first.
    pub sources: Vec<PolicyRecord>,
    pub defined_at: DefinedAt,
}

/// Which target set the numbers of retention and the compressor; empty for the built-in defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DefinedAt {
    pub keep_latest: PolicyTarget,
    pub keep_hourly: PolicyTarget,
    pub keep_daily: PolicyTarget,
    pub keep_weekly: PolicyTarget,
    pub keep_monthly: PolicyTarget,
    pub keep_annual: PolicyTarget,
    pub ignore_identical_snapshots: PolicyTarget,
    pub compressor_name: PolicyTarget,
}

/// The labels of a target's policy.
pub(super) fn labels(target: &PolicyTarget) -> Labels {
    let mut labels = Labels::from([("type".into(), "policy".into())]);
    let kind = match target {
        t if !t.path.is_empty() => "path",
        t if !t.user_name.is_empty() => "user",
        t if !t.host.is_empty() => "host",
        _ => "global",
    };
    labels.insert("policyType".into(), kind.into());
    let parts = [
        ("path", &target.path, ["path"].as_slice()),
        ("username", &target.user_name, &["path", "user"]),
        ("hostname", &target.host, &["path", "user", "host"]),
    ];
    for (name, value, kinds) in parts {
        if kinds.contains(&kind) {
            labels.insert(name.into(), value.clone());
        }
    }
    labels
}

/// The folder above, on either kind of system; the root is above itself.
fn parent(path: &str) -> &str {
    let volume = match path.as_bytes() {
        [_, b':', b'/' | b'\\', ..] => 2,
        _ => 0,
    };
    let inner = path[volume..]
        .strip_suffix(['/', '\\'])
        .unwrap_or(&path[volume..]);
    match inner.rfind(['/', '\\']) {
        None => path,
        Some(0) => &path[..volume + 1],
        Some(at) => &path[..volume + at],
    }
}

/// The targets whose policies apply to `source`, most specific first.
fn targets(source: &PolicyTarget) -> Vec<PolicyTarget> {
    let mut found = Vec::new();
    if !source.path.is_empty() {
        let mut path = source.path.as_str();
        loop {
            found.push(PolicyTarget {
                path: path.to_owned(),
                ..source.clone()
            });
            match parent(path) {
                above if above == path => break,
                above => path = above,
            }
        }
    }
    let empty = PolicyTarget::default();
    let user = PolicyTarget {
        path: String::new(),
        ..source.clone()
    };
    let host = PolicyTarget {
        host: source.host.clone(),
        ..empty.clone()
    };
    for target in [user, host, empty] {
        if !found.contains(&target) {
            found.push(target);
        }
    }
    found
}

/// Kopia's built-in policy.
pub fn built_in() -> Policy {
    let keep = |n| Some(n);
    let mut policy = Policy {
        retention: Retention {
            keep_latest: keep(10),
            keep_hourly: keep(48),
            keep_daily: keep(7),
            keep_weekly: keep(4),
            keep_monthly: keep(24),
            keep_annual: keep(3),
            ignore_identical_snapshots: Some(false),
            ..Retention::default()
        },
        files: Files {
            ignore_dot_files: vec![".kopiaignore".into()],
            ..Files::default()
        },
        scheduling: Scheduling {
            run_missed: Some(true),
            ..Scheduling::default()
        },
        compression: Compression {
            compressor_name: "none".into(),
            ..Compression::default()
        },
        ..Policy::default()
    };
    policy.error_handling.ignore_file_errors = Some(false);
    policy.error_handling.ignore_directory_errors = Some(false);
    policy.error_handling.ignore_unknown_types = Some(true);
    policy.metadata_compression.compressor_name = "zstd-fastest".into();
    policy.os_snapshots.volume_shadow_copy.enable = Some(0);
    policy.upload.max_parallel_snapshots = Some(1);
    policy.upload.parallel_upload_above_size = Some(2 << 30);
    policy.logging.directories.snapshotted = Some(5);
    policy.logging.directories.ignored = Some(5);
    policy.logging.entries.snapshotted = Some(0);
    policy.logging.entries.ignored = Some(5);
    policy.logging.entries.cache_hit = Some(0);
    policy.logging.entries.cache_miss = Some(0);
    policy
}

/// Policies together, most specific first; the built-in one closes unless one of them has no parent.
pub(super) fn merge(policies: &[PolicyRecord]) -> (Policy, DefinedAt) {
    let (mut merged, mut defined) = (Policy::default(), DefinedAt::default());
    for record in policies {
        add(&mut merged, &mut defined, &record.policy, &record.target);
        if record.policy.no_parent {
            return (merged, defined);
        }
    }
    add(&mut merged, &mut defined, &built_in(), &PolicyTarget::default());
    if let Some(own) = policies.first() {
        merged.actions.before_folder = own.policy.actions.before_folder.clone();
        merged.actions.after_folder = own.policy.actions.after_folder.clone();
    }
    (merged, defined)
}

fn set<T: Clone + Default + PartialEq>(into: &mut T, from: &T) -> bool {
    let sets = *into == T::default() && *from != T::default();
    if sets {
        *into = from.clone();
    }
    sets
}

/// Rules of a list add up, unless the more specific one says that it has no parent.
fn extend(into: &mut Vec<String>, closed: &mut bool, from: &[String], closes: bool) {
    if *closed {
        return;
    }
    let mut all: Vec<String> = into.iter().chain(from).cloned().collect();
    all.sort();
    all.dedup();
    *into = all;
    *closed = closes;
}

fn add(into: &mut Policy, defined: &mut DefinedAt, from: &Policy, at: &PolicyTarget) {
    let (r, f) = (&mut into.retention, &from.retention);
    let numbers = [
        (&mut r.keep_latest, &f.keep_latest, &mut defined.keep_latest),
        (&mut r.keep_hourly, &f.keep_hourly, &mut defined.keep_hourly),
        (&mut r.keep_daily, &f.keep_daily, &mut defined.keep_daily),
        (&mut r.keep_weekly, &f.keep_weekly, &mut defined.keep_weekly),
        (&mut r.keep_monthly, &f.keep_monthly, &mut defined.keep_monthly),
        (&mut r.keep_annual, &f.keep_annual, &mut defined.keep_annual),
    ];
    for (into, from, defined) in numbers {
        if set(into, from) {
            at.clone_into(defined);
        }
    }
    if set(&mut r.ignore_identical_snapshots, &f.ignore_identical_snapshots) {
        at.clone_into(&mut defined.ignore_identical_snapshots);
    }
    add_files(&mut into.files, &from.files);
    set(
        &mut into.error_handling.ignore_file_errors,
        &from.error_handling.ignore_file_errors,
    );
    set(
        &mut into.error_handling.ignore_directory_errors,
        &from.error_handling.ignore_directory_errors,
    );
    set(
        &mut into.error_handling.ignore_unknown_types,
        &from.error_handling.ignore_unknown_types,
    );
    let (s, f) = (&mut into.scheduling, &from.scheduling);
    set(&mut s.interval_seconds, &f.interval_seconds);
    set(&mut s.cron, &f.cron);
    set(&mut s.manual, &f.manual);
    set(&mut s.run_missed, &f.run_missed);
    if !s.no_parent_time_of_day {
        s.time_of_day.extend(&f.time_of_day);
        s.time_of_day.sort_unstable();
        s.time_of_day.dedup();
        s.no_parent_time_of_day = f.no_parent_time_of_day;
    }
    if add_compression(&mut into.compression, &from.compression) {
        at.clone_into(&mut defined.compressor_name);
    }
    set(
        &mut into.metadata_compression.compressor_name,
        &from.metadata_compression.compressor_name,
    );
    set(&mut into.splitter.algorithm, &from.splitter.algorithm);
    set(
        &mut into.actions.before_snapshot_root,
        &from.actions.before_snapshot_root,
    );
    set(
        &mut into.actions.after_snapshot_root,
        &from.actions.after_snapshot_root,
    );
    set(
        &mut into.os_snapshots.volume_shadow_copy.enable,
        &from.os_snapshots.volume_shadow_copy.enable,
    );
    for (into, from) in [
        (&mut into.logging.directories, &from.logging.directories),
        (&mut into.logging.entries, &from.logging.entries),
    ] {
        set(&mut into.snapshotted, &from.snapshotted);
        set(&mut into.ignored, &from.ignored);
        set(&mut into.cache_hit, &from.cache_hit);
        set(&mut into.cache_miss, &from.cache_miss);
    }
    let (u, f) = (&mut into.upload, &from.upload);
    set(&mut u.max_parallel_snapshots, &f.max_parallel_snapshots);
    set(&mut u.max_parallel_file_reads, &f.max_parallel_file_reads);
    set(&mut u.parallel_upload_above_size, &f.parallel_upload_above_size);
}

fn add_files(into: &mut Files, from: &Files) {
    extend(
        &mut into.ignore,
        &mut into.no_parent_ignore,
        &from.ignore,
        from.no_parent_ignore,
    );
    // Of the most specific policy that names any (policy_merge.go, `mergeStringsReplace`).
    set(&mut into.ignore_dot_files, &from.ignore_dot_files);
    set(&mut into.no_parent_dot_files, &from.no_parent_dot_files);
    set(&mut into.ignore_cache_dirs, &from.ignore_cache_dirs);
    set(&mut into.max_file_size, &from.max_file_size);
    set(&mut into.one_file_system, &from.one_file_system);
}

fn add_compression(into: &mut Compression, from: &Compression) -> bool {
    extend(
        &mut into.only_compress,
        &mut into.no_parent_only_compress,
        &from.only_compress,
        from.no_parent_only_compress,
    );
    extend(
        &mut into.never_compress,
        &mut into.no_parent_never_compress,
        &from.never_compress,
        from.no_parent_never_compress,
    );
    set(&mut into.min_size, &from.min_size);
    set(&mut into.max_size, &from.max_size);
    set(&mut into.compressor_name, &from.compressor_name)
}

impl Repository {
    /// Every policy (blocking).
    pub fn policies(&self) -> Result<Vec<PolicyRecord>> {
        let labels = Labels::from([("type".into(), "policy".into())]);
        self.find_manifests(&labels)?.iter().map(parse).collect()
    }

    /// The policy that was set for exactly this target; the newest, should there be several.
    pub fn policy(&self, target: &PolicyTarget) -> Result<Option<PolicyRecord>> {
        let wanted = labels(target);
        let found = self.find_manifests(&wanted)?;
        let newest = found.iter().rev().find(|manifest| manifest.labels == wanted);
        newest.map(parse).transpose()
    }

    /// What applies to a source, its parents' policies included.
    pub fn effective_policy(&self, source: &PolicyTarget) -> Result<Effective> {
        let mut all = self.policies()?;
        all.reverse();
        let applies = |target| all.iter().find(|record| record.target == target).cloned();
        let sources: Vec<PolicyRecord> = targets(source).into_iter().filter_map(applies).collect();
        let (policy, defined_at) = match sources.first().is_some_and(|first| first.target == *source) {
            true => merge(&sources),
            // What a folder above says of itself alone does not apply below it.
            false => {
                let (mut policy, defined) = merge(&sources);
                policy.actions.before_folder = None;
                policy.actions.after_folder = None;
                (policy, defined)
            }
        };
        Ok(Effective {
            policy,
            sources,
            defined_at,
        })
    }

    /// Sets the policy of a target and commits.
    ///
    /// Errors: `Invalid` when a path comes without user and host.
    pub fn set_policy(&self, target: &PolicyTarget, policy: &Policy) -> Result<()> {
        let incomplete = (!target.path.is_empty() && target.user_name.is_empty())
            || (!target.user_name.is_empty() && target.host.is_empty());
        if incomplete {
            return Err(RepositoryError::invalid(
                "a policy for a path needs user and host, one for a user needs the host",
            ));
        }
        let writer = self.write()?;
        writer.replace_manifest(labels(target), policy)?;
        writer.commit()
    }

    /// Removes the policy of a target and commits; one that is not there is no error.
    pub fn remove_policy(&self, target: &PolicyTarget) -> Result<()> {
        let wanted = labels(target);
        let writer = self.write()?;
        for manifest in self.find_manifests(&wanted)? {
            if manifest.labels == wanted {
                writer.delete_manifest(&manifest.id);
            }
        }
        writer.commit()
    }
}

fn parse(manifest: &Manifest) -> Result<PolicyRecord> {
    let part = |name: &str| manifest.labels.get(name).cloned().unwrap_or_default();
    let policy = serde_json::from_str(manifest.payload.get())
        .map_err(|e| RepositoryError::damaged(format!("policy {} is not well formed: {e}", manifest.id)))?;
    Ok(PolicyRecord {
        id: manifest.id.clone(),
        target: PolicyTarget {
            host: part("hostname"),
            user_name: part("username"),
            path: part("path"),
        },
        policy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(user: &str, host: &str, path: &str) -> PolicyTarget {
        PolicyTarget {
            host: host.into(),
            user_name: user.into(),
            path: path.into(),
        }
    }

    #[test]
    fn folders_above_user_host_and_everything_apply_in_this_order() {
        let all: Vec<_> = targets(&target("u", "h", "/a/b"))
            .into_iter()
            .map(|t| format!("{}@{}:{}", t.user_name, t.host, t.path))
            .collect();
        assert_eq!(all, ["u@h:/a/b", "u@h:/a", "u@h:/", "u@h:", "@h:", "@:"]);
        assert_eq!(targets(&target("", "h", "")).len(), 2);
        assert_eq!(
            (
                parent("C:\\x\\y"),
                parent("C:\\x"),
                parent("C:\\"),
                parent("name"),
                parent("/a/b/")
            ),
            ("C:\\x", "C:\\", "C:\\", "name", "/a")
        );
    }

    fn record(path: &str, change: impl FnOnce(&mut Policy)) -> PolicyRecord {
        let mut policy = Policy::default();
        change(&mut policy);
        PolicyRecord {
            id: "0".repeat(32).parse().unwrap(),
            target: target("u", "h", path),
            policy,
        }
    }

    #[test]
    fn more_specific_policy_wins_and_rules_add_up() {
        let own = record("/a/b", |p| {
            p.retention.keep_daily = Some(1);
            p.files.ignore = vec!["*.tmp".into()];
        });
        let above = record("/a", |p| {
            p.retention.keep_daily = Some(9);
            p.retention.keep_weekly = Some(0);
            p.files.ignore = vec!["*.log".into()];
            p.compression.compressor_name = "zstd".into();
        });
        let (merged, defined) = merge(&[own, above.clone()]);
        assert_eq!(
            (
                merged.retention.keep_daily,
                merged.retention.keep_weekly,
                merged.retention.keep_latest
            ),
            (Some(1), Some(0), Some(10))
        );
        assert_eq!(merged.files.ignore, ["*.log", "*.tmp"]);
        assert_eq!(merged.files.ignore_dot_files, [".kopiaignore"]);
        assert_eq!(
            (
                defined.keep_daily.path.as_str(),
                defined.compressor_name.path.as_str()
            ),
            ("/a/b", "/a")
        );
        let alone = record("/a/b", |p| p.no_parent = true);
        assert_eq!(merge(&[alone, above]).0.retention, Retention::default());
    }

    #[test]
    fn labels_are_kopias() {
        let pairs = |t: &PolicyTarget| {
            labels(t)
                .into_iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            pairs(&target("u", "h", "/a")),
            [
                "hostname=h",
                "path=/a",
                "policyType=path",
                "type=policy",
                "username=u"
            ]
        );
        assert_eq!(
            pairs(&target("", "h", "")),
            ["hostname=h", "policyType=host", "type=policy"]
        );
        assert_eq!(pairs(&target("", "", "")), ["policyType=global", "type=policy"]);
    }
}
