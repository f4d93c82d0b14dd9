//! Opens the exposed volume and the repository, runs the uploader, reports.
