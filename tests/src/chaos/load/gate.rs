//! A gate that clients pass before each operation: closed, it lets those inside finish and nobody in.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// See the module. Open at first.
#[derive(Debug)]
pub struct Gate {
    /// Whether clients may enter.
    open: watch::Sender<bool>,
    /// Clients inside.
    inside: AtomicUsize,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate { open: watch::Sender::new(true), inside: AtomicUsize::new(0) }
    }
}

/// Being inside; ends with the value.
#[derive(Debug)]
pub struct Inside<'g>(&'g Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Gate {
    /// Waits until the gate is open, and enters.
    ///
    /// # Panics
    /// Never: the gate outlives the wait.
    pub async fn enter(&self) -> Inside<'_> {
        let mut open = self.open.subscribe();
        loop {
            open.wait_for(|open| *open).await.expect("the gate is borrowed");
            // Counted first, looked at again afterwards: who closes and then sees nobody is right.
            self.inside.fetch_add(1, Ordering::SeqCst);
            let inside = Inside(self);
            if *self.open.borrow() {
                return inside;
            }
        }
    }

    /// Lets clients in.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    /// Clients inside.
    #[must_use]
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }
}
