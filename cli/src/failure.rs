//! Failures as a person meets them, in the classes that the exit code tells apart, each with what to do next.
//!
//! Promises: each failure says what is wrong, where, and (where we know) what to do; its [`Kind`] alone decides
//! the exit code. Leaves out: how it is printed ([`crate::show`]).

use std::fmt;

use store_client::Cause;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What the caller can do about it; the exit code says it too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It did not happen, and the same command will not do better (exit code 1).
    Refused,
    /// The command itself is wrong (exit code 2).
    Usage,
    /// Nobody answered, or nobody could; nothing happened (exit code 3).
    Unreachable,
    /// Somebody else was there first: wrong version, exists already, gave up after retries (exit code 4).
    Conflict,
    /// It may have happened, and asking did not settle it (exit code 5).
    Unknown,
}

impl Kind {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Refused => 1,
            Kind::Usage => 2,
            Kind::Unreachable => 3,
            Kind::Conflict => 4,
            Kind::Unknown => 5,
        }
    }

    /// One word, for `--json`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Kind::Refused => "refused",
            Kind::Usage => "usage",
            Kind::Unreachable => "unreachable",
            Kind::Conflict => "conflict",
            Kind::Unknown => "unknown",
        }
    }
}

/// Why a command was not done.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub struct Failure {
    /// Its class.
    pub kind: Kind,
    /// What is wrong, and where.
    pub message: String,
    /// What to do next, if we know.
    pub next: Option<String>,
    /// The machine-readable reason of a portal or of the store, such as `STOCK`; empty if there is none.
    pub reason: String,
    /// The server whose answer this is, such as `client portal 127.0.0.1:7421`; empty if it is none's.
    pub by: String,
    /// It was told already: only the exit code is left to be given.
    pub told: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        // A refusal is the shop's; where something stands in the way, it matters who says so.
        if matches!(self.kind, Kind::Unreachable | Kind::Unknown) && !self.by.is_empty() {
            write!(f, " ({} says so)", self.by)?;
        }
        match &self.next {
            Some(next) => write!(f, "\n  → {next}"),
            None => Ok(()),
        }
    }
}

impl Failure {
    fn new(kind: Kind, message: impl Into<String>) -> Failure {
        let (reason, by) = (String::new(), String::new());
        Failure { kind, message: message.into(), next: None, reason, by, told: false }
    }

    /// It did not happen.
    pub fn refused(message: impl Into<String>) -> Failure {
        Failure::new(Kind::Refused, message)
    }

