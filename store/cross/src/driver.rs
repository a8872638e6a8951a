//! The driver: requests that wait, and what the coordinator says to do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use proto::hash::ring_hash;
use proto::store::ask_answer::Verdict;
use proto::store::command::Kind;
use proto::store::operation::Action;
use proto::store::pipeline_response::Response;
use proto::store::prepare_answer::Verdict as PrepareVerdict;
use proto::store::prepare_request::Part;
use proto::store::{
    AskAnswer, AskRequest, AskResponse, CrossRefusal, Decide, DecidedBranch, Failure, FailureReason,
    FinishRequest, ForgetCommand, Holder, Identity, IndexedResult, Operation, Owned, PrepareAnswer,
    PrepareCommand, PrepareRequest, PrepareResponse, Txn, TxnCommand, TxnResponse,
};
use store_client::failure::{failure, invalid, not_leader};
use store_core::coordinate::{
    self, Branch, Coordinator, CrossId, Hindrance, Input, Output, Standing as Said,
};
use store_core::cut::CutId;
use store_core::ring::Ring;
use store_core::{GroupId, mutant};
use store_db::{Table as _, cross};
use store_engine::front::{NodeResponse, check_clock, check_times, command_of};
use store_engine::{Answer, Reply};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::forgets::{self, Forgets};
use crate::gate::Who;
use crate::host::{self, Append, Host, Leaders};
use crate::lane::{self, Lane, Wanted};
use crate::payload::{Outgoing, Own, Payload, id_on_wire, in_core, on_wire};
use crate::split::split;
use crate::still::{self, Still};
use crate::watch;

/// The leader of another group must answer within this.
const PARTICIPANT_MS_MAX: u64 = 1_000;
/// Microseconds after which a transaction begins again that found another in the way; doubled each time, up to a bound.
const AGAIN_US: u64 = 500;
const AGAIN_DOUBLINGS_MAX: u32 = 7;
/// The same for the one that everybody else waits for: the keys are kept for it, and lie idle until its next try.
const FIRST_DOUBLINGS_MAX: u32 = 4;
/// For so long a request is tried again. A portal waits for 5 s if it is not told otherwise, and a try may take another second or two where a
/// leader is silent and others wait for it too: it mostly hears that nothing was done.
const TRIED_MS_MAX: u64 = 2_500;
/// Tries that end because another group is silent: each keeps locks at the groups that are not.
const SILENT_MAX: u32 = 1;
/// Branches remembered with who had waited for them; if they are more, all are forgotten, and reservations end by themselves.
const WAITED_MAX: usize = 4_096;
/// Between two looks at what became of a decision that this leader was told nothing of.
const SETTLE_MS: u64 = 100;

/// What became of one try.
enum Outcome {
    Done(TxnResponse),
    Refused(Failure),
    GivenUp(Hindrance),
    Unknown,
}

/// Requests that wait.
#[derive(Default)]
struct Waiting {
    last: u64,
    outcomes: HashMap<u64, oneshot::Sender<Outcome>>,
}

/// The driver of one replica.
pub struct Cross<H, L> {
    host: Arc<H>,
    ring: Ring,
    /// The slot of this node's group.
    slot: usize,
    coordinator: Mutex<Coordinator<Payload>>,
    waiting: Mutex<Waiting>,
    /// Whose the branches are that were prepared here for somebody who had found locks.
    waited: Mutex<HashMap<CrossId, Who>>,
    /// One a slot.
    lanes: Vec<Lane>,
    /// Decisions that are to be forgotten.
    forgets: Forgets,
    /// The way to the other groups' leaders.
    groups: L,
    /// The part in consistent cuts.
    still: Arc<Still<H>>,
}

impl<H: Host, L: Leaders> Cross<H, L> {
    /// For so long the leader of another group is waited for: what [`Leaders`] do ends within it.
    pub const PARTICIPANT_MS_MAX: u64 = PARTICIPANT_MS_MAX;

