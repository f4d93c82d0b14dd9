//! Knows names and bytes, nothing else: blob storage for a repository.
