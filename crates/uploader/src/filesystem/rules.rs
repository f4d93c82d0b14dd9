//! What a policy says about one upload: which entries are left out, which failures are overlooked, how files are
//! compressed and cut (kopia-format.md 10.9, 5.3). Without a policy nothing is left out and the first failure ends the
//! upload: Velero's rules, and ours for a volume.

use std::ffi::CString;
use std::io::{Error, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use caravel_repository::policy::Policy;
use caravel_repository::splitter::Rule as Splitter;
use caravel_repository::{Compressor, EntryType, ObjectOptions};
use rustix::fs::OFlags;

use super::entry::{Described, open};
use super::ignore::Rule;
use crate::error::{Result, UploaderError};
use crate::request::UploadRules;

/// Files of rules are read whole; more than this is none.
const MOST_RULE_BYTES: u64 = 1 << 20;
const CACHE_TAG: &str = "CACHEDIR.TAG";
/// What a `CACHEDIR.TAG` begins with (bford.info/cachedir).
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// The rules of one upload, read once.
pub(crate) struct Rules {
    policy: Option<Arc<Policy>>,
    compressor: Option<Compressor>,
    splitter: Option<Splitter>,
    /// For directories.
    pub metadata_compressor: Option<Compressor>,
    /// See [`UploadRules::extended_attributes`].
    pub extended_attributes: bool,
    /// See [`UploadRules::hard_links`].
    pub hard_links: bool,
}

/// The ignore rules that hold in a directory: those of the directories above, then its own.
#[derive(Clone)]
pub(crate) struct Scope(Arc<Inner>);

struct Inner {
    above: Option<Scope>,
    rules: Vec<Rule>,
}

/// Why an entry that failed does not fail the upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tolerance {
    /// It does.
    None,
    /// It is noted, the snapshot is saved without it, and the caller says so (Kopia's way without `--fail-fast`).
    Noted,
    /// The policy says that it may fail.
    Ignored,
}

impl Rules {
    /// Errors: a compressor, splitter or ignore rule that there is none of.
    pub fn new(request: &UploadRules) -> Result<Self> {
        let unknown = |error| UploaderError::repository("following the source's policy", error);
        let named = |name: &str| Compressor::by_name(name).map_err(unknown);
        let policy = request.policy.clone();
        let mut rules = Self {
            compressor: request.compressor,
            splitter: None,
            metadata_compressor: None,
            extended_attributes: request.extended_attributes,
            hard_links: request.hard_links,
            policy: policy.clone(),
        };
        if let Some(policy) = policy {
            rules.compressor = named(&policy.compression.compressor_name)?;
            rules.metadata_compressor = named(&policy.metadata_compression.compressor_name)?;
            let algorithm = &policy.splitter.algorithm;
            if !algorithm.is_empty() {
                rules.splitter = Some(Splitter::by_name(algorithm).map_err(unknown)?);
            }
        }
        Ok(rules)
    }

    /// The policy's own ignore rules, which hold everywhere.
    pub fn top(&self) -> Result<Scope> {
        let mut rules = Vec::new();
        for line in self.policy.iter().flat_map(|policy| &policy.files.ignore) {
            let rule = Rule::new(line, "").map_err(|why| {
                UploaderError::Mismatch(format!("the policy's ignore rule cannot be followed: {why}"))
            })?;
            rules.push(rule);
        }
        Ok(Scope(Arc::new(Inner { above: None, rules })))
    }

    /// The rules inside a directory whose names are `children`; none when nothing of it is saved, because it says that it
    /// is a cache.
    pub fn enter(
        &self,
        above: &Scope,
        directory: &OwnedFd,
        path: &str,
        children: &[Described],
    ) -> Result<Option<Scope>> {
        let Some(policy) = &self.policy else {
            return Ok(Some(above.clone()));
        };
        let file = |name: &str| {
            children
                .iter()
                .find(|child| child.kind == EntryType::File && child.name.to_bytes() == name.as_bytes())
        };
        if policy.files.ignore_cache_dirs != Some(false)
            && file(CACHE_TAG).is_some()
            && read(directory, CACHE_TAG, path).is_ok_and(|text| text.starts_with(CACHE_SIGNATURE))
        {
            return Ok(None);
        }
        let folder = if path.is_empty() {
            String::new()
        } else {
            format!("/{path}")
        };
        let mut rules = Vec::new();
        for name in policy
            .files
            .ignore_dot_files
            .iter()
            .filter(|name| file(name).is_some())
        {
            let text = read(directory, name, path)?;
            let found = Rule::of_lines(&String::from_utf8_lossy(&text), &folder).map_err(|why| {
                let cause = Error::new(ErrorKind::InvalidData, format!("the rule {why}"));
                UploaderError::entry(&join(path, name), "follow the ignore rules of", cause)
            })?;
            rules.extend(found);
        }
        if rules.is_empty() {
            return Ok(Some(above.clone()));
        }
        Ok(Some(Scope(Arc::new(Inner {
            above: Some(above.clone()),
            rules,
        }))))
    }