    /// The command is wrong.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Kind::Usage, message)
    }

    /// Nobody answered.
    pub fn unreachable(message: impl Into<String>) -> Failure {
        Failure::new(Kind::Unreachable, message)
    }

    /// Somebody else was first.
    pub fn conflict(message: impl Into<String>) -> Failure {
        Failure::new(Kind::Conflict, message)
    }

    /// It may have happened.
    pub fn unknown(message: impl Into<String>) -> Failure {
        Failure::new(Kind::Unknown, message)
    }

    /// Says what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Failure {
        self.next = Some(next.into());
        self
    }

    /// What stands between a caller of the store and an answer.
    #[must_use]
    pub fn of_cause(cause: Cause, message: impl Into<String>) -> Failure {
        let reason = match cause {
            Cause::Away => "",
            Cause::Busy => OVERLOADED,
            Cause::OutOfSpace => "OUT_OF_SPACE",
            Cause::ClocksApart => CLOCKS,
            Cause::Diverged => "DIVERGED",
        };
        let next = of_reason(reason).or_else(|| next_step(Code::Unavailable));
        let next = next.map(str::to_owned);
        Failure { next, reason: reason.to_owned(), ..Failure::new(Kind::Unreachable, message) }
    }

    /// Was told already.
    #[must_use]
    pub fn told(mut self) -> Failure {
        self.told = true;
        self
    }

    /// Says whose answer it is.
    #[must_use]
    pub fn by(mut self, server: impl Into<String>) -> Failure {
        self.by = server.into();
        self
    }

    /// A request that was made now by this machine's clock, and is too old for the store. `age_ms`: how long ago by the clock
    /// of the server that says so.
    #[must_use]
    pub fn wrong_clock(age_ms: i64, server: &str) -> Failure {
        let hours = age_ms / 3_600_000;
        let message = match hours {
            0 => format!("the clocks of this machine and of {server} are behind the store's"),
            _ => format!("the clock of this machine is about {hours} h behind that of {server}"),
        };
        let message = format!(
            "{message}: what is asked now counts as asked longer ago than is remembered; nothing was done"
        );
        let failure = Failure { reason: CLOCKS.to_owned(), ..Failure::refused(message) };
        failure.next("set the clock that is wrong; date -u shows this machine's")
    }

    /// A file or folder that could not be used.
    #[must_use]
    pub fn file(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Failure {
        Failure::refused(format!("cannot {doing} {}: {error}", path.display()))
    }

    /// What a gRPC status means to the person who caused it. A status that leaves the outcome open becomes
    /// [`Kind::Unreachable`]; whoever sent a write knows better and says [`Kind::Unknown`].
    #[must_use]
    pub fn of_status(status: &Status) -> Failure {
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
        let kind = match status.code() {
            // It was answered, by a node that knows better whom to ask.
            Code::Unavailable if reason == NOT_LEADER => Kind::Refused,
            // It was answered: asking again finds the same record.
            Code::Internal if reason == DAMAGED => Kind::Refused,
            // Nothing is wrong with what was asked for.
            Code::ResourceExhausted if reason == OVERLOADED => Kind::Unreachable,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal => {
                Kind::Unreachable
            }
            Code::AlreadyExists | Code::Aborted => Kind::Conflict,
            _ => Kind::Refused,
        };
        let said = match status.message() {
            "" if status.code() == Code::Unimplemented => "what answers there does not serve this",
            said => said,
        };
        let mut message = format!("{}: {said}", code_name(status.code()));
        for violation in details.bad_request().iter().flat_map(|bad| &bad.field_violations) {
            if !status.message().contains(&violation.description) {
                message.push_str(&format!("\n  field {}: {}", violation.field, violation.description));
            }
        }
        for violation in details.precondition_failure().iter().flat_map(|failed| &failed.violations) {
            if !status.message().contains(&violation.subject) {
                message.push_str(&format!("\n  {}: {}", violation.subject, violation.description));
            }
        }
        let kind_of = |info: tonic_types::ErrorInfo| info.metadata.get("kind").cloned();
        let missing = details.error_info().cloned().and_then(kind_of).unwrap_or_default();
        let next = of_reason(&reason)
            .or_else(|| of_missing(status.code(), &missing))
            .or_else(|| next_step(status.code()));
        Failure { next: next.map(str::to_owned), reason, ..Failure::new(kind, message) }
    }
}

/// The name that gRPC gives a code, as the documents spell it.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// A node's refusal of what only the leader does.
pub const NOT_LEADER: &str = "NOT_LEADER";
/// A record that no portal wrote, as portals say it.
const DAMAGED: &str = "DAMAGED_RECORD";

/// Too much at once, as portals and nodes say it.
const OVERLOADED: &str = "OVERLOADED";
/// What stands in the way until somebody mends it, as portals say it.
const OUT_OF_SPACE: &str = "STORE_OUT_OF_SPACE";
const CLOCKS: &str = "CLOCKS_APART";
const DIVERGED: &str = "STORE_DIVERGED";

