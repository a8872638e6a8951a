//! Failures as a person meets them, in the classes that the exit code tells apart, each with what to do next.
//!
//! Promises: each failure says what is wrong, where, and (where we know) what to do; its [`Kind`] alone decides
//! the exit code. Leaves out: how it is printed ([`crate::show`]).

use std::fmt;

use portal::error::{Error, Kind as Of};
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
    /// What else is known, and how a person is told.
    detail: Option<Box<Detail>>,
}

/// What is known of a failure beyond its message.
#[derive(Clone, PartialEq, Debug, Default)]
struct Detail {
    /// The message for a person, without the code and the field that a program wants; empty: it is the same.
    sentence: String,
    /// The name of the code that a server answered with; empty: none did.
    code: &'static str,
    /// Wrong fields of the request: where, and why.
    fields: Vec<(String, String)>,
    /// The portal's own error.
    error: Option<Error>,
}

/// Who reads a failure: what to do next must be something that they can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader {
    /// Whoever orders, and knows nothing of nodes and portals.
    Shopper,
    /// Whoever runs the shop, or its machines.
    Staff,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told_as(&self.message))
    }
}

impl Failure {
    fn new(kind: Kind, message: impl Into<String>) -> Failure {
        let (reason, by) = (String::new(), String::new());
        Failure { kind, message: message.into(), next: None, reason, by, told: false, detail: None }
    }

    fn told_as(&self, what: &str) -> String {
        let mut text = what.to_owned();
        // A refusal is the shop's; where something stands in the way, it matters who says so.
        if matches!(self.kind, Kind::Unreachable | Kind::Unknown) && !self.by.is_empty() {
            text.push_str(&format!(" ({} says so)", self.by));
        }
        if let Some(next) = &self.next {
            text.push_str(&format!("\n  → {next}"));
        }
        text
    }

    /// What is wrong, in a person's words.
    #[must_use]
    pub fn sentence(&self) -> &str {
        match &self.detail {
            Some(detail) if !detail.sentence.is_empty() => &detail.sentence,
            _ => &self.message,
        }
    }

    /// The sentence, and what to do next.
    #[must_use]
    pub fn for_people(&self) -> String {
        self.told_as(self.sentence())
    }

    /// The name of the code that a server answered with; empty if none did.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.detail.as_ref().map_or("", |detail| detail.code)
    }

    /// The wrong fields of the request: where, and why.
    #[must_use]
    pub fn fields(&self) -> &[(String, String)] {
        self.detail.as_ref().map_or(&[], |detail| &detail.fields)
    }

    /// The portal's own error, if it is one's.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        self.detail.as_ref().and_then(|detail| detail.error.as_ref())
    }

    /// The same, in other words for people.
    #[must_use]
    pub fn saying(mut self, sentence: impl Into<String>) -> Failure {
        self.detail.get_or_insert_default().sentence = sentence.into();
        self
    }

    /// The same, in other words for everybody.
    #[must_use]
    pub fn retold(mut self, message: impl Into<String>) -> Failure {
        self.message = message.into();
        self.saying("")
    }

    /// The same, with where or whose it is before it.
    #[must_use]
    pub fn of(mut self, place: impl fmt::Display) -> Failure {
        self.message = format!("{place}: {}", self.message);
        if let Some(detail) = self.detail.as_mut().filter(|detail| !detail.sentence.is_empty()) {
            detail.sentence = format!("{place}: {}", detail.sentence);
        }
        self
    }

    /// The same, with what this reader can do next.
    #[must_use]
    pub fn read_by(mut self, reader: Reader) -> Failure {
        if reader == Reader::Shopper
            && let Some(next) = for_shoppers(&self)
        {
            self.next = Some(next.to_owned());
        }
        self
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
            Cause::Locked => OVERLOADED,
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
            // It was answered, by a node that knows better whom to ask, or by a leader that nobody relieves.
            Code::Unavailable if reason == NOT_LEADER || reason == TRANSFER_GIVEN_UP => Kind::Refused,
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
        let bad_request = details.bad_request();
        let violations = bad_request.iter().flat_map(|bad| &bad.field_violations);
        let fields: Vec<(String, String)> =
            violations.map(|one| (one.field.clone(), one.description.clone())).collect();
        for (field, why) in fields.iter().filter(|(_, why)| !status.message().contains(why)) {
            message.push_str(&format!("\n  field {field}: {why}"));
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
        let error = Error::from_status(status);
        let sentence = error.as_ref().map_or_else(|| said.to_owned(), sentence_of);
        let detail = Some(Box::new(Detail { sentence, code: code_name(status.code()), fields, error }));
        Failure { next: next.map(str::to_owned), reason, detail, ..Failure::new(kind, message) }
    }
}

/// A portal's error in a person's words.
#[must_use]
pub fn sentence_of(error: &Error) -> String {
    match error {
        // Some say of themselves what they are about.
        Error::Invalid { field, why } if why.contains(leaf(field)) => why.clone(),
        Error::Invalid { field, why } => {
            of_field(field).map_or_else(|| why.clone(), |name| format!("{name}: {why}"))
        }
        Error::UnknownClient { cid } => format!("there is no client {}", named(cid)),
        Error::NotFound { kind, id } => format!("there is no {kind} {}", named(id)),
        Error::NotYours { oid } => format!("order {} is another client's", named(oid)),
        other => other.to_string(),
    }
}

