//! Groups, their leaders, and the messages between them.

use bytes::Bytes;
use prost::Message as _;
use proto::store::command::Kind;
use proto::store::outcome_response::Verdict as Outcome;
use proto::store::prepare_answer::Verdict;
use proto::store::{
    Branch, Command, CrossId, CrossRefusal, Decide, DecidedBranch, FailedGuard, FailureReason, FinishAck,
    FinishCommand, Finishing, ForgetCommand, IndexedResult, Membership, Owned, PrepareAnswer, PrepareCommand,
    RaiseVersion, TxnCommand,
};
use store_core::coordinate::{self, Arc, Coordinator, Hindrance, Input, Output, Standing};
use store_core::cut::{CutId, FreezeInput, FreezeLeader};
use store_core::types::{Entry, EntryKind, Epoch, Position};
use store_db::{Memory, Recent, Reply, Table as _, apply, cross, state};

use super::cuts::Driver;
use super::model::Model;
use super::scene::Scene;
use super::{Random, Seen};

#[derive(Debug)]
pub struct Shop;

impl coordinate::Contents for Shop {
    type Part = (usize, Branch);
    type Own = (usize, Branch);
    type Results = (usize, Vec<IndexedResult>);
    type Failure = Vec<FailedGuard>;
}

/// What an entry is, for whoever appended it.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    First,
    /// A try, by its number; with the groups of the prepares that a decision names.
    Decision(CrossId, usize, Vec<usize>),
    Refusal(CrossId, usize),
    Local(usize),
    Outcome(usize),
    Prepare(Vec<Branch>),
    Finish,
    Forget(CrossId),
    Freeze(CutId),
    /// Of which driver.
    Cut(CutId),
    Thaw,
}

#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) epoch: u64,
    pub(super) kind: Option<Kind>,
    pub(super) purpose: Purpose,
}

/// A fact that anybody may hear, at any time, again and again.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Fact {
    Prepare { to: usize, branch: Branch },
    Answer { from: usize, answer: PrepareAnswer },
    Finish { to: usize, finishing: Finishing },
    Ack { ack: FinishAck },
}

pub(super) struct Group {
    pub(super) table: Memory,
    recent: Recent,
    offset: u64,
    pub(super) epoch: u64,
    /// Appended, not yet applied.
    pub(super) log: Vec<Pending>,
    /// One an epoch, the present one last; those before it do not know that they are deposed.
    pub(super) leaders: Vec<Coordinator<Shop>>,
    /// The same leaders' part in cuts.
    pub(super) freezers: Vec<FreezeLeader>,
}

pub struct World {
    pub(super) scene: Scene,
    pub(super) keys: Vec<Bytes>,
    pub random: Random,
    pub(super) groups: Vec<Group>,
    pub(super) facts: Vec<Fact>,
    pub(super) model: Model,
    pub(super) changes_left: usize,
    /// Disturbances are rare in this walk, so that much comes to its end.
    is_calm: bool,
    /// Much time goes by while somebody makes a cut.
    pub(super) is_slow: bool,
    /// How often each try was begun.
    begun: Vec<usize>,
    /// Entries of deposed leaders, that somebody may carry to their successors.
    pub(super) strays: Vec<(usize, Pending)>,
    /// Those who want cuts.
    pub(super) drivers: Vec<Driver>,
}

fn to_core(id: CrossId) -> coordinate::CrossId {
    coordinate::CrossId { group: id.group, epoch: Epoch(id.epoch), number: id.number }
}

fn to_wire(id: coordinate::CrossId) -> CrossId {
    CrossId::of(id.group, id.epoch.0, id.number)
}

fn arc(owned: Option<Owned>) -> Arc {
    owned.map_or(Arc::WHOLE, |owned| Arc { after: owned.after, up_to: owned.up_to })
}

