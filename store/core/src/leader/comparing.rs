//! A leader's comparison of the replicas' states: asks for the same checkpoint everywhere, evaluates the answers, and
//! tells the replicas in the minority.
//!
//! It rides on heartbeats and their answers: one offset is asked for at a time, until every speaking replica has
//! answered the same, or for [`limits::HEARTBEATS_COMPARED`] heartbeats if there is a newer one, or until this replica itself
//! has forgotten it. When it is over, nothing more is sent until this replica has a newer checkpoint.

use alloc::vec::Vec;

use super::Leader;
use crate::checkpoints::{Checkpoint, Divergence, Verdict, verdict};
use crate::comparison::Comparison;
use crate::limits;
use crate::mutant;
use crate::protocol::{LeaderMessage, Output};
use crate::state::{State, send};
use crate::types::{Member, Offset};

impl Leader {
    /// What is thought of the replicas' states.
    pub(crate) fn divergence(&self) -> Divergence {
        self.comparison.divergence
    }

    /// The offset that the next heartbeat asks for; 0: nothing is to be compared.
    pub(super) fn compared(&mut self, state: &State) -> Offset {
        let newest = state.checkpoints.newest();
        let waits = |leader: &Leader| leader.peers.iter().any(|peer| leader.owes_answer(state, peer.member));
        let comparison = &self.comparison;
        let is_over = comparison.compared.is_none_or(|compared| {
            let is_newer = newest.is_some_and(|newest| newest.position.offset > compared.position.offset);
            let is_kept = state.checkpoints.at(compared.position.offset).is_some();
            is_newer && (comparison.heartbeats >= limits::HEARTBEATS_COMPARED || !is_kept || !waits(self))
        });
        if is_over {
            let before = core::mem::take(&mut self.comparison);
            let Comparison { divergence, differing, .. } = before;
            self.comparison = Comparison { compared: newest, divergence, differing, ..Comparison::default() };
        }
        let compared = self.comparison.compared;
        // A replica that differs may have another table soon, and then another answer.
        let differs = |(_, answer): &(Member, Option<Checkpoint>)| answer.is_some() && *answer != compared;
        if !waits(self) && !self.comparison.answers.iter().any(differs) {
            return Offset::ZERO;
        }
        self.comparison.heartbeats = self.comparison.heartbeats.saturating_add(1);
        compared.map_or(Offset::ZERO, |compared| compared.position.offset)
    }

    /// Whether this member can answer and has not.
    fn owes_answer(&self, state: &State, member: Member) -> bool {
        let can = |peer: &crate::progress::Progress| {
            peer.member == member
                && !peer.quarantined
                && peer.silent_ticks <= state.config.ticks_election_min
                && state.membership().contains(member)
        };
        !self.comparison.has_answered(member) && self.peers.iter().any(can)
    }

    /// A replica has answered. Returns the majority's checkpoint if this leader itself is in the minority.
    pub(super) fn answered(
        &mut self,
        state: &State,
        from: Member,
        checkpoint: Option<Checkpoint>,
        quarantined: bool,
        out: &mut Vec<Output>,
    ) -> Option<Checkpoint> {
        // One that is not kept any more settles nothing: this replica could not even quarantine itself by it.
        let is_kept =
            |compared: &Checkpoint| state.checkpoints.at(compared.position.offset) == Some(*compared);
        let compared = self.comparison.compared.filter(is_kept)?;
        let answer = checkpoint
            .filter(|found| found.position.offset == compared.position.offset)
            .map(|found| (from, (found.version == compared.version).then_some(found)));
        // What a quarantined replica said of its table counts no more: it is about to have another.
        let is_news = answer.is_some_and(|answer| !self.comparison.answers.contains(&answer));
        let is_void = quarantined && self.comparison.has_answered(from);
        if !(is_news || is_void) {
            return None;
        }
        self.comparison.answers.retain(|(who, _)| *who != from);
        self.comparison.answers.extend(answer.filter(|_| !quarantined));
        self.evaluate(state, compared, is_void, out)
    }

