//! The state that every role shares: identity, ballot, log history, durable offset, commit offset; and a role's wish to
//! become another ([`Change`]).
//!
//! The invariants of every role are asserted here, at the few places where the state moves.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::checkpoints::{Checkpoint, Checkpoints};
use crate::config::Config;
use crate::disk::{Disk, InHand};
use crate::invariants;
use crate::limits;
use crate::mutant;
use crate::protocol::{Ballot, Outgoing, Output};
use crate::types::{Epoch, EpochHistory, Member, Membership, NodeId, Offset, Position, Run, WriteSeq};

/// What a replica's folder remembers at its start.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Epoch and vote.
    pub ballot: Ballot,
    /// Which epoch wrote which offsets of the log. All of it is durable.
    pub history: EpochHistory,
    /// The offset known durably to be committed, and applied.
    pub committed: Offset,
    /// The memberships: the one in force at the log's base, and those in the log, by rising offset.
    pub memberships: Vec<(Offset, Membership)>,
    /// The log lost a tail that may have been acknowledged.
    pub maybe_lost_tail: bool,
    /// The newest snapshot that can be served.
    pub snapshot: Position,
    /// The table's last checkpoints, oldest first.
    pub checkpoints: Vec<Checkpoint>,
    /// The table is wrong and was not replaced yet.
    pub quarantined: bool,
}

/// A role's wish to become another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Change {
    /// Stay.
    None,
    /// Follow this leader, or wait for one.
    Follow(Option<NodeId>),
    /// Start an election; `true`: the leader asked for it.
    Campaign(bool),
    /// Lead the epoch of the ballot.
    Lead,
}

/// A countdown of ticks whose length is drawn anew after each reset, from the randomness of the next tick.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timer {
    /// Ticks since the last reset.
    pub(crate) elapsed: u32,
    /// The length drawn; `None` until the first tick after a reset.
    limit: Option<u32>,
    /// It was cut short.
    pub(crate) is_hurried: bool,
}

impl Timer {
    /// Starts over.
    pub(crate) fn reset(&mut self) {
        *self = Timer::default();
    }

    /// Cuts the rest short: to one to a few heartbeats from now, in which a leader that lives would have spoken.
    pub(crate) fn hurry(&mut self) {
        if !self.is_hurried {
            (self.is_hurried, self.limit) = (true, None);
        }
    }

    /// Counts one tick; true if the time is up. A preferred leader draws from the shortest eighth, unless its disk is not
    /// to be relied on, or an election came to nothing already. After two that did, all draw longer times: where a vote takes
    /// longer than a timer, each candidate would end the election of the one before, for ever.
    pub(crate) fn tick(&mut self, state: &State, random: u64) -> bool {
        let config = &state.config;
        let elections = state.ballot.epoch.0.saturating_sub(state.led.0);
        let times = 1 << elections.saturating_sub(2).min(limits::ELECTION_DOUBLINGS);
        let spread = u64::from(config.ticks_election_max - config.ticks_election_min) * times;
        let is_preferred = config.preferred == Some(config.member.node) && !state.disk.is_unfit();
        let spread = if is_preferred && elections <= 1 { spread / 8 } else { spread };
        let least = u64::from(config.ticks_election_min) * times;
        let (least, spread) = match self.is_hurried {
            true => (u64::from(self.elapsed + config.ticks_heartbeat), spread / 3),
            false => (least, spread),
        };
        let drawn = u32::try_from(least + random % (spread + 1)).unwrap_or(u32::MAX);
        let limit = *self.limit.get_or_insert(drawn);
        self.elapsed += 1;
        self.elapsed >= limit
    }
}

/// The writes handed to the log, and how far the log is durable.
#[derive(Clone, Debug)]
struct Writes {
    /// The last number given.
    last: WriteSeq,
    /// Those not yet reported, with the offset that each makes durable.
    pending: VecDeque<(WriteSeq, Offset)>,
    /// Everything up to here is durable.
    durable: Offset,
}

impl Writes {
    fn issue(&mut self, last: Offset) -> WriteSeq {
        self.last.0 += 1;
        self.pending.push_back((self.last, last));
        self.last
    }

    fn persisted(&mut self, write: WriteSeq) {
        while let Some((_, offset)) = self.pending.pop_front_if(|(seq, _)| *seq <= write) {
            self.durable = self.durable.max(offset);
        }
    }

    /// What is cut is not durable, and a write still under way can no longer vouch for it.
    fn truncate(&mut self, from: Offset) {
        let end = from.previous();
        self.durable = self.durable.min(end);
        for (_, offset) in self.pending.iter_mut().filter(|_| !mutant!(PersistAfterCut)) {
            *offset = (*offset).min(end);
        }
    }
}

