//! A client that goes from portal to portal with the token of its session, whose caches are warm and hear the bus at different
//! times.
//!
//! Judged: *session guarantees* (monotonic reads). It is never shown what is older than it was shown before, of any record. That a
//! shopper sees its own writes is judged by the shoppers ([`crate::shop`]).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use portal::Portal;
use portal::cache::Seen;
use portal::session::KeptSession;

use crate::bus::{QUIET, quiet};
use crate::tasks::Sleeper;
use crate::time::{MS, Micros};
use crate::violation::{ensure, violated};

/// What was shown of one record.
#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    /// The offset of its newest version.
    version: u64,
    /// It was not there at this offset.
    absent: u64,
}

impl Shown {
    /// Takes what is shown now; false: it is older.
    fn goes_on(&mut self, seen: &Seen) -> bool {
        match &seen.record {
            Some(record) => {
                let goes_on = record.offset() >= self.version && record.offset() > self.absent;
                self.version = self.version.max(record.offset());
                goes_on
            }
            None => {
                self.absent = self.absent.max(seen.at);
                seen.at > self.version
            }
        }
    }
}

/// Reads one record after another through one portal after another until `until`.
pub(crate) async fn roam(
    portals: Vec<Arc<Portal>>,
    sleeper: Sleeper,
    mut random: fastrand::Rng,
    until: Micros,
) {
    let session = KeptSession::default();
    let mut shown: HashMap<Bytes, Shown> = HashMap::new();
    while sleeper.now.us() < until {
        sleeper.until(sleeper.now.us() + random.u64(1..20) * MS).await;
        let (sent, key) = (session.token(), quiet(random.u32(..QUIET)));
        let token = sent.token.as_ref().map(ToString::to_string);
        let portal = match portals[random.usize(..portals.len())].in_session(token.as_deref()) {
            Ok(portal) => portal,
            Err(error) => {
                violated("session guarantees", format!("a portal does not know its own token: {error}"))
            }
        };
        let read = portal.read(&key).await;
        session.answered(&sent, &portal.token().to_string());
        match read {
            Ok(seen) => {
                let before = shown.entry(key.clone()).or_default();
                let was = *before;
                ensure(before.goes_on(&seen), "session guarantees", || {
                    format!("{key:?} is shown as {seen:?} to who was shown {was:?}, with {token:?}")
                });
            }
            Err(error) => {
                ensure(!matches!(error, portal::Error::Invalid { .. }), "session guarantees", || {
                    format!("{token:?} is refused: {error}")
                });
            }
        }
    }
}
