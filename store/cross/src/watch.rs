//! The watch of a leader over its transactions over several groups: it follows its own leadership, sends again what may have been
//! lost, and asks about branches that have been prepared for long.
//!
//! Promises: a branch that is prepared here is never ended by a guess: only as the group that decides says. Time decides only when
//! it is asked.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use proto::check::cross::QUESTIONS_MAX;
use proto::store::ask_answer::Verdict;
use proto::store::ask_request::Question;
use proto::store::command::Kind;
use proto::store::{CrossId, FinishCommand, Finishing, PreparedBranch};
use store_core::coordinate::{self, Input};
use store_core::ring::Ring;
use store_core::{Epoch, Role, RoleView, mutant};
use store_db::{Table as _, cross, state};
use store_engine::front::command_of;
use tokio::time::Instant;

use crate::host::{Append, Host, Leaders};
use crate::payload::{Payload, in_core, on_wire};

/// Between two looks of a leader.
const LOOK: Duration = Duration::from_millis(200);
/// The same until an entry of its epoch is applied.
const LOOK_AT_APPLIED: Duration = Duration::from_millis(50);
/// A branch that has been prepared for so long is asked about.
const ASK_AFTER: Duration = Duration::from_millis(250);
/// Looks between two times that everything unanswered is sent again.
const LOOKS_TO_RESEND: u32 = 10;
/// Branches looked at: as many as there can be.
const BRANCHES_MAX: usize = 16_384;

#[derive(Default)]
struct Watch {
    /// The epoch in which this node leads, and whether an entry of it is applied.
    leads: Option<(Epoch, bool)>,
    /// When each prepared branch was seen first.
    seen: HashMap<(CrossId, u64), Instant>,
    looks: u32,
}

/// What is watched, and who is asked.
pub(crate) struct Watched<H, L> {
    pub(crate) host: Arc<H>,
    pub(crate) ring: Ring,
    /// The slot of this node's group.
    pub(crate) slot: usize,
    pub(crate) groups: L,
}

impl<H, L: Clone> Clone for Watched<H, L> {
    fn clone(&self) -> Self {
        let (host, groups) = (Arc::clone(&self.host), self.groups.clone());
        Watched { host, ring: self.ring.clone(), slot: self.slot, groups }
    }
}