impl World {
    pub fn new(scene: Scene, seed: u64) -> World {
        let keys = scene.keys();
        let groups = (0..scene.group_count()).map(|_| Group {
            table: Memory::new(),
            recent: Recent::default(),
            offset: 0,
            epoch: 1,
            log: Vec::new(),
            leaders: Vec::new(),
            freezers: Vec::new(),
        });
        let mut world = World {
            groups: groups.collect(),
            keys,
            random: Random::new(seed),
            facts: Vec::new(),
            is_calm: seed.is_multiple_of(2),
            is_slow: seed.is_multiple_of(3),
            model: Model::new(&scene),
            changes_left: scene.leader_changes,
            begun: vec![0; scene.tries.len()],
            strays: Vec::new(),
            drivers: Vec::new(),
            scene,
        };
        for group in 0..world.groups.len() {
            let owned = Some(world.scene.arc(group));
            let payload = Membership { owned, ..Membership::default() }.encode_to_vec().into();
            world.write(group, 1, EntryKind::Membership, payload);
            for key in 0..world.keys.len() {
                if world.scene.groups[key] == group {
                    let data = format!("{{\"n\":{}}}", world.scene.values[key]);
                    let txn = Some(proto::store::Txn::new().put(world.keys[key].clone(), 0, data));
                    let kind = Kind::Txn(TxnCommand { txn, identity: None, decide: None });
                    world.write_command(group, 1, kind);
                }
            }
            if world.scene.cuts {
                let version = store_db::limits::STATE_MACHINE_VERSION;
                world.write_command(group, 1, Kind::RaiseVersion(RaiseVersion { version }));
            }
            let mut leader = Coordinator::new(group as u64 + 1);
            leader.step(Input::Lead(Epoch(1)));
            leader.step(Input::Ready(Vec::new()));
            world.groups[group].leaders.push(leader);
            let mut freezer = FreezeLeader::default();
            freezer.step(FreezeInput::Lead(Epoch(1)));
            freezer.step(FreezeInput::Ready);
            world.groups[group].freezers.push(freezer);
        }
        world
    }

    fn write(&mut self, group: usize, epoch: u64, kind: EntryKind, payload: Bytes) -> Reply {
        let group = &mut self.groups[group];
        group.offset += 1;
        let entry = Entry { position: Position::new(epoch, group.offset), log_time_ms: 1_000, kind, payload };
        group.table.write(|write| apply(write, &mut group.recent, &[entry])).unwrap().remove(0)
    }

    fn write_command(&mut self, group: usize, epoch: u64, kind: Kind) -> Reply {
        self.write(group, epoch, EntryKind::Command, Command { kind: Some(kind) }.encode_to_vec().into())
    }

    fn tell(&mut self, fact: Fact) {
        if !self.facts.contains(&fact) {
            self.facts.push(fact);
        }
    }

    pub(super) fn append(&mut self, group: usize, epoch: u64, kind: Kind, purpose: Purpose) {
        let pending = Pending { epoch, kind: Some(kind), purpose };
        if self.groups[group].epoch == epoch {
            self.groups[group].log.push(pending);
        } else {
            self.strays.push((group, pending));
        }
    }

    // ---- what may happen

    pub fn step(&mut self, seen: &mut Seen) {
        let group = self.random.below(self.groups.len());
        if self.scene.cuts && self.random.below(5) < 2 {
            return self.cut_step(group, seen);
        }
        let is_disturbed = !self.is_calm || self.random.one_in(5);
        match self.random.below(100) {
            0..12 => self.begin(),
            12..42 if !self.facts.is_empty() => {
                // The newest facts a little more often.
                let count = self.facts.len();
                let from = if self.random.one_in(3) { 0 } else { count.saturating_sub(6) };
                let at = from + self.random.below(count - from);
                self.hear(self.facts[at].clone());
            }
            42..78 => self.apply_next(group, seen),
            78..88 => self.ask(group, seen),
            88..92 if is_disturbed => self.hinder(group),
            92..95 if is_disturbed => self.change_leader(group, seen),
            95..96 => self.carry_stray(),
            96..98 if self.scene.outcomes && is_disturbed && self.random.one_in(3) => self.ask_outcome(),
            _ => {
                let at = self.random.below(self.groups[group].leaders.len());
                self.lead(group, at, Input::Resend);
            }
        }
    }