    /// Starts the driver of a replica of a ring of several groups; `None`: its group is not on that ring.
    pub fn start(host: &Arc<H>, groups: L) -> Option<Arc<Cross<H, L>>> {
        let (group, ring) = (host.group(), groups.ring().clone());
        let slot = ring.slot_of(GroupId(group))?;
        let (lanes, ends): (Vec<Lane>, Vec<lane::End>) = ring.slots().iter().map(|_| lane::lane()).unzip();
        let (forgets, forgotten) = forgets::queue();
        let cross = Arc::new(Cross {
            host: Arc::clone(host),
            ring,
            slot,
            coordinator: Mutex::new(Coordinator::new(group)),
            waiting: Mutex::default(),
            waited: Mutex::default(),
            lanes,
            forgets,
            groups,
            still: Still::new(Arc::clone(host)),
        });
        for (slot, end) in ends.into_iter().enumerate() {
            let to = lane::To { groups: cross.groups.clone(), slot };
            host.spawn(Box::pin(lane::run(stepper(&cross), to, end)));
        }
        host.spawn(Box::pin(forgets::run(forgetter(&cross), forgotten)));
        let watched = watch::Watched {
            host: Arc::clone(host),
            ring: cross.ring.clone(),
            slot,
            groups: cross.groups.clone(),
        };
        host.spawn(Box::pin(watch::run(stepper(&cross), watched)));
        let of = Arc::downgrade(&cross);
        let undecided = move || of.upgrade().map(|cross| cross.coordinator.lock().undecided());
        host.spawn(Box::pin(still::run(Arc::clone(&cross.still), undecided)));
        Some(cross)
    }

    /// Runs a transaction over several groups, of which this one has the tag. A node that stops waits for none.
    pub async fn txn(self: &Arc<Self>, txn: Txn, identity: Option<Identity>) -> Result<TxnResponse, Failure> {
        let mut stopping = self.host.stopping();
        tokio::select! {
            biased;
            answer = self.try_txn(txn, identity) => answer,
            _ = stopping.wait_for(|stopping| *stopping) => {
                let message = "this node stopped while the transaction was under way; the same identity settles it";
                Err(failure(FailureReason::UnknownOutcome, message))
            }
        }
    }

    async fn try_txn(self: &Arc<Self>, txn: Txn, identity: Option<Identity>) -> Result<TxnResponse, Failure> {
        check_times(&txn, &*self.host)?;
        check_clock(identity.as_ref(), &*self.host)?;
        let until = Instant::now() + Duration::from_millis(self.host.request_ms_max().min(TRIED_MS_MAX));
        let tag_hash = txn.tag().map_or(0, |tag| ring_hash(tag));
        let who = identity
            .as_ref()
            .and_then(|identity| Who::named(identity, self.host.wall_ms()))
            .unwrap_or_else(|| {
                let request = Bytes::copy_from_slice(&fastrand::u128(..).to_be_bytes());
                Who { began_ms: self.host.wall_ms(), request }
            });
        let (own, others) = split(&self.ring, self.slot, txn)?;
        let outgoing = |(slot, part)| {
            Arc::new(Outgoing { slot, range: self.range_of(slot), part, tag_hash, who: who.clone() })
        };
        let parts: Vec<Arc<Outgoing>> = others.into_iter().map(outgoing).collect();
        let mut silent = 0;
        for tries in 0.. {
            let outcome = if !self.still.may_begin() {
                Outcome::GivenUp(Hindrance::Frozen)
            } else if self.host.gate().admits(Some(&who), &own.txn) {
                let own = Own { request: 0, part: own.clone(), identity: identity.clone(), who: who.clone() };
                self.once(own, &parts).await
            } else {
                Outcome::GivenUp(Hindrance::Outranked)
            };
            if !matches!(outcome, Outcome::GivenUp(_)) {
                self.host.gate().release(&who);
            }
            let hindrance = match outcome {
                Outcome::Done(response) => return Ok(response),
                Outcome::Refused(failure) => return Err(failure),
                Outcome::Unknown => {
                    let message =
                        "this node cannot say what became of the decision; the same identity settles it";
                    return Err(failure(FailureReason::UnknownOutcome, message));
                }
                Outcome::GivenUp(hindrance) => hindrance,
            };
            silent += u32::from(hindrance == Hindrance::Silent);
            if Instant::now() >= until || !passes(hindrance) || silent > SILENT_MAX {
                return Err(self.hindered(hindrance));
            }
            let most = AGAIN_US << tries.min(doublings_max(hindrance));
            tokio::time::sleep(Duration::from_micros(fastrand::u64(most / 2..=most))).await;
        }
        unreachable!("the tries end in one of the returns above")
    }

