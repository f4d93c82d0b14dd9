//! Waiting for the cluster's parts, always with a deadline and the log of the part that did not come.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::layout::Layout;
use super::processes::{Started, log_tail};

/// Asks until the answer is yes or the time is up; returns the last answer.
pub fn wait(patience: Duration, pause: Duration, mut ready: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if ready() {
            return true;
        }
        if begun.elapsed() > patience {
            return false;
        }
        std::thread::sleep(pause);
    }
}

/// Waits for a part; fails at once when its process has ended.
pub fn wait_for(layout: &Layout, process: &str, what: &str, ready: impl Fn() -> bool) -> Result<()> {
    let patience = Duration::from_secs(120);
    let begun = Instant::now();
    while !ready() {
        let alive = Started::remembered(layout, process).is_some_and(|started| started.is_alive());
        if !alive {
            bail!(
                "{process} has ended while waiting for {what}{}",
                log_tail(layout, process)
            );
        }
        if begun.elapsed() > patience {
            bail!(
                "{what} did not come within {} s{}",
                patience.as_secs(),
                log_tail(layout, process)
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// True when something listens there.
pub fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok()
}
