//! The duty to answer the request ids of committed entries: the applier's, when it has applied them, unless the node has told
//! them meanwhile that the outcome is unknown, because the applier stands still.
//!
//! Promises: each request id is answered by one of the two. Nothing is done under the lock but to compare offsets.

use parking_lot::Mutex;
use store_core::Offset;

/// How far each of the two has answered; everything at or below is answered.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    answered: Mutex<Answered>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Answered {
    by_applier: Offset,
    by_node: Offset,
}

impl Claims {
    /// The applier is about to answer everything up to here; the offset up to which it must not.
    pub(crate) fn apply(&self, up_to: Offset) -> Offset {
        let mut answered = self.answered.lock();
        answered.by_applier = answered.by_applier.max(up_to);
        answered.by_node
    }

    /// The node is about to answer everything up to here; the offset up to which the applier has.
    pub(crate) fn give_up(&self, up_to: Offset) -> Offset {
        let mut answered = self.answered.lock();
        answered.by_node = answered.by_node.max(up_to);
        answered.by_applier
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_answered_by_one_of_the_two() {
        let claims = Claims::default();
        assert_eq!(claims.apply(Offset(3)), Offset(0), "all of it is the applier's");
        assert_eq!(claims.give_up(Offset(5)), Offset(3), "the node answers 4 and 5");
        assert_eq!(claims.apply(Offset(7)), Offset(5), "and the applier 6 and 7");
    }
}
