//! Tells watches that something has changed, in the order in which they began to wait.
//!
//! Not `tokio::sync::watch`: that wakes its receivers in an order drawn at random, and a run could not be repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Rings when something changes; when it is dropped its listeners hear the end.
#[derive(Debug, Default)]
pub struct Bell(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    rung: Arc<Notify>,
    has_ended: AtomicBool,
}

impl Bell {
    /// Wakes all who wait.
    pub fn ring(&self) {
        self.0.rung.notify_waiters();
    }

    /// Hears every ring from now on.
    pub fn listener(&self) -> Listener {
        Listener {
            next: Box::pin(self.0.rung.clone().notified_owned()),
            shared: self.0.clone(),
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Release);
        self.ring();
    }
}

/// Hears rings, also those while it does not wait.
pub struct Listener {
    next: std::pin::Pin<Box<OwnedNotified>>,
    shared: Arc<Shared>,
}

impl Listener {
    /// Forgets rings so far: what they told is read after this.
    pub fn forget(&mut self) {
        self.next.set(self.shared.rung.clone().notified_owned());
    }

    /// Returns at the next ring, or at once if there was one since [`Self::forget`]. False: there will be none any more.
    pub async fn rung(&mut self) -> bool {
        if !self.has_ended() {
            self.next.as_mut().await;
            self.forget();
        }
        !self.has_ended()
    }

    fn has_ended(&self) -> bool {
        self.shared.has_ended.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[tokio::test]
    async fn a_ring_between_two_waits_is_heard_and_the_end_too() {
        let bell = Bell::default();
        let mut listener = bell.listener();
        bell.ring();
        assert!(listener.rung().await);
        drop(bell);
        assert!(!listener.rung().await);
        assert!(!listener.rung().await);
    }

    #[tokio::test]
    async fn listeners_are_woken_in_the_order_in_which_they_came() {
        for _ in 0..20 {
            let bell = Bell::default();
            let order = Arc::new(Mutex::new(Vec::new()));
            let mut tasks = Vec::new();
            for number in 0..10 {
                let (mut listener, order) = (bell.listener(), order.clone());
                tasks.push(tokio::spawn(async move {
                    listener.rung().await;
                    order.lock().push(number);
                }));
            }
            tokio::task::yield_now().await;
            bell.ring();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(*order.lock(), (0..10).collect::<Vec<_>>());
        }
    }
}
