//! The table of a coordinator: each transaction of this leader that is not ended, and its next step.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::arc::{Arc, Uncovered};
use super::{
    Branch, Contents, CrossId, GROUPS_MAX, Hindrance, Input, OPEN_MAX, Output, PREPARING_MAX, Standing,
};
use crate::mutant;
use crate::types::Epoch;

/// One transaction.
#[derive(Debug)]
enum Open<C: Contents> {
    Preparing {
        request: u64,
        own: C::Own,
        parts: Vec<C::Part>,
        /// By participant.
        prepared: Vec<Option<Branch<C::Results>>>,
    },
    Appended {
        request: u64,
        parts: Vec<C::Part>,
        /// Offset and range of each branch; none of a refusal.
        branches: Vec<(Arc, u64)>,
    },
    /// Offset, range, and what is not covered of each branch.
    Finishing(Vec<(Arc, u64, Uncovered)>),
    /// All is covered; the entry that forgets it is appended.
    Covered,
}

/// The leadership of an epoch.
#[derive(Debug)]
struct Leadership {
    epoch: Epoch,
    /// The first entry of the epoch is applied.
    is_ready: bool,
    /// The number of the last transaction.
    last: u64,
}

/// The coordinator of one replica of a group.
#[derive(Debug)]
pub struct Coordinator<C: Contents> {
    group: u64,
    leadership: Option<Leadership>,
    open: BTreeMap<CrossId, Open<C>>,
    preparing: usize,
}

impl<C: Contents> Coordinator<C> {
    /// A replica that does not lead.
    #[must_use]
    pub fn new(group: u64) -> Coordinator<C> {
        Coordinator { group, leadership: None, open: BTreeMap::new(), preparing: 0 }
    }

    /// Takes one thing that happened; what is to be done, in order.
    pub fn step(&mut self, input: Input<C>) -> Vec<Output<C>> {
        let mut out = Vec::new();
        match input {
            Input::Lead(epoch) => {
                self.lose(&mut out);
                self.leadership = Some(Leadership { epoch, is_ready: false, last: 0 });
            }
            Input::Ready(decisions) => self.ready(decisions, &mut out),
            Input::Lost => self.lose(&mut out),
            Input::Begin { request, own, parts } => self.begin(request, own, parts, &mut out),
            Input::Prepared(id, branch) => self.prepared(id, branch, &mut out),
            Input::Failed(id, failure) => self.failed(id, failure, &mut out),
            Input::Hindered(id, hindrance) => self.hindered(id, hindrance, &mut out),
            Input::NotAppended(id, hindrance) => {
                if let Some(Open::Appended { .. }) = self.open.get(&id) {
                    self.give_up(id, hindrance, &mut out);
                }
            }
            Input::Applied { id, is_committed } => self.applied(id, is_committed, &mut out),
            Input::Acked(id, offset, range) => self.acked(id, offset, range, &mut out),
            Input::Forgotten(id) => {
                if matches!(self.open.get(&id), Some(Open::Covered)) {
                    self.open.remove(&id);
                }
            }
            Input::Resend => self.open.iter().for_each(|(id, open)| resend(*id, open, &mut out)),
        }
        out
    }

    /// What this leader can say of a transaction; whether the group owns its tag is for whoever asks to know.
    #[must_use]
    pub fn ask(&self, id: CrossId) -> Standing {
        let Some(leadership) = &self.leadership else { return Standing::Elsewhere };
        // Until then an entry of an earlier leader may still come.
        if !leadership.is_ready && !mutant!(AnswersBeforeFirstEntry) {
            return Standing::Elsewhere;
        }
        if id.group != self.group || id.epoch < leadership.epoch {
            return Standing::Look;
        }
        if id.epoch > leadership.epoch || id.number > leadership.last {
            return Standing::Elsewhere;
        }
        match self.open.get(&id) {
            Some(Open::Preparing { .. }) if !mutant!(SameEpochPresumesAbort) => Standing::Preparing,
            Some(Open::Appended { .. }) if !mutant!(SameEpochPresumesAbort) => Standing::Appended,
            _ => Standing::Look,
        }
    }