/// Watches until the node ends; `step` steps the coordinator.
pub(crate) async fn run<H: Host, L: Leaders>(step: impl Fn(Input<Payload>) -> bool, watched: Watched<H, L>) {
    let mut role = watched.host.role();
    let mut stopping = watched.host.stopping();
    let mut watch = Watch::default();
    loop {
        let view = *role.borrow_and_update();
        let mut inputs = watch.follow(&*watched.host, view);
        inputs.extend(watch.resend());
        if !inputs.into_iter().all(&step) {
            return;
        }
        for (slot, questions) in watch.old(&watched) {
            for some in questions.chunks(QUESTIONS_MAX) {
                watched.host.spawn(Box::pin(ask(watched.clone(), slot, some.to_vec())));
            }
        }
        tokio::select! {
            biased;
            () = watch.pause() => {}
            changed = role.changed() => if changed.is_err() { return },
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

impl Watch {
    /// What has become of this node's leadership.
    fn follow(&mut self, host: &impl Host, view: RoleView) -> Vec<Input<Payload>> {
        let mut inputs = Vec::new();
        let leads = (view.role == Role::Leader).then_some(view.epoch);
        if leads != self.leads.map(|(epoch, _)| epoch) {
            self.leads = leads.map(|epoch| (epoch, false));
            self.seen.clear();
            inputs.push(leads.map_or(Input::Lost, Input::Lead));
        }
        let Some((epoch, is_ready @ false)) = &mut self.leads else { return inputs };
        if host.applied().borrow().position.epoch != *epoch {
            return inputs;
        }
        match host.table().read(|read| cross::decisions(read)) {
            Ok(decisions) => {
                *is_ready = true;
                let branches = |row: proto::store::Decision| {
                    let branches = row.branches.into_iter().map(|branch| {
                        let range = branch.range.unwrap_or_default();
                        (coordinate::Arc { after: range.after, up_to: range.up_to }, branch.offset)
                    });
                    branches.collect::<Vec<_>>()
                };
                let decisions = decisions.into_iter().map(|(id, row)| (in_core(id), branches(row)));
                inputs.push(Input::Ready(decisions.collect()));
            }
            Err(error) => {
                tracing::error!(%error, "decisions on transactions over several groups cannot be read");
            }
        }
        inputs
    }

    /// Until there is something to look at; who does not lead is told when he does.
    async fn pause(&self) {
        match self.leads {
            Some((_, true)) => tokio::time::sleep(LOOK).await,
            Some((_, false)) => tokio::time::sleep(LOOK_AT_APPLIED).await,
            None => pending().await,
        }
    }

    fn is_ready(&self) -> bool {
        matches!(self.leads, Some((_, true)))
    }

    fn resend(&mut self) -> Option<Input<Payload>> {
        self.looks += 1;
        (self.is_ready() && self.looks.is_multiple_of(LOOKS_TO_RESEND)).then_some(Input::Resend)
    }

    /// Questions about the branches that have been prepared for long, by the slot of the group that decides.
    fn old<H: Host, L>(&mut self, watched: &Watched<H, L>) -> BTreeMap<usize, Vec<Question>> {
        let mut questions: BTreeMap<usize, Vec<Question>> = BTreeMap::new();
        if !self.is_ready() {
            return questions;
        }
        let prepared = watched.host.table().read(|read| match state::read(read)?.prepared_count {
            0 => Ok(Vec::new()),
            _ => cross::prepared_branches(read, BRANCHES_MAX),
        });
        let Ok(prepared) = prepared else { return questions };
        let now = Instant::now();
        let before = std::mem::take(&mut self.seen);
        for PreparedBranch { branch, position, .. } in prepared {
            let (branch, offset) = (branch.unwrap_or_default(), position.unwrap_or_default().offset);
            let id = branch.id.unwrap_or_default();
            let since = *before.get(&(id, offset)).unwrap_or(&now);
            self.seen.insert((id, offset), since);
            if now.duration_since(since) >= ASK_AFTER {
                let decider_tag_hash = branch.decider_tag_hash;
                let question = Question { id: Some(id), decider_tag_hash, offset, range: branch.range };
                questions.entry(watched.ring.owner(decider_tag_hash)).or_default().push(question);
            }
        }
        questions
    }
}

/// Asks the group that decides, and ends what it has decided. A node that stops waits for no answer: what is held here keeps its folder in use.
async fn ask<H: Host, L: Leaders>(watched: Watched<H, L>, slot: usize, questions: Vec<Question>) {
    let mut stopping = watched.host.stopping();
    let answers = tokio::select! {
        biased;
        answers = watched.groups.ask(slot, questions) => answers,
        _ = stopping.wait_for(|stopping| *stopping) => return,
    };
    let Ok(answers) = answers else { return };
    let own = watched.ring.arc(watched.slot);
    let range = on_wire(coordinate::Arc { after: own.after, up_to: own.up_to });
    let finishing = |answer: proto::store::AskAnswer| {
        let commit = match answer.verdict() {
            Verdict::Committed => true,
            Verdict::Aborted => false,
            Verdict::Preparing | Verdict::Appended if mutant!(UndecidedIsAborted) => false,
            Verdict::Preparing | Verdict::Appended | Verdict::Elsewhere | Verdict::Unspecified => {
                return None;
            }
        };
        Some(Finishing { id: answer.id, offset: answer.offset, range: Some(range), commit })
    };
    let finishes: Vec<Finishing> = answers.into_iter().filter_map(finishing).collect();
    if !finishes.is_empty() {
        let command = command_of(Kind::Finish(FinishCommand { finishes }));
        // If it is lost, it is asked about again.
        let _ = watched.host.append(Append::WriteAnyway(command)).await;
    }
}