    /// Whether an entry is saved; `device` is the file system of its directory.
    pub fn saves(&self, scope: &Scope, entry: &Described, path: &str, device: u64) -> bool {
        let Some(policy) = &self.policy else {
            return true;
        };
        let is_directory = entry.kind == EntryType::Directory;
        let most = u64::try_from(policy.files.max_file_size).unwrap_or(0);
        let too_large = most > 0 && entry.kind == EntryType::File && entry.size() > most;
        let elsewhere = policy.files.one_file_system == Some(true) && entry.stat.st_dev != device;
        !too_large && !elsewhere && !scope.ignores(&format!("/{path}"), is_directory)
    }

    /// How an entry of this kind may fail.
    pub fn tolerance(&self, kind: EntryType) -> Tolerance {
        let Some(policy) = &self.policy else {
            return Tolerance::None;
        };
        let ignored = match kind {
            EntryType::Directory => policy.error_handling.ignore_directory_errors,
            EntryType::File | EntryType::Symlink => policy.error_handling.ignore_file_errors,
        };
        match ignored {
            Some(true) => Tolerance::Ignored,
            _ => Tolerance::Noted,
        }
    }

    /// Whether something that no snapshot can hold is a failure (a policy may say so).
    pub fn unknown_types_fail(&self) -> bool {
        let policy = self.policy.as_ref();
        policy.is_some_and(|policy| policy.error_handling.ignore_unknown_types == Some(false))
    }

    /// How a file is compressed and cut. Contents that do not get smaller are stored as they are.
    pub fn object_options(&self, file: &Described) -> ObjectOptions {
        ObjectOptions {
            compressor: self.compressor.filter(|_| self.compresses(file)),
            splitter: self.splitter,
        }
    }

    fn compresses(&self, file: &Described) -> bool {
        let Some(policy) = &self.policy else {
            return true;
        };
        let rules = &policy.compression;
        let limit = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
        let name = String::from_utf8_lossy(file.name.to_bytes());
        let ending = name.rfind('.').map_or("", |at| &name[at..]);
        let listed = |endings: &[String]| endings.iter().any(|other| other == ending);
        let fits = limit(rules.min_size).is_none_or(|least| file.size() >= least)
            && limit(rules.max_size).is_none_or(|most| file.size() <= most);
        match rules.only_compress.is_empty() {
            true => fits && !listed(&rules.never_compress),
            false => fits && listed(&rules.only_compress),
        }
    }
}

impl Scope {
    fn ignores(&self, path: &str, is_directory: bool) -> bool {
        let above = self.0.above.as_ref();
        let above = above.is_some_and(|above| above.ignores(path, is_directory));
        self.0
            .rules
            .iter()
            .fold(above, |ignored, rule| rule.decide(ignored, path, is_directory))
    }
}

fn join(path: &str, name: &str) -> String {
    super::entry::join(path, name.as_bytes())
}

/// The start of a small file of the tree.
fn read(directory: impl AsFd, name: &str, path: &str) -> Result<Vec<u8>> {
    let path = join(path, name);
    let name = CString::new(name).map_err(|error| UploaderError::entry(&path, "read", error))?;
    let file = open(directory, &name, OFlags::RDONLY, &path)?;
    let mut text = Vec::new();
    std::fs::File::from(file)
        .take(MOST_RULE_BYTES)
        .read_to_end(&mut text)
        .map_err(|error| UploaderError::entry(&path, "read", error))?;
    Ok(text)
}
