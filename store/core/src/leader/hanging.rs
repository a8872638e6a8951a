//! A leader whose own disk hangs: it gives leadership away, if others can be elected.
//!
//! A commit needs the leader's own disk (docs/decisions/0009), so a disk that does not answer keeps everybody waiting
//! whatever the others hold. The order is: waiting requests are answered with an unknown outcome; the most advanced of the
//! others is told to campaign; if none leads within an election timer, the leader steps down in its epoch, which needs no
//! disk.
//!
//! Promises: while a majority of the voters without the leader holds more than the leader's disk, and no other fault is
//! active, another leads within three election timers. Leaves out the definition of a hang ([`crate::disk`]).

use alloc::vec::Vec;

use super::Leader;
use crate::disk::Hang;
use crate::mutant;
use crate::progress::Progress;
use crate::protocol::Output;
use crate::quorum::{committed_offset, has_quorum};
use crate::state::{Change, State};
use crate::types::{Member, Offset};

impl Leader {
    /// Looks whether the own disk keeps everybody waiting, and does what is to be done then.
    pub(super) fn watch_disk(&mut self, state: &mut State, out: &mut Vec<Output>) -> Change {
        self.compare_disk(state);
        if !self.gives_away(state) || mutant!(HungLeaderStays) {
            if self.own_disk.resigning.take().is_some() {
                // It answered after all, before anybody took over.
                self.transferring = None;
            }
            return Change::None;
        }
        match &mut self.own_disk.resigning {
            None => {
                self.own_disk.resigning = Some(0);
                self.transferring = None;
                out.push(Output::AnswerUnknown);
                self.transfer_leadership(state, None, out);
                if self.transferring.is_none() { Change::Follow(None) } else { Change::None }
            }
            Some(ticks) => {
                *ticks += 1;
                if *ticks > state.config.ticks_election_min { Change::Follow(None) } else { Change::None }
            }
        }
    }

    /// Counts how long the own disk has been behind a majority of the others.
    fn compare_disk(&mut self, state: &mut State) {
        let (own, durable) = (state.config.member, state.durable());
        let held = |member: Member| match self.peers.iter().find(|peer| peer.member == member) {
            Some(peer) if member != own => peer.durable.offset,
            _ => Offset::ZERO,
        };
        let others = committed_offset(state.membership(), held).min(state.history.last().offset);
        self.own_disk.behind = match self.own_disk.behind {
            Some((at, ticks)) if durable < at => Some((at, ticks.saturating_add(1))),
            _ => (durable < others).then_some((others, 0)),
        };
        if let Some((at, ticks)) = self.own_disk.behind
            && ticks >= state.config.ticks_election_min
        {
            state.disk.is_late(&state.config, at);
        }
    }

    /// Whether the own disk hangs and the others can go on without it: they are a majority that answers and has all that
    /// is committed, and one of them can lead.
    pub(crate) fn gives_away(&self, state: &State) -> bool {
        let least = match state.disk.hangs() {
            None | Some(Hang::Ballot) => return false,
            Some(Hang::Log) => match self.own_disk.behind {
                Some((at, ticks)) if ticks >= state.config.ticks_election_min => at,
                _ => return false,
            },
            Some(Hang::Database) => state.committed,
        };
        let has_it = |peer: &Progress| {
            peer.durable.offset >= least && peer.silent_ticks < state.config.ticks_election_min
        };
        let others = |member: Member| {
            member != state.config.member
                && self.peers.iter().any(|peer| peer.member == member && has_it(peer))
        };
        let can_lead =
            |peer: &Progress| state.membership().is_voter(peer.member) && !peer.quarantined && has_it(peer);
        has_quorum(state.membership(), others) && self.peers.iter().any(can_lead)
    }
}