/// An id in a sentence, in quotes, so that its end is seen.
fn named(id: &str) -> String {
    format!("\"{}\"", crate::show::written::id(id))
}

fn leaf(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, leaf)| leaf)
}

/// What a person calls the field at a path: `data.price` is the price, `lines[2].quantity` the quantity in line 3.
fn of_field(path: &str) -> Option<String> {
    let (before, leaf) = (path.rsplit_once('.').map_or("", |(before, _)| before), leaf(path));
    let at = before.strip_prefix("lines[").and_then(|rest| rest.strip_suffix(']')?.parse::<u64>().ok());
    match (at, leaf) {
        (Some(at), leaf) => Some(format!("{leaf} in line {}", at + 1)),
        (None, "request" | "lines" | "data" | "") => None,
        (None, leaf) => Some(leaf.to_owned()),
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
/// A node's refusal of what goes once it knows a leader, or its leader more.
pub const CHANGE_NOT_YET: &str = "CHANGE_NOT_YET";
/// The reason of a leader that nobody relieved in time.
const TRANSFER_GIVEN_UP: &str = "TRANSFER_GIVEN_UP";
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
        "PRICE_CHANGED" => {
            Some("nothing was changed; look at the prices of now, and order at them or not at all")
        }
        "TOTAL_CHANGED" => Some("it was not confirmed; get-order shows what is in it now"),
        "QUANTITY_OUTSIDE" => Some("nothing was changed; order as many as it says, or none"),
        "STOCK_RULE_BROKEN" => {
            Some("nothing was changed; adjust-stock moves what is there, update-product the rules")
        }
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
        "FEED_TRIMMED" => Some(
            "begin anew without --after, or with the cursor that is named: what was in between is not kept any more",
        ),
        "INDEX_INCOMPLETE" => {
            Some("feira admin reindex completes it, once no portal of an earlier version runs")
        }
        "ORDER_EMPTY" => Some("nothing was changed; modify-order adds lines, cancel-order closes it"),
        "UNPROVEN" => Some(
            "the key file of this machine is not the cluster's, or not any more: copy cluster.key from a machine whose tools work",
        ),
        TRANSFER_GIVEN_UP => {
            Some("feira status shows who leads, and who is behind or whose disk hangs; then ask again")
        }
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

/// What a shopper can do about it; `None`: the same as everybody.
fn for_shoppers(failure: &Failure) -> Option<&'static str> {
    if failure.kind == Kind::Unknown {
        // It may have been done, whatever stands in the way now: only the id of its request settles that, and the failure has it.
        return None;
    }
    Some(match failure.reason.as_str() {
        "CLIENT_UNKNOWN" => "check how it is written; the shop's staff registers new clients",
        "CLIENT_GONE" => "the shop's staff registers who comes back under another id",
        "ORDER_OF_ANOTHER_CLIENT" => "list-orders shows your own",
        "OUTCOME_UNKNOWN" => "look whether it was done before you repeat it: list-orders",
        "CLOSING" => "the shop is taking it off its list: nothing new",
        DAMAGED => "tell the shop's staff: this record must be mended there",
        "NOT_FOUND" => match failure.error() {
            Some(Error::NotFound { kind: Of::Product, .. }) => "products lists what is sold",
            _ => return None,
        },
        CLOCKS => {
            "nothing was done; compare date -u on this machine with the right time, and if it is right, tell the shop's staff"
        }
        OUT_OF_SPACE | "OUT_OF_SPACE" | DIVERGED | "DIVERGED" => {
            "nothing was done; tell the shop's staff, who must mend it"
        }
        _ if failure.kind == Kind::Unreachable => {
            "nothing was done; try again in a moment, and if it stays so, tell the shop's staff"
        }
        _ => return None,
    })
}

fn next_step(code: Code) -> Option<&'static str> {
    match code {
        Code::Unauthenticated => {
            Some("check how the CID is written; staff register a new client: feira admin, insert-client")
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

    /// As the tool makes it when it stops asking: the reason is what stands in the way, and the outcome is not known.
    #[test]
    fn a_shopper_keeps_the_request_id_that_settles_a_lost_answer() {
        for reason in ["OUTCOME_UNKNOWN", OUT_OF_SPACE, CLOCKS, DIVERGED] {
            let mut failure = Failure::unreachable("outcome unknown").next("repeat it with --request 17");
            (failure.kind, failure.reason) = (Kind::Unknown, reason.to_owned());
            let next = failure.read_by(Reader::Shopper).next.unwrap();
            assert!(next.contains("--request 17") && !next.contains("nothing was done"), "{reason}: {next}");
        }
    }

    #[test]
    fn a_shopper_who_names_a_wrong_product_is_sent_to_list_products() {
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
        let given_up = proto::store::FailureReason::TransferGivenUp;
        let given_up = store_client::failure::failure(given_up, "nobody took it");
        let given_up = Failure::of_status(&store_client::failure::status_from(&given_up));
        assert_eq!(given_up.kind, Kind::Refused, "the leader has answered: {given_up}");
        assert!(of(Code::Unauthenticated).to_string().contains("insert-client"));
        assert!(of(Code::InvalidArgument).to_string().starts_with("INVALID_ARGUMENT: x"));
    }
}
