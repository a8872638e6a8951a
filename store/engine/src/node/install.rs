//! A snapshot from the leader on its way into table and log; `Arrival` says how far it is.
//!
//! Promises: a needless snapshot goes; with an installation all notes on the log before it are forgotten.
//! Leaves out the files: [`crate::snapshots`].

use store_core::{Input, Position};
use store_db::Table;
use store_log::Disk;

use super::Node;
use crate::clock::Clock;
use crate::convert;
use crate::error::Error;
use crate::job::{NodeOut, WriterJob};

impl<D: Disk, T: Table, C: Clock> Node<D, T, C> {
    /// A snapshot is here; if it is not needed (any more), it goes.
    pub(super) fn fetched(
        &mut self,
        position: Position,
        number: u64,
        outs: &mut Vec<NodeOut>,
    ) -> Result<(), Error> {
        let not_needed = if self.arrival.fetched(number) {
            self.step(Input::Fetched { position }, outs)?;
            // What is wanted may wait for a ballot before it is installed.
            if self.replica.is_installing() { None } else { self.arrival.unwanted() }
        } else {
            Some(number)
        };
        outs.extend(not_needed.map(|number| NodeOut::Write(WriterJob::Discard { number })));
        Ok(())
    }

    /// The log is reset to the snapshot that is in the table: it is installed.
    pub(super) fn installed(&mut self, after: Position, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        let imported = self.arrival.installed();
        assert_eq!(imported.position, after, "one snapshot is installed at a time");
        let membership = convert::membership_in(&imported.membership)?;
        self.unwritten.clear();
        self.unwritten_bytes = 0;
        self.cache.reset(after.offset);
        self.log_clock.note(imported.log_time_ms);
        self.schedule.installed(after);
        self.members = vec![(imported.membership_offset, imported.membership.clone())];
        self.tell_members(outs);
        let membership = (imported.membership_offset, membership);
        self.step(Input::Installed { position: after, membership }, outs)?;
        if self.quarantine.is_some() {
            self.schedule.installing();
            return self.replaced(imported, outs);
        }
        self.step(Input::Inherited(imported.checkpoints), outs)
    }
}
