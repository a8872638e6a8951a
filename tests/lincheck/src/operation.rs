//! Requests, their times and their answers: the entries of a history, and a recorder for histories in memory.
//!
//! Promises: times are only compared, so any clock that never runs backwards will do (ticks, lines, nanoseconds).
//! Leaves out: where they come from; `dialect` reads and writes them as lines of JSON.

use std::collections::BTreeMap;

/// One operation of a history. One that is known not to have run is left out of the history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation<O, A> {
    /// Who asked. Only for people: the order comes from the times alone.
    pub process: u64,
    /// Which object: keys are judged each by itself (Herlihy and Wing: linearizability is local).
    pub key: String,
    /// What was asked.
    pub asked: O,
    /// When it was asked.
    pub called: u64,
    /// What became of it.
    pub outcome: Outcome<A>,
}

/// What became of an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome<A> {
    /// An answer came: the operation took effect between `called` and `returned`, both included.
    Answered {
        /// When the answer came; not before `called`.
        returned: u64,
        /// The answer.
        answer: A,
    },
    /// Nobody knows: it may take effect at any time after it was called, or never.
    Unknown,
}

impl<O, A> Operation<O, A> {
    /// When the answer came, if one did.
    #[must_use]
    pub fn returned(&self) -> Option<u64> {
        match &self.outcome {
            Outcome::Answered { returned, .. } => Some(*returned),
            Outcome::Unknown => None,
        }
    }

    /// The answer, if one came.
    #[must_use]
    pub fn answer(&self) -> Option<&A> {
        match &self.outcome {
            Outcome::Answered { answer, .. } => Some(answer),
            Outcome::Unknown => None,
        }
    }
}

/// Records a history as it happens: one event after another, each at its own time, counted from 1.
#[derive(Clone, Debug)]
pub struct Recorder<O, A> {
    /// Events so far: the clock of the history.
    events: u64,
    /// What was recorded, in the order of the calls; `None`: it did not run.
    operations: Vec<Option<Operation<O, A>>>,
    /// The place in `operations` of what each process waits for.
    waiting: BTreeMap<u64, usize>,
}

impl<O, A> Default for Recorder<O, A> {
    fn default() -> Self {
        Recorder { events: 0, operations: Vec::new(), waiting: BTreeMap::new() }
    }
}

impl<O, A> Recorder<O, A> {
    /// A process asks.
    ///
    /// # Panics
    /// If it still waits for an earlier answer.
    pub fn call(&mut self, process: u64, key: impl Into<String>, asked: O) {
        self.events += 1;
        let before = self.waiting.insert(process, self.operations.len());
        assert!(before.is_none(), "process {process} asks while it waits for an answer");
        let outcome = Outcome::Unknown;
        let called = self.events;
        self.operations.push(Some(Operation { process, key: key.into(), asked, called, outcome }));
    }

    /// A process gets its answer.
    ///
    /// # Panics
    /// If it waits for none.
    pub fn answered(&mut self, process: u64, answer: A) {
        let place = self.ended(process);
        let returned = self.events;
        let operation = self.operations[place].as_mut().expect("what a process waits for is recorded");
        operation.outcome = Outcome::Answered { returned, answer };
    }

    /// A process learns that its operation did not run and never will.
    ///
    /// # Panics
    /// If it waits for none.
    pub fn did_not_run(&mut self, process: u64) {
        let place = self.ended(process);
        self.operations[place] = None;
    }

    /// A process gives up waiting: its operation may take effect at any later time, or never.
    ///
    /// # Panics
    /// If it waits for none.
    pub fn unknown(&mut self, process: u64) {
        self.ended(process);
    }

    fn ended(&mut self, process: u64) -> usize {
        self.events += 1;
        self.waiting.remove(&process).unwrap_or_else(|| panic!("process {process} waits for no answer"))
    }

    /// The history so far, in the order of the calls. What is still waited for is unknown.
    #[must_use]
    pub fn into_history(self) -> Vec<Operation<O, A>> {
        self.operations.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorder_keeps_what_may_have_run() {
        let mut recorder = Recorder::default();
        recorder.call(1, "k", "a");
        recorder.call(2, "k", "b");
        recorder.did_not_run(1);
        recorder.answered(2, true);
        recorder.call(1, "l", "c");
        recorder.unknown(1);
        recorder.call(1, "l", "d");
        let history = recorder.into_history();
        let told: Vec<_> = history.iter().map(|o| (o.asked, o.called, o.returned())).collect();
        assert_eq!(told, [("b", 2, Some(4)), ("c", 5, None), ("d", 7, None)]);
        assert_eq!((history[0].answer(), history[2].key.as_str()), (Some(&true), "l"));
    }

    #[test]
    #[should_panic(expected = "process 1 asks while it waits")]
    fn a_process_waits_for_one_answer_at_a_time() {
        let mut recorder: Recorder<&str, ()> = Recorder::default();
        recorder.call(1, "k", "a");
        recorder.call(1, "k", "b");
    }
}