    /// Transactions that are not ended: being prepared, and all of them.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.preparing, self.open.len())
    }

    /// Transactions that are not decided, as far as this leader knows. Walks over all that are not ended.
    #[must_use]
    pub fn undecided(&self) -> usize {
        let is_undecided = |open: &&Open<C>| matches!(open, Open::Preparing { .. } | Open::Appended { .. });
        self.open.values().filter(is_undecided).count()
    }

    fn lose(&mut self, out: &mut Vec<Output<C>>) {
        for open in core::mem::take(&mut self.open).into_values() {
            match open {
                // Only this leader could append it, and does not lead: it never commits.
                Open::Preparing { request, .. } => out.push(Output::GiveUp(request, Hindrance::NotLeader)),
                Open::Appended { request, .. } => out.push(Output::AnswerUnknown(request)),
                Open::Finishing(_) | Open::Covered => {}
            }
        }
        self.leadership = None;
        self.preparing = 0;
    }

    fn ready(&mut self, decisions: Vec<(CrossId, Vec<(Arc, u64)>)>, out: &mut Vec<Output<C>>) {
        let Some(leadership) = &mut self.leadership else { return };
        leadership.is_ready = true;
        for (id, branches) in decisions {
            // Those of this epoch are known better here.
            let is_own = id.group == self.group && id.epoch == leadership.epoch;
            if !is_own && !self.open.contains_key(&id) {
                let open = finishing(branches);
                resend(id, &open, out);
                self.open.insert(id, open);
            }
        }
    }

    fn begin(&mut self, request: u64, own: C::Own, parts: Vec<C::Part>, out: &mut Vec<Output<C>>) {
        let Some(leadership) = &mut self.leadership else {
            return out.push(Output::GiveUp(request, Hindrance::NotLeader));
        };
        if parts.is_empty() || parts.len() >= GROUPS_MAX {
            return out.push(Output::GiveUp(request, Hindrance::Invalid));
        }
        if self.preparing >= PREPARING_MAX || self.open.len() >= OPEN_MAX {
            return out.push(Output::GiveUp(request, Hindrance::Overloaded));
        }
        leadership.last += 1;
        let id = CrossId { group: self.group, epoch: leadership.epoch, number: leadership.last };
        let prepared = parts.iter().map(|_| None).collect();
        let open = Open::Preparing { request, own, parts, prepared };
        resend(id, &open, out);
        self.preparing += 1;
        self.open.insert(id, open);
    }

    fn prepared(&mut self, id: CrossId, branch: Branch<C::Results>, out: &mut Vec<Output<C>>) {
        let Some(Open::Preparing { prepared, .. }) = self.open.get_mut(&id) else { return };
        let Some(place) = prepared.get_mut(branch.participant) else { return };
        // The first stays live while nothing is decided: whatever prepares later does so elsewhere.
        place.get_or_insert(branch);
        let missing = prepared.iter().filter(|branch| branch.is_none()).count();
        let allowed = usize::from(mutant!(DecideBeforePrepared) && prepared.len() > 1);
        if missing <= allowed {
            self.append(id, None, out);
        }
    }

    fn failed(&mut self, id: CrossId, failure: C::Failure, out: &mut Vec<Output<C>>) {
        if let Some(Open::Preparing { .. }) = self.open.get(&id) {
            self.append(id, Some(failure), out);
        }
    }

    /// Appends the decision of what is being prepared, or its refusal.
    fn append(&mut self, id: CrossId, failure: Option<C::Failure>, out: &mut Vec<Output<C>>) {
        let Some(Open::Preparing { request, own, parts, prepared }) = self.open.remove(&id) else { return };
        self.preparing -= 1;
        let branches: Vec<Branch<C::Results>> = prepared.into_iter().flatten().collect();
        let named = match &failure {
            None => branches.iter().map(|branch| (branch.range, branch.offset)).collect(),
            Some(_) => Vec::new(),
        };
        self.open.insert(id, Open::Appended { request, parts, branches: named });
        out.push(match failure {
            None => Output::AppendDecision { id, own, branches },
            Some(failure) => Output::AppendRefusal { id, own, failure },
        });
    }

    fn hindered(&mut self, id: CrossId, hindrance: Hindrance, out: &mut Vec<Output<C>>) {
        let may_give_up = match self.open.get(&id) {
            Some(Open::Preparing { .. }) => true,
            // Whatever is heard and however long it takes: only the log says.
            Some(Open::Appended { .. }) => mutant!(GivesUpAfterAppend),
            _ => false,
        };
        if may_give_up {
            self.give_up(id, hindrance, out);
        }
    }

    fn give_up(&mut self, id: CrossId, hindrance: Hindrance, out: &mut Vec<Output<C>>) {
        let (request, parts) = match self.open.remove(&id) {
            Some(Open::Preparing { request, parts, .. }) => {
                self.preparing -= 1;
                (request, parts)
            }
            Some(Open::Appended { request, parts, .. }) => (request, parts),
            _ => return,
        };
        out.push(Output::GiveUp(request, hindrance));
        abort(id, parts, out);
    }

    fn applied(&mut self, id: CrossId, is_committed: bool, out: &mut Vec<Output<C>>) {
        let Some(Open::Appended { .. }) = self.open.get(&id) else { return };
        let Some(Open::Appended { parts, branches, .. }) = self.open.remove(&id) else { return };
        if is_committed {
            let open = finishing(branches);
            resend(id, &open, out);
            self.open.insert(id, open);
        } else {
            abort(id, parts, out);
        }
    }

    fn acked(&mut self, id: CrossId, offset: u64, range: Arc, out: &mut Vec<Output<C>>) {
        let Some(Open::Finishing(branches)) = self.open.get_mut(&id) else { return };
        for (_, of, uncovered) in branches.iter_mut() {
            if *of == offset {
                uncovered.cover(range);
            }
        }
        let is_covered = |branch: &(Arc, u64, Uncovered)| branch.2.is_empty();
        if branches.iter().all(is_covered)
            || (mutant!(ForgetBeforeFinished) && branches.iter().any(is_covered))
        {
            self.open.insert(id, Open::Covered);
            out.push(Output::AppendForget(id));
        }
    }
}

