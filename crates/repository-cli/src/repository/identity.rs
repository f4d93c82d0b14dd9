//! As whom a repository is used: `username@hostname`, part of the source of every snapshot.

use crate::caching::Flags;
use crate::config_file::Connected;
use crate::connection::StorageSettings;

/// Flags of `create` and `connect`, wherever the repository is.
#[derive(Clone, Debug, clap::Args)]
pub struct Client {
    /// Host name that new snapshots carry [default: this host's].
    #[arg(long, value_name = "NAME")]
    override_hostname: Option<String>,
    /// User name that new snapshots carry [default: yours].
    #[arg(long, value_name = "NAME")]
    override_username: Option<String>,
    /// What the repository is, for people.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Change nothing in it through this connection.
    #[arg(long)]
    readonly: bool,
    #[command(flatten)]
    pub caching: Flags,
}

impl Client {
    /// The connection to be written down. In a repository of Velero's everyone is `default@default`.
    pub fn connected(&self, storage: StorageSettings, of_velero: bool) -> Connected {
        let otherwise = |named: &Option<String>, own: fn() -> String| match named {
            Some(name) => name.clone(),
            None if of_velero => "default".into(),
            None => own(),
        };
        Connected {
            hostname: otherwise(&self.override_hostname, host_name),
            username: otherwise(&self.override_username, user_name),
            description: self.description.clone().unwrap_or_else(|| storage.description()),
            readonly: self.readonly,
            caching: None,
            storage,
        }
    }
}

/// This host as Kopia calls it: the first part of its name, in small letters.
fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy().to_lowercase();
    let first = name.split('.').next().unwrap_or_default();
    if first.is_empty() {
        "localhost".into()
    } else {
        first.into()
    }
}

/// The user's name by the system's list, else by the shell, else the number.
fn user_name() -> String {
    let id = rustix::process::getuid().as_raw();
    let listed = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = listed.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(id)).then(|| name.to_owned())
    });
    named
        .or_else(|| std::env::var("USER").ok().filter(|user| !user.is_empty()))
        .unwrap_or_else(|| id.to_string())
}
