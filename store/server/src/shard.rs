//! A node's shard: which group of a ring of how many it is of.

use proto::store::Owned;
use store_core::GroupId;
use store_core::ring::{Ring, RingError};

pub use store_cross::RING_VERSION;

/// One of the equal shards of a ring, as a cluster is founded with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its group, from 1, in the order of the ring's slots.
    pub group: u64,
    /// Shards of the ring.
    pub of: usize,
}

impl Shard {
    /// The shard of a ring of one.
    pub const ONLY: Shard = Shard { group: 1, of: 1 };

    pub(crate) fn group_id(self) -> GroupId {
        GroupId(self.group)
    }

    /// What of the ring it owns; `None`: all.
    pub(crate) fn owned(self) -> Option<Owned> {
        let (ring, slot) = self.ring().ok()?;
        let arc = slot.filter(|_| self.of > 1).map(|slot| ring.arc(slot))?;
        Some(Owned { after: arc.after, up_to: arc.up_to, ring_version: RING_VERSION })
    }

    /// The ring, and the number of this shard's slot; `None` if it is not on it.
    pub(crate) fn ring(self) -> Result<(Ring, Option<usize>), RingError> {
        let ring = Ring::even(self.of)?;
        let slot = ring.slot_of(self.group_id());
        Ok((ring, slot))
    }
}