    fn begin(&mut self) {
        let number = self.random.below(self.scene.tries.len());
        if self.begun[number] >= 3 {
            return;
        }
        self.begun[number] += 1;
        let parts = self.scene.parts(&self.keys, number);
        let group = parts[0].0;
        let epoch = self.groups[group].epoch;
        if parts.len() == 1 {
            let (txn, identity) = (parts[0].1.txn.clone(), Some(self.scene.identity(number)));
            let kind = Kind::Txn(TxnCommand { txn, identity, decide: None });
            return self.append(group, epoch, kind, Purpose::Local(number));
        }
        let at = self.groups[group].leaders.len() - 1;
        // Whoever waits for its transactions to end may begin some all the same: a deposed leader does.
        if !self.groups[group].freezers[at].may_begin() && !self.random.one_in(4) {
            return;
        }
        let mut parts = parts.into_iter();
        let own = (number, parts.next().unwrap().1);
        self.lead(group, at, Input::Begin { request: number as u64, own, parts: parts.collect() });
    }

    /// One step of a leader, and what it does.
    pub(super) fn lead(&mut self, group: usize, at: usize, input: Input<Shop>) {
        let epoch = at as u64 + 1;
        for output in self.groups[group].leaders[at].step(input) {
            match output {
                Output::Prepare { id, part: (to, branch), .. } => {
                    let branch = Branch { id: Some(to_wire(id)), ..branch };
                    self.tell(Fact::Prepare { to, branch });
                }
                Output::AppendDecision { id, own: (number, part), branches } => {
                    self.append_decision(group, epoch, id, number, part, branches);
                }
                Output::AppendRefusal { id, own: (number, part), failure } => {
                    let refusal = Some(CrossRefusal { failed: failure });
                    let id = to_wire(id);
                    let Branch { guards, operations, txn, .. } = part;
                    let decide = Decide { id: Some(id), branches: Vec::new(), guards, operations, refusal };
                    let identity = Some(self.scene.identity(number));
                    let kind = Kind::Txn(TxnCommand { txn, identity, decide: Some(decide) });
                    self.append(group, epoch, kind, Purpose::Refusal(id, number));
                }
                Output::Commit { id, offset, range } => {
                    let to =
                        (0..self.groups.len()).find(|to| self.scene.arc(*to).contains(range.up_to)).unwrap();
                    let range = Some(Owned::arc(range.after, range.up_to));
                    let finishing = Finishing { id: Some(to_wire(id)), offset, range, commit: true };
                    self.tell(Fact::Finish { to, finishing });
                }
                Output::Abort { id, part: (to, _) } => {
                    let range = Some(Owned::whole());
                    let finishing = Finishing { id: Some(to_wire(id)), offset: 0, range, commit: false };
                    self.tell(Fact::Finish { to, finishing });
                }
                Output::AppendForget(id) => {
                    let id = to_wire(id);
                    let kind = Kind::Forget(ForgetCommand { ids: vec![id] });
                    self.append(group, epoch, kind, Purpose::Forget(id));
                }
                Output::GiveUp(..) | Output::AnswerUnknown(_) => {}
            }
        }
    }

    fn append_decision(
        &mut self,
        group: usize,
        epoch: u64,
        id: coordinate::CrossId,
        number: usize,
        part: Branch,
        branches: Vec<coordinate::Branch<(usize, Vec<IndexedResult>)>>,
    ) {
        // The log may be full.
        if self.random.one_in(10) {
            let at = usize::try_from(epoch).unwrap() - 1;
            return self.lead(group, at, Input::NotAppended(id, Hindrance::Overloaded));
        }
        let id = to_wire(id);
        let at: Vec<usize> = branches.iter().map(|branch| branch.results.0).collect();
        let decided = branches.into_iter().map(|branch| DecidedBranch {
            group: branch.results.0 as u64 + 1,
            range: Some(Owned::arc(branch.range.after, branch.range.up_to)),
            offset: branch.offset,
            results: branch.results.1,
        });
        let Branch { guards, operations, txn, .. } = part;
        let decide = Decide { id: Some(id), branches: decided.collect(), guards, operations, refusal: None };
        let identity = Some(self.scene.identity(number));
        let kind = Kind::Txn(TxnCommand { txn, identity, decide: Some(decide) });
        self.append(group, epoch, kind, Purpose::Decision(id, number, at));
    }

