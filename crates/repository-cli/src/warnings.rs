//! What the engine warns of in passing, for a person: on standard error, so that `--json` stays JSON.

/// From now on warnings of this process are seen. Where a process has a log already, they go there.
pub fn say() {
    // It fails only when there is one already.
    let _ = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .try_init();
}
