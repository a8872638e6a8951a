//! The moves of an order after its confirmation, in one table: what may follow what, and what becomes of the units.
//!
//! ```text
//!   confirmed ─ pay ─► paid ─ pack ─► packed ─ send ─► sent ─ return ─► returned ─ refund ─► refunded
//!                       └── refund ──────┴─────────────────────────────────────────────────────┘
//!
//!   held                                    ──► sold   ──► available, or written off
//! ```
//!
//! Promises: [`Move::step`] is the whole table; `docs/SCHEMA.md` prints it, and a test compares both. No state comes twice on
//! a way, so that a move that is repeated finds the order where it was to go, and changes nothing.

use super::order::Phase;
use super::staff_note::{Did, StaffNote};

/// A move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// The client has paid.
    Pay,
    /// The goods are packed.
    Pack,
    /// The goods have left.
    Send,
    /// The goods came back.
    Return {
        /// They can be sold again; else they are written off.
        restock: bool,
    },
    /// The client got the money back.
    Refund,
}

/// What becomes of the units of an order's lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Units {
    /// Nothing.
    Stay,
    /// What was held is sold.
    Sell,
    /// What was held can be sold to others.
    Release,
    /// What was sold can be sold again.
    Restock,
    /// What was sold is of no use any more: adjusted away.
    WriteOff,
}

/// Where a move leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The state from then on.
    pub to: Phase,
    /// What becomes of the units.
    pub units: Units,
    /// What the note says.
    pub did: Did,
}

impl Move {
    /// All of them.
    pub const ALL: [Move; 6] = [
        Move::Pay,
        Move::Pack,
        Move::Send,
        Move::Return { restock: true },
        Move::Return { restock: false },
        Move::Refund,
    ];

    /// The table: the step from a state; `None`: there is none.
    #[must_use]
    pub const fn step(self, from: Phase) -> Option<Step> {
        let (units, did) = match (self, from) {
            (Move::Pay, Phase::Confirmed) => (Units::Stay, Did::Paid),
            (Move::Pack, Phase::Paid) => (Units::Stay, Did::Packed),
            (Move::Send, Phase::Packed) => (Units::Sell, Did::Sent),
            (Move::Return { restock: true }, Phase::Sent) => (Units::Restock, Did::Returned),
            (Move::Return { restock: false }, Phase::Sent) => (Units::WriteOff, Did::Discarded),
            (Move::Refund, Phase::Paid | Phase::Packed) => (Units::Release, Did::Refunded),
            (Move::Refund, Phase::Returned) => (Units::Stay, Did::Refunded),
            _ => return None,
        };
        Some(Step { to: self.to(), units, did })
    }

    /// The state that it leads to, from wherever.
    #[must_use]
    pub const fn to(self) -> Phase {
        match self {
            Move::Pay => Phase::Paid,
            Move::Pack => Phase::Packed,
            Move::Send => Phase::Sent,
            Move::Return { .. } => Phase::Returned,
            Move::Refund => Phase::Refunded,
        }
    }

    /// Whether an order came back before in the other way: its goods sold again, or of no use. Notes go after a while; then nobody knows.
    #[must_use]
    pub fn contradicts(self, notes: &[StaffNote]) -> bool {
        let other = match self {
            Move::Return { restock: true } => Did::Discarded,
            Move::Return { restock: false } => Did::Returned,
            Move::Pay | Move::Pack | Move::Send | Move::Refund => return false,
        };
        notes.iter().any(|note| note.did == other)
    }

    /// The words of the states that it leads on from: `paid, packed or returned`.
    #[must_use]
    pub fn from_words(self) -> String {
        let from: Vec<&str> =
            Phase::ALL.into_iter().filter(|from| self.step(*from).is_some()).map(Phase::word).collect();
        match from.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => from.concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn word(of: Move) -> &'static str {
        match of {
            Move::Pay => "PayOrder",
            Move::Pack => "PackOrder",
            Move::Send => "SendOrder",
            Move::Return { restock: true } => "ReturnOrder with `restock`",
            Move::Return { restock: false } => "ReturnOrder without",
            Move::Refund => "RefundOrder",
        }
    }

    const fn moved(units: Units) -> &'static str {
        match units {
            Units::Stay => "none",
            Units::Sell => "held → sold",
            Units::Release => "held → available",
            Units::Restock => "sold → available",
            Units::WriteOff => "sold → adjusted (−)",
        }
    }

    #[test]
    fn the_table_for_people_is_the_table() {
        let text = include_str!("../../../docs/SCHEMA.md");
        let mut rows = 0;
        for of in Move::ALL {
            for from in Phase::ALL {
                let Some(Step { to, units, .. }) = of.step(from) else { continue };
                let row =
                    format!("| {} | `{}` | `{}` | {} |", word(of), from.word(), to.word(), moved(units));
                assert!(text.contains(&row), "docs/SCHEMA.md has no row {row}");
                rows += 1;
            }
        }
        let (_, section) = text.split_once("#### Moves").expect("the section");
        let told = section.lines().skip(1).take_while(|line| !line.starts_with('#'));
        let told = told.filter(|line| line.starts_with('|') && line.contains("Order")).count();
        assert_eq!((rows, told), (8, 8), "and no row more");
    }

    /// A repeated move finds its order where it led: no way comes back to a state.
    #[test]
    fn no_state_comes_twice_and_none_leads_back() {
        for start in Phase::ALL {
            let mut reached = vec![start];
            let mut next = 0;
            while next < reached.len() {
                for of in Move::ALL {
                    reached.extend(of.step(reached[next]).map(|step| step.to));
                }
                next += 1;
                assert!(next < 100, "{start:?} never ends: {reached:?}");
            }
            assert!(reached[1..].iter().all(|one| *one != start), "{start:?}: {reached:?}");
        }
    }

    /// Units are in one place: held, sold or neither, as the state says.
    #[test]
    fn what_becomes_of_the_units_fits_the_states() {
        for of in Move::ALL {
            for from in Phase::ALL {
                let Some(Step { to, units, .. }) = of.step(from) else { continue };
                let places = |phase: Phase| (phase.holds(), phase.has_sold());
                let (before, after) = match units {
                    Units::Stay => (places(from), places(from)),
                    Units::Sell => ((true, false), (false, true)),
                    Units::Release => ((true, false), (false, false)),
                    Units::Restock | Units::WriteOff => ((false, true), (false, false)),
                };
                assert_eq!((places(from), places(to)), (before, after), "{of:?} from {from:?}");
            }
        }
    }

    #[test]
    fn a_move_names_where_it_leads_on_from() {
        assert_eq!(Move::Pay.from_words(), "confirmed");
        assert_eq!(Move::Refund.from_words(), "paid, packed or returned");
    }
}
