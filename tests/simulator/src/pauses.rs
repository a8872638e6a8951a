//! The pauses of an applier: what is read at one moment is read while it stands still.

use store_core::Position;
use store_db::Table as _;
use store_engine::{Error, Job, Pause};

use crate::driver::Driver;
use crate::oracle::Oracle;
use crate::violation::ensure;

impl Driver {
    /// Does what the applier has paused for, and lets it go on.
    ///
    /// # Errors
    /// The process must end.
    pub(crate) fn paused(&mut self, pause: Pause, oracle: &mut Oracle) -> Result<(), Error> {
        match pause {
            Pause::Audit { id, .. } => {
                let up = self.up.as_ref().expect("it runs");
                let cross = up.cross.as_ref().expect("nobody asks for an audit of the only group");
                if !self.wrong {
                    cross.host.view(id);
                }
            }
            Pause::Snapshot { position, number } => self.snapshot(position, number, oracle)?,
        }
        let up = self.up.as_mut().expect("it runs");
        up.applier.resume();
        up.applier_has_more = true;
        Ok(())
    }

    fn snapshot(&mut self, position: Position, number: u64, oracle: &mut Oracle) -> Result<(), Error> {
        let may_fail = self.may_fail();
        let up = self.up.as_mut().expect("it runs");
        oracle.snapshot_at(self.index, position, number);
        let written = self
            .table
            .read_settled(|read| Ok(up.snapshots.write(read, up.snapshots.vintage(), number, position)))?;
        let told = match written {
            Ok(()) => {
                self.taken += 1;
                Job::SnapshotTaken { position }
            }
            Err(error) if error.is_fatal() => return Err(error),
            Err(_) => {
                let may_fail = may_fail || up.node.status().quarantine.is_some();
                ensure(may_fail, "a snapshot can be taken", || format!("{} at {position}", self.member.node));
                Job::SnapshotFailed { position }
            }
        };
        up.background.push_back(told);
        Ok(())
    }
}
