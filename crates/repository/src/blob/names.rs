//! Names that writers make up: sessions and packs (kopia-format.md 1.2), and the session marker (12).

use jiff::Timestamp;
use serde::Serialize;

use crate::environment::Environment;

/// 2000-01-01T00:00:00Z, from where sessions count their months.
const SESSION_ORIGIN_SECS: i64 = 946_684_800;
const SESSION_MONTH_SECS: i64 = 30 * 24 * 60 * 60;

/// One writer's stretch between two commits: `s4488a8a3654b79ad147`. Part of the names of all its blobs, so
/// that garbage collection can tell work in progress from leftovers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionId(String);

impl SessionId {
    /// 8 random bytes and the number of 30-day months since 2000, both in hex.
    pub fn new(environment: &Environment) -> Self {
        let month = (environment.now_secs() - SESSION_ORIGIN_SECS).max(0) / SESSION_MONTH_SECS;
        Self(format!("s{}{month:x}", hex::encode(environment.random::<8>())))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which packs a content goes to: file data apart from all metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PackKind {
    /// `p`: contents without a prefix.
    Data,
    /// `q`: contents with one (`k`, `x`, `m`).
    Metadata,
}

impl PackKind {
    fn letter(self) -> char {
        match self {
            PackKind::Data => 'p',
            PackKind::Metadata => 'q',
        }
    }
}

/// A new pack's name: `p<32 hex>-<session>`. It says nothing about what is in the pack.
pub fn pack_name(kind: PackKind, session: &SessionId, environment: &Environment) -> String {
    format!(
        "{}{}-{}",
        kind.letter(),
        hex::encode(environment.random::<16>()),
        session.as_str()
    )
}

/// The session in the name of a pack, index blob or marker: the first part after a `-` that starts with `s`.
pub fn session_of(name: &str) -> Option<&str> {
    name.split('-').skip(1).find(|part| part.starts_with('s'))
}

/// The plaintext of `s<hash>-<session>`: "packs of this session are not garbage yet".
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionMarker<'a> {
    pub id: &'a str,
    pub start_time: Timestamp,
    pub checkpoint_time: Timestamp,
    pub username: &'a str,
    pub hostname: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_kopias_shapes() {
        let environment = Environment::system();
        let session = SessionId::new(&environment);
        assert!(
            session.as_str().starts_with('s') && session.as_str().len() == 20,
            "{session:?}"
        );
        let pack = pack_name(PackKind::Metadata, &session, &environment);
        assert_eq!(pack.len(), 1 + 32 + 1 + 20);
        assert!(pack.starts_with('q') && pack.ends_with(session.as_str()));
    }
}
