//! The words for a replica's table that is wrong, and for replicas that differ.

use store_core::Doubt;
use store_log::Fence;

/// Why this replica's table is not to be believed, and what is done about it.
pub(crate) fn fence_text(fence: &Fence) -> String {
    let why = match fence.differs {
        Some(differs) => format!(
            "at {} a majority has another state than this replica (hash {:016x}, here {:016x})",
            differs.position, differs.majority, differs.own
        ),
        None if fence.damaged => "LMDB reports that the database here is damaged".to_owned(),
        None => "an operator asked for it".to_owned(),
    };
    format!(
        "fenced: {why}; it serves no reads and does not lead until its database was replaced by the leader's"
    )
}

/// Why a replica goes on with a damaged table.
pub(crate) fn damage_text(damage: &str) -> String {
    format!(
        "LMDB reports that the database here is damaged: {damage}; reads that meet it fail. No other voter can lead and serve now, so \
         this node goes on; it takes another state as soon as one can: start the others"
    )
}

/// What speaks against the replicas' states; empty: nothing.
pub(crate) fn doubt_text(doubt: Doubt) -> String {
    match doubt {
        Doubt::None => String::new(),
        Doubt::Contested(at) => format!(
            "two replicas have different states at offset {at}, and no majority says yet which is right: start the \
             others; until then no snapshots are given away"
        ),
        Doubt::Divided(at) => format!(
            "the replicas have different states at offset {at}, and no majority has the same one: writes are refused. \
             Compare them (feira audit), hand over to one that is right, and have another one take its state (feira \
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
        let told = fence_text(&Fence { differs: Some(differs), damaged: false });
        assert!(
            told.contains("at e3:2048") && told.contains("00000000000000cd, here 00000000000000ab"),
            "{told}"
        );
        assert!(doubt_text(Doubt::Divided(Offset(7))).contains("writes are refused"));
    }
}