    async fn once(self: &Arc<Self>, own: Own, parts: &[Arc<Outgoing>]) -> Outcome {
        let (sender, outcome) = oneshot::channel();
        let request = {
            let mut waiting = self.waiting.lock();
            waiting.last += 1;
            let request = waiting.last;
            waiting.outcomes.insert(request, sender);
            request
        };
        self.step(Input::Begin { request, own: Own { request, ..own }, parts: parts.to_vec() });
        outcome.await.unwrap_or(Outcome::Unknown)
    }

    /// Has branches prepared that another group decides, but for those that would overtake an older request, and for all where the
    /// group stands still.
    pub async fn prepare(self: &Arc<Self>, request: PrepareRequest) -> Response {
        let gate = self.host.gate();
        if let Err(frozen) = self.host.check_still() {
            return Response::Prepare(PrepareResponse { answers: unprepared(&request, &frozen) });
        }
        let mut answers: Vec<PrepareAnswer> = Vec::with_capacity(request.parts.len());
        let (mut whose, mut branches) = (Vec::new(), Vec::new());
        for (place, part) in request.parts.into_iter().enumerate() {
            let branch = part.branch.unwrap_or_default();
            let who = Who { began_ms: part.began_ms, request: part.request };
            let txn = branch.txn.clone().unwrap_or_default();
            let mut answer = PrepareAnswer { id: branch.id, verdict: None };
            if gate.admits(Some(&who), &txn) {
                whose.push((place, who, txn));
                branches.push(branch);
            } else {
                answer.verdict = Some(PrepareVerdict::Locked(Holder::default()));
            }
            answers.push(answer);
        }
        if branches.is_empty() {
            return Response::Prepare(PrepareResponse { answers });
        }
        let command = command_of(Kind::Prepare(PrepareCommand { branches }));
        let told = self.host.append(Append::Write(command)).await;
        let prepared = match told.and_then(|told| host::reply(&*self.host, told)) {
            Ok(Reply::Prepared(prepared)) => prepared,
            Ok(other) => {
                return Response::Failure(invalid("request", format!("is answered as another: {other:?}")));
            }
            Err(failure) => return Response::Failure(failure),
        };
        for ((place, who, txn), answer) in whose.into_iter().zip(prepared) {
            match &answer.verdict {
                Some(PrepareVerdict::Locked(_)) => gate.keep(&who, &txn),
                // It is not tried again.
                Some(PrepareVerdict::Failed(_)) => gate.release(&who),
                Some(PrepareVerdict::Prepared(_)) if !gate.is_open() => {
                    let mut waited = self.waited.lock();
                    if waited.len() >= WAITED_MAX {
                        waited.clear();
                    }
                    waited.insert(in_core(answer.id.unwrap_or_default()), who);
                }
                _ => {}
            }
            answers[place] = answer;
        }
        Response::Prepare(PrepareResponse { answers })
    }

    /// Has the group stand still for a consistent cut, until nothing is prepared in it; the offset of that freeze.
    pub async fn freeze(&self, id: CutId) -> Result<u64, Failure> {
        Ok(self.still.freeze(id).await?.offset)
    }

    /// Has the group go on.
    pub async fn thaw(&self, id: CutId) -> Result<(), Failure> {
        self.still.thaw(id).await
    }

