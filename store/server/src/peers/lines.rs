//! The connections of a process to other nodes' processes, which its replicas share.

use std::collections::HashMap;

use parking_lot::Mutex;
use store_client::connect::{Windows, connect};
use tonic::transport::Channel;

const WINDOWS: Windows = Windows { stream_bytes: 4 << 20, connection_bytes: 8 << 20 };

/// A connection to an address of a peer, made when it is first used.
pub(super) fn dial_at(address: &str) -> Result<Channel, String> {
    connect(address, WINDOWS).map_err(|error| format!("the address {address:?} of a peer: {error}"))
}

/// Groups whose pushes share a connection. h2 0.4 ends a connection on which too much lies unread in small frames: what one stream's
/// window lets through of heartbeats stays below that, what those of many let through does not (the arithmetic is at
/// [`admission::limits::STREAM_WINDOW_BYTES`]). Where a node that stood still for long has it ended all the same, the groups that shared
/// it begin again on a new one.
const GROUPS_MAX: u64 = 2;

/// The connections on which this process pushes: one to a node for the replicas of a few groups that both have. What goes to one node
/// at a time is written to its socket together.
#[derive(Default)]
pub(crate) struct Lines {
    /// By address, and by which of the groups go together.
    kept: Mutex<HashMap<(String, u64), Line>>,
}

/// One of them.
#[derive(Clone)]
struct Line {
    /// Which of those to its address.
    number: u64,
    channel: Channel,
}

/// A use of a line.
pub(super) struct Lent {
    at: (String, u64),
    number: u64,
    pub(super) channel: Channel,
}

impl Lines {
    /// The connection for a group to where a peer is reached now.
    pub(super) fn to(&self, address: String, group: u64) -> Result<Lent, String> {
        self.at((address, group / GROUPS_MAX), dial_at)
    }

    fn at(
        &self,
        at: (String, u64),
        dial: impl FnOnce(&str) -> Result<Channel, String>,
    ) -> Result<Lent, String> {
        let mut kept = self.kept.lock();
        if let Some(Line { number, channel }) = kept.get(&at).cloned() {
            return Ok(Lent { at, number, channel });
        }
        let (number, channel) = (fastrand::u64(..), dial(&at.0)?);
        kept.insert(at.clone(), Line { number, channel: channel.clone() });
        Ok(Lent { at, number, channel })
    }

    /// A stream on it ended with an error: the next one begins on a new connection. Those that are on it stay.
    pub(super) fn broke(&self, lent: &Lent) {
        let mut kept = self.kept.lock();
        if kept.get(&lent.at).is_some_and(|line| line.number == lent.number) {
            kept.remove(&lent.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pushes_to_one_node_share_a_connection_until_one_of_them_breaks() {
        let (lines, mut dialled) = (Lines::default(), 0);
        let mut to = |address: &str| {
            let dial = |address: &str| {
                dialled += 1;
                dial_at(address)
            };
            lines.at((address.to_owned(), 0), dial).expect("an address")
        };
        let (first, second, other) = (to("a:1"), to("a:1"), to("b:1"));
        lines.broke(&first);
        let third = to("a:1");
        // The other stream hears later that the same connection broke.
        lines.broke(&second);
        let again = to("a:1");
        assert_eq!(dialled, 3);
        assert_eq!((first.number, third.number), (second.number, again.number));
        assert!(first.number != third.number && other.at.0 == "b:1");
        let of = |group| lines.to("a:1".to_owned(), group).expect("an address").number;
        assert_eq!((of(2), of(4)), (of(3), of(5)), "two groups each");
        assert_ne!(of(2), of(4));
    }
}
