//! Which exec hooks of a restore have ended, beyond the life of a server: the next one runs those that have not, and none
//! of the others again. One that was running when its server died runs once more: nobody knows whether it ended.

use async_trait::async_trait;

use crate::tracker::HookKey;

/// Remembers the hooks of one restore.
#[async_trait]
pub trait EndedHooks: Send + Sync + 'static {
    /// How a hook ended that ran before: its error, or none. `None`: it is not known to have ended.
    fn of(&self, key: &HookKey) -> Option<Option<String>>;

    /// A hook has ended. Returns when that is written, or cannot be.
    async fn end(&self, key: &HookKey, error: Option<&str>);
}

/// Remembers nothing: for tests, and where a hook may run twice.
pub struct Forgotten;

#[async_trait]
impl EndedHooks for Forgotten {
    fn of(&self, _: &HookKey) -> Option<Option<String>> {
        None
    }

    async fn end(&self, _: &HookKey, _: Option<&str>) {}
}