    /// Branches are to be ended: who waited with one that commits waits no more.
    pub fn ending(&self, request: &FinishRequest) {
        let mut waited = self.waited.lock();
        if waited.is_empty() {
            return;
        }
        for finishing in &request.finishes {
            let who = waited.remove(&in_core(finishing.id.unwrap_or_default()));
            if let Some(who) = who.filter(|_| finishing.commit) {
                self.host.gate().release(&who);
            }
        }
    }

    /// What a leader of another group is told about transactions that this group decides.
    pub fn answer(&self, asked: &AskRequest) -> Result<AskResponse, Failure> {
        if !self.host.leads() {
            // Else whoever asks would take this node for the one to ask.
            return Err(self.hindered(Hindrance::NotLeader));
        }
        let answers = asked.questions.iter().map(|question| {
            let (id, range) = (question.id.unwrap_or_default(), question.range.unwrap_or_default());
            let owns = self.ring.owner(question.decider_tag_hash) == self.slot;
            let said = if owns { self.coordinator.lock().ask(in_core(id)) } else { Said::Elsewhere };
            let verdict = match said {
                // After what the coordinator said, never before: what is decided meanwhile is in the table.
                Said::Look => {
                    match self
                        .host
                        .table()
                        .read(|read| cross::is_committed(read, id, question.offset, &range))
                    {
                        Ok(true) => Verdict::Committed,
                        Ok(false) => Verdict::Aborted,
                        Err(error) => return Err(unreadable(&error)),
                    }
                }
                Said::Preparing => Verdict::Preparing,
                Said::Appended => Verdict::Appended,
                Said::Elsewhere => Verdict::Elsewhere,
            };
            Ok(AskAnswer { id: Some(id), offset: question.offset, verdict: verdict.into() })
        });
        Ok(AskResponse { answers: answers.collect::<Result<_, _>>()? })
    }

    /// Steps the coordinator, and does what it says.
    fn step(self: &Arc<Self>, input: Input<Payload>) {
        // Carried out before the next step, so that no lane gets an abort before the prepare that another thread was told to send. Nothing
        // here blocks or steps again.
        let mut coordinator = self.coordinator.lock();
        coordinator.step(input).into_iter().for_each(|output| self.carry(output));
    }

    fn carry(self: &Arc<Self>, output: Output<Payload>) {
        match output {
            Output::Prepare { id, participant, part } => {
                self.lanes[part.slot].want(Wanted::Prepare { id, participant, part });
            }
            Output::AppendDecision { id, own, branches } => {
                // Only where nobody looks at what came of it.
                let adds = |one: &Operation| matches!(one.action, Some(Action::Add(_)));
                if mutant!(DoneBeforeDecided) && own.part.txn.operations.iter().all(adds) {
                    let done = TxnResponse { success: true, ..TxnResponse::default() };
                    self.complete(own.request, Outcome::Done(done));
                }
                let decide = self.decision(id, &own, branches);
                self.host.spawn(Box::pin(Arc::clone(self).append(id, own, decide)));
            }
            Output::AppendRefusal { id, own, failure: failed } => {
                let refusal = Some(CrossRefusal { failed });
                let decide = Decide { refusal, ..self.decision(id, &own, Vec::new()) };
                self.host.spawn(Box::pin(Arc::clone(self).append(id, own, decide)));
            }
            Output::Commit { id, offset, range } => {
                self.lanes[self.ring.owner(range.up_to)].want(Wanted::Finish {
                    id,
                    offset,
                    range,
                    commit: true,
                });
            }
            Output::Abort { id, part } => {
                let Owned { after, up_to, .. } = part.range;
                let range = coordinate::Arc { after, up_to };
                self.lanes[part.slot].want(Wanted::Finish { id, offset: 0, range, commit: false });
            }
            Output::AppendForget(id) => self.forgets.want(id),
            Output::GiveUp(request, hindrance) => self.complete(request, Outcome::GivenUp(hindrance)),
            Output::AnswerUnknown(request) => self.complete(request, Outcome::Unknown),
        }
    }

