//! The models of random executions: their requests, and the answers of a real object.

use feira_lincheck::{
    AppendAnswer, AppendOp, CasRegister, Found, KvAppend, Model, Operation, Outcome, RecordAnswer, RecordOp,
    Records, RegisterAnswer, RegisterOp, append::AppendState, records::Content, records::RecordState,
};
use serde_json::Value;

/// How much a history tells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// All: every value is written once, and answers tell all that they can.
    Full,
    /// Half of the values are one of three, and answers leave things out.
    Vague,
    /// All values are one of three, and answers leave things out.
    Few,
}

/// A model whose operations can be made up.
pub(crate) trait Subject: Model {
    /// Something to ask in this state. `number` is unique in the history.
    fn ask(&self, state: &Self::State, number: usize, detail: Detail, random: &mut fastrand::Rng)
    -> Self::Op;

    /// What a real object answers.
    fn answer(
        &self,
        state: &Self::State,
        op: &Self::Op,
        detail: Detail,
        random: &mut fastrand::Rng,
    ) -> Self::Answer;

    /// Some answer, right or wrong.
    fn any_answer(&self, op: &Self::Op, random: &mut fastrand::Rng) -> Self::Answer;

    /// For a read: an answer that no execution leads to.
    fn impossible(&self, operation: &Operation<Self::Op, Self::Answer>) -> Option<Outcome<Self::Answer>>;
}

/// Whether the next value is unique.
fn unique(detail: Detail, random: &mut fastrand::Rng) -> bool {
    match detail {
        Detail::Full => true,
        Detail::Vague => random.bool(),
        Detail::Few => false,
    }
}

/// A value: unique, or one of three.
fn value(number: usize, detail: Detail, random: &mut fastrand::Rng) -> Value {
    if unique(detail, random) { Value::from(number + 10) } else { Value::from(random.u8(..3)) }
}

impl Subject for CasRegister {
    fn ask(&self, state: &Value, number: usize, detail: Detail, random: &mut fastrand::Rng) -> RegisterOp {
        match random.u8(..6) {
            0..=2 => RegisterOp::Read,
            3 | 4 => RegisterOp::Write(value(number, detail, random)),
            _ => {
                let from = if random.bool() { state.clone() } else { value(number, detail, random) };
                RegisterOp::CompareAndSet { from, to: value(number, detail, random) }
            }
        }
    }

    fn answer(
        &self,
        state: &Value,
        op: &RegisterOp,
        _detail: Detail,
        _random: &mut fastrand::Rng,
    ) -> RegisterAnswer {
        match op {
            RegisterOp::Read => RegisterAnswer::Holds(state.clone()),
            RegisterOp::Write(_) => RegisterAnswer::Written,
            RegisterOp::CompareAndSet { from, .. } => RegisterAnswer::Matched(from == state),
        }
    }

    fn any_answer(&self, op: &RegisterOp, random: &mut fastrand::Rng) -> RegisterAnswer {
        match op {
            RegisterOp::Read if random.u8(..4) == 0 => RegisterAnswer::Holds(Value::Null),
            RegisterOp::Read => RegisterAnswer::Holds(value(random.usize(..6), Detail::Vague, random)),
            RegisterOp::Write(_) => RegisterAnswer::Written,
            RegisterOp::CompareAndSet { .. } => RegisterAnswer::Matched(random.bool()),
        }
    }

    fn impossible(
        &self,
        operation: &Operation<RegisterOp, RegisterAnswer>,
    ) -> Option<Outcome<RegisterAnswer>> {
        let returned = operation.returned().filter(|_| operation.asked == RegisterOp::Read)?;
        Some(Outcome::Answered { returned, answer: RegisterAnswer::Holds(Value::from("never written")) })
    }
}

impl Subject for KvAppend {
    fn ask(
        &self,
        _state: &AppendState,
        number: usize,
        detail: Detail,
        random: &mut fastrand::Rng,
    ) -> AppendOp {
        let text = if unique(detail, random) {
            format!("<{number}>")
        } else {
            "ab"[..random.usize(..=2)].to_owned()
        };
        match random.u8(..32) {
            0..=15 => AppendOp::Get,
            16 => AppendOp::Put(text),
            _ => AppendOp::Append(text),
        }
    }

