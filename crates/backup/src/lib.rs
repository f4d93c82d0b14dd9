//! Reads the cluster; creates only snapshots and DataUploads.
