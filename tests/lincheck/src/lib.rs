//! Checks whether a concurrent history is linearizable: whether its operations, of which each took some time, can
//! have taken effect one after another, each at some moment between its call and its return (Herlihy and Wing,
//! "Linearizability: a correctness condition for concurrent objects", 1990).
//!
//! ```text
//!   p1   ├── write 1 ──┤
//!   p2       ├── read: 1 ──┤        linearizable: write 1, read, write 2
//!   p3                 ├── write 2 ── ?   (nobody knows whether it ran)
//!   p1                          ├ read: 1 ┤
//! ```
//!
//! **Possible effects.** An operation with an answer took effect within its interval. One that is known not to
//! have run is no part of the history. One whose outcome nobody knows (its reply was lost, or it has no completion)
//! stays possible for ever: it may take effect at any time after its call, long after others have read what was
//! there before, or never. The checker never takes a lost reply for a lost write.
//!
//! **Keys.** Linearizability is local: a history is linearizable if and only if its part on each object is. Each key
//! is judged by itself (Horn and Kroening, "Faster linearizability checking via P-compositionality", 2015).
//!
//! **The search.** A *configuration* is the set of answered operations placed so far, the state after them, and how
//! many unknown operations of each kind were used on the way. From it, any operation that is called before the
//! *deadline* (the earliest return of an answered operation not placed) may come next. The search goes from
//! configuration to configuration until all answered operations are placed. Those met are remembered, so that none
//! is looked at twice (Wing and Gong 1993 with the memory of Lowe, "Testing for linearizability", 2017). Open
//! configurations are in one queue, nothing is recursive: first those with the latest deadline, and among them those
//! with the fewest changes, so that an operation is placed *just in time*, when the one that is due needs it. On a
//! history that is linearizable the search mostly walks straight through.
//!
//! **Pruning, and its reasons.**
//! 1. *Observations are placed at once.* An operation that, answered as it was, changes no state (a read, a refused
//!    compare-and-set) is placed as soon as it is possible, and nothing else is tried there. In any order that goes
//!    on from here it can be moved to the front: it is possible here, and the others meet the same states.
//! 2. *Unknown observations are dropped.* Nobody saw their answer, and they leave no trace.
//! 3. *Equal unknown operations are one class.* None of them ever returns, and the one called first can be used
//!    whenever any of them can, so only how many are used counts. They are used in the order of their calls.
//! 4. *Fewer used is better.* Of two configurations with the same placed operations and the same state, one that used
//!    no more of any class can do all that the other can, since an unknown operation may always be left out. The
//!    other is dropped.
//! 5. *An unknown operation that does not change the state here is not used here*: as good as left out.
//! 6. *The weaker unknown operation first.* Where two lead to the same state and one could stand in for the other
//!    everywhere ([`Model::stands_in`]: a put for a test-and-set), the other is used: if an order uses the stronger
//!    here, exchanging the two gives one that is possible too.
//! 7. *Indistinguishable states are one.* Each model merges states and values that no answer in the history
//!    looks at ([`Model::learn`]); the argument stands at each model. A write whose value nobody ever read is then
//!    one of a single class, however many there are; n unknown appends do not mean n! texts.
//!
//! None of this changes a verdict. A yes is proved each time: the order that was found is walked with the plain model
//! ([`Oracle::holds`]), by code that shares nothing with the search. A no is what the tests are for: over many
//! thousand random small histories the search agrees with a checker that simply tries every order.
//!
//! **Bounds.** The problem is NP-complete (Gibbons and Korach 1997): some histories cannot be decided. [`Limits`] bound
//! the steps and the time, and the verdict is then [`Verdict::Undecided`], never a guess. Histories become hard by
//! many writers at once on one key with answers that say little. The model [`Records`] takes the versions that the
//! store's answers carry, which leave hardly any choice.
//!
//! **Use.** From memory: fill a [`Recorder`], and [`check_history`] it. From files: [`dialect`], which is what
//! `cargo xtask lincheck` does.
//!
//! ```
//! use feira_lincheck::{CasRegister, Limits, Recorder, RegisterAnswer, RegisterOp, check_history};
//!
//! let mut recorder = Recorder::default();
//! recorder.call(1, "stock", RegisterOp::Write(7.into()));
//! recorder.unknown(1); // the reply was lost
//! recorder.call(2, "stock", RegisterOp::Read);
//! recorder.answered(2, RegisterAnswer::Holds(7.into()));
//! recorder.call(2, "stock", RegisterOp::Read);
//! recorder.answered(2, RegisterAnswer::Holds(serde_json::Value::Null)); // back to before: impossible
//! let history = recorder.into_history();
//! assert!(check_history(&CasRegister::default(), &history[..2], &Limits::default()).verdict.is_linearizable());
//! assert!(!check_history(&CasRegister::default(), &history, &Limits::default()).verdict.is_linearizable());
//! ```
//!
//! Leaves out: operations on several keys at once (use one key for them all, or a model of the whole), and weaker
//! promises than linearizability.

pub mod append;
mod check;
pub mod dialect;
mod limits;
mod linearized;
mod model;
mod operation;
mod oracle;
pub mod records;
pub mod register;
mod search;
mod steps;
pub mod transactions;
mod verdict;
mod visited;

pub use append::{AppendAnswer, AppendOp, KvAppend};
pub use check::check_history;
pub use limits::Limits;
pub use model::Model;
pub use operation::{Operation, Outcome, Recorder};
pub use oracle::Oracle;
pub use records::{Found, RecordAnswer, RecordOp, Records};
pub use register::{CasRegister, RegisterAnswer, RegisterOp};
pub use transactions::{Access, Anomaly, Edge, Transaction, check_transactions};
pub use verdict::{CheckReport, Explanation, SHOWN_DEFAULT, Verdict};
