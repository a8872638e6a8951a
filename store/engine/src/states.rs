//! The words for a replica's table that is wrong, and for replicas that differ.

use store_core::Divergence;
use store_log::Quarantine;

/// Why this replica's table is not to be believed, and what is done about it.
#[must_use]
pub fn quarantine_text(quarantine: &Quarantine) -> String {
    let why = match quarantine.differs {
        Some(differs) => format!(
            "at {} a majority has another state than this replica (hash {:016x}, here {:016x})",
            differs.position, differs.majority, differs.own
        ),
        None if quarantine.damaged => "LMDB reports that the database here is damaged".to_owned(),
        None => "an operator asked for it".to_owned(),
    };
    format!(
        "quarantined: {why}; it serves no reads and does not lead until its database was replaced by the leader's"
    )
}

/// Why a replica goes on with a damaged table.
#[must_use]
pub fn damage_text(damage: &str) -> String {
    format!(
        "LMDB reports that the database here is damaged: {damage}; reads that meet it fail. No other voter can lead and serve now, so \
         this node goes on; it takes another state as soon as one can: start the others"
    )
}

/// What speaks against the replicas' states; empty: nothing.
#[must_use]
pub fn divergence_text(divergence: Divergence) -> String {
    match divergence {
        Divergence::None => String::new(),
        Divergence::Undecided(at) => format!(
            "two replicas have different states at offset {at}, and no majority says yet which is right: start the \
             others; until then no snapshots are given away"
        ),
        Divergence::NoMajority(at) => format!(
            "the replicas have different states at offset {at}, and no majority has the same one: writes are refused. \
             Compare them (feira audit), transfer leadership to one that is right, and have another one take its state (feira \
             node resync NODE)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store_core::{Offset, Position};
    use store_log::Difference;

    #[test]
    fn a_fence_says_where_and_what_differs() {
        let differs = Difference { position: Position::new(3, 2048), own: 0xab, majority: 0xcd };
        let told = quarantine_text(&Quarantine { differs: Some(differs), damaged: false });
        assert!(
            told.contains("at e3:2048") && told.contains("00000000000000cd, here 00000000000000ab"),
            "{told}"
        );
        assert!(divergence_text(Divergence::NoMajority(Offset(7))).contains("writes are refused"));
    }
}
