//! The verdict of a check, and its explanation for people.

use crate::model::Model;
use crate::operation::Operation;
use crate::oracle::Oracle;

/// What came of judging a history.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// The verdict.
    pub verdict: Verdict,
    /// Steps that it took, over all keys.
    pub steps: u64,
}

/// Whether a history is linearizable.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Yes: an order for each key, each checked by [`Oracle::holds`].
    Linearizable(Vec<Oracle>),
    /// No: the operations on one key have no order.
    NotLinearizable(Explanation),
    /// The limits did not allow to say, for this key at least; no other key was found wrong.
    Undecided {
        /// Which limit.
        reason: String,
        /// The furthest that the search came.
        explanation: Explanation,
    },
}

impl Verdict {
    /// Whether it is a yes.
    #[must_use]
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Verdict::Linearizable(_))
    }

    /// The verdict in the words of `cargo xtask lincheck`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Linearizable(_) => "linearizable",
            Verdict::NotLinearizable(_) => "not-linearizable",
            Verdict::Undecided { .. } => "undecided",
        }
    }
}

/// How far an order could be made for a key: of all orders tried, the one that reaches furthest in time. The error
/// need not be where it ends, but every order ends there or earlier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// Which key.
    pub key: String,
    /// Places in the history: the longest prefix.
    pub prefix: Vec<usize>,
    /// Places of the operations that time allows next, the first to return first; that one cannot be placed any more.
    pub stuck: Vec<usize>,
    /// The state after the prefix, for people.
    pub state: String,
}

/// So many operations of each kind are shown when nothing else is asked for.
pub const SHOWN_DEFAULT: usize = 12;

impl Explanation {
    /// The explanation in lines, with at most `shown` operations of the prefix's end and of those stuck.
    pub fn text<M: Model>(
        &self,
        model: &M,
        history: &[Operation<M::Op, M::Answer>],
        shown: usize,
    ) -> Vec<String> {
        let line = |place: &usize| {
            let operation = &history[*place];
            let until = operation.returned().map_or("never".to_owned(), |returned| returned.to_string());
            let said = model.describe(&operation.asked, operation.answer());
            format!("    {}..{until} process {}: {said}", operation.called, operation.process)
        };
        let of_key = if self.key.is_empty() { String::new() } else { format!(" on key {:?}", self.key) };
        let hidden = self.prefix.len().saturating_sub(shown);
        let mut lines =
            vec![format!("the longest order of operations{of_key} has {}; its end:", self.prefix.len())];
        lines.extend(self.prefix[hidden..].iter().map(line));
        lines.push(format!("  after it the state is: {}", self.state));
        lines.push(
            "  none of these can be placed so that all others can follow; the first is due:".to_owned(),
        );
        lines.extend(self.stuck.iter().take(shown).map(line));
        if self.stuck.len() > shown {
            lines.push(format!("    and {} more", self.stuck.len() - shown));
        }
        lines
    }
}
