//! The probe of a connection to a broker: a message of the portal to itself, which shows whether anything comes on it still.
//!
//! A broker can stop sending on a connection that stands: of each message that it holds back as too large mosquitto 2.0.11 goes on counting one of
//! those that may be under way, until none may. Pings are answered all the same, and nobody who asks is told.
//!
//! Promises: a connection that brings nothing for [`QUIET`], and then nothing of what was sent on it for [`PATIENCE`], is told of once. Without the
//! right to hear its own topic nothing is sent, and nothing told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use tokio::sync::Notify;

/// After so long without a message one is sent.
const QUIET: Duration = Duration::from_secs(2);
/// And must have come back within this.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// The probe of one connection after the other.
pub(super) struct Probe {
    /// The portal's own topic.
    pub(super) topic: String,
    /// When something was last heard, and since when a message of its own is on its way.
    seen: Mutex<(Instant, Option<Instant>)>,
    /// The connection brings what is published there.
    hears: AtomicBool,
    /// Nothing comes any more.
    pub(super) silent: Notify,
}

impl Probe {
    pub(super) fn new(topic: String) -> Probe {
        let seen = Mutex::new((Instant::now(), None));
        Probe { topic, seen, hears: AtomicBool::new(false), silent: Notify::new() }
    }

    /// Something has come.
    pub(super) fn heard(&self) {
        *self.seen.lock() = (Instant::now(), None);
    }

    /// A connection has begun, on which the topic can be heard, or has ended.
    pub(super) fn hears(&self, hears: bool) {
        self.heard();
        self.hears.store(hears, Ordering::Relaxed);
    }

    /// Looks after the connection until dropped.
    pub(super) async fn run(&self, client: &AsyncClient) {
        loop {
            tokio::time::sleep(LOOK).await;
            if !self.hears.load(Ordering::Relaxed) {
                continue;
            }
            let (heard, sent) = *self.seen.lock();
            match sent {
                Some(sent) if sent.elapsed() >= PATIENCE => {
                    self.hears(false);
                    self.silent.notify_one();
                }
                // A full queue has no room for it: the next look finds whether that moves.
                None if heard.elapsed() >= QUIET => {
                    let _ = client.try_publish(self.topic.clone(), QoS::AtLeastOnce, false, "");
                    self.seen.lock().1 = Some(Instant::now());
                }
                _ => {}
            }
        }
    }
}
