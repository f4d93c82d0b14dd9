//! Backup and restore item actions on JSON values, so that a plug-in host fits later.