    fn answer(
        &self,
        state: &AppendState,
        op: &AppendOp,
        _detail: Detail,
        _random: &mut fastrand::Rng,
    ) -> AppendAnswer {
        match (op, state) {
            (AppendOp::Get, AppendState::Text(text)) => AppendAnswer::Text(text.clone()),
            (AppendOp::Get, _) => unreachable!("a model that has learned nothing knows every text"),
            _ => AppendAnswer::Done,
        }
    }

    fn any_answer(&self, op: &AppendOp, random: &mut fastrand::Rng) -> AppendAnswer {
        if *op != AppendOp::Get {
            return AppendAnswer::Done;
        }
        let parts = ["", "a", "b", "ab", "<0>", "<1>", "<2>", "<3>"];
        AppendAnswer::Text((0..random.usize(..3)).map(|_| parts[random.usize(..parts.len())]).collect())
    }

    fn impossible(&self, operation: &Operation<AppendOp, AppendAnswer>) -> Option<Outcome<AppendAnswer>> {
        let returned = operation.returned().filter(|_| operation.asked == AppendOp::Get)?;
        Some(Outcome::Answered { returned, answer: AppendAnswer::Text("never appended".to_owned()) })
    }
}

/// What is told of a record: all of it, or less.
fn shown(state: &RecordState, detail: Detail, random: &mut fastrand::Rng) -> Found {
    let Some((version, content)) = state else { return Found::Absent };
    let Content::Value(value) = content else {
        unreachable!("a model that has learned nothing knows every content")
    };
    let mut told = || detail == Detail::Full || random.u8(..4) > 0;
    let version = told().then_some(*version);
    Found::Present { version, value: told().then(|| value.clone()) }
}

impl Subject for Records {
    fn ask(
        &self,
        state: &RecordState,
        number: usize,
        detail: Detail,
        random: &mut fastrand::Rng,
    ) -> RecordOp {
        let near = state.as_ref().map_or(1, |(version, _)| *version);
        let version = if random.bool() { near } else { random.u64(1..4) };
        match random.u8(..12) {
            0..=4 => RecordOp::Get,
            5 => RecordOp::Set(value(number, detail, random)),
            6 | 7 => RecordOp::Put(value(number, detail, random)),
            8 => RecordOp::Delete,
            9 => RecordOp::DeleteVersion(version),
            _ => RecordOp::TestAndSet { version, value: value(number, detail, random) },
        }
    }

    fn answer(
        &self,
        state: &RecordState,
        op: &RecordOp,
        detail: Detail,
        random: &mut fastrand::Rng,
    ) -> RecordAnswer {
        let is = |version: &u64| state.as_ref().is_some_and(|(held, _)| held == version);
        let done = match op {
            RecordOp::Get | RecordOp::Put(_) => true,
            RecordOp::Set(_) => state.is_none(),
            RecordOp::Delete => state.is_some(),
            RecordOp::DeleteVersion(version) | RecordOp::TestAndSet { version, .. } => is(version),
        };
        let left = match op {
            RecordOp::Set(_) | RecordOp::Put(_) | RecordOp::TestAndSet { .. } if done => {
                Some(state.as_ref().map_or(1, |(version, _)| version + 1))
            }
            _ => None,
        };
        let full = detail == Detail::Full;
        let told = full || *op == RecordOp::Get || random.bool();
        let found = if told { shown(state, detail, random) } else { Found::Untold };
        RecordAnswer { done, found, version: left.filter(|_| full || random.u8(..8) > 0) }
    }

    fn any_answer(&self, op: &RecordOp, random: &mut fastrand::Rng) -> RecordAnswer {
        let state = (random.u8(..3) > 0)
            .then(|| (random.u64(1..4), Content::Value(value(random.usize(..6), Detail::Vague, random))));
        let mut answer = self.answer(&state, op, Detail::Vague, random);
        if random.bool() {
            answer.found = Found::Untold;
        }
        answer
    }

    fn impossible(&self, operation: &Operation<RecordOp, RecordAnswer>) -> Option<Outcome<RecordAnswer>> {
        let returned = operation.returned().filter(|_| operation.asked == RecordOp::Get)?;
        let found = Found::Present { version: None, value: Some(Value::from("never put")) };
        Some(Outcome::Answered { returned, answer: RecordAnswer { done: true, found, version: None } })
    }
}
