//! The words for people and clients when a replica's table is wrong, and when the replicas differ.
//!
//! The rules are `store-core`'s, the steps `store-engine`'s and the words [`crate::states`]'; here are the problem in the
//! status, and the refusal of every read of a table that is not to be believed.

use proto::store::{Failure, FailureReason};
use store_client::failure::failure;
use store_core::Doubt;
use store_log::Fence;

use crate::problems::About;
use crate::shared::Shared;
use crate::states::{damage_text, doubt_text, fence_text};

/// Refuses to read a table that is not to be believed.
pub(crate) fn check(shared: &Shared) -> Result<(), Failure> {
    match &*shared.fence.borrow() {
        None => Ok(()),
        Some(fence) => Err(failure(FailureReason::NotServing, fence_text(fence))),
    }
}

/// From here on the table is wrong, or right again.
pub(crate) fn fenced(shared: &Shared, fence: Option<Fence>) {
    match &fence {
        Some(fence) => {
            let why = fence_text(fence);
            tracing::error!(why, "this replica's state is wrong: it is fenced");
            shared.problems.raise(About::Fence, why);
        }
        None => {
            tracing::warn!("the wrong state was replaced by a snapshot: this replica serves again");
            shared.problems.clear(About::Fence);
        }
    }
    shared.fence.send_replace(fence);
}

/// LMDB reports damage, and this node goes on with it; or no longer.
pub(crate) fn damaged(shared: &Shared, damage: Option<String>) {
    match damage {
        Some(damage) => {
            let why = damage_text(&damage);
            tracing::error!(why, "the database is damaged");
            shared.problems.raise(About::Damage, why);
        }
        None => drop(shared.problems.clear(About::Damage)),
    }
}

/// What the leader that this node is thinks of the states has changed.
pub(crate) fn doubted(shared: &Shared, doubt: Doubt) {
    let why = doubt_text(doubt);
    match doubt {
        Doubt::None => {
            tracing::info!("a majority has the same state");
            shared.problems.clear(About::Doubt);
        }
        Doubt::Contested(_) | Doubt::Divided(_) => {
            tracing::error!(why, "the replicas' states differ");
            shared.problems.raise(About::Doubt, why);
        }
    }
}