    pub(super) fn hear(&mut self, fact: Fact) {
        match fact {
            Fact::Prepare { to, branch } => {
                // Some go astray.
                let to = if self.random.one_in(12) { self.random.below(self.groups.len()) } else { to };
                let mut branches = vec![branch];
                let others = self.facts.iter().filter_map(|fact| match fact {
                    Fact::Prepare { to: other, branch } if *other == to => Some(branch.clone()),
                    _ => None,
                });
                let others: Vec<Branch> = others.collect();
                // Several in one entry, now and then twice the same.
                branches.extend(others.into_iter().filter(|_| self.random.one_in(6)));
                let kind = Kind::Prepare(PrepareCommand { branches: branches.clone() });
                self.append(to, self.groups[to].epoch, kind, Purpose::Prepare(branches));
            }
            Fact::Finish { to, finishing } => {
                let to = if self.random.one_in(12) { self.random.below(self.groups.len()) } else { to };
                let id = finishing.id.unwrap();
                let table = &self.groups[to].table;
                if table.read(|read| cross::is_finished(read, id, finishing.offset)).unwrap() {
                    let range = Some(self.scene.arc(to));
                    return self.tell(Fact::Ack {
                        ack: FinishAck { id: Some(id), offset: finishing.offset, range },
                    });
                }
                let mut finishes = vec![finishing];
                let others = self.facts.iter().filter_map(|fact| match fact {
                    Fact::Finish { to: other, finishing } if *other == to => Some(*finishing),
                    _ => None,
                });
                let others: Vec<Finishing> = others.collect();
                finishes.extend(others.into_iter().filter(|_| self.random.one_in(6)));
                let kind = Kind::Finish(FinishCommand { finishes });
                self.append(to, self.groups[to].epoch, kind, Purpose::Finish);
            }
            Fact::Answer { from, answer } => self.hear_answer(from, &answer),
            Fact::Ack { ack } => {
                let id = ack.id.unwrap();
                let group = usize::try_from(id.group).unwrap() - 1;
                let at = self.random.below(self.groups[group].leaders.len());
                self.lead(group, at, Input::Acked(to_core(id), ack.offset, arc(ack.range)));
            }
        }
    }

    fn hear_answer(&mut self, from: usize, answer: &PrepareAnswer) {
        let id = answer.id.unwrap();
        let group = usize::try_from(id.group).unwrap() - 1;
        let at = usize::try_from(id.epoch).unwrap() - 1;
        let input = match answer.verdict.clone().unwrap() {
            Verdict::Prepared(prepared) => {
                // Which participant it is follows from where its operations and guards are.
                let participants = (0..self.groups.len()).filter(|other| *other != group);
                let of_try = self.facts.iter().filter_map(|fact| match fact {
                    Fact::Prepare { to, branch } if branch.id == Some(id) => Some(*to),
                    _ => None,
                });
                let involved: Vec<usize> = of_try.collect();
                let mut involved: Vec<usize> = participants.filter(|it| involved.contains(it)).collect();
                involved.sort_unstable();
                let Some(participant) = involved.iter().position(|it| *it == from) else { return };
                let results = (from, prepared.results);
                let range = arc(prepared.range);
                let branch = coordinate::Branch { participant, offset: prepared.offset, range, results };
                Input::Prepared(to_core(id), branch)
            }
            Verdict::Failed(failed) => Input::Failed(to_core(id), failed.failed),
            Verdict::Locked(_) => Input::Hindered(to_core(id), Hindrance::Locked),
            Verdict::Refused(why) if why.reason() == FailureReason::Frozen => {
                Input::Hindered(to_core(id), Hindrance::Frozen)
            }
            Verdict::Refused(_) => Input::Hindered(to_core(id), Hindrance::WrongRoute),
        };
        self.lead(group, at, input);
    }

