//! Clients' requests: admitted or refused at once, proposed together, answered once.
//!
//! Promises that what is admitted is bounded, from admission until it is applied. Leaves out what becomes of an
//! admitted write: the applier answers it, or the change of leadership ([`super::outputs`]).

use bytes::Bytes;
use store_core::{Doubt, Input, Offset};
use store_db::Table;
use store_log::Disk;

use super::{Carried, Node};
use crate::clock::Clock;
use crate::error::Error;
use crate::job::{Answer, Lack, NodeOut, Ticket};
use crate::limits::COMMAND_BYTES_MAX;

impl<D: Disk, T: Table, C: Clock> Node<D, T, C> {
    pub(super) fn admit_write(
        &mut self,
        ticket: Ticket,
        command: Bytes,
        divided: Option<Offset>,
        outs: &mut Vec<NodeOut>,
    ) {
        let bytes = command.len();
        let lack = self
            .writes_lack()
            .map_or(Ok(()), Err)
            .and_then(|()| self.writes.admit(self.commands.len(), self.commands_bytes, bytes));
        let answer = match lack {
            _ if !self.replica.may_propose() => self.not_leader(),
            _ if divided.is_some() => Answer::Divided { at: divided.unwrap_or_default() },
            _ if bytes == 0 || bytes > COMMAND_BYTES_MAX => Answer::BadSize { bytes },
            Err(lack) => Answer::Overloaded(lack),
            Ok(()) => {
                self.commands_bytes += bytes;
                self.commands.push((ticket, command));
                return;
            }
        };
        outs.push(NodeOut::Answer { ticket, answer });
    }

    /// The room whose lack makes a leader refuse writes.
    pub(super) fn writes_lack(&self) -> Option<Lack> {
        self.room.lack().or_else(|| self.room.majority_lacks(self.voters()).then_some(Lack::Majority))
    }

    /// Where the replicas' states are known to differ without a majority for any: then clients' writes are refused.
    pub(super) fn divided(&self) -> Option<Offset> {
        match self.replica.doubt() {
            Doubt::Divided(at) => Some(at),
            Doubt::None | Doubt::Contested(_) => None,
        }
    }

    pub(super) fn admit_read(&mut self, ticket: Ticket, outs: &mut Vec<NodeOut>) {
        match self.reads.admit(self.asking.len()) {
            Ok(()) => self.asking.push(ticket),
            Err(lack) => outs.push(NodeOut::Answer { ticket, answer: Answer::Overloaded(lack) }),
        }
    }

    /// All commands of this turn become one append.
    pub(super) fn propose(&mut self, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        self.commands_bytes = 0;
        if self.commands.is_empty() {
            return Ok(());
        }
        let commands = std::mem::take(&mut self.commands);
        if self.replica.is_saving() {
            self.refuse(&mut Carried::Commands(commands), outs);
            return Ok(());
        }
        let count = commands.len() as u64;
        self.step_with(Input::Propose { count }, Carried::Commands(commands), outs)
    }

    /// All reads of this turn share one barrier.
    pub(super) fn ask(&mut self, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        if self.asking.is_empty() {
            return Ok(());
        }
        if self.replica.is_saving() {
            let answer = self.not_leader();
            let asking = self.asking.drain(..);
            outs.extend(asking.map(|ticket| NodeOut::Answer { ticket, answer: answer.clone() }));
            return Ok(());
        }
        let ticket = self.reads.ask(std::mem::take(&mut self.asking));
        self.step(Input::Read { ticket }, outs)
    }

    pub(super) fn refuse(&mut self, carried: &mut Carried, outs: &mut Vec<NodeOut>) {
        if let Carried::Commands(commands) = std::mem::replace(carried, Carried::Nothing) {
            let answer = self.not_leader();
            let refused = commands.into_iter();
            outs.extend(refused.map(|(ticket, _)| NodeOut::Answer { ticket, answer: answer.clone() }));
        }
    }

    pub(super) fn answer_reads(&mut self, outs: &mut Vec<NodeOut>) {
        while let Some((at, tickets)) = self.reads.take_ready(self.applied.position.offset) {
            let answer = |ticket| NodeOut::Answer { ticket, answer: Answer::ReadReady { at } };
            outs.extend(tickets.into_iter().map(answer));
        }
    }

    pub(super) fn not_leader(&self) -> Answer {
        let view = self.replica.view();
        // One that is handing over still leads, but is nobody to send a client to.
        let leader = view.leader.filter(|leader| *leader != self.member.node);
        Answer::NotLeader { epoch: view.epoch, leader }
    }
}
