//! A promise that was broken: by its name, with what was seen. Raised as a panic, since the asserts inside the
//! production crates raise theirs so too; the run catches both.

use std::any::Any;
use std::fmt;

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The name of the invariant, as `store_core::invariants` and docs/ARCHITECTURE.md have it, or of another promise.
    pub invariant: String,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

/// Ends the run.
pub(crate) fn violated(invariant: &str, detail: impl Into<String>) -> ! {
    std::panic::panic_any(Violation { invariant: invariant.to_owned(), detail: detail.into() })
}

/// Ends the run unless `holds`.
pub(crate) fn ensure(holds: bool, invariant: &str, detail: impl FnOnce() -> String) {
    if !holds {
        violated(invariant, detail());
    }
}

impl Violation {
    /// What a panic was about. The text of an assert in the production crates begins with the name of its invariant.
    pub(crate) fn of_panic(payload: &(dyn Any + Send)) -> Violation {
        if let Some(violation) = payload.downcast_ref::<Violation>() {
            return violation.clone();
        }
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let text = text.unwrap_or_else(|| "a panic without a text".to_owned());
        let named = NAMES.iter().find(|name| text.starts_with(**name));
        Violation { invariant: (*named.unwrap_or(&"assert in production code")).to_owned(), detail: text }
    }
}

/// The invariants' names, as asserts begin with them.
const NAMES: [&str; 11] = [
    "quarantined with a reason",
    "quarantined is silent",
    "election safety",
    "log matching",
    "leader completeness",
    "state-machine safety",
    "committed is immutable",
    "commit order",
    "ballot monotonic",
    "ack only after durable",
    "intermediate is unreadable",
];