    /// What the group of a slot owns.
    fn range_of(&self, slot: usize) -> Owned {
        let arc = self.ring.arc(slot);
        on_wire(coordinate::Arc { after: arc.after, up_to: arc.up_to })
    }

    fn complete(&self, request: u64, outcome: Outcome) {
        if let Some(waits) = self.waiting.lock().outcomes.remove(&request) {
            // Its caller may have gone.
            let _ = waits.send(outcome);
        }
    }

    fn decision(&self, id: CrossId, own: &Own, branches: Vec<Branch<Vec<IndexedResult>>>) -> Decide {
        let branch = |branch: Branch<Vec<IndexedResult>>| DecidedBranch {
            group: self.ring.slots()[self.ring.owner(branch.range.up_to)].group.0,
            range: Some(on_wire(branch.range)),
            offset: branch.offset,
            results: branch.results,
        };
        Decide {
            id: Some(id_on_wire(id)),
            branches: branches.into_iter().map(branch).collect(),
            guards: own.part.guards.clone(),
            operations: own.part.operations.clone(),
            refusal: None,
        }
    }

    /// Appends a decision or a refusal, and tells what became of it.
    async fn append(self: Arc<Self>, id: CrossId, own: Own, decide: Decide) {
        let Own { request, part, identity, who } = own;
        let own = part.txn.clone();
        let command = TxnCommand { txn: Some(part.txn), identity, decide: Some(decide) };
        let told = self.host.append_for_ever(Append::Write(command_of(Kind::Txn(command)))).await;
        let (is_committed, outcome) = match told {
            Ok(NodeResponse::Reply(Reply::Txn(response))) => {
                (response.success && !response.remembered, Outcome::Done(response))
            }
            Ok(NodeResponse::Reply(Reply::Locked(_))) => {
                self.host.gate().keep(&who, &own);
                (false, Outcome::GivenUp(Hindrance::Locked))
            }
            Ok(NodeResponse::Reply(Reply::Refused { reason: FailureReason::Frozen, .. })) => {
                (false, Outcome::GivenUp(Hindrance::Frozen))
            }
            Ok(NodeResponse::Reply(Reply::Refused { reason, message, .. })) => {
                let refused = if self.leads_in(id) {
                    Outcome::Refused(failure(reason, message))
                } else {
                    Outcome::GivenUp(Hindrance::NotLeader)
                };
                (false, refused)
            }
            // It never got into the log.
            Ok(NodeResponse::Answer(answer)) if !matches!(answer, Answer::Unknown) => {
                // Told first: the coordinator knows only that it was given up.
                self.complete(request, Outcome::Refused(host::failure(&*self.host, &answer)));
                return self.step(Input::NotAppended(id, Hindrance::Overloaded));
            }
            _ => {
                self.complete(request, Outcome::Unknown);
                if mutant!(UnknownIsAborted) {
                    return self.step(Input::Applied { id, is_committed: false });
                }
                return self.settle(id).await;
            }
        };
        self.step(Input::Applied { id, is_committed });
        self.complete(request, outcome);
    }

    /// Finds out what became of a decision of which this leader was told nothing, while it leads on: an entry that is appended after
    /// it is applied after it, if it is there at all.
    async fn settle(self: Arc<Self>, id: CrossId) {
        while self.leads_in(id) && !*self.host.stopping().borrow() {
            let later = command_of(Kind::Forget(ForgetCommand::default()));
            if let Ok(NodeResponse::Reply(Reply::Done { .. })) =
                self.host.append_for_ever(Append::WriteAnyway(later)).await
            {
                let row = self.host.table().read(|read| cross::is_decided(read, id_on_wire(id)));
                if let Ok(is_committed) = row {
                    return self.step(Input::Applied { id, is_committed });
                }
            }
            tokio::time::sleep(Duration::from_millis(SETTLE_MS)).await;
        }
    }

