//! [`EpochHistory`] against the plainest thing that does the same: a list of epochs by offset.

use proptest::prelude::*;
use store_core::{Epoch, EpochHistory, Offset, Position, Run};

/// What happens to a log; each number is taken modulo what is possible at that moment.
#[derive(Clone, Copy, Debug)]
enum Step {
    Append { epochs_on: u64, count: u64 },
    Truncate { back: u64 },
    Purge { on: u64 },
}

/// The epochs of all entries, and how many of them were purged; entry 0 stands for the place before the first.
#[derive(Debug)]
struct Plain {
    epochs: Vec<u64>,
    base: usize,
}

impl Plain {
    fn last(&self) -> u64 {
        self.epochs.len() as u64 - 1
    }

    fn position(&self, offset: usize) -> Position {
        Position::new(self.epochs[offset], offset as u64)
    }

    fn perform(&mut self, history: &mut EpochHistory, step: Step) {
        match step {
            Step::Append { epochs_on, count } => {
                let (first, epoch) = (self.last() + 1, self.epochs[self.epochs.len() - 1] + epochs_on);
                let epoch = epoch.max(1);
                self.epochs.extend((0..count).map(|_| epoch));
                history.append(Run { epoch: Epoch(epoch), first: Offset(first), last: Offset(self.last()) });
            }
            Step::Truncate { back } => {
                let kept = self.last().saturating_sub(back).max(self.base as u64);
                self.epochs.truncate(usize::try_from(kept).expect("small") + 1);
                history.truncate(Offset(kept + 1));
            }
            Step::Purge { on } => {
                let up_to = (self.base as u64 + on).min(self.last());
                self.base = usize::try_from(up_to).expect("small");
                history.purge(Offset(up_to));
            }
        }
    }

    /// Every question, for every place in and around the log.
    fn compare(&self, history: &EpochHistory) {
        assert_eq!(history.base(), self.position(self.base));
        assert_eq!(history.last(), self.position(self.epochs.len() - 1));
        for offset in 0..self.epochs.len() + 2 {
            let there = (self.base..self.epochs.len()).contains(&offset);
            let expected = there.then(|| self.position(offset));
            assert_eq!(history.position_at(Offset(offset as u64)), expected, "at {offset}");
        }
        let kept = self.base + 1..self.epochs.len();
        let epoch_last = self.epochs[self.epochs.len() - 1];
        for epoch in 0..=epoch_last + 1 {
            let first = kept.clone().find(|offset| self.epochs[*offset] == epoch);
            assert_eq!(history.first_of(Epoch(epoch)), first.map(|offset| Offset(offset as u64)));
            for offset in self.base..self.epochs.len() + 2 {
                let fits = |at: &usize| self.epochs[*at] <= epoch && *at <= offset;
                let expected = kept.clone().rev().find(fits).unwrap_or(self.base);
                let found = history.last_at_most(Position::new(epoch, offset as u64));
                assert_eq!(found, self.position(expected), "epoch {epoch} offset {offset}");
            }
        }
        for from in self.base + 1..self.epochs.len() + 2 {
            let runs = history.runs_from(Offset(from as u64));
            let told: Vec<_> =
                runs.flat_map(|run| (run.first.0..=run.last.0).map(move |at| (run.epoch.0, at))).collect();
            let expected: Vec<_> =
                (from..self.epochs.len()).map(|offset| (self.epochs[offset], offset as u64)).collect();
            assert_eq!(told, expected, "runs from {from}");
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u64, 1..5_u64).prop_map(|(epochs_on, count)| Step::Append { epochs_on, count }),
        1 => (0..8_u64).prop_map(|back| Step::Truncate { back }),
        1 => (0..6_u64).prop_map(|on| Step::Purge { on }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn a_history_is_a_list_of_epochs(steps in prop::collection::vec(step(), 1..25)) {
        let mut plain = Plain { epochs: vec![0], base: 0 };
        let mut history = EpochHistory::default();
        for step in steps {
            plain.perform(&mut history, step);
            plain.compare(&history);
        }
    }
}
