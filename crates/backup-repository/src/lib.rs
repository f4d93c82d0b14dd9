//! BackupRepository object to opened repository: connect, create, forget.
