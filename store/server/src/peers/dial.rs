//! Connections to peers: where a member is reached now, and when a connection that is kept is made anew.

use store_core::NodeId;

use crate::shared::Shared;

/// Where a peer is reached now.
pub(super) fn address_of(shared: &Shared, peer: NodeId) -> Result<String, String> {
    let members = shared.members();
    let member = members.by_node.get(&peer.0).ok_or_else(|| format!("{peer} is not a member"))?;
    Ok(member.address.clone())
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
