//! The leader's part in a cut: when its group is frozen, drained and thawed.

use alloc::vec::Vec;

use super::{AGAIN_TICKS, ASK_TICKS_MAX, CutId, DECIDE_TICKS_MAX, Freeze, OVER_MAX, THAW_TICKS};
use crate::mutant;
use crate::types::Epoch;

/// One thing that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FreezeInput {
    /// The replica leads, in this epoch.
    Lead(Epoch),
    /// The first entry of its own epoch is applied.
    Ready,
    /// The replica leads no longer.
    Lost,
    /// A driver asks for a freeze; it may ask again for the same.
    Ask(CutId),
    /// What is applied now, and how many transactions of this leader are not decided.
    See {
        /// The freeze in force.
        frozen: Option<Freeze>,
        /// Branches that are prepared.
        prepared: u64,
        /// Transactions that this leader has begun and that are not decided.
        undecided: usize,
    },
    /// The driver of a cut has done with it, and an entry that ends its freeze follows.
    GivenUp(CutId),
    /// The log has not taken the entry of a freeze.
    NotAppended(CutId),
    /// Time goes by.
    Tick,
}

/// One thing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FreezeOutput {
    /// Append the entry that freezes the group.
    AppendFreeze(CutId),
    /// Append the entry that ends a freeze.
    AppendThaw(CutId),
    /// Tell the driver that its freeze is in force and nothing is prepared.
    Drained(Freeze),
    /// Tell the driver that there is nothing of its freeze.
    Refuse(CutId, Refusal),
}

/// Why a group is not frozen for a driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// This node does not lead.
    NotLeader,
    /// Another cut is under way.
    Busy,
    /// What was under way has not ended in time.
    Late,
}

/// A request for a freeze that is not answered.
#[derive(Clone, Copy, Debug)]
struct Asked {
    id: CutId,
    ticks: u32,
    is_appended: bool,
}

/// The memory of one replica's leadership: requests for freezes, and the freeze that it sees in force.
#[derive(Clone, Debug, Default)]
pub struct FreezeLeader {
    /// The epoch in which it leads, and whether the first entry of that is applied.
    leads: Option<(Epoch, bool)>,
    asked: Option<Asked>,
    /// The freeze in force, and for how many ticks this leader has seen it.
    seen: Option<(Freeze, u32)>,
    /// Cuts that are over, and for how many ticks, oldest first: their freezes may come yet.
    over: Vec<(CutId, u32)>,
}

impl FreezeLeader {
    /// Takes one thing that happened; what is to be done, in order.
    pub fn step(&mut self, input: FreezeInput) -> Vec<FreezeOutput> {
        let mut out = Vec::new();
        match input {
            FreezeInput::Lead(epoch) => {
                self.lose(&mut out);
                self.leads = Some((epoch, false));
            }
            FreezeInput::Ready => {
                if let Some((_, is_ready)) = &mut self.leads {
                    *is_ready = true;
                }
            }
            FreezeInput::Lost => self.lose(&mut out),
            FreezeInput::Ask(id) => self.ask(id, &mut out),
            FreezeInput::See { frozen, prepared, undecided } => {
                self.see(frozen, &mut out);
                self.go_on(prepared, undecided, &mut out);
            }
            FreezeInput::NotAppended(id) => {
                if let Some(asked) = self.asked.as_mut().filter(|asked| asked.id == id) {
                    asked.is_appended = false;
                }
            }
            FreezeInput::GivenUp(id) => {
                if self.leads.is_some() {
                    self.remember_over(id);
                }
                if self.asked.take_if(|asked| asked.id == id).is_some() {
                    out.push(FreezeOutput::Refuse(id, Refusal::Late));
                }
            }
            FreezeInput::Tick => self.tick(&mut out),
        }
        out
    }

    /// Whether transactions over several groups may begin here: nobody waits for those under way to end.
    #[must_use]
    pub fn may_begin(&self) -> bool {
        self.asked.is_none() && self.seen.is_none()
    }

