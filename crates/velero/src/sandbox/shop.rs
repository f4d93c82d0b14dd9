//! The application of the stories: a small database whose checksums tell whether a restore is right.
//!
//! It keeps pages on its volume and a ledger with the generation and checksum of all of them. Started on an empty
//! volume it fills it; started on its data it reads every byte and ends with code 1 when one is wrong. The pages are
//! made by a cheap generator from their number and generation, so nothing is held in memory. A change of several pages
//! and the ledger is one transaction: it holds the volume's writers' lock ([`Writers`]), so that no snapshot has half
//! of it.
//!
//! ```text
//! /data/ledger                    one line a change: generation, pages, checksum over all pages
//! /data/pages/07/page-00123       head line with generation and checksum, then random bytes
//! /data/latest -> pages/00/…      and an empty folder, an empty file, files with odd names and modes
//! ```

mod pages;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use caravel_sandbox::{Container, ExecRequest, Executed, Program, Writers};
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use pages::Size;

/// The image's name.
pub const IMAGE: &str = "caravel/shop";
/// Where the pod mounts its volume.
pub const DATA: &str = "/data";

/// The image; the one who hands it to the sandbox keeps a clone and reaches the running databases through it.
#[derive(Clone)]
pub struct Shop {
    size: Size,
    /// Pod (`namespace/name`) → folder of its volume on this machine.
    open: Arc<Mutex<BTreeMap<String, PathBuf>>>,
    changed: Arc<Notify>,
}

impl Shop {
    /// A shop that fills an empty volume with this much.
    pub fn new(size: Size) -> Self {
        Self {
            size,
            open: Arc::default(),
            changed: Arc::default(),
        }
    }

    /// The volume of the one shop that runs in this namespace.
    pub fn volume(&self, namespace: &str) -> Option<PathBuf> {
        let open = self.open.lock();
        let mut found = open.iter().filter(|(pod, _)| {
            pod.split_once('/')
                .is_some_and(|(its_namespace, _)| its_namespace == namespace)
        });
        found.next().map(|(_, folder)| folder.clone())
    }

    /// Returns when a shop is open in this namespace.
    pub async fn opened(&self, namespace: &str) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.volume(namespace).is_some() {
                return;
            }
            changed.await;
        }
    }

    fn open(&self, folder: &Path) -> io::Result<String> {
        if pages::is_empty(folder)? {
            let _whole = Writers::of(folder)?.write_blocking();
            pages::fill(folder, self.size)?;
            return Ok(format!(
                "filled the volume: {} pages, {}",
                self.size.pages, self.size
            ));
        }
        pages::verify(folder)
    }
}

#[async_trait]
impl Program for Shop {
    async fn run(&self, container: Container) -> i32 {
        let say = |line: &str| container.log.write(format!("{line}\n").as_bytes());
        let Some(folder) = container.on_machine(Path::new(DATA)) else {
            say(&format!("shop: nothing is mounted at {DATA}"));
            return 1;
        };
        let opened = tokio::task::spawn_blocking({
            let (shop, folder) = (self.clone(), folder.clone());
            move || shop.open(&folder)
        });
        match opened.await {
            Ok(Ok(what)) => say(&format!("shop: {what}")),
            Ok(Err(error)) => {
                say(&format!("shop: the data cannot be used: {error}"));
                return 1;
            }
            Err(_) => return 1,
        }
        let pod = pod_name(&container);
        // The pod's mount may be a link to the volume's own folder, which is what stays the same.
        let folder = folder.canonicalize().unwrap_or(folder);
        self.open.lock().insert(pod.clone(), folder);
        self.changed.notify_waiters();
        let _closes = Closes {
            shop: self,
            pod: &pod,
        };
        container.stop.cancelled().await;
        say("shop: closed");
        0
    }

    /// `shop verify` and `shop sell PAGES`.
    async fn exec(&self, container: &Container, request: ExecRequest) -> Executed {
        let words: Vec<&str> = request.command.iter().map(String::as_str).collect();
        let folder = self.open.lock().get(&pod_name(container)).cloned();
        let Some(folder) = folder else {
            return Executed::failure(1, "shop: the database is not open\n");
        };
        let work: Box<dyn FnOnce() -> io::Result<String> + Send> = match words[..] {
            ["shop", "verify"] => Box::new(move || pages::verify(&folder)),
            ["shop", "sell", count] => match count.parse() {
                Ok(count) => Box::new(move || change(&folder, count)),
                Err(_) => return Executed::failure(2, "shop sell: how many pages?\n"),
            },
            _ => return Executed::failure(127, "this image holds: shop verify, shop sell PAGES\n"),
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(said)) => Executed::success(format!("{said}\n")),
            Ok(Err(error)) => Executed::failure(1, format!("shop: {error}\n")),
            Err(_) => Executed::failure(1, "shop: the command broke\n"),
        }
    }
}

/// A database that is open until this is dropped, also when its task is.
struct Closes<'a> {
    shop: &'a Shop,
    pod: &'a str,
}

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.shop.open.lock().remove(self.pod);
    }
}

/// Writes as many pages anew in the shop of a namespace: what a day of business leaves behind.
pub fn sell(shop: &Shop, namespace: &str, count: usize) -> io::Result<String> {
    let folder = shop
        .volume(namespace)
        .ok_or_else(|| io::Error::other(format!("no shop is open in namespace {namespace}")))?;
    change(&folder, count)
}

/// One transaction: a snapshot has all of it or nothing. Blocks; not on a thread that drives tasks.
fn change(folder: &Path, count: usize) -> io::Result<String> {
    let _whole = Writers::of(folder)?.write_blocking();
    pages::change(folder, count)
}

/// How often the database of a volume has been changed.
pub fn generation(volume: &Path) -> io::Result<u64> {
    pages::generation(volume)
}

/// Reads all of it and compares it with its checksums; what it found.
pub fn verify(volume: &Path) -> io::Result<String> {
    pages::verify(volume)
}

/// Changes one byte of a page and nothing else, its time included.
pub fn spoil(volume: &Path) -> io::Result<()> {
    pages::spoil(volume)
}

fn pod_name(container: &Container) -> String {
    let metadata = &container.pod.metadata;
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", part(&metadata.namespace), part(&metadata.name))
}
