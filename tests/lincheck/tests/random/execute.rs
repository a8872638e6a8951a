//! Real executions: processes ask, an object does one thing after another, and some replies are lost.

use std::collections::BTreeMap;

use feira_lincheck::Recorder;

use crate::History;
use crate::subjects::{Detail, Subject};

/// What an execution looks like.
pub(crate) struct Shape {
    /// Operations asked for.
    pub(crate) operations: usize,
    /// Processes that ask, each waiting for its answer.
    pub(crate) processes: u64,
    /// Keys.
    pub(crate) keys: usize,
    /// Of a hundred replies, so many are lost; half of those before the operation is done, which it is then later
    /// or never.
    pub(crate) lost_percent: u8,
    /// How much is told.
    pub(crate) detail: Detail,
}

/// An operation under way.
struct UnderWay<M: Subject> {
    key: String,
    op: M::Op,
    /// What was answered, once it is done.
    answer: Option<M::Answer>,
}

/// An execution under way.
struct Execution<'a, M: Subject> {
    model: &'a M,
    random: &'a mut fastrand::Rng,
    states: BTreeMap<String, M::State>,
    waiting: BTreeMap<u64, UnderWay<M>>,
    /// Nobody waits for these any more, but they may still be done.
    forgotten: Vec<UnderWay<M>>,
    recorder: Recorder<M::Op, M::Answer>,
}

/// Runs an execution and returns its history, which is linearizable.
pub(crate) fn execute<M: Subject>(model: &M, shape: &Shape, random: &mut fastrand::Rng) -> History<M> {
    let mut run = Execution {
        model,
        random,
        states: BTreeMap::new(),
        waiting: BTreeMap::new(),
        forgotten: Vec::new(),
        recorder: Recorder::default(),
    };
    let mut asked = 0;
    while asked < shape.operations {
        let process = run.random.u64(..shape.processes);
        if run.random.u8(..16) == 0 && !run.forgotten.is_empty() {
            let which = run.random.usize(..run.forgotten.len());
            let mut late = run.forgotten.swap_remove(which);
            run.perform(&mut late, shape);
        }
        match run.waiting.remove(&process) {
            None => {
                run.ask(process, shape, asked);
                asked += 1;
            }
            Some(under_way) => run.go_on(process, under_way, shape),
        }
    }
    run.recorder.into_history()
}

impl<M: Subject> Execution<'_, M> {
    fn ask(&mut self, process: u64, shape: &Shape, number: usize) {
        let key = format!("key {}", self.random.usize(..shape.keys));
        let state = self.states.entry(key.clone()).or_insert_with(|| self.model.initial());
        let op = self.model.ask(state, number, shape.detail, self.random);
        self.recorder.call(process, key.clone(), op.clone());
        self.waiting.insert(process, UnderWay { key, op, answer: None });
    }

    fn go_on(&mut self, process: u64, mut under_way: UnderWay<M>, shape: &Shape) {
        let lost = self.random.u8(..100) < shape.lost_percent;
        match under_way.answer.take() {
            None if lost && self.random.bool() => {
                self.recorder.unknown(process);
                self.forgotten.push(under_way);
            }
            None => {
                self.perform(&mut under_way, shape);
                self.waiting.insert(process, under_way);
            }
            Some(_) if lost => self.recorder.unknown(process),
            Some(answer) => self.recorder.answered(process, answer),
        }
    }

    fn perform(&mut self, under_way: &mut UnderWay<M>, shape: &Shape) {
        let state = self.states.entry(under_way.key.clone()).or_insert_with(|| self.model.initial());
        under_way.answer = Some(self.model.answer(state, &under_way.op, shape.detail, self.random));
        *state = self.model.step(state, &under_way.op, None).unwrap();
    }
}
