//! The ring of shards: which group owns a key, and over which slots a request reaches the owner.
//!
//! A key stands at its hash, a place among 2^64. The ring has up to [`RING_SLOTS_MAX`] slots, each at an id. The group at slot
//! Y owns the places in (X, Y], where X is the next lower id; the group at the lowest id owns what is left on both ends.
//!
//! ```text
//!            2^64 − 1 = slot 0
//!         ╭───────●───────╮          N = 3:  slot 0 at ffff…  owns (aaaa…, ffff…]
//!         │               │                  slot 1 at aaaa…  owns (5555…, aaaa…]
//!  slot 2 ●               ● slot 1           slot 2 at 5555…  owns [0, 5555…]
//!         ╰───────────────╯
//! ```
//!
//! A node that is asked for another's key sends the request on to the slot in its [`RoutingTable`] that is nearest to the owner,
//! counted in slots, the shorter way round. Each table has both neighbours, so every hop comes nearer, and a request arrives.
//!
//! Promises: pure; every place has exactly one owner; hops are at most [`RoutingTable::hops_max`]. Source: Stoica et al. 2001,
//! "Chord: A Scalable Peer-to-peer Lookup Service", section 4, with fingers both ways round.
//! Leaves out: hashes of keys (`proto`), addresses, and changes of a ring.

use alloc::vec::Vec;
use core::fmt;

use crate::types::GroupId;

/// Slots of a ring at most.
pub const RING_SLOTS_MAX: usize = 64;

/// One shard's place on the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// The highest place that it owns.
    pub id: u64,
    /// The replica group there.
    pub group: GroupId,
}

/// The places in (`after`, `up_to`], wrapping; all of them if both are the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arc {
    /// The place before the first.
    pub after: u64,
    /// The last place.
    pub up_to: u64,
}

impl Arc {
    /// Whether a place is in it.
    #[must_use]
    pub fn contains(self, place: u64) -> bool {
        // Distances from behind `after`, so that wrapping makes no difference; of the whole ring the last is 2^64 − 1.
        let first = self.after.wrapping_add(1);
        place.wrapping_sub(first) <= self.up_to.wrapping_sub(first)
    }
}

/// Which slots a node sends requests to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RoutingTable {
    /// All of them.
    #[default]
    Full,
    /// Those 1, 2, 4, 8 … slots away, both ways round.
    Fingers,
    /// The next one each way round.
    Neighbours,
}

impl RoutingTable {
    /// Every one.
    pub const ALL: [RoutingTable; 3] = [RoutingTable::Full, RoutingTable::Fingers, RoutingTable::Neighbours];

    /// The most hops from any slot of a ring of so many to any other.
    #[must_use]
    pub fn hops_max(self, slots: usize) -> usize {
        match self {
            RoutingTable::Full => slots.saturating_sub(1).min(1),
            RoutingTable::Fingers => slots.next_power_of_two().trailing_zeros() as usize,
            RoutingTable::Neighbours => slots / 2,
        }
    }
}

/// Why a list of slots is no ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RingError {
    /// No slot, or more than [`RING_SLOTS_MAX`].
    Count(usize),
    /// Two slots at this id.
    SameId(u64),
    /// Two slots of this group.
    SameGroup(GroupId),
    /// No slot is at 2^64 − 1.
    NoFirst,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RingError::Count(count) => write!(f, "a ring has 1 to {RING_SLOTS_MAX} slots, not {count}"),
            RingError::SameId(id) => write!(f, "two slots are at {id:016x}"),
            RingError::SameGroup(group) => write!(f, "group {} has two slots", group.0),
            RingError::NoFirst => write!(f, "no slot is at {:016x}, where a ring begins", u64::MAX),
        }
    }
}

impl core::error::Error for RingError {}

/// Slots by falling id: the first is at 2^64 − 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ring {
    slots: Vec<Slot>,
}

