//! The time in which a ballot is on its way to the disk, however long that takes.
//!
//! ```text
//!   step ─► save ballot ─┬─ dependent outputs: held ───────────────────────────► carried out ─► waiting inputs
//!                        └─ other outputs: carried out at once        saved ──►┘
//!   meanwhile: ticks pass, clients are refused, status is told, the log's reports and peers' messages wait
//! ```
//!
//! Promises: outputs after a ballot leave after that ballot is durable, and in order; the waiting inputs are bounded.
//! Leaves out which outputs depend on a ballot: [`store_core::Output::after`].

use store_core::{Ballot, Durable, Input, Output};
use store_db::Table;
use store_log::Disk;

use super::{Carried, Node, Saving, bytes_of};
use crate::clock::Clock;
use crate::error::Error;
use crate::job::{Answer, Job, NodeOut};
use crate::limits::{SAVING_BYTES_MAX, SAVING_MESSAGES_MAX};

impl<D: Disk, T: Table, C: Clock> Node<D, T, C> {
    /// Carries out one output, or holds it if a ballot before it is being saved.
    pub(super) fn carry_out_or_hold(
        &mut self,
        output: Output,
        carried: &mut Carried,
        outs: &mut Vec<NodeOut>,
    ) -> Result<(), Error> {
        match &mut self.saving {
            Some(saving) if output.after() == Durable::Ballot => {
                saving.held.push(output);
                Ok(())
            }
            _ => self.carry_out(output, carried, outs),
        }
    }

    /// The bytes that came with the input stay with what is held of its outputs.
    pub(super) fn keep(&mut self, carried: Carried) {
        if let Some(saving) = self.saving.as_mut().filter(|_| !matches!(carried, Carried::Nothing)) {
            saving.carried = carried;
        }
    }

    /// A ballot is durable: what waited for it goes on, until there is another one to be saved. Messages that have waited for
    /// too long are lost, as in a network.
    pub(super) fn ballot_saved(&mut self, ballot: Ballot, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        let is_late = self.replica.is_ballot_late();
        self.step(Input::BallotSaved { ballot }, outs)?;
        if self.replica.is_saving() {
            return Ok(());
        }
        let Some(Saving { held, mut carried, jobs, .. }) = self.saving.take() else { return Ok(()) };
        // After an election timer nobody waits for a vote, and an order to campaign is out of date.
        let is_old = |output: &Output| is_late && matches!(output, Output::Send { .. });
        for output in held.into_iter().filter(|output| !is_old(output)) {
            self.carry_out(output, &mut carried, outs)?;
        }
        for job in jobs {
            self.take(job, outs)?;
        }
        Ok(())
    }

    /// Takes what has come while a ballot is being saved. Peers' messages beyond the bound are lost, as in a network.
    pub(super) fn take_while_saving(&mut self, job: Job, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        match job {
            Job::BallotSaved { ballot } => return self.ballot_saved(ballot, outs),
            Job::Tick => return self.tick(outs),
            Job::Write { request_id, .. }
            | Job::WriteAnyway { request_id, .. }
            | Job::Read { request_id } => {
                outs.push(NodeOut::Answer { request_id, answer: self.not_leader() });
            }
            Job::ChangeMembers(asked) => {
                outs.push(NodeOut::Answer { request_id: asked.request_id, answer: self.not_leader() });
            }
            Job::Resync { request_id } => {
                outs.push(NodeOut::Answer { request_id, answer: Answer::CannotResync { leads: false } });
            }
            Job::TransferLeadership { .. } => outs.push(NodeOut::TransferFailed),
            Job::PeerHeadroom { .. } | Job::DiskHeadroom { .. } | Job::Applied(_) => {
                return self.take_at_once(job, outs);
            }
            job => self.put_off(job),
        }
        Ok(())
    }

    fn put_off(&mut self, job: Job) {
        let saving = self.saving.get_or_insert_default();
        if let Job::Peer { .. } | Job::Reconnected { .. } = &job {
            let bytes = match &job {
                Job::Peer { entries, .. } => bytes_of(entries),
                _ => 0,
            };
            let (messages, waiting) = saving.messages;
            if messages >= SAVING_MESSAGES_MAX || waiting + bytes > SAVING_BYTES_MAX {
                return;
            }
            saving.messages = (messages + 1, waiting + bytes);
        }
        saving.jobs.push_back(job);
    }
}