/// What every role shares.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// What this replica was told.
    pub(crate) config: Config,
    /// Latest epoch and the vote in it; durable before anything else happens.
    pub(crate) ballot: Ballot,
    /// The latest epoch in which a leader was heard, or led here; since the start at least.
    pub(crate) led: Epoch,
    /// It is not durable yet.
    saving: bool,
    /// Which folder of that node has this epoch's vote; unknown after a restart. Two folders of one node are two
    /// members, and must not both get it.
    voted_member: Option<Member>,
    /// The log, by epochs.
    pub(crate) history: EpochHistory,
    /// Everything up to here is committed, as far as this replica knows.
    pub(crate) committed: Offset,
    /// The log lost a tail that may have been acknowledged in this epoch or before; see [`State::commit`].
    pub(crate) maybe_lost_tail: Option<Epoch>,
    /// The newest snapshot that can be served.
    pub(crate) snapshot: Position,
    /// The snapshot being installed; meanwhile no append is taken.
    pub(crate) installing: Option<Position>,
    /// The state's last checkpoints.
    pub(crate) checkpoints: Checkpoints,
    /// The state is wrong and waits to be replaced: this replica neither campaigns nor leads.
    quarantined: bool,
    /// The table is reported to be damaged, and not quarantined for it yet.
    pub(crate) damaged: bool,
    /// A quarantined replica's table is being replaced beside its log.
    pub(crate) replacing: bool,
    /// The memberships by rising offset; the last one is in force. Never empty unless the replica is new.
    memberships: Vec<(Offset, Membership)>,
    /// In force while there is none: nobody.
    nobody: Membership,
    /// What is on its way to the disk.
    writes: Writes,
    /// The applier has come so far.
    applied: Offset,
    /// Whether the disk hangs.
    pub(crate) disk: Disk,
}

impl State {
    pub(crate) fn new(config: Config, restored: Restored) -> State {
        let last = restored.history.last().offset;
        let (base, snapshot) = (restored.history.base().offset, restored.snapshot.offset);
        assert!(base <= snapshot, "commit order: purged ≤ snapshot");
        assert!(snapshot <= restored.committed, "commit order: snapshot ≤ committed");
        assert!(restored.committed <= last, "commit order: committed ≤ last");
        assert!(restored.history.last().epoch <= restored.ballot.epoch, "the ballot is never behind the log");
        let mut ballot = restored.ballot;
        if mutant!(ForgetVote) {
            ballot.voted_for = None;
        }
        State {
            config,
            ballot,
            led: restored.ballot.epoch,
            saving: false,
            voted_member: None,
            history: restored.history,
            committed: restored.committed,
            maybe_lost_tail: restored.maybe_lost_tail.then_some(restored.ballot.epoch),
            snapshot: restored.snapshot,
            installing: None,
            checkpoints: Checkpoints::new(restored.checkpoints),
            quarantined: restored.quarantined,
            damaged: false,
            replacing: false,
            memberships: restored.memberships,
            nobody: Membership::default(),
            writes: Writes { last: WriteSeq(0), pending: VecDeque::new(), durable: last },
            applied: restored.committed,
            disk: Disk::default(),
        }
    }

    /// This replica's node.
    pub(crate) fn node(&self) -> NodeId {
        self.config.member.node
    }

    /// The membership in force.
    pub(crate) fn membership(&self) -> &Membership {
        self.memberships.last().map_or(&self.nobody, |(_, membership)| membership)
    }

    /// Whether this very member, incarnation included, has a vote.
    pub(crate) fn is_voter(&self) -> bool {
        self.membership().is_voter(self.config.member)
    }

    /// Whether it campaigns: it is a voter in the last membership that it knows to be committed, or in a later one. A
    /// replica that has removed itself and had not committed that may have the only log that is long enough to lead; it
    /// does not count itself (Ongaro 2014, section 4.2.2).
    ///
    /// A replica with a wrong state does not: a leader answers from its state. Nor does one with a hanging disk: its vote
    /// would hang.
    pub(crate) fn may_campaign(&self) -> bool {
        if (self.quarantined && !mutant!(QuarantinedCampaigns)) || self.disk.hangs().is_some() {
            return false;
        }
        let known = self.memberships.partition_point(|(offset, _)| *offset <= self.committed);
        let open = &self.memberships[known.saturating_sub(1)..];
        open.iter().any(|(_, membership)| membership.is_voter(self.config.member))
    }

    /// The offset of the entry that set the membership in force.
    pub(crate) fn membership_offset(&self) -> Offset {
        self.memberships.last().map_or(Offset::ZERO, |(offset, _)| *offset)
    }

    /// Whether the membership in force is committed.
    pub(crate) fn is_membership_committed(&self) -> bool {
        self.membership_offset() <= self.committed
    }