impl Ring {
    /// The ring of these slots, in any order.
    ///
    /// # Errors
    /// They are none.
    pub fn new(mut slots: Vec<Slot>) -> Result<Ring, RingError> {
        if !(1..=RING_SLOTS_MAX).contains(&slots.len()) {
            return Err(RingError::Count(slots.len()));
        }
        slots.sort_unstable_by_key(|slot| core::cmp::Reverse(slot.id));
        if slots[0].id != u64::MAX {
            return Err(RingError::NoFirst);
        }
        if let Some(pair) = slots.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(RingError::SameId(pair[0].id));
        }
        let mut groups: Vec<GroupId> = slots.iter().map(|slot| slot.group).collect();
        groups.sort_unstable();
        match groups.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(RingError::SameGroup(pair[0])),
            None => Ok(Ring { slots }),
        }
    }

    /// The ring of so many equal shards: slot i is at 2^64 − 1 − ⌊i · 2^64 / count⌋, with group i + 1.
    ///
    /// # Errors
    /// The count is none of a ring.
    pub fn even(count: usize) -> Result<Ring, RingError> {
        let id = |at: usize| {
            let below = ((at as u128) << 64) / count as u128;
            u64::MAX - u64::try_from(below).expect("at is less than count")
        };
        let slot = |at: usize| Slot { id: id(at), group: GroupId(at as u64 + 1) };
        Ring::new((0..count.min(RING_SLOTS_MAX + 1)).map(slot).collect())
    }

    /// The slots, by falling id.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The group at 2^64 − 1, which every ring has.
    #[must_use]
    pub fn first(&self) -> GroupId {
        self.slots[0].group
    }

    /// The number of the slot that owns a place.
    #[must_use]
    pub fn owner(&self, place: u64) -> usize {
        // The last of those at or above it.
        self.slots.partition_point(|slot| slot.id >= place) - 1
    }

    /// The group that owns a place.
    #[must_use]
    pub fn group_of(&self, place: u64) -> GroupId {
        self.slots[self.owner(place)].group
    }

    /// The number of a group's slot.
    #[must_use]
    pub fn slot_of(&self, group: GroupId) -> Option<usize> {
        self.slots.iter().position(|slot| slot.group == group)
    }

    /// The places that a slot owns.
    ///
    /// # Panics
    /// If there is no such slot.
    #[must_use]
    pub fn arc(&self, slot: usize) -> Arc {
        let below = self.slots[(slot + 1) % self.slots.len()];
        Arc { after: below.id, up_to: self.slots[slot].id }
    }

    /// Slots between two, the shorter way round.
    #[must_use]
    pub fn distance(&self, from: usize, to: usize) -> usize {
        let direct = from.abs_diff(to);
        direct.min(self.slots.len() - direct)
    }

    /// The slots that a node of slot `at` sends requests to, each once.
    #[must_use]
    pub fn known(&self, table: RoutingTable, at: usize) -> Vec<usize> {
        let count = self.slots.len();
        let steps: Vec<usize> = match table {
            RoutingTable::Full => (1..count).collect(),
            RoutingTable::Fingers => core::iter::successors(Some(1), |step| Some(step * 2))
                .take_while(|step| *step < count)
                .collect(),
            RoutingTable::Neighbours => (1..count.min(2)).collect(),
        };
        let both = steps.iter().flat_map(|step| [(at + step) % count, (at + count - step) % count]);
        let mut known: Vec<usize> = both.collect();
        known.sort_unstable();
        known.dedup();
        known
    }

    /// Where a node of slot `at` sends a request that is for `owner`: the slot in its table that is nearest to it; of two, the
    /// lower number. `None`: it is the owner.
    #[must_use]
    pub fn next(&self, table: RoutingTable, at: usize, owner: usize) -> Option<usize> {
        if at == owner {
            return None;
        }
        let known = self.known(table, at).into_iter();
        known.min_by_key(|slot| (self.distance(*slot, owner), *slot))
    }
}
