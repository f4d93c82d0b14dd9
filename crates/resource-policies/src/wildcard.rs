//! Patterns of namespace and resource names: `*`, `?` and `[…]` (velero-behaviour.md 3.3; upstream `pkg/util/wildcard`).

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};

/// Why a pattern cannot be used. The texts are Velero's: its validation errors are compared by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("wildcard pattern contains unsupported characters: |, (, ), !, {{, }}, ,")]
    Characters,
    #[error("wildcard pattern contains consecutive asterisks (only single * allowed)")]
    Asterisks,
    #[error("wildcard pattern contains empty bracket pattern '[]'")]
    EmptyBracket,
    #[error("wildcard pattern contains unclosed bracket '['")]
    Unclosed,
    #[error("wildcard pattern contains unmatched closing bracket ']'")]
    Unmatched,
}

/// True when a name is a pattern.
pub fn is_pattern(entry: &str) -> bool {
    entry.contains(['*', '?', '['])
}

/// # Errors
/// [`PatternError`].
pub fn validate(pattern: &str) -> Result<(), PatternError> {
    if pattern.contains(['|', '(', ')', '!', '{', '}', ',']) {
        return Err(PatternError::Characters);
    }
    if pattern.contains("**") {
        return Err(PatternError::Asterisks);
    }
    brackets(pattern)
}

/// Brackets are closed and hold something. A `[` inside of brackets is an ordinary character.
///
/// # Errors
/// [`PatternError`].
pub fn brackets(pattern: &str) -> Result<(), PatternError> {
    let mut rest = pattern;
    while let Some(at) = rest.find(['[', ']']) {
        let tail = &rest[at + 1..];
        if rest.as_bytes()[at] == b']' {
            return Err(PatternError::Unmatched);
        }
        match tail.find(']') {
            None => return Err(PatternError::Unclosed),
            Some(0) => return Err(PatternError::EmptyBracket),
            Some(end) => rest = &tail[end + 1..],
        }
    }
    Ok(())
}

/// Whether the lists of a backup are expanded against the namespaces that exist. `*` means all, without expanding:
/// the whole cluster is then listed at once.
pub fn should_expand(included: &[String], excluded: &[String]) -> bool {
    !included.is_empty()
        && !included.iter().any(|entry| entry == "*")
        && included.iter().chain(excluded).any(|entry| is_pattern(entry))
}

/// Plain names as they are, and what the patterns match.
///
/// # Errors
/// [`PatternError`].
pub fn expand<'a>(
    patterns: &[String],
    existing: impl IntoIterator<Item = &'a String> + Clone,
) -> Result<BTreeSet<String>, PatternError> {
    let mut found = BTreeSet::new();
    for pattern in patterns {
        validate(pattern)?;
        if !is_pattern(pattern) {
            found.insert(pattern.clone());
        } else if let Some(glob) = matcher(pattern) {
            let matching = existing.clone().into_iter().filter(|name| glob.is_match(name));
            found.extend(matching.cloned());
        }
    }
    Ok(found)
}

/// What a pattern matches; `None` when it is none. Dots are ordinary characters.
pub fn matcher(pattern: &str) -> Option<GlobMatcher> {
    let glob = GlobBuilder::new(pattern).literal_separator(false).build().ok()?;
    Some(glob.compile_matcher())
}
