//! Knows a volume and a repository, not where either came from.
