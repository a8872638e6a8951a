//! The repair of a gap: the changes that were missed are fetched, drop their keys, and then A goes over the gap.
//!
//! Promise: A moves over a gap only after every key that changed in it was dropped. Meanwhile it stands still, and so does what the
//! lease says: the cache is as new as it was.
//!
//! Leaves out: the fetch (`bus`), and a cache that begins anew because the fetch failed.

use proto::store::{Change, Position};
use store_core::mutant;

use super::span::{Span, chain};
use super::{Coherence, Output, Repair};

impl Coherence {
    /// Something was missed. What came now begins the chain that A is joined to when what was missed is here.
    pub(super) fn gap(&mut self, said: Span, out: &mut Vec<Output>) {
        if let Some(repair) = &mut self.repair {
            let mut behind = Some(repair.behind);
            chain(&mut behind, said);
            repair.behind = behind.unwrap_or(said);
            return;
        }
        self.gaps += 1;
        self.ask_for_missed(said, out);
    }

    fn ask_for_missed(&mut self, behind: Span, out: &mut Vec<Output>) {
        self.barriers += 1;
        let proof = self.repair.and_then(|repair| repair.proof);
        self.repair = Some(Repair { number: self.barriers, asked: behind.from, behind, proof });
        out.push(Output::Repair { number: self.barriers, after: self.applied, up_to: behind.from });
    }

    /// A freshness heartbeat from behind the gap has named a nonce of ours, sent then. One that is behind what was said of events
    /// proves nothing, as without a gap.
    pub(super) fn prove_later(&mut self, offset: u64, sent_ms: Option<u64>) {
        if let (Some(repair), Some(sent_ms)) = (&mut self.repair, sent_ms)
            && offset >= repair.behind.to
        {
            repair.proof = Some((offset, sent_ms));
        }
    }

    pub(super) fn repair_failed(&mut self, number: u64, out: &mut Vec<Output>) {
        if self.repair.is_some_and(|repair| repair.number == number) {
            self.catch_up(out);
        }
    }

    /// All changes up to here have dropped their keys. What came behind a gap may follow on them.
    pub(super) fn advance(&mut self, offset: u64) {
        self.applied = offset;
        let Some(Repair { behind, proof, .. }) = self.repair else { return };
        if behind.from <= offset {
            self.applied = offset.max(behind.to);
            self.repair = None;
        }
        if let Some((_, sent_ms)) = proof.filter(|(offset, _)| *offset <= self.applied) {
            self.extend_lease(sent_ms);
        }
    }

    pub(super) fn repaired(
        &mut self,
        number: u64,
        changes: Vec<Change>,
        up_to: Position,
        out: &mut Vec<Output>,
    ) {
        let Some(Repair { asked, .. }) = self.repair.filter(|repair| repair.number == number) else { return };
        for change in changes {
            if mutant!(RepairDropsNothing) {
                break;
            }
            let offset = change.offset;
            out.extend(change.keys.into_iter().map(|key| Output::Drop { key, offset }));
        }
        if up_to.epoch > self.epoch {
            self.new_epoch(up_to.epoch, out);
        } else if up_to.epoch < self.epoch || up_to.offset < asked {
            // Whoever answered is behind: a leader that was, perhaps with a wrong state.
            self.catch_up(out);
        }
        if self.repair.is_none() {
            return;
        }
        self.advance(self.applied.max(up_to.offset));
        // Another gap came behind the first.
        if let Some(Repair { behind, .. }) = self.repair {
            self.ask_for_missed(behind, out);
        }
    }
}
