//! From bytes to a history: lines first, then each call with its completion.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

use super::Dialect;
use super::line::{Event, Line};
use crate::operation::{Operation, Outcome};

/// The longest line, bytes, its end included.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// The most lines of a history.
pub const LINES_MAX: usize = 4_000_000;

/// Input that is no history.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It cannot be read.
    #[error("line {line}: cannot be read")]
    Unreadable {
        /// The line that could not be read.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// A line is too long.
    #[error("line {line}: longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong {
        /// The line.
        line: u64,
    },
    /// There are too many lines.
    #[error("line {line}: more than {LINES_MAX} lines; judge a part of the history")]
    TooManyLines {
        /// The first line too many.
        line: u64,
    },
    /// A line is no event.
    #[error("line {line}: no event of a history: {what}")]
    NoEvent {
        /// The line.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The model has no such function.
    #[error("line {line}: the model {model} has no function {function:?}")]
    UnknownFunction {
        /// The line.
        line: u64,
        /// The function.
        function: String,
        /// The model.
        model: &'static str,
    },
    /// No model has both this function and another of the same file.
    #[error(
        "line {line}: {function:?} does not go with what is asked before: {first:?} is of the model {model}"
    )]
    MixedModels {
        /// The line.
        line: u64,
        /// The function.
        function: String,
        /// An earlier function.
        first: String,
        /// Whose function that is.
        model: &'static str,
    },
    /// A process asks while it waits for an answer.
    #[error("line {line}: process {process} asks again, but its call of line {called} has no completion")]
    AskedTwice {
        /// The line.
        line: u64,
        /// The process.
        process: u64,
        /// The line of its call.
        called: u64,
    },
    /// A completion without a call.
    #[error("line {line}: process {process} has asked nothing that this could complete")]
    NotAsked {
        /// The line.
        line: u64,
        /// The process.
        process: u64,
    },
    /// A completion of something else than was asked.
    #[error("line {line}: process {process} asked something else in line {called}: {what}")]
    OtherCall {
        /// The line.
        line: u64,
        /// The process.
        process: u64,
        /// The line of its call.
        called: u64,
        /// What differs.
        what: String,
    },
}

/// Reads the lines of a history, each with its number. Empty lines are passed over.
///
/// # Errors
/// [`InputError`], for the first line that is none.
pub fn read(mut input: impl BufRead) -> Result<Vec<(u64, Line)>, InputError> {
    let mut lines = Vec::new();
    let mut bytes = Vec::new();
    let limit = u64::try_from(LINE_BYTES_MAX).expect("the limit fits") + 1;
    for line in 1.. {
        bytes.clear();
        let source = (&mut input).take(limit).read_until(b'\n', &mut bytes);
        let count = source.map_err(|source| InputError::Unreadable { line, source })?;
        if count == 0 {
            break;
        }
        if count > LINE_BYTES_MAX {
            return Err(InputError::LineTooLong { line });
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if lines.len() == LINES_MAX {
            return Err(InputError::TooManyLines { line });
        }
        let event = serde_json::from_slice(&bytes)
            .map_err(|error| InputError::NoEvent { line, what: without_line(&error) })?;
        lines.push((line, event));
    }
    Ok(lines)
}

/// The parser counts lines too, and would always say 1.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line 1 column").next().unwrap_or(&text);
    format!("{what} (column {})", error.column())
}

/// A call under way.
struct Call<O> {
    /// Its place in the history.
    place: usize,
    line: u64,
    function: String,
    key: String,
    op: O,
    value: Option<serde_json::Value>,
}

/// The operations that lines tell of, in the order of their calls; times are line numbers.
///
/// # Errors
/// [`InputError`], for the first line that does not fit.
#[expect(clippy::type_complexity, reason = "an operation of a model has two types of the model")]
pub fn history<M: Dialect>(lines: &[(u64, Line)]) -> Result<Vec<Operation<M::Op, M::Answer>>, InputError> {
    let mut operations: Vec<Option<Operation<M::Op, M::Answer>>> = Vec::new();
    let mut waiting: BTreeMap<u64, Call<M::Op>> = BTreeMap::new();
    for (line, event) in lines {
        let (line, process) = (*line, event.p);
        if event.t == Event::Invoke {
            let call = call::<M>(line, event, operations.len())?;
            let (key, asked) = (call.key.clone(), call.op.clone());
            let outcome = Outcome::Unknown;
            operations.push(Some(Operation { process, key, asked, called: line, outcome }));
            if let Some(before) = waiting.insert(process, call) {
                return Err(InputError::AskedTwice { line, process, called: before.line });
            }
            continue;
        }
        let call = waiting.remove(&process).ok_or(InputError::NotAsked { line, process })?;
        same_call(&call, line, event)?;
        let operation = &mut operations[call.place];
        match event.t {
            Event::Ok => {
                let answer = M::answer(&call.op, event).map_err(|what| InputError::NoEvent { line, what })?;
                if let Some(operation) = operation {
                    operation.outcome = Outcome::Answered { returned: line, answer };
                }
            }
            Event::Fail => *operation = None,
            Event::Info | Event::Invoke => {}
        }
    }
    Ok(operations.into_iter().flatten().collect())
}

fn call<M: Dialect>(line: u64, event: &Line, place: usize) -> Result<Call<M::Op>, InputError> {
    let wrong = |what| InputError::NoEvent { line, what };
    let key = event.key().map_err(wrong)?;
    let op = M::op(event).map_err(wrong)?.ok_or_else(|| InputError::UnknownFunction {
        line,
        function: event.f.clone(),
        model: M::NAME,
    })?;
    Ok(Call { place, line, function: event.f.clone(), key, op, value: event.v.clone() })
}

/// A completion may repeat what was asked, but not say something else.
fn same_call<O>(call: &Call<O>, line: u64, event: &Line) -> Result<(), InputError> {
    let differs = |what| InputError::OtherCall { line, process: event.p, called: call.line, what };
    if call.function != event.f {
        return Err(differs(format!("{:?}, not {:?}", call.function, event.f)));
    }
    let key = event.key().map_err(|what| InputError::NoEvent { line, what })?;
    if event.k.is_some() && key != call.key {
        return Err(differs(format!("of key {:?}, not {key:?}", call.key)));
    }
    let asked = call.value.as_ref().filter(|asked| !asked.is_null());
    let told = event.v.as_ref().filter(|told| !told.is_null());
    match (asked, told) {
        (Some(asked), Some(told)) if asked != told => Err(differs(format!("{asked}, not {told}"))),
        _ => Ok(()),
    }
}
