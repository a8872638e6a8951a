//! The words for people and clients when a replica's table is wrong, and when the replicas differ.
//!
//! The rules are `store-core`'s, the steps `store-engine`'s and the words [`store_engine::states`]'; here are the problem in the
//! status, and the refusal of every read of a table that is not to be believed.

use proto::store::{Failure, FailureReason};
use store_client::failure::failure;
use store_core::Divergence;
use store_log::Quarantine;

use crate::problems::About;
use crate::shared::Shared;
use store_engine::states::{damage_text, divergence_text, quarantine_text};

/// Refuses to read a table that is not to be believed.
pub(crate) fn check(shared: &Shared) -> Result<(), Failure> {
    match &*shared.quarantine.borrow() {
        None => Ok(()),
        Some(quarantine) => Err(failure(FailureReason::NotServing, quarantine_text(quarantine))),
    }
}

/// From here on the table is wrong, or right again.
pub(crate) fn quarantined(shared: &Shared, quarantine: Option<Quarantine>) {
    match &quarantine {
        Some(quarantine) => {
            let why = quarantine_text(quarantine);
            tracing::error!(why, "this replica's state is wrong: it is quarantined");
            shared.problems.raise(About::Quarantine, why);
        }
        None => {
            tracing::warn!("the wrong state was replaced by a snapshot: this replica serves again");
            shared.problems.clear(About::Quarantine);
        }
    }
    shared.quarantine.send_replace(quarantine);
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
pub(crate) fn states_differ(shared: &Shared, divergence: Divergence) {
    let why = divergence_text(divergence);
    match divergence {
        Divergence::None => {
            tracing::info!("a majority has the same state");
            shared.problems.clear(About::Divergence);
        }
        Divergence::Undecided(_) => {
            // Most often the answer that decides comes within milliseconds.
            tracing::warn!(why, "the replicas' states differ");
            shared.problems.raise(About::Divergence, why);
        }
        Divergence::NoMajority(_) => {
            tracing::error!(why, "the replicas' states differ");
            shared.problems.raise(About::Divergence, why);
        }
    }
}
