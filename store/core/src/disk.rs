//! The replica's own disk, as far as its reports tell: whether it hangs, and for how long it is not to be relied on after
//! that. A disk that hangs reports nothing, so all there is to see is that time passes.
//!
//! ```text
//!   work is handed over ─┬─ reported in time: well
//!                        └─ not: hangs ─────── reported at last: unfit for a while, twice as long each time ──► well
//! ```
//!
//! Work in hand: appends and truncations of the log, the ballot, and entries to be applied to the database. Leaves out
//! the leader's reaction ([`crate::leader`]).

use crate::config::Config;
use crate::limits;
use crate::types::Offset;

/// What of a disk does not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hang {
    /// The log.
    Log,
    /// The file of the ballot.
    Ballot,
    /// The database.
    Database,
}

/// What is to be said of a replica's disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskView {
    /// It does not answer.
    pub hangs: Option<Hang>,
    /// It has answered again, and is not relied on for so many ticks more.
    pub unfit_ticks: u32,
    /// This replica leads, its disk hangs, and the others are no majority without it: writes wait for the disk.
    pub writes_wait: bool,
}

/// What is in hand of a disk, at one tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InHand {
    /// The end of the log, and how far it is durable.
    pub(crate) log: (Offset, Offset),
    /// A ballot is being saved.
    pub(crate) ballot: bool,
    /// What is committed, and how far it is applied; `None`: the database is being replaced.
    pub(crate) database: Option<(Offset, Offset)>,
}

/// The disk, tick by tick.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    /// The log is awaited to be durable up to here, for so many ticks.
    log: Option<(Offset, u32)>,
    /// Ticks for which a ballot is being saved.
    ballot: u32,
    /// What was applied last, and the ticks since then in which there was more to apply.
    database: (Offset, u32),
    /// It hangs.
    hangs: Option<Hang>,
    /// Ticks for which it is not relied on.
    unfit: u32,
    /// How long that was, the last time; 0: never yet, or long ago.
    length: u32,
    /// Ticks since it hung last.
    since: u32,
}

impl Disk {
    /// Counts a tick.
    pub(crate) fn tick(&mut self, config: &Config, in_hand: InHand) {
        self.count(in_hand);
        let patience = config.ticks_election_max;
        let late_log = self.log.is_some_and(|(_, ticks)| ticks >= patience);
        let patience_applying = config.ticks_election_min.saturating_mul(limits::HANG_TIMERS);
        let hangs = match () {
            () if late_log => Some(Hang::Log),
            () if self.is_ballot_late(config) => Some(Hang::Ballot),
            () if self.database.1 >= patience_applying => Some(Hang::Database),
            () => None,
        };
        let ended = self.hangs.is_some() && hangs.is_none();
        self.hangs = hangs;
        if ended {
            self.distrust(config);
        } else if hangs.is_none() {
            self.unfit = self.unfit.saturating_sub(1);
            self.since = self.since.saturating_add(1);
        }
        if self.since >= config.ticks_hang_remembered {
            self.length = 0;
        }
    }

    fn count(&mut self, in_hand: InHand) {
        let (last, durable) = in_hand.log;
        self.log = match self.log {
            Some((at, ticks)) if durable < at && at <= last => Some((at, ticks.saturating_add(1))),
            _ => (durable < last).then_some((last, 0)),
        };
        self.ballot = if in_hand.ballot { self.ballot.saturating_add(1) } else { 0 };
        self.database = match in_hand.database {
            Some((committed, applied)) if applied == self.database.0 && applied < committed => {
                (applied, self.database.1.saturating_add(1))
            }
            Some((_, applied)) => (applied, 0),
            None => (self.database.0, 0),
        };
    }

    /// It answered again.
    fn distrust(&mut self, config: &Config) {
        let first = config.ticks_election_max.saturating_mul(limits::HANG_TIMERS);
        self.length = match self.length {
            0 => first,
            before => before.saturating_mul(2).min(config.ticks_hang_remembered),
        };
        (self.unfit, self.since) = (self.length, 0);
    }

    /// The log has been awaited up to here for an election timer already, as acks of others have told.
    pub(crate) fn is_late(&mut self, config: &Config, at: Offset) {
        self.log = Some((at, config.ticks_election_max));
        self.hangs = Some(Hang::Log);
    }

