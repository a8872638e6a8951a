//! The progress of a snapshot that comes from the leader. One is installed at a time; others that arrive meanwhile
//! go: the leader offers a needed one again.
//!
//! ```text
//!  None ── fetched ──► Fetched ── the core wants it ──► Importing ── in the table ──► Resetting ── log reset ──► None
//!                         └────── it does not ──► None (the file goes)
//! ```

use crate::job::Imported;

/// Where it stands.
#[derive(Debug, Default)]
pub(crate) enum Arrival {
    /// None is arriving.
    #[default]
    None,
    /// `snap.X` of this number is here; the core is asked whether it is needed.
    Fetched(u64),
    /// The applier replaces the table by it.
    Importing(u64),
    /// It is the table; the writer lets the log begin after it.
    Resetting(Imported),
}

impl Arrival {
    /// `snap.number` is here. False: another is being installed, so that this one is not needed.
    pub(crate) fn fetched(&mut self, number: u64) -> bool {
        let free = matches!(self, Arrival::None);
        if free {
            *self = Arrival::Fetched(number);
        }
        free
    }

    /// The core wants what was fetched; its number.
    pub(crate) fn install(&mut self) -> u64 {
        let Arrival::Fetched(number) = *self else { unreachable!("only what was fetched is installed") };
        *self = Arrival::Importing(number);
        number
    }

    /// The core was asked; the number of a snapshot that it did not want.
    pub(crate) fn unwanted(&mut self) -> Option<u64> {
        let Arrival::Fetched(number) = *self else { return None };
        *self = Arrival::None;
        Some(number)
    }

    /// The table is the snapshot; its number.
    pub(crate) fn imported(&mut self, imported: Imported) -> u64 {
        let Arrival::Importing(number) = *self else {
            unreachable!("a snapshot is imported only while it is installed")
        };
        *self = Arrival::Resetting(imported);
        number
    }

    /// The log begins after the snapshot: it is installed.
    pub(crate) fn installed(&mut self) -> Imported {
        match std::mem::take(self) {
            Arrival::Resetting(imported) => imported,
            other => unreachable!("the log is reset only to an imported snapshot, not in {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store_core::{Offset, Position};

    #[test]
    fn one_is_installed_at_a_time_and_what_comes_meanwhile_is_not_needed() {
        let mut arrival = Arrival::default();
        assert!(arrival.fetched(4));
        assert_eq!((arrival.unwanted(), arrival.unwanted()), (Some(4), None));
        assert!(arrival.fetched(5));
        assert_eq!(arrival.install(), 5);
        assert!(!arrival.fetched(6));
        assert_eq!(arrival.unwanted(), None, "it is being installed");
        let imported = Imported {
            number: 5,
            position: Position::new(2, 9),
            checkpoints: Vec::new(),
            log_time_ms: 7,
            membership_offset: Offset(1),
            membership: proto::store::Membership::default(),
        };
        assert_eq!(arrival.imported(imported.clone()), 5);
        assert!(!arrival.fetched(7));
        assert_eq!(arrival.installed(), imported);
        assert!(arrival.fetched(8));
    }
}