    /// `is_void`: somebody's answer counts no more.
    fn evaluate(
        &mut self,
        state: &State,
        compared: Checkpoint,
        is_void: bool,
        out: &mut Vec<Output>,
    ) -> Option<Checkpoint> {
        let (own, offset) = (state.config.member, compared.position.offset);
        let comparison = &self.comparison;
        let evaluated = verdict(state.membership(), |member| {
            if member == own { Some(compared) } else { comparison.answer_of(member) }
        });
        let before = comparison.divergence;
        let divergence = match evaluated {
            Verdict::Agreed(_) => Divergence::None,
            Verdict::NoMajority => Divergence::NoMajority(offset),
            // Without a majority it stays so until one agrees.
            Verdict::Open { undecided: true } if !matches!(before, Divergence::NoMajority(_)) => {
                Divergence::Undecided(offset)
            }
            // The replica that differed will have this leader's state.
            Verdict::Open { undecided: false } if is_void && matches!(before, Divergence::Undecided(_)) => {
                Divergence::None
            }
            Verdict::Open { .. } => before,
        };
        if matches!(divergence, Divergence::Undecided(_)) {
            let comparison = &mut self.comparison;
            let answers = comparison.answers.iter();
            let differing = answers.filter(|(_, answer)| answer.is_some_and(|answer| answer != compared));
            comparison.differing = differing.map(|(who, _)| *who).collect();
        }
        self.think(divergence, out);
        match evaluated {
            Verdict::Agreed(majority) if majority != compared => Some(majority),
            _ => None,
        }
    }

    fn think(&mut self, divergence: Divergence, out: &mut Vec<Output>) {
        if divergence != self.comparison.divergence {
            self.comparison.divergence = divergence;
            out.push(Output::Divergence(divergence));
        }
    }

    /// Ends a doubt about which of two states is right once an operator has given up the folder of every replica with the other
    /// one: nobody can have that state any more, and without a snapshot of this leader's no majority might come about.
    pub(super) fn end_doubt(&mut self, state: &State, out: &mut Vec<Output>) {
        if !matches!(self.comparison.divergence, Divergence::Undecided(_)) {
            return;
        }
        let membership = state.membership();
        let stays = |member: Member| {
            let another = |other: &Member| other.node == member.node && *other != member;
            membership.voters.contains(&member)
                && !membership.voters.iter().chain(&membership.learners).any(another)
        };
        if self.comparison.differing.iter().any(|member| stays(*member)) {
            return;
        }
        let differing = core::mem::take(&mut self.comparison.differing);
        self.comparison.answers.retain(|(who, _)| !differing.contains(who));
        self.think(Divergence::None, out);
    }

    /// Tells those in the minority, with every heartbeat until they are quarantined. If a majority came about because others are
    /// members now, nobody says anything new: so the comparison ends here, undecided.
    pub(super) fn quarantine_minority(&mut self, state: &State, out: &mut Vec<Output>) {
        let Some(compared) = self.comparison.compared.filter(|_| !self.comparison.answers.is_empty()) else {
            return;
        };
        let own = state.config.member;
        let answer =
            |member: Member| if member == own { Some(compared) } else { self.comparison.answer_of(member) };
        let by_leader = mutant!(QuarantineByLeader).then_some(Verdict::Agreed(compared));
        let evaluated = by_leader.unwrap_or_else(|| verdict(state.membership(), answer));
        let Verdict::Agreed(majority) = evaluated else { return };
        if majority == compared {
            self.think(Divergence::None, out);
        }
        let differs = |(who, found): &&(Member, Option<Checkpoint>)| {
            found.is_some_and(|found| found != majority) && self.peers.iter().any(|peer| peer.member == *who)
        };
        for (who, _) in self.comparison.answers.iter().filter(differs) {
            if mutant!(QuarantineNobody) {
                break;
            }
            send(who.node, LeaderMessage::Quarantine { epoch: state.ballot.epoch, at: majority }, out);
        }
    }
}