    /// Whether a ballot has been waited for for an election timer.
    pub(crate) fn is_ballot_late(&self, config: &Config) -> bool {
        self.ballot >= config.ticks_election_max
    }

    /// What does not answer.
    pub(crate) fn hangs(&self) -> Option<Hang> {
        self.hangs
    }

    /// Whether it hangs, or did until lately: leadership goes elsewhere.
    pub(crate) fn is_unfit(&self) -> bool {
        self.hangs.is_some() || self.unfit > 0
    }

    pub(crate) fn view(&self, writes_wait: bool) -> DiskView {
        DiskView { hangs: self.hangs, unfit_ticks: self.unfit, writes_wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, Member, NodeId};

    const WELL: InHand =
        InHand { log: (Offset(5), Offset(5)), ballot: false, database: Some((Offset(5), Offset(5))) };
    const LATE: InHand = InHand { log: (Offset(6), Offset(5)), ..WELL };

    fn config() -> Config {
        Config::new(Member { node: NodeId(1), incarnation: Incarnation(1) })
    }

    fn tick(disk: &mut Disk, count: u32, in_hand: InHand) {
        (0..count).for_each(|_| disk.tick(&config(), in_hand));
    }

    #[test]
    fn a_disk_is_unfit_for_twice_as_long_each_time_that_it_hangs_within_an_hour() {
        let (config, mut disk) = (config(), Disk::default());
        let first = limits::HANG_TIMERS * config.ticks_election_max;
        for length in [first, 2 * first, 4 * first] {
            tick(&mut disk, config.ticks_election_max, LATE);
            assert_eq!(disk.hangs(), None, "not late yet");
            tick(&mut disk, 1, LATE);
            assert_eq!(disk.hangs(), Some(Hang::Log));
            tick(&mut disk, 1, WELL);
            assert_eq!((disk.hangs(), disk.view(false).unfit_ticks), (None, length));
            tick(&mut disk, length - 1, WELL);
            assert!(disk.is_unfit());
            tick(&mut disk, 1, WELL);
            assert!(!disk.is_unfit());
        }
        tick(&mut disk, config.ticks_hang_remembered, WELL);
        tick(&mut disk, config.ticks_election_max + 1, LATE);
        tick(&mut disk, 1, WELL);
        assert_eq!(disk.view(false).unfit_ticks, first, "an hour later it is as if it never had");
    }

    #[test]
    fn a_disk_that_reports_does_not_hang_however_much_it_has_in_hand() {
        let (config, mut disk) = (config(), Disk::default());
        for offset in 1..10 * u64::from(config.ticks_election_max) {
            let in_hand = InHand { log: (Offset(offset + 20), Offset(offset)), ..WELL };
            tick(&mut disk, 1, in_hand);
            assert_eq!(disk.hangs(), None);
        }
    }

    #[test]
    fn a_ballot_and_a_database_hang_too_but_not_while_it_is_replaced() {
        let (config, mut disk) = (config(), Disk::default());
        tick(&mut disk, config.ticks_election_max, InHand { ballot: true, ..WELL });
        assert_eq!(disk.hangs(), Some(Hang::Ballot));
        let behind = InHand { database: Some((Offset(9), Offset(5))), ..WELL };
        tick(&mut disk, config.ticks_election_min * limits::HANG_TIMERS - 1, behind);
        assert_eq!(disk.hangs(), None);
        tick(&mut disk, 1, behind);
        assert_eq!(disk.hangs(), Some(Hang::Database));
        tick(&mut disk, 1, InHand { database: None, ..WELL });
        assert_eq!(disk.hangs(), None);
        tick(&mut disk, 10 * config.ticks_election_max, InHand { database: None, ..WELL });
        assert_eq!(disk.hangs(), None);
    }

    #[test]
    fn a_truncation_takes_what_was_awaited_with_it() {
        let (config, mut disk) = (config(), Disk::default());
        tick(&mut disk, config.ticks_election_max, InHand { log: (Offset(9), Offset(5)), ..WELL });
        tick(&mut disk, 1, InHand { log: (Offset(6), Offset(5)), ..WELL });
        assert_eq!(disk.hangs(), None);
    }
}
