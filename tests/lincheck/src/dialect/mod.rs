//! Histories as files: one JSON object a line, in the order in which things happened.
//!
//! ```text
//! {"p": 3, "t": "invoke", "f": "cas", "k": "a", "v": [1, 2]}
//! {"p": 3, "t": "ok", "f": "cas", "k": "a", "v": [1, 2], "r": false}
//! ```
//!
//! `p` process, `t` one of invoke, ok, fail (it did not run), info (nobody knows), `f` function, `k` key (may be left
//! out: one key for all), `v` value, `r` result. Other members are ignored. A process has one operation under way;
//! what has no completion at the end is unknown. Values are any JSON but numbers with a fraction.
//!
//! | model | functions, with `v` of the invoke | an ok says |
//! |---|---|---|
//! | `cas-register` | read; write v; cas \[from, to\] | read: `v`; cas: `r`, whether it matched |
//! | `kv-append` | get; put text; append text | get: `v`, the text |
//! | `records` | get; set v; put v; delete; delete-version (`n`: the version); test-and-set v (`n`: the version) | get: `v` (null: absent) and `n`, its version, if told; others: `r`, false: refused; `n`: the version that it left, if told; `seen`: the record found, if told: null or `{"n": version, "v": value}`, of which each may be left out |
//!
//! Promises: input that is not such a history is refused with the line and what is wrong with it; lines, their
//! number and the work are bounded ([`LINE_BYTES_MAX`], [`LINES_MAX`], [`crate::Limits`]).

pub mod check;
mod line;
mod models;
mod read;

pub use line::{Event, Line, Seen};
pub use read::{InputError, LINE_BYTES_MAX, LINES_MAX, history, read};

use crate::model::Model;

/// A model whose operations and answers have a form in lines.
pub trait Dialect: Model {
    /// The model's name.
    const NAME: &'static str;

    /// The function's name.
    fn function(op: &Self::Op) -> &'static str;

    /// Writes what is asked into the line of a call.
    fn put_op(op: &Self::Op, line: &mut Line);

    /// Reads what is asked from the line of a call; `None`: the model has no such function.
    ///
    /// # Errors
    /// What is wrong with the line.
    fn op(line: &Line) -> Result<Option<Self::Op>, String>;

    /// Writes an answer into the line that carries it.
    fn put_answer(op: &Self::Op, answer: &Self::Answer, line: &mut Line);

    /// Reads an answer.
    ///
    /// # Errors
    /// What is wrong with the line.
    fn answer(op: &Self::Op, line: &Line) -> Result<Self::Answer, String>;

    /// The line of a call.
    fn call_line(process: u64, key: &str, op: &Self::Op) -> Line {
        let mut line = Line::new(process, Event::Invoke, Self::function(op), key);
        Self::put_op(op, &mut line);
        line
    }

    /// The line of an answer.
    fn answer_line(process: u64, key: &str, op: &Self::Op, answer: &Self::Answer) -> Line {
        let mut line = Line::new(process, Event::Ok, Self::function(op), key);
        Self::put_answer(op, answer, &mut line);
        line
    }

    /// The line of an operation that is known not to have run.
    fn did_not_run_line(process: u64, key: &str, op: &Self::Op) -> Line {
        Line::new(process, Event::Fail, Self::function(op), key)
    }

    /// The line of an operation of which nobody will ever know.
    fn unknown_line(process: u64, key: &str, op: &Self::Op) -> Line {
        Line::new(process, Event::Info, Self::function(op), key)
    }
}