    /// Applies the next entry of a group.
    pub(super) fn apply_next(&mut self, group: usize, seen: &mut Seen) {
        if self.groups[group].log.is_empty() {
            return;
        }
        let Pending { epoch, kind, purpose } = self.groups[group].log.remove(0);
        // Entries of a leader carry its epoch; those that a stray hand carried over, that of the log.
        let reply = match kind {
            Some(kind) => self.write_command(group, epoch, kind),
            None => self.write(group, epoch, EntryKind::Empty, Bytes::new()),
        };
        // Whoever leads no longer does not hear of it.
        let hears = epoch == self.groups[group].epoch;
        let at = usize::try_from(epoch).unwrap() - 1;
        match purpose {
            Purpose::First if hears => self.first_applied(group, at),
            Purpose::First => {}
            Purpose::Decision(id, number, groups) => {
                self.decided(group, id, number, &groups, &reply, seen);
                if hears && id.epoch == epoch {
                    self.lead(group, at, Input::Applied { id: to_core(id), is_committed: reply.commits() });
                }
            }
            Purpose::Refusal(id, number) => {
                self.answered(number, &reply);
                if hears && id.epoch == epoch {
                    self.lead(group, at, Input::Applied { id: to_core(id), is_committed: reply.commits() });
                }
                seen.refused += 1;
            }
            Purpose::Local(number) => {
                if reply.commits() {
                    self.model.execute(&self.scene, number);
                    seen.decided += 1;
                } else {
                    self.is_true_refusal(group, number, &reply);
                }
                self.answered(number, &reply);
            }
            Purpose::Outcome(request) => self.heard_outcome(request, &reply),
            Purpose::Prepare(branches) => self.prepared(group, &branches, reply, seen),
            Purpose::Finish => {
                let Reply::Finished(acks) = reply else { panic!("{reply:?}") };
                acks.into_iter().for_each(|ack| self.tell(Fact::Ack { ack }));
            }
            Purpose::Freeze(id) => {
                if hears && !matches!(reply, Reply::Frozen) {
                    self.freezer(group, at, FreezeInput::NotAppended(id));
                }
            }
            Purpose::Cut(id) => self.heard_cut(group, id, &reply),
            Purpose::Thaw => assert_eq!(reply, Reply::Frozen, "a thaw does no harm"),
            Purpose::Forget(id) => {
                if hears {
                    self.lead(group, at, Input::Forgotten(to_core(id)));
                }
            }
        }
    }

    /// The first entry of a leader is applied, and it leads.
    fn first_applied(&mut self, group: usize, at: usize) {
        let found = self.groups[group].table.read(cross::decisions).unwrap();
        let branches = |row: &proto::store::Decision| {
            row.branches.iter().map(|branch| (arc(branch.range), branch.offset)).collect()
        };
        let found = found.iter().map(|(id, row)| (to_core(*id), branches(row))).collect();
        self.lead(group, at, Input::Ready(found));
        self.freezer(group, at, FreezeInput::Ready);
    }

    fn decided(
        &mut self,
        group: usize,
        id: CrossId,
        number: usize,
        groups: &[usize],
        reply: &Reply,
        seen: &mut Seen,
    ) {
        if reply.commits() {
            self.model.execute(&self.scene, number);
            let rows = self.groups[group].table.read(cross::decisions).unwrap();
            let row = rows.into_iter().find(|(known, _)| *known == id).expect("a decision has a row").1;
            for (at, branch) in groups.iter().zip(&row.branches) {
                self.model.committed(id, *at, branch.offset);
            }
            seen.decided += 1;
        } else {
            let is_own =
                id.epoch == self.groups[group].table.read(state::read).unwrap().applied.unwrap().epoch;
            let is_invalid = matches!(reply, Reply::Refused(why) if why.reason == FailureReason::Invalid);
            assert!(!(is_own && is_invalid), "a leader appends no decision that is none: {reply:?}");
            self.is_true_refusal(group, number, reply);
        }
        self.answered(number, reply);
    }

