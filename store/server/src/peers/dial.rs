//! Connections to peers: where a member is reached now, which connection is shared, and when one that is kept is made anew.

use std::collections::HashMap;

use parking_lot::Mutex;
use store_client::connect::{Windows, connect};
use store_core::NodeId;
use tonic::transport::Channel;

use crate::shared::Shared;

const WINDOWS: Windows = Windows { stream_bytes: 4 << 20, connection_bytes: 8 << 20 };

/// Where a peer is reached now.
pub(super) fn address_of(shared: &Shared, peer: NodeId) -> Result<String, String> {
    let members = shared.members();
    let member = members.by_node.get(&peer.0).ok_or_else(|| format!("{peer} is not a member"))?;
    Ok(member.address.clone())
}

/// A connection to an address of a peer.
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
    pub(super) fn to(&self, shared: &Shared, peer: NodeId) -> Result<Lent, String> {
        self.at(address_of(shared, peer)?, dial_at)
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

/// A connection that is used again and again, made anew when the peer is reached elsewhere, or failed.
pub(super) struct Kept<C> {
    /// The connection, and where it goes.
    made: Option<(String, C)>,
}

impl<C: Clone> Kept<C> {
    pub(super) fn new() -> Kept<C> {
        Kept { made: None }
    }

    /// The connection to `address`.
    pub(super) fn to(
        &mut self,
        address: &str,
        dial: impl FnOnce(&str) -> Result<C, String>,
    ) -> Result<C, String> {
        if let Some((made_to, connection)) = &self.made
            && made_to == address
        {
            return Ok(connection.clone());
        }
        let connection = dial(address)?;
        self.made = Some((address.to_owned(), connection.clone()));
        Ok(connection)
    }

    /// It did not answer: the next use makes a new one.
    pub(super) fn broke(&mut self) {
        self.made = None;
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

    #[test]
    fn a_connection_for_votes_follows_its_peer_to_a_new_address() {
        let (mut kept, mut dialled) = (Kept::new(), 0);
        let mut to = |kept: &mut Kept<u32>, address: &str| {
            kept.to(address, |_| {
                dialled += 1;
                Ok(dialled)
            })
        };
        assert_eq!((to(&mut kept, "a:1"), to(&mut kept, "a:1")), (Ok(1), Ok(1)));
        assert_eq!(to(&mut kept, "b:1"), Ok(2), "it moved");
        kept.broke();
        assert_eq!((to(&mut kept, "b:1"), to(&mut kept, "b:1")), (Ok(3), Ok(3)));
    }
}