/// What to do about what a portal says.
fn of_reason(reason: &str) -> Option<&'static str> {
    match reason {
        "HELD_BY_ORDERS" => Some("nothing was changed; --cascade cancels what holds it, or empties it there"),
        "CLOSING" => Some(
            "staff are deleting it with its orders: nothing new; deleting it again with cascade finishes",
        ),
        "STOCK_SHORT" => Some("nothing was changed; take what is left, or less"),
        OUT_OF_SPACE | "OUT_OF_SPACE" => Some(
            "nothing was done; feira status names the node: free disk space there, or raise store.map_bytes; then it goes on",
        ),
        CLOCKS => Some(
            "nothing was done; compare date -u on this machine, the portals' and the nodes', and set what is wrong",
        ),
        DIVERGED | "DIVERGED" => {
            Some("nothing was done; feira audit shows who differs, feira status whom to start or resync")
        }
        DAMAGED => Some("no portal wrote it: look at it with feira kv get, and mend or delete it there"),
        "CLIENT_GONE" => Some("a person who comes back is registered under another id: insert-client"),
        "ID_KEPT" => Some("give the id with --cid: who has another person's id sees that person's orders"),
        "ORDER_EMPTY" => Some("nothing was changed; modify-order adds lines, cancel-order closes it"),
        "UNPROVEN" => Some(
            "the key file of this machine is not the cluster's, or not any more: copy cluster.key from a machine whose tools work",
        ),
        "WRONG_CLUSTER" => Some(OF_ANOTHER_CLUSTER),
        NOT_LEADER => Some("ask the node that leads: feira status shows it"),
        "ORDER_NOT_OPEN" => Some("nothing was changed; open another order"),
        _ => None,
    }
}

/// What to do where a port is of another cluster than the one that is meant.
pub const OF_ANOTHER_CLUSTER: &str = "a cluster that was restored or made anew is another: give this machine its key file (cluster.key, or portals.key), or \
     correct the address";

/// Where to look for the id of what was not found: commands of whoever can ask for such a thing.
fn of_missing(code: Code, kind: &str) -> Option<&'static str> {
    match (code, kind) {
        (Code::NotFound, "order") => Some("look for the right id: list-orders"),
        (Code::NotFound, "product") => Some("look for the right id: list-products"),
        (Code::NotFound, "client") => Some("look for the right id: list-clients"),
        _ => None,
    }
}

fn next_step(code: Code) -> Option<&'static str> {
    match code {
        Code::Unauthenticated => {
            Some("check the CID; a new client is registered by staff (feira admin, insert-client)")
        }
        Code::PermissionDenied => Some("name the client whose order it is: --cid"),
        Code::AlreadyExists => Some("take another id, or change the one that is there with update"),
        Code::Aborted => Some("read it again and repeat the command on what is there now"),
        Code::FailedPrecondition => Some("nothing was changed; see above what stands in the way"),
        Code::ResourceExhausted => Some("nothing was done; try again in a moment"),
        Code::Unavailable | Code::DeadlineExceeded => {
            Some("see feira status: a majority of the store's nodes must be serving")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_own_exit_code() {
        let kinds = [Kind::Refused, Kind::Usage, Kind::Unreachable, Kind::Conflict, Kind::Unknown];
        assert_eq!(kinds.map(Kind::exit_code), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_shopper_who_names_a_wrong_product_is_sent_to_list_products() {
        use portal::error::Kind as Of;
        for (kind, list) in
            [(Of::Order, "list-orders"), (Of::Product, "list-products"), (Of::Client, "list-clients")]
        {
            let failure = Failure::of_status(&portal::Error::NotFound { kind, id: "x".into() }.into());
            assert_eq!(failure.next.unwrap(), format!("look for the right id: {list}"));
        }
    }

    #[test]
    fn a_damaged_record_is_named_as_damaged() {
        let damaged = portal::Error::damaged(b"p/{x}", "expected value at line 1 column 1");
        let failure = Failure::of_status(&damaged.into());
        assert_eq!(failure.kind, Kind::Refused);
        assert!(failure.to_string().contains("p/{x}") && failure.to_string().contains("feira kv get"));
        assert_eq!(Failure::of_status(&Status::internal("x")).kind, Kind::Unreachable);
    }

    #[test]
    fn a_status_becomes_a_class_and_a_next_step() {
        let of = |code| Failure::of_status(&Status::new(code, "x"));
        assert_eq!(of(Code::AlreadyExists).kind, Kind::Conflict);
        assert_eq!(of(Code::Aborted).kind, Kind::Conflict);
        assert_eq!(of(Code::FailedPrecondition).kind, Kind::Refused);
        assert_eq!(of(Code::NotFound).kind, Kind::Refused);
        assert_eq!(of(Code::Unavailable).kind, Kind::Unreachable);
        assert!(of(Code::Unauthenticated).to_string().contains("insert-client"));
        assert!(of(Code::InvalidArgument).to_string().starts_with("INVALID_ARGUMENT: x"));
    }
}
