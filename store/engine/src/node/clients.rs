//! Clients' requests: admitted or refused at once, proposed together, answered once.
//!
//! Promises that admitted writes are bounded, from admission until they are applied. Leaves out the answer to an
//! admitted write: the applier gives it, or the change of leadership ([`super::outputs`]).

use bytes::Bytes;
use proto::store::RaiseVersion;
use proto::store::command::Kind;
use store_core::{Divergence, Input, Offset};
use store_db::Table;
use store_log::Disk;

use super::{Carried, Node, in_force};
use crate::clock::Clock;
use crate::error::Error;
use crate::front;
use crate::job::{Answer, NodeOut, RequestId, Shortage};
use crate::limits::{APPEND_BYTES_FULL, APPENDS_AT_ONCE, COMMAND_BYTES_MAX};

impl<D: Disk, T: Table, C: Clock> Node<D, T, C> {
    pub(super) fn admit_write(
        &mut self,
        request_id: RequestId,
        command: Bytes,
        diverged: Option<Offset>,
        outs: &mut Vec<NodeOut>,
    ) {
        let bytes = command.len();
        let shortage = self
            .writes_shortage()
            .map_or(Ok(()), Err)
            .and_then(|()| self.writes.admit(self.commands.len(), self.commands_bytes, bytes));
        let answer = match shortage {
            _ if !self.replica.may_propose() => self.not_leader(),
            _ if diverged.is_some() => Answer::Diverged { at: diverged.unwrap_or_default() },
            _ if bytes == 0 || bytes > COMMAND_BYTES_MAX => Answer::BadSize { bytes },
            Err(shortage) => Answer::Overloaded(shortage),
            Ok(()) => {
                self.commands_bytes += bytes;
                self.commands.push((request_id, command));
                return;
            }
        };
        outs.push(NodeOut::Answer { request_id, answer });
    }

    /// Proposes to go on by the rules of a later version, if every member can. What it has removed is fed until it knows, and may be an
    /// earlier program: it must not be given what it cannot apply.
    pub(super) fn raise_version(&mut self) {
        let Some(version) = self.versions.to_raise(
            self.applied.version,
            in_force(&self.members),
            self.log_clock.monotonic_ms(),
        ) else {
            return;
        };
        if self.replica.feeds_removed() {
            return;
        }
        if self.replica.may_propose() && self.writes_shortage().is_none() && self.diverged().is_none() {
            self.versions.raising(version);
            let command = front::command_of(Kind::RaiseVersion(RaiseVersion { version }));
            self.commands_bytes += command.len();
            self.commands.push((RequestId::NOBODY, command));
        }
    }

    /// The room whose lack makes a leader refuse writes.
    pub(super) fn writes_shortage(&self) -> Option<Shortage> {
        self.headroom
            .shortage()
            .or_else(|| self.headroom.majority_is_out_of_space(self.voters()).then_some(Shortage::Majority))
    }

    /// Where the replicas' states are known to differ without a majority for any: then clients' writes are refused.
    pub(super) fn diverged(&self) -> Option<Offset> {
        match self.replica.divergence() {
            Divergence::NoMajority(at) => Some(at),
            Divergence::None | Divergence::Undecided(_) => None,
        }
    }

    pub(super) fn admit_read(&mut self, request_id: RequestId, outs: &mut Vec<NodeOut>) {
        match self.reads.admit(self.asking.len()) {
            Ok(()) => self.asking.push(request_id),
            Err(shortage) => outs.push(NodeOut::Answer { request_id, answer: Answer::Overloaded(shortage) }),
        }
    }

    /// All commands that wait become one append, unless they are to wait for more.
    pub(super) fn propose(&mut self, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        if self.commands.is_empty() || self.waits_for_more() {
            return Ok(());
        }
        self.commands_bytes = 0;
        self.ticked = false;
        let commands = std::mem::take(&mut self.commands);
        if self.replica.is_saving() {
            self.refuse(&mut Carried::Commands(commands), outs);
            return Ok(());
        }
        let count = commands.len() as u64;
        self.step_with(Input::Propose { count }, Carried::Commands(commands), outs)
    }

    /// Whether commands are kept back until an append before them is committed, or until the next tick at the latest. An append
    /// costs all replicas a sync, messages and wake-ups, however much is in it: under load the commands that come
    /// meanwhile go together. A lone client never waits.
    fn waits_for_more(&self) -> bool {
        self.writes.appends() >= APPENDS_AT_ONCE
            && self.commands_bytes < APPEND_BYTES_FULL
            && !self.ticked
            && self.replica.may_propose()
    }

    /// All reads of this poll share one barrier.
    pub(super) fn ask(&mut self, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        if self.asking.is_empty() {
            return Ok(());
        }
        if self.replica.is_saving() {
            let answer = self.not_leader();
            let asking = self.asking.drain(..);
            outs.extend(asking.map(|request_id| NodeOut::Answer { request_id, answer: answer.clone() }));
            return Ok(());
        }
        let request_id = self.reads.ask(std::mem::take(&mut self.asking));
        self.step(Input::Read { request_id }, outs)
    }

    pub(super) fn refuse(&mut self, carried: &mut Carried, outs: &mut Vec<NodeOut>) {
        if let Carried::Commands(commands) = std::mem::replace(carried, Carried::Nothing) {
            let answer = self.not_leader();
            if commands.iter().any(|(request_id, _)| *request_id == RequestId::NOBODY) {
                self.versions.not_raised();
            }
            let refused = commands.into_iter().filter(|(request_id, _)| *request_id != RequestId::NOBODY);
            outs.extend(
                refused.map(|(request_id, _)| NodeOut::Answer { request_id, answer: answer.clone() }),
            );
        }
    }

    pub(super) fn answer_reads(&mut self, outs: &mut Vec<NodeOut>) {
        while let Some((at, request_ids)) = self.reads.take_ready(self.applied.position.offset) {
            let answer = |request_id| NodeOut::Answer { request_id, answer: Answer::ReadReady { at } };
            outs.extend(request_ids.into_iter().map(answer));
        }
    }

    pub(super) fn not_leader(&self) -> Answer {
        let view = self.replica.view();
        // During a transfer this node still leads, but no client should be sent here.
        let leader = view.leader.filter(|leader| *leader != self.member.node);
        Answer::NotLeader { epoch: view.epoch, leader }
    }
}
