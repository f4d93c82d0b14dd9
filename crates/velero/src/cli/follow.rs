//! `--wait`: follows a Backup or Restore by watch until it has run to its end.
//!
//! The wait has no deadline of its own, as Velero's has none: the server's are in the object (`itemOperationTimeout`
//! and others), and Ctrl-C only stops the waiting. What it cannot see from the object, a server that is not there, it
//! says after a minute.

use std::fmt::Debug;
use std::io::IsTerminal;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use indicatif::{ProgressBar, ProgressStyle};
use kube::Resource;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;

use super::failure::{Failure, Outcome, chain};

/// A new object that the server has not touched for this long means that no server runs.
const SERVER_IS_LATE: Duration = Duration::from_secs(60);

/// What one look at the object says.
pub struct Look {
    /// Its phase.
    pub phase: String,
    /// What it is doing, for people: `12 of 40 items`.
    pub doing: String,
    /// True when it has run to its end.
    pub finished: bool,
}

/// Follows the object until it is finished and returns it.
pub async fn until_finished<K>(
    api: Api<K>,
    name: &str,
    namespace: &str,
    look: impl Fn(&K) -> Look,
) -> Outcome<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let objects = watcher::watch_object(api, name).default_backoff();
    pin_mut!(objects);
    let line = StatusLine::new();
    let kind = K::kind(&());
    let mut untouched = true;
    let late = tokio::time::sleep(SERVER_IS_LATE);
    pin_mut!(late);
    let mut seen = false;
    loop {
        tokio::select! {
            next = objects.next() => match next {
                Some(Ok(Some(object))) => {
                    seen = true;
                    let now = look(&object);
                    untouched &= now.phase == "New";
                    if now.finished {
                        line.end();
                        return Ok(object);
                    }
                    line.show(&now);
                }
                // The watch may start from a cache that is older than the object.
                Some(Ok(None)) if !seen => {}
                Some(Ok(None)) | None => {
                    line.end();
                    return Err(Failure::new(format!("{kind} {namespace}/{name} was deleted while waiting for it")).next(format!("velero {} get", kind.to_lowercase())));
                }
                Some(Err(error)) => line.note(&format!("watching {kind} {namespace}/{name}: {}; trying again", chain(&error))),
            },
            () = &mut late, if untouched => {
                untouched = false;
                line.note(&format!(
                    "The server has not looked at {kind} {namespace}/{name} for {} s. Is it running? kubectl -n {namespace} get deployment velero",
                    SERVER_IS_LATE.as_secs()
                ));
            }
        }
    }
}

/// Progress on standard error: a spinner in a terminal, else one line a phase.
struct StatusLine {
    bar: Option<ProgressBar>,
    last: std::cell::RefCell<String>,
}

impl StatusLine {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self {
            bar,
            last: std::cell::RefCell::default(),
        }
    }

    fn show(&self, look: &Look) {
        let text = if look.doing.is_empty() {
            look.phase.clone()
        } else {
            format!("{}: {}", look.phase, look.doing)
        };
        match &self.bar {
            Some(bar) => bar.set_message(text),
            None if *self.last.borrow() != look.phase => eprintln!("{text}"),
            None => {}
        }
        *self.last.borrow_mut() = look.phase.clone();
    }

    fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