    /// A refusal that this entry made is true now: the part of the group cannot be done.
    fn is_true_refusal(&self, group: usize, number: usize, reply: &Reply) {
        if let Reply::Txn(response) = reply
            && !response.success
            && !response.remembered
        {
            assert!(!self.model.can_do(&self.scene, number, Some(group)), "a refusal is true: try {number}");
        }
    }

    fn answered(&mut self, number: usize, reply: &Reply) {
        let of = &self.scene.tries[number];
        if let Reply::Txn(response) = reply {
            if response.success {
                self.model.told_done(of.request);
            } else {
                self.model.told_refused(of.request, of.attempt);
            }
        }
    }

    fn prepared(&mut self, group: usize, branches: &[Branch], reply: Reply, seen: &mut Seen) {
        let Reply::Prepared(answers) = reply else { panic!("{reply:?}") };
        for (branch, answer) in branches.iter().zip(answers) {
            self.prepared_one(group, branch, answer, seen);
        }
    }

    fn prepared_one(&mut self, group: usize, branch: &Branch, answer: PrepareAnswer, seen: &mut Seen) {
        match answer.verdict.as_ref().unwrap() {
            Verdict::Failed(_) => {
                let numbers = 0..self.scene.tries.len();
                let is_of = |number: &usize| {
                    let parts = self.scene.parts(&self.keys, *number);
                    parts.iter().any(|(at, part)| *at == group && part.txn == branch.txn)
                };
                let number =
                    numbers.into_iter().find(is_of).expect("a group tells nothing of what is not its own");
                assert!(
                    !self.model.can_do(&self.scene, number, Some(group)),
                    "a refusal is true: try {number}"
                );
                seen.refused += 1;
            }
            Verdict::Locked(_) => seen.locked += 1,
            Verdict::Prepared(_) | Verdict::Refused(_) => {}
        }
        self.tell(Fact::Answer { from: group, answer });
    }

    /// A participant's leader asks what became of one of its branches; any leader of the decider's group may answer.
    pub(super) fn ask(&mut self, group: usize, seen: &mut Seen) {
        let live = self.groups[group].table.read(|read| cross::prepared_branches(read, 16)).unwrap();
        if live.is_empty() {
            return;
        }
        let row = &live[self.random.below(live.len())];
        let (id, offset) = (row.branch.as_ref().unwrap().id.unwrap(), row.position.unwrap().offset);
        let decider = usize::try_from(id.group).unwrap() - 1;
        let at = self.random.below(self.groups[decider].leaders.len());
        if self.groups[decider].leaders[at].ask(to_core(id)) != Standing::Look {
            return;
        }
        let table = &self.groups[decider].table;
        let commit =
            table.read(|read| cross::is_committed(read, id, offset, &self.scene.arc(group))).unwrap();
        if !commit {
            self.model.told_aborted(id, group, offset);
            seen.aborted += 1;
        }
        let finishing = Finishing { id: Some(id), offset, range: Some(self.scene.arc(group)), commit };
        self.tell(Fact::Finish { to: group, finishing });
    }

    fn heard_outcome(&mut self, request: usize, reply: &Reply) {
        let Reply::Outcome(outcome) = reply else { panic!("{reply:?}") };
        match outcome.verdict() {
            Outcome::Done => self.model.told_done(request),
            // It closes the id for every attempt.
            Outcome::NotDone | Outcome::Refused => self.model.told_not_done(request),
            other => panic!("{other:?}"),
        }
    }
}
