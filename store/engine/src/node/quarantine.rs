//! A replica whose table is wrong, from the word that it is until it has another.
//!
//! ```text
//!  the core says so ─► applier, snapshots and readers are told                              (a crash: told again)
//!  ─► quarantine durable                                                                         (a crash: quarantined again)
//!  a snapshot that the log goes on from is fetched ─► it is snap.N ─► the table is replaced (a crash: fetched again)
//!  ─► the wrong snapshots go ─► the quarantine goes ─► the core is told                          (a crash: as before it)
//! ```
//!
//! Promises *quarantine before discard*: nothing of the table goes before the quarantine is durable, and the quarantine goes after
//! everything wrong has gone. Meanwhile the log goes on: this replica acknowledges and votes. Leaves out the comparison
//! of states ([`store_core::checkpoints`]) and the files ([`crate::snapshots`]).

use store_core::{Checkpoint, Divergence, Input, Position, Role};
use store_db::Table;
use store_log::{Difference, Disk, Quarantine};

use super::Node;
use crate::clock::Clock;
use crate::error::Error;
use crate::job::{Answer, ApplierJob, Imported, NodeOut, Report, RequestId, Shortage, WriterJob};
use crate::limits::RESYNCING_MAX;

impl<D: Disk, T: Table, C: Clock> Node<D, T, C> {
    /// The core says that the table is wrong.
    pub(super) fn quarantine(
        &mut self,
        majority: Option<Checkpoint>,
        own: Option<Checkpoint>,
        damaged: bool,
        outs: &mut Vec<NodeOut>,
    ) {
        let differs = majority.zip(own).map(|(majority, own)| Difference {
            position: majority.position,
            own: own.state_hash,
            majority: majority.state_hash,
        });
        let quarantine = Quarantine { differs, damaged };
        (self.quarantine, self.quarantine_saved) = (Some(quarantine), false);
        outs.push(NodeOut::Write(WriterJob::Quarantine(quarantine)));
        self.snapshots.standing().suspend();
        if self.schedule.under_way().is_some() {
            outs.push(NodeOut::Apply(ApplierJob::CancelSnapshot));
        }
        self.schedule.installing();
        outs.push(NodeOut::Apply(ApplierJob::Quarantine));
        outs.push(NodeOut::Quarantined(self.quarantine));
    }

    /// The quarantine is durable: who asked for it is told so, and the table may be replaced.
    pub(super) fn quarantine_saved(&mut self, outs: &mut Vec<NodeOut>) {
        self.quarantine_saved = true;
        let asked = self.resyncing.drain(..);
        outs.extend(asked.map(|request_id| NodeOut::Answer { request_id, answer: Answer::Resyncing }));
        let install = self.install_waits.take();
        outs.extend(
            install.map(|(position, number)| NodeOut::Apply(ApplierJob::Install { position, number })),
        );
    }

    /// A fetched snapshot replaces table and log; not before the quarantine of the table is durable.
    pub(super) fn install(&mut self, position: Position, number: u64, outs: &mut Vec<NodeOut>) {
        if self.quarantine_saved {
            outs.push(NodeOut::Apply(ApplierJob::Install { position, number }));
        } else {
            self.install_waits = Some((position, number));
        }
    }

    /// Looks whether the store under the table has reported damage, to whatever read met it, and tells what is made of it.
    pub(super) fn look_for_damage(&mut self, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        let damage = self.table.damage();
        if damage.is_some() && !std::mem::replace(&mut self.is_damage_known, damage.is_some()) {
            let alone = self.voters().eq([self.member.node]);
            if alone {
                // Nobody could serve meanwhile, and nobody has a snapshot but this node: it makes its table anew at its start.
                return Err(store_db::Error::Damaged { what: damage.unwrap_or_default() }.into());
            }
            self.step(Input::Damaged, outs)?;
        }
        self.is_damage_known = damage.is_some();
        let stays = damage.filter(|_| self.replica.stays_damaged());
        if stays.is_some() != self.is_damage_told {
            self.is_damage_told = stays.is_some();
            outs.push(NodeOut::Report(Report::Damage(stays)));
        }
        Ok(())
    }

    /// An operator says that the table is wrong.
    pub(super) fn resync(&mut self, request_id: RequestId, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        let view = self.replica.view();
        let leads = view.role == Role::Leader;
        if leads || view.leader.is_none() {
            outs.push(NodeOut::Answer { request_id, answer: Answer::CannotResync { leads } });
            return Ok(());
        }
        self.step(Input::Quarantine, outs)?;
        if self.quarantine_saved {
            outs.push(NodeOut::Answer { request_id, answer: Answer::Resyncing });
        } else if self.resyncing.len() < RESYNCING_MAX {
            self.resyncing.push(request_id);
        } else {
            outs.push(NodeOut::Answer { request_id, answer: Answer::Overloaded(Shortage::Places) });
        }
        Ok(())
    }

    /// A snapshot whose last entry seemed to be in the log is here.
    pub(super) fn replacement_fetched(
        &mut self,
        position: Position,
        outs: &mut Vec<NodeOut>,
    ) -> Result<(), Error> {
        let before = outs.len();
        self.step(Input::FetchedBeside { position }, outs)?;
        if outs.len() == before {
            outs.push(NodeOut::Write(WriterJob::Unstage));
        }
        Ok(())
    }

    /// The table was replaced by a snapshot, with or without the log: what was wrong goes.
    pub(super) fn replaced(&mut self, imported: Imported, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        outs.push(NodeOut::Write(WriterJob::EndQuarantine { number: imported.number }));
        // At once, since the applier goes on: what it notes from here on comes after these.
        self.step(Input::Inherited(imported.checkpoints.clone()), outs)?;
        self.replaced = Some(imported);
        Ok(())
    }

    /// Everything that was wrong is gone.
    pub(super) fn released(&mut self, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        let imported = self.replaced.take().expect("a quarantine goes only after the table was replaced");
        self.quarantine = None;
        self.schedule.installed(imported.position);
        self.step(Input::Released { snapshot: imported.position }, outs)?;
        outs.push(NodeOut::Quarantined(None));
        Ok(())
    }

    /// What the leader that this replica is thinks of the states has changed.
    pub(super) fn doubts(&mut self, divergence: Divergence, outs: &mut Vec<NodeOut>) {
        self.snapshots.standing().divergence(matches!(divergence, Divergence::Undecided(_)));
        outs.push(NodeOut::Report(Report::Divergence(divergence)));
    }
}
