//! What every verb has at hand: the console, what is connected, and the opened repository.

use std::{path::PathBuf, sync::Arc, time::Duration};

use caravel_repository::{CacheSettings, Environment, Notice, OpenOptions, Repository};
use caravel_storage::Storage;
use secrecy::SecretString;
use tokio::runtime::Handle;

use crate::{
    Global,
    caching::{self, Caching},
    config_file::{self, Connected},
    connection::StorageSettings,
    console::Console,
    failure::{Failure, Outcome},
};

/// Kopia's own patience with a clock that differs from the storage's.
const CLOCKS_MAY_DIFFER: Duration = Duration::from_secs(300);

/// What a command wants to see, where this host keeps copies of what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Copies are as good.
    Copies,
    /// Copies are as good; of file data none is made, for every byte is read once.
    Once,
    /// Only what the storage gives now: whoever verifies, deletes or changes.
    Storage,
}

/// One command's surroundings.
pub(crate) struct App {
    pub console: Console,
    pub environment: Environment,
    global: Global,
    runtime: Handle,
}

impl App {
    /// Must be called on a thread of the runtime that may block.
    pub fn new(global: Global, console: Console) -> Self {
        Self {
            console,
            environment: Environment::system(),
            global,
            runtime: Handle::current(),
        }
    }

    /// Waits for a future.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The file that says what is connected.
    pub fn config_file(&self) -> Outcome<PathBuf> {
        config_file::path(self.global.config_file.as_deref())
    }

    /// The file whose lock keeps two processes of this machine from maintaining at the same time.
    pub fn maintenance_lock(&self) -> Outcome<PathBuf> {
        let mut file = self.config_file()?.into_os_string();
        file.push(".mlock");
        Ok(file.into())
    }

    /// What is connected.
    pub fn connected(&self) -> Outcome<Connected> {
        config_file::read(&self.config_file()?)
    }

    /// Where this connection's cache is; the repository is asked for its unique id when its file does not say.
    pub fn caching(&self) -> Outcome<Caching> {
        let connected = self.connected()?;
        match connected.caching {
            Some(caching) => Ok(caching),
            None => {
                let storage = self.storage(&connected.storage)?;
                let asked = caravel_repository::peek_unique_id(storage, &self.environment);
                let id = self.wait(asked)?.ok_or_else(|| {
                    Failure::new("there is no repository any more where this connection says")
                        .next("velero kopia repository connect --help")
                })?;
                Caching::of_repository(&id)
            }
        }
    }

    /// The password of an existing repository.
    pub fn password(&self) -> Outcome<SecretString> {
        if let Some(password) = &self.global.password {
            return Ok(password.clone());
        }
        let answer = self.console.ask_secret("Password of the repository: ");
        answer.map(SecretString::from).ok_or_else(|| {
            Failure::usage("the password of the repository is nowhere, and there is no terminal to ask on")
                .next("KOPIA_PASSWORD=… velero kopia …")
        })
    }

    /// The password of a new repository: asked for twice.
    pub fn new_password(&self) -> Outcome<SecretString> {
        if let Some(password) = &self.global.password {
            return Ok(password.clone());
        }
        let first = self.password()?;
        let again = self.console.ask_secret("The same again: ").unwrap_or_default();
        use secrecy::ExposeSecret as _;
        if first.expose_secret() != again {
            return Err(Failure::usage("the two passwords differ; nothing was created"));
        }
        Ok(first)
    }

    /// Makes the storage that the settings speak of.
    pub fn storage(&self, settings: &StorageSettings) -> Outcome<Arc<dyn Storage>> {
        self.wait(settings.open())
    }

    /// Opens the connected repository for a verb that looks at it.
    pub fn open(&self) -> Outcome<Repository> {
        self.open_seeing(Sight::Copies)
    }

    /// Opens the connected repository.
    pub fn open_seeing(&self, sight: Sight) -> Outcome<Repository> {
        let connected = self.connected()?;
        let password = self.password()?;
        self.open_as(&connected, &password, sight)
    }

    /// Opens the connected repository for a verb that changes it.
    pub fn open_to_write(&self) -> Outcome<Repository> {
        self.open_to_write_seeing(Sight::Storage)
    }

    /// The same for one that changes nothing by what it reads, but adds to it.
    pub fn open_to_write_seeing(&self, sight: Sight) -> Outcome<Repository> {
        if self.connected()?.readonly {
            return Err(
                Failure::new("the repository is connected read-only; nothing was changed")
                    .next("velero kopia repository connect --help    (without --readonly)"),
            );
        }
        let repository = self.open_seeing(sight)?;
        repository.check_clock(CLOCKS_MAY_DIFFER)?;
        Ok(repository)
    }

    /// Opens what `connected` says.
    pub fn open_as(
        &self,
        connected: &Connected,
        password: &SecretString,
        sight: Sight,
    ) -> Outcome<Repository> {
        let storage = self.storage(&connected.storage)?;
        let options = OpenOptions {
            username: connected.username.clone(),
            hostname: connected.hostname.clone(),
        };
        let environment = Environment {
            index_folder: caching::index_folder(connected.caching.as_ref()),
            cache: self.cache(connected, sight),
            ..self.environment.clone()
        };
        let opening = caravel_repository::open(storage, password, options, environment);
        Ok(self.wait(opening)?)
    }

    /// Where copies lie; what is wrong with them is said on the console, once.
    fn cache(&self, connected: &Connected, sight: Sight) -> Option<CacheSettings> {
        let console = self.console.clone();
        let settings = CacheSettings {
            notice: Notice::new(move |text| console.say(format!("Warning: {text}"))),
            ..connected.caching.as_ref()?.settings()?
        };
        Some(match sight {
            Sight::Copies => settings,
            Sight::Once => CacheSettings {
                content_bytes: 0,
                ..settings
            },
            Sight::Storage => settings.past(),
        })
    }
}