fn finishing<C: Contents>(branches: Vec<(Arc, u64)>) -> Open<C> {
    let whole = |(range, offset)| (range, offset, Uncovered::all_of(range));
    Open::Finishing(branches.into_iter().map(whole).collect())
}

fn abort<C: Contents>(id: CrossId, parts: Vec<C::Part>, out: &mut Vec<Output<C>>) {
    out.extend(parts.into_iter().map(|part| Output::Abort { id, part }));
}

/// What of a transaction may have been lost.
fn resend<C: Contents>(id: CrossId, open: &Open<C>, out: &mut Vec<Output<C>>) {
    match open {
        Open::Preparing { parts, prepared, .. } => {
            let missing = parts.iter().zip(prepared).enumerate().filter(|(_, (_, branch))| branch.is_none());
            out.extend(missing.map(|(participant, (part, _))| Output::Prepare {
                id,
                participant,
                part: part.clone(),
            }));
        }
        Open::Appended { .. } => {}
        Open::Finishing(branches) => {
            let missing = branches.iter().filter(|(_, _, uncovered)| !uncovered.is_empty());
            out.extend(missing.map(|(range, offset, _)| Output::Commit {
                id,
                offset: *offset,
                range: *range,
            }));
        }
        Open::Covered => out.push(Output::AppendForget(id)),
    }
}