    /// Appends one entry that forgets these decisions.
    async fn forget(self: Arc<Self>, ids: Vec<CrossId>) {
        let command = ForgetCommand { ids: ids.iter().map(|id| id_on_wire(*id)).collect() };
        let told = self.host.append_for_ever(Append::WriteAnyway(command_of(Kind::Forget(command)))).await;
        // What was not appended is asked for again.
        if let Ok(NodeResponse::Reply(Reply::Done { .. })) = told {
            ids.into_iter().for_each(|id| self.step(Input::Forgotten(id)));
        }
    }

    fn leads_in(&self, id: CrossId) -> bool {
        let view = *self.host.role().borrow();
        view.role == store_core::Role::Leader && view.epoch == id.epoch
    }

    fn hindered(&self, hindrance: Hindrance) -> Failure {
        match hindrance {
            Hindrance::Locked | Hindrance::Outranked => failure(
                FailureReason::Locked,
                "other transactions over several groups were in the way for as long as a request may take",
            ),
            Hindrance::Frozen => failure(FailureReason::Frozen, "a group stands still for a consistent view"),
            // A reason that says nothing against this node.
            Hindrance::Silent => {
                failure(FailureReason::Locked, "the leader of another group did not answer: nothing was done")
            }
            Hindrance::Overloaded => {
                failure(FailureReason::Overloaded, "too many transactions over several groups are under way")
            }
            Hindrance::WrongRoute => {
                failure(FailureReason::WrongRoute, "another group says that a key is not its own")
            }
            Hindrance::Invalid => {
                invalid("txn", "a part of it cannot be prepared by the group that owns its keys")
            }
            Hindrance::NotLeader => {
                let view = *self.host.role().borrow();
                let leader = view.leader.filter(|leader| *leader != self.host.node());
                not_leader(self.host.leader_hint(leader, view.epoch))
            }
        }
    }
}

/// That no branch of a request is prepared, and why.
fn unprepared(request: &PrepareRequest, why: &Failure) -> Vec<PrepareAnswer> {
    let id = |part: &Part| part.branch.as_ref().and_then(|branch| branch.id);
    let answer = |part| PrepareAnswer { id: id(part), verdict: Some(PrepareVerdict::Refused(why.clone())) };
    request.parts.iter().map(answer).collect()
}

/// Whether the same request may soon do better.
fn passes(hindrance: Hindrance) -> bool {
    matches!(hindrance, Hindrance::Locked | Hindrance::Outranked | Hindrance::Frozen | Hindrance::Silent)
}

/// How often the time to the next try doubles at most. Who found a lock was let through to it: nobody older waits for that key.
fn doublings_max(hindrance: Hindrance) -> u32 {
    if hindrance == Hindrance::Locked { FIRST_DOUBLINGS_MAX } else { AGAIN_DOUBLINGS_MAX }
}

fn unreadable(error: &store_db::Error) -> Failure {
    tracing::error!(%error, "the table cannot be read");
    failure(FailureReason::NotServing, format!("this node cannot read its database: {error}"))
}

/// Steps the coordinator for whoever does not keep it alive; false: it has gone.
fn stepper<H: Host, L: Leaders>(
    cross: &Arc<Cross<H, L>>,
) -> impl Fn(Input<Payload>) -> bool + Send + Sync + 'static {
    let cross = Arc::downgrade(cross);
    move |input| cross.upgrade().map(|cross| cross.step(input)).is_some()
}

/// Forgets decisions for whoever does not keep the driver alive; false: it has gone.
fn forgetter<H: Host, L: Leaders>(
    cross: &Arc<Cross<H, L>>,
) -> impl Fn(Vec<CrossId>) -> BoxFuture<'static, bool> + Send + Sync + 'static {
    let cross = Arc::downgrade(cross);
    move |ids| {
        let cross = cross.upgrade();
        Box::pin(async move {
            let Some(cross) = cross else { return false };
            cross.forget(ids).await;
            true
        })
    }
}
