//! A request to stop a node: one end asks, the other hears, and an end that is dropped has asked.

use tokio::sync::watch;

/// Its holder can ask; dropping it asks too.
#[derive(Debug)]
pub struct Stopper {
    stop: watch::Sender<bool>,
}

/// Hears the request; clones hear the same one.
#[derive(Clone, Debug)]
pub struct Stop {
    asked: watch::Receiver<bool>,
}

/// A request to stop that can be made, and heard.
#[must_use]
pub fn stop() -> (Stopper, Stop) {
    let (stop, asked) = watch::channel(false);
    (Stopper { stop }, Stop { asked })
}

impl Stopper {
    /// Asks for a graceful stop.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

impl Stop {
    /// Waits for the request.
    pub async fn asked(&mut self) {
        // A stopper that is gone can ask no more: that is a request too.
        let _ = self.asked.wait_for(|asked| *asked).await;
    }
}
