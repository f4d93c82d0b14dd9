//! Where a command talks: data on standard output, everything else on standard error, progress only on a terminal and
//! only for what takes longer than a second.

use std::{
    io::{ErrorKind, IsTerminal as _, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

use crate::failure::{Failure, Outcome};

/// Shorter work shows nothing.
const FIRST_SHOWN_AFTER: Duration = Duration::from_secs(1);
const REDRAWN_EVERY: Duration = Duration::from_millis(200);

type Out = Arc<Mutex<dyn Write + Send>>;

/// Standard output and standard error of one command. Clones share them.
#[derive(Clone)]
pub struct Console {
    data: Out,
    talk: Out,
    /// Whether a person watches standard error.
    terminal: bool,
    /// The reader of standard output went away (`| head`): that is no failure.
    closed: Arc<AtomicBool>,
}

/// What a captured console has printed, for tests.
#[derive(Clone, Default)]
pub struct Captured {
    data: Arc<Mutex<Vec<u8>>>,
    talk: Arc<Mutex<Vec<u8>>>,
}

impl Captured {
    /// Standard output so far.
    pub fn data(&self) -> Vec<u8> {
        self.data.lock().clone()
    }

    /// Standard output so far, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data.lock()).into_owned()
    }

    /// Standard error so far, as text.
    pub fn talk(&self) -> String {
        String::from_utf8_lossy(&self.talk.lock()).into_owned()
    }
}

/// What a progress bar counts.
#[derive(Clone, Copy)]
pub enum Counting {
    Bytes,
    Things,
}

impl Console {
    /// The process's own.
    pub fn standard() -> Self {
        Self {
            data: Arc::new(Mutex::new(std::io::BufWriter::new(std::io::stdout()))),
            talk: Arc::new(Mutex::new(std::io::stderr())),
            terminal: std::io::stderr().is_terminal(),
            closed: Arc::default(),
        }
    }

    /// One that keeps what is printed.
    pub fn captured() -> (Self, Captured) {
        let captured = Captured::default();
        let console = Self {
            data: captured.data.clone(),
            talk: captured.talk.clone(),
            terminal: false,
            closed: Arc::default(),
        };
        (console, captured)
    }

    pub(crate) fn quiet(mut self, quiet: bool) -> Self {
        self.terminal &= !quiet;
        self
    }

    /// A line of data.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Outcome {
        self.raw(text.as_ref().as_bytes())?;
        self.raw(b"\n")
    }

    /// Bytes of data.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Outcome {
        self.noting(|data| data.write_all(bytes))
    }

    /// Hands everything printed so far to the reader.
    pub(crate) fn flush(&self) -> Outcome {
        self.noting(|data| data.flush())
    }

    fn noting(&self, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Outcome {
        if self.closed.load(Ordering::Relaxed) {
            return Ok(());
        }
        match write(&mut *self.data.lock()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(Failure::new(format!("writing to standard output: {error}"))),
            Ok(()) => Ok(()),
        }
    }

    /// A line for people. That it cannot be shown stops nothing.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        let _ = writeln!(self.talk.lock(), "{}", text.as_ref());
    }

    /// Asks for a secret; `None` when nobody can answer.
    pub(crate) fn ask_secret(&self, question: &str) -> Option<String> {
        let term = console::Term::stderr();
        if !self.terminal || !term.is_term() {
            return None;
        }
        term.write_str(question).ok()?;
        term.read_secure_line().ok()
    }

    /// Does `work` while a bar shows what `look` says: how much is done, and of how much (0: not known).
    pub(crate) fn watch<T>(
        &self,
        what: &str,
        counting: Counting,
        look: impl Fn() -> (u64, u64) + Sync,
        work: impl FnOnce() -> T,
    ) -> T {
        if !self.terminal {
            return work();
        }
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| draw(what, counting, &look, &ended));
            let _end = SetAtEnd(&ended);
            work()
        })
    }
}

/// Ends the drawing also when the work panics, or the scope would wait for ever.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn draw(what: &str, counting: Counting, look: &dyn Fn() -> (u64, u64), ended: &AtomicBool) {
    let begun = Instant::now();
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    let style = match counting {
        Counting::Bytes => {
            "{msg} {wide_bar} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left"
        }
        Counting::Things => "{msg} {wide_bar} {human_pos} of {human_len}, {eta} left",
    };
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    let mut shown = false;
    while !ended.load(Ordering::Relaxed) {
        if !shown && begun.elapsed() >= FIRST_SHOWN_AFTER {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            shown = true;
        }
        let (done, total) = look();
        bar.set_length(total.max(done));
        bar.set_position(done);
        thread::sleep(REDRAWN_EVERY);
    }
    bar.finish_and_clear();
}
