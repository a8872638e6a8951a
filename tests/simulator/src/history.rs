//! Clients' operations on registers and lists, with their answers: the history that must be linearizable.
//!
//! One line an operation, with the moments at which it was asked and answered. An operation whose outcome was never
//! learned stays possible for ever.

use crate::time::Micros;

/// What was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Read the register.
    Read,
    /// Set a register that is absent.
    Create(u64),
    /// Replace the value, if it is the expected one.
    Replace(u64, u64),
    /// Remove whatever is there.
    Delete,
    /// Append to the list.
    Append(u64),
    /// Read the whole list.
    List,
}

/// What was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Result {
    /// A register's value; `None`: absent.
    Value(Option<u64>),
    /// It was done. Of a change of a register: this is what was there before.
    Done(Option<u64>),
    /// It was not done, since this was there.
    Refused(Option<u64>),
    /// The whole list.
    Values(Vec<u64>),
    /// It did not happen, and never will.
    Never,
    /// Nobody knows.
    Unknown,
}

/// One operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Which session asked.
    pub session: u32,
    /// Its number there.
    pub sequence: u64,
    /// Of which key.
    pub key: u32,
    /// What.
    pub action: Action,
    /// When it was asked.
    pub asked_at: Micros,
    /// When it was answered; unknown ones never are.
    pub answered_at: Option<Micros>,
    /// What was seen.
    pub result: Result,
    /// Its answer did not come in time, and its outcome was asked for: later operations of the session may have
    /// overtaken it.
    pub was_given_up: bool,
}

/// All operations, in the order in which they were asked.
pub type History = Vec<Operation>;