    /// Every other member that can be spoken to, one a node.
    pub(crate) fn peers(&self) -> Vec<Member> {
        let node = self.node();
        let mut peers: Vec<Member> =
            self.membership().addressed().filter(|member| member.node != node).collect();
        peers.sort_unstable();
        peers
    }

    /// Everything up to here is in the log durably.
    pub(crate) fn durable(&self) -> Offset {
        self.writes.durable
    }

    /// Takes a later epoch, without a vote in it yet.
    pub(crate) fn adopt(&mut self, epoch: Epoch, out: &mut Vec<Output>) {
        assert!(epoch > self.ballot.epoch, "ballot monotonic: an epoch is never taken back");
        self.save_ballot(Ballot { epoch, voted_for: None }, out);
    }

    /// Whether this member may have the vote of the current epoch.
    pub(crate) fn may_vote_for(&self, member: Member) -> bool {
        self.ballot.voted_for.is_none() || self.voted_member == Some(member) || mutant!(TwoVotes)
    }

    /// Gives this epoch's one vote.
    pub(crate) fn vote(&mut self, epoch: Epoch, member: Member, out: &mut Vec<Output>) {
        let free = epoch > self.ballot.epoch || (epoch == self.ballot.epoch && self.may_vote_for(member));
        assert!(free, "ballot monotonic: one vote an epoch");
        let ballot = Ballot { epoch, voted_for: Some(member.node) };
        if ballot != self.ballot {
            self.save_ballot(ballot, out);
        }
        self.voted_member = Some(member);
    }

    fn save_ballot(&mut self, ballot: Ballot, out: &mut Vec<Output>) {
        self.ballot = ballot;
        self.saving = true;
        self.voted_member = None;
        out.push(Output::SaveBallot(ballot));
    }

    /// Counts a tick of the disk.
    pub(crate) fn tick_disk(&mut self) {
        let is_replaced = self.quarantined || self.replacing || self.installing.is_some();
        let in_hand = InHand {
            log: (self.history.last().offset, self.durable()),
            ballot: self.saving,
            database: (!is_replaced).then_some((self.committed, self.applied)),
        };
        self.disk.tick(&self.config, in_hand);
    }

    /// The applier has come so far.
    pub(crate) fn applied(&mut self, up_to: Offset) {
        self.applied = up_to;
    }

    /// A ballot is durable; only the last one counts.
    pub(crate) fn ballot_saved(&mut self, ballot: Ballot) {
        self.saving &= ballot != self.ballot;
    }

    /// Whether the ballot is not durable yet.
    pub(crate) fn is_saving(&self) -> bool {
        self.saving
    }

    /// Appends runs that continue the log, and memberships among them.
    pub(crate) fn append(
        &mut self,
        runs: Vec<Run>,
        memberships: &[(Offset, Membership)],
        out: &mut Vec<Output>,
    ) {
        let first = runs.first().expect("an append brings entries").first;
        for run in &runs {
            self.history.append(*run);
        }
        self.memberships.extend(memberships.iter().filter(|(offset, _)| *offset >= first).cloned());
        let write = self.writes.issue(self.history.last().offset);
        out.push(Output::Append { write, runs });
    }

    /// Appends a membership as the leader's next entry; it is in force from here on.
    pub(crate) fn append_membership(&mut self, membership: Membership, out: &mut Vec<Output>) {
        let (epoch, offset) = (self.ballot.epoch, self.history.last().offset.next());
        self.history.append(Run { epoch, first: offset, last: offset });
        self.memberships.push((offset, membership.clone()));
        let write = self.writes.issue(offset);
        out.push(Output::AppendMembership { write, position: Position { epoch, offset }, membership });
    }

    /// Removes the entry at `from` and all after it.
    pub(crate) fn truncate(&mut self, from: Offset, out: &mut Vec<Output>) {
        assert!(from > self.committed, "committed is immutable: it is never truncated");
        self.history.truncate(from);
        self.writes.truncate(from);
        while self.memberships.last().is_some_and(|(offset, _)| *offset >= from) {
            self.memberships.pop();
        }
        out.push(Output::Truncate { from });
    }

    /// A write is durable.
    pub(crate) fn persisted(&mut self, write: WriteSeq) {
        self.writes.persisted(write);
    }

    /// Whether the log lost a tail that it may have acknowledged to the leader of this very epoch.
    pub(crate) fn maybe_lost_tail_in_this_epoch(&self) -> bool {
        self.maybe_lost_tail == Some(self.ballot.epoch)
    }

