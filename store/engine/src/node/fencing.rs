//! A replica whose table is wrong, from the word that it is until it has another.
//!
//! ```text
//!  the core says so ─► applier, snapshots and whoever reads are told                        (a crash: told again)
//!  ─► fence durable                                                                         (a crash: fenced again)
//!  a snapshot that the log goes on from is fetched ─► it is snap.N ─► the table is replaced (a crash: fetched again)
//!  ─► the wrong snapshots go ─► the fence goes ─► the core is told                          (a crash: as before it)
//! ```
//!
//! Promises *fence before discard*: nothing of the table goes before the fence is durable, and the fence goes after
//! everything that was wrong has gone. Meanwhile the log goes on: this replica acknowledges and votes. Leaves out who is
//! right ([`store_core::checkpoints`]) and the files ([`crate::snapshots`]).

use store_core::{Checkpoint, Doubt, Input, Position, Role};
use store_db::Table;
use store_log::{Difference, Disk, Fence};

use super::Node;
use crate::clock::Clock;
use crate::error::Error;
use crate::job::{Answer, ApplierJob, Imported, Lack, NodeOut, Report, Ticket, WriterJob};
use crate::limits::RESYNCING_MAX;

impl<D: Disk, T: Table, C: Clock> Node<D, T, C> {
    /// The core says that the table is wrong.
    pub(super) fn fence(
        &mut self,
        majority: Option<Checkpoint>,
        own: Option<Checkpoint>,
        damaged: bool,
        outs: &mut Vec<NodeOut>,
    ) {
        let differs = majority.zip(own).map(|(majority, own)| Difference {
            position: majority.position,
            own: own.effects,
            majority: majority.effects,
        });
        let fence = Fence { differs, damaged };
        (self.fence, self.fence_saved) = (Some(fence), false);
        outs.push(NodeOut::Write(WriterJob::Fence(fence)));
        self.snapshots.standing().suspend();
        if self.schedule.under_way().is_some() {
            outs.push(NodeOut::Apply(ApplierJob::CancelSnapshot));
        }
        self.schedule.installing();
        outs.push(NodeOut::Apply(ApplierJob::Fence));
        outs.push(NodeOut::Fenced(self.fence));
    }

    /// The fence is durable: who asked for it is told so, and the table may be replaced.
    pub(super) fn fence_saved(&mut self, outs: &mut Vec<NodeOut>) {
        self.fence_saved = true;
        let asked = self.resyncing.drain(..);
        outs.extend(asked.map(|ticket| NodeOut::Answer { ticket, answer: Answer::Resyncing }));
        let install = self.install_waits.take();
        outs.extend(
            install.map(|(position, number)| NodeOut::Apply(ApplierJob::Install { position, number })),
        );
    }

    /// A fetched snapshot replaces table and log; not before the fence of the table is durable.
    pub(super) fn install(&mut self, position: Position, number: u64, outs: &mut Vec<NodeOut>) {
        if self.fence_saved {
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
    pub(super) fn resync(&mut self, ticket: Ticket, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        let view = self.replica.view();
        let leads = view.role == Role::Leader;
        if leads || view.leader.is_none() {
            outs.push(NodeOut::Answer { ticket, answer: Answer::CannotResync { leads } });
            return Ok(());
        }
        self.step(Input::Fence, outs)?;
        if self.fence_saved {
            outs.push(NodeOut::Answer { ticket, answer: Answer::Resyncing });
        } else if self.resyncing.len() < RESYNCING_MAX {
            self.resyncing.push(ticket);
        } else {
            outs.push(NodeOut::Answer { ticket, answer: Answer::Overloaded(Lack::Places) });
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
        outs.push(NodeOut::Write(WriterJob::Unfence { number: imported.number }));
        // At once, since the applier goes on: what it notes from here on comes after these.
        self.step(Input::Inherited(imported.checkpoints.clone()), outs)?;
        self.replaced = Some(imported);
        Ok(())
    }

    /// Everything that was wrong is gone.
    pub(super) fn unfenced(&mut self, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        let imported = self.replaced.take().expect("a fence goes only after the table was replaced");
        self.fence = None;
        self.schedule.installed(imported.position);
        self.step(Input::Unfenced { snapshot: imported.position }, outs)?;
        outs.push(NodeOut::Fenced(None));
        Ok(())
    }

    /// What the leader that this replica is thinks of the states has changed.
    pub(super) fn doubts(&mut self, doubt: Doubt, outs: &mut Vec<NodeOut>) {
        self.snapshots.standing().doubt(matches!(doubt, Doubt::Contested(_)));
        outs.push(NodeOut::Report(Report::Doubt(doubt)));
    }
}