    /// Whether nothing is to be seen or waited for, and nothing to be forgotten in time.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.may_begin() && self.over.is_empty()
    }

    fn is_over(&self, id: CutId) -> bool {
        self.over.iter().any(|(known, _)| *known == id)
    }

    fn remember_over(&mut self, id: CutId) {
        self.over.retain(|(known, _)| *known != id);
        if self.over.len() >= OVER_MAX {
            self.over.remove(0);
        }
        self.over.push((id, 0));
    }

    fn lose(&mut self, out: &mut Vec<FreezeOutput>) {
        if let Some(asked) = self.asked.take() {
            out.push(FreezeOutput::Refuse(asked.id, Refusal::NotLeader));
        }
        self.leads = None;
        self.seen = None;
    }

    fn ask(&mut self, id: CutId, out: &mut Vec<FreezeOutput>) {
        let is_anothers = |known: CutId| known != id;
        let busy = self.asked.is_some_and(|asked| is_anothers(asked.id))
            || self.seen.is_some_and(|(freeze, _)| is_anothers(freeze.id));
        if self.leads.is_none() {
            out.push(FreezeOutput::Refuse(id, Refusal::NotLeader));
        } else if self.is_over(id) {
            // Its driver waits no more, or asks for what it has thawed.
            out.push(FreezeOutput::Refuse(id, Refusal::Late));
        } else if busy {
            out.push(FreezeOutput::Refuse(id, Refusal::Busy));
        } else {
            self.asked.get_or_insert(Asked { id, ticks: 0, is_appended: false });
        }
    }

    fn see(&mut self, frozen: Option<Freeze>, out: &mut Vec<FreezeOutput>) {
        let known = self.seen.map(|(freeze, _)| freeze);
        if self.leads.is_none() || known == frozen {
            return;
        }
        self.seen = frozen.map(|freeze| (freeze, 0));
        // Its entry was on the way when it was given up: what ended the freeze stands before it in the log.
        if let Some(freeze) = frozen.filter(|freeze| self.is_over(freeze.id)) {
            out.push(FreezeOutput::AppendThaw(freeze.id));
        }
    }

    fn go_on(&mut self, prepared: u64, undecided: usize, out: &mut Vec<FreezeOutput>) {
        // Until then an entry of an earlier leader may still come.
        let (Some((_, true)), Some(asked)) = (self.leads, &mut self.asked) else { return };
        match self.seen {
            Some((freeze, _)) if freeze.id != asked.id => {
                out.push(FreezeOutput::Refuse(asked.id, Refusal::Busy));
                self.asked = None;
            }
            Some((freeze, _)) => {
                if prepared == 0 || mutant!(CutWithoutDrain) {
                    out.push(FreezeOutput::Drained(freeze));
                    self.asked = None;
                }
            }
            None => {
                let is_time = undecided == 0 || asked.ticks >= DECIDE_TICKS_MAX;
                if is_time && !asked.is_appended {
                    asked.is_appended = true;
                    out.push(FreezeOutput::AppendFreeze(asked.id));
                }
            }
        }
    }

    fn tick(&mut self, out: &mut Vec<FreezeOutput>) {
        self.over.retain_mut(|(_, ticks)| {
            *ticks += 1;
            *ticks < THAW_TICKS
        });
        if let Some(asked) = &mut self.asked {
            asked.ticks += 1;
            if asked.ticks >= ASK_TICKS_MAX {
                let id = asked.id;
                self.asked = None;
                out.push(FreezeOutput::Refuse(id, Refusal::Late));
                // Where the entry is on its way, the freeze ends when it is seen.
                self.remember_over(id);
                if self.seen.is_some_and(|(freeze, _)| freeze.id == id) {
                    out.push(FreezeOutput::AppendThaw(id));
                }
            }
        }
        if let Some((freeze, ticks)) = &mut self.seen {
            *ticks += 1;
            if *ticks >= THAW_TICKS && (*ticks - THAW_TICKS).is_multiple_of(AGAIN_TICKS) {
                out.push(FreezeOutput::AppendThaw(freeze.id));
            }
        }
    }
}