    /// Everything up to `to` is committed. Moves forward only, and not while a snapshot replaces the state: that one is further,
    /// and the applier may be at it already.
    ///
    /// A log that may have lost its tail can be trusted again once it has a committed entry of an epoch *after* those in which it
    /// acknowledged what it lost: that epoch's leader won without this replica's word, so it had all that was
    /// committed before. A committed entry of the same epoch says nothing: what was lost may stand after it.
    pub(crate) fn commit(&mut self, to: Offset, out: &mut Vec<Output>) {
        if to <= self.committed || self.installing.is_some() {
            return;
        }
        let position =
            self.history.position_at(to).expect("commit order: only what the log has is committed");
        self.committed = to;
        out.push(Output::Commit { up_to: position });
        self.regain_trust(position, out);
    }

    fn regain_trust(&mut self, committed: Position, out: &mut Vec<Output>) {
        if self.maybe_lost_tail.is_some_and(|since| committed.epoch > since) {
            self.maybe_lost_tail = None;
            out.push(Output::Trusted);
        }
    }

    /// The log now begins after `up_to`.
    pub(crate) fn purge(&mut self, up_to: Offset, snapshot: Position) {
        assert!(
            up_to <= snapshot.offset && snapshot.offset <= self.committed,
            "commit order: purged ≤ snapshot ≤ committed"
        );
        self.history.purge(up_to);
        self.snapshot = self.snapshot.max(snapshot);
        let old = self.memberships.partition_point(|(offset, _)| *offset <= up_to);
        self.memberships.drain(..old.saturating_sub(1));
    }

    /// Whether a fetched snapshot is still of use here.
    pub(crate) fn may_install(&self, position: Position) -> bool {
        let is_needed = position.offset > self.committed && !self.history.contains(position);
        is_needed && self.installing.is_none() && !self.replacing
    }

    /// Has it installed.
    pub(crate) fn install(&mut self, position: Position, out: &mut Vec<Output>) {
        assert!(position.epoch <= self.ballot.epoch, "the ballot is never behind the log");
        self.installing = Some(position);
        out.push(Output::Install { position });
    }

    /// The snapshot at `position` has replaced the state and the log.
    pub(crate) fn installed(
        &mut self,
        position: Position,
        membership: (Offset, Membership),
        out: &mut Vec<Output>,
    ) {
        assert!(position.offset > self.committed, "committed is immutable: a snapshot never goes back");
        let loses_epoch = mutant!(InstallLosesEpoch);
        let after = if loses_epoch { Position { epoch: Epoch(1), ..position } } else { position };
        self.history = EpochHistory::starting_after(after);
        self.committed = position.offset;
        self.snapshot = self.snapshot.max(position);
        self.memberships = Vec::from([membership]);
        self.writes.pending.clear();
        self.writes.durable = position.offset;
        self.applied = position.offset;
        self.installing = None;
        // What was damaged was replaced too.
        self.damaged = false;
        self.regain_trust(position, out);
    }
}

impl State {
    /// Whether the state here is wrong and waits to be replaced.
    pub(crate) fn is_quarantined(&self) -> bool {
        self.quarantined
    }

    /// Takes the state here for wrong, because a majority has `majority`, or because an operator says so. Nothing
    /// happens if it was taken for wrong already, or is being replaced as a whole.
    pub(crate) fn quarantine(&mut self, majority: Option<Checkpoint>, out: &mut Vec<Output>) {
        if self.quarantined || self.installing.is_some() {
            return;
        }
        let own = match majority {
            Some(majority) => self.checkpoints.at(majority.position.offset),
            None => self.checkpoints.newest(),
        };
        if let Some(majority) = majority {
            let Some(own) = own.filter(|own| own.version == majority.version && *own != majority) else {
                return;
            };
            invariants::quarantined_with_reason(own, majority);
        }
        self.quarantined = true;
        out.push(Output::Quarantine { majority, own, damaged: false });
    }

    /// Takes the state here for wrong, because the table's own store says that it is damaged.
    pub(crate) fn quarantine_damaged(&mut self, out: &mut Vec<Output>) {
        if !self.damaged || self.quarantined || self.installing.is_some() {
            return;
        }
        self.quarantined = true;
        out.push(Output::Quarantine { majority: None, own: self.checkpoints.newest(), damaged: true });
    }

    /// The wrong state was replaced.
    pub(crate) fn released(&mut self, snapshot: Position) {
        assert!(
            self.history.base().offset <= snapshot.offset && snapshot.offset <= self.committed,
            "commit order: purged ≤ snapshot ≤ committed"
        );
        (self.quarantined, self.replacing, self.damaged, self.snapshot) = (false, false, false, snapshot);
    }
}

/// Says `message` to `to`.
pub(crate) fn send(to: NodeId, message: impl Into<Outgoing>, out: &mut Vec<Output>) {
    out.push(Output::Send { to, message: message.into() });
}
