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

/// The connections on which this process pushes: one to a node, for the replicas of all groups that both have. What goes to one node
/// at a time is written to its socket together.
#[derive(Default)]
pub(crate) struct Lines {
    kept: Mutex<HashMap<String, Line>>,
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
    address: String,
    number: u64,
    pub(super) channel: Channel,
}

impl Lines {
    /// The connection to where a peer is reached now.
    pub(super) fn to(&self, address: String) -> Result<Lent, String> {
        self.at(address, dial_at)
    }

    fn at(
        &self,
        address: String,
        dial: impl FnOnce(&str) -> Result<Channel, String>,
    ) -> Result<Lent, String> {
        let mut kept = self.kept.lock();
        if let Some(Line { number, channel }) = kept.get(&address).cloned() {
            return Ok(Lent { address, number, channel });
        }
        let (number, channel) = (fastrand::u64(..), dial(&address)?);
        kept.insert(address.clone(), Line { number, channel: channel.clone() });
        Ok(Lent { address, number, channel })
    }

    /// A stream on it ended with an error: the next one begins on a new connection. Those that are on it stay.
    pub(super) fn broke(&self, lent: &Lent) {
        let mut kept = self.kept.lock();
        if kept.get(&lent.address).is_some_and(|line| line.number == lent.number) {
            kept.remove(&lent.address);
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
            lines.at(address.to_owned(), dial).expect("an address")
        };
        let (first, second, other) = (to("a:1"), to("a:1"), to("b:1"));
        lines.broke(&first);
        let third = to("a:1");
        // The other stream hears later that the same connection broke.
        lines.broke(&second);
        let again = to("a:1");
        assert_eq!(dialled, 3);
        assert_eq!((first.number, third.number), (second.number, again.number));
        assert!(first.number != third.number && other.address == "b:1");
    }
}
