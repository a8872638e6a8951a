//! The checker against chance: random histories of every model.
//!
//! - Small ones, of real executions and mutated: the search agrees with the naive checker on each ([`naive`]).
//! - Large ones, of real executions: they are accepted, within a bounded number of steps.
//! - Large ones with one impossible answer: they are refused.
//!
//! The seed of a history is in the message of what fails. `FEIRA_SEEDS=n` makes n small histories of each model.
#![allow(clippy::unwrap_used)]

mod execute;
mod naive;
mod subjects;

use feira_lincheck::{CasRegister, KvAppend, Limits, Operation, Outcome, Records, Verdict, check_history};

use crate::execute::{Shape, execute};
use crate::subjects::{Detail, Subject};

type History<M> = Vec<Operation<<M as feira_lincheck::Model>::Op, <M as feira_lincheck::Model>::Answer>>;

/// Small histories of each model; `FEIRA_SEEDS=n` makes so many.
const SMALL: u64 = 6_000;

/// No clock: the same steps on every machine.
fn limits(steps_max: u64) -> Limits {
    Limits { steps_max, time_max: None }
}

/// Changes an answer, an outcome or a time, so that the history may be impossible.
fn mutate<M: Subject>(model: &M, history: &mut History<M>, random: &mut fastrand::Rng) {
    let place = random.usize(..history.len());
    let end = history.iter().map(|operation| operation.returned().unwrap_or(operation.called)).max().unwrap();
    match random.u8(..5) {
        0 | 1 => {
            let answer = model.any_answer(&history[place].asked, random);
            let returned = random.u64(history[place].called..=end);
            history[place].outcome = Outcome::Answered { returned, answer };
        }
        2 => history[place].outcome = Outcome::Unknown,
        3 => {
            let operation = &mut history[place];
            if let Outcome::Answered { returned, .. } = &mut operation.outcome {
                *returned = random.u64(operation.called..=*returned);
            }
        }
        _ => {
            let called = random.u64(..=history[place].returned().unwrap_or(end));
            history[place].called = called;
        }
    }
}

/// Up to six operations of all sorts.
fn small(random: &mut fastrand::Rng) -> Shape {
    let (operations, processes) = (random.usize(1..=6), random.u64(1..=4));
    Shape { operations, processes, keys: random.usize(1..=2), lost_percent: 30, detail: Detail::Vague }
}

/// Up to eight operations on one key, of which most are lost and many are alike.
fn lossy(random: &mut fastrand::Rng) -> Shape {
    let (operations, processes) = (random.usize(1..=8), random.u64(1..=4));
    Shape { operations, processes, keys: 1, lost_percent: 50, detail: Detail::Few }
}

/// The search and the naive checker say the same of every small history; both verdicts come often.
fn agrees_with_the_naive_checker<M: Subject + Default>() {
    let model = M::default();
    let histories = std::env::var("FEIRA_SEEDS").map_or(SMALL, |count| count.parse().unwrap());
    let (mut yes, mut no) = (0_u64, 0_u64);
    for seed in 0..histories {
        let mut random = fastrand::Rng::with_seed(seed);
        let shape = if random.bool() { small(&mut random) } else { lossy(&mut random) };
        let mut history = execute(&model, &shape, &mut random);
        for _ in 0..random.usize(..=3).min(history.len()) {
            mutate(&model, &mut history, &mut random);
        }
        let expected = naive::is_linearizable(&model, &history);
        let verdict = check_history(&model, &history, &limits(1_000_000)).verdict;
        assert!(!matches!(verdict, Verdict::Undecided { .. }), "seed {seed}: undecided: {history:#?}");
        assert_eq!(verdict.is_linearizable(), expected, "seed {seed}: {history:#?}");
        if expected { yes += 1 } else { no += 1 }
    }
    assert!(yes > histories / 10 && no > histories / 10, "only one verdict was tried: {yes} yes, {no} no");
}

/// A real execution is accepted, in few steps for each operation.
fn accepts_real_executions<M: Subject + Default>(shape: &Shape, steps_for_each: u64) {
    let model = M::default();
    for seed in 0..8 {
        let history = execute(&model, shape, &mut fastrand::Rng::with_seed(seed));
        let steps_max = steps_for_each * shape.operations as u64;
        let judgement = check_history(&model, &history, &limits(steps_max));
        if let Verdict::NotLinearizable(why) | Verdict::Undecided { explanation: why, .. } = judgement.verdict
        {
            panic!("seed {seed}: {}", why.text(&model, &history, 12).join("\n"));
        }
    }
}

/// A real execution in which one answer in the middle is one that nothing can lead to.
fn refuses_the_impossible<M: Subject + Default>(shape: &Shape, steps_for_each: u64) {
    let model = M::default();
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut history = execute(&model, shape, &mut random);
        let reads: Vec<usize> =
            (0..history.len()).filter(|place| model.impossible(&history[*place]).is_some()).collect();
        let place = reads[reads.len() / 2];
        history[place].outcome = model.impossible(&history[place]).unwrap();
        let steps_max = steps_for_each * shape.operations as u64;
        match check_history(&model, &history, &limits(steps_max)).verdict {
            Verdict::NotLinearizable(why) => {
                assert_eq!(why.key, history[place].key, "seed {seed}");
                assert!(!why.prefix.contains(&place), "seed {seed}: what is impossible is never placed");
                let before = why.prefix.iter().map(|place| history[*place].called).max().unwrap_or(0);
                assert!(before <= history[place].returned().unwrap(), "seed {seed}: it ends there or before");
            }
            other => panic!("seed {seed}: {}", other.word()),
        }
    }
}

const LARGE: Shape =
    Shape { operations: 2_000, processes: 12, keys: 3, lost_percent: 10, detail: Detail::Full };
const VAGUE: Shape = Shape { lost_percent: 5, detail: Detail::Vague, ..LARGE };
const LONG: Shape =
    Shape { operations: 20_000, processes: 6, keys: 1, lost_percent: 2, detail: Detail::Full };

#[test]
fn a_register_is_checked_as_naively() {
    agrees_with_the_naive_checker::<CasRegister>();
}

#[test]
fn a_text_is_checked_as_naively() {
    agrees_with_the_naive_checker::<KvAppend>();
}

#[test]
fn a_record_is_checked_as_naively() {
    agrees_with_the_naive_checker::<Records>();
}

#[test]
fn executions_of_registers_are_accepted() {
    accepts_real_executions::<CasRegister>(&LARGE, 100);
    accepts_real_executions::<CasRegister>(&VAGUE, 100);
}

#[test]
fn executions_of_texts_are_accepted() {
    accepts_real_executions::<KvAppend>(&LARGE, 100);
    accepts_real_executions::<KvAppend>(&VAGUE, 100);
}

#[test]
fn executions_of_records_are_accepted() {
    accepts_real_executions::<Records>(&LARGE, 100);
    accepts_real_executions::<Records>(&VAGUE, 100);
    accepts_real_executions::<Records>(&LONG, 100);
}

#[test]
fn an_impossible_answer_of_a_register_is_refused() {
    refuses_the_impossible::<CasRegister>(&LARGE, 100);
}

#[test]
fn an_impossible_answer_of_a_text_is_refused() {
    refuses_the_impossible::<KvAppend>(&LARGE, 100);
}

#[test]
fn an_impossible_answer_of_a_record_is_refused() {
    refuses_the_impossible::<Records>(&LARGE, 100);
}
