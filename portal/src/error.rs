//! The errors that a user meets, and the one table of codes and reasons (`docs/SCHEMA.md` prints the same).
//!
//! Each variant answers two questions: did it happen (only [`Error::OutcomeUnknown`] says "maybe"), and the user's remedy.
//! The way over the wire, both directions, is in `status` for gRPC and in `transport::problem` for HTTP and MQTT.

use std::fmt;

use store_client::Cause;
use tonic::Code;

use crate::calendar::UtcOffset;
use crate::limits::{ORDER_LINES_MAX, REQUEST_BYTES_MAX};
use crate::money::{Price, Total};

/// The kinds of documents that errors speak of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A client, by CID.
    Client,
    /// A product, by PID.
    Product,
    /// An order, by OID.
    Order,
    /// The shop's own record.
    Shop,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Client, Kind::Product, Kind::Order, Kind::Shop];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Client => "client",
            Kind::Product => "product",
            Kind::Order => "order",
            Kind::Shop => "shop",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A product of which there is not enough.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Short {
    /// Which.
    pub pid: String,
    /// How many more the request wanted to take.
    pub wanted: i64,
    /// How many were left when the store refused.
    pub left: i64,
    /// How many the order holds already, which are not among those wanted.
    pub holds: i64,
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Short { pid, wanted, left, holds } = self;
        match holds {
            0 => write!(f, "{pid} ({wanted} wanted, {left} left)"),
            _ => write!(f, "{pid} ({wanted} more wanted than the {holds} it holds, {left} left)"),
        }
    }
}

/// A line whose price is not the one that was shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Repriced {
    /// Which product.
    pub pid: String,
    /// The price that the request expected.
    pub expected: Price,
    /// The price of now: the line's own, or of a new line the product's.
    pub price: Price,
}

impl fmt::Display for Repriced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repriced { pid, expected, price } = self;
        write!(f, "{pid} ({expected} expected, {price} now)")
    }
}

const HOUR_MS: i64 = 3_600_000;

/// Why a request was not (or may not have been) carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// A field of the request is wrong; the same request will never do.
    #[error("{field}: {why}")]
    Invalid {
        /// Where, as a path: `lines[2].quantity`.
        field: String,
        /// What is wrong and what is accepted.
        why: String,
    },
    /// The request id was used before for something else. Nothing was done.
    #[error("request id {request} was already used for another request; make a new id")]
    RequestReused {
        /// The id.
        request: String,
    },
    /// The CID is not registered.
    #[error("client {cid} is not registered; ask an administrator to insert it")]
    UnknownClient {
        /// Which.
        cid: String,
    },
    /// The OID is another client's.
    #[error("order {oid} is not this client's")]
    NotYours {
        /// Which.
        oid: String,
    },
    /// There is no such document.
    #[error("there is no {kind} {id}")]
    NotFound {
        /// What.
        kind: Kind,
        /// Which.
        id: String,
    },
    /// The client was removed, and its orders are kept.
    #[error("client {id} was removed; its orders are kept under the id")]
    Gone {
        /// Which.
        id: String,
    },
    /// The id cannot be given to a new client: orders of a removed one lie under it.
    #[error("the id {id} is kept for the orders of a client who was removed, and is not given to another: {}", proposal(.free.as_deref()))]
    IdKept {
        /// Which.
        id: String,
        /// An id like it that is free, if one was found soon.
        free: Option<String>,
    },
    /// The id is taken.
    #[error("{kind} {id} exists already")]
    AlreadyExists {
        /// What.
        kind: Kind,
        /// Which.
        id: String,
    },
    /// There is not enough stock. Nothing was moved, of any product.
    #[error("not enough stock: {}", shortages(.short, *.more))]
    ShortStock {
        /// Each product that is short, with how many are left.
        short: Vec<Short>,
        /// How many further products are short, that did not fit.
        more: u64,
    },
    /// Prices are not those that were shown. Nothing was moved.
    #[error("prices have changed: {}", repricings(.changed, *.more))]
    PriceChanged {
        /// Each line whose price is another, with both.
        changed: Vec<Repriced>,
        /// How many further ones there are, that did not fit.
        more: u64,
    },
    /// The total of an order is not the one that was shown. It was not confirmed.
    #[error("the total of order {oid} has changed: {expected} expected, {total} now")]
    TotalChanged {
        /// Which.
        oid: String,
        /// The total that the request expected.
        expected: Total,
        /// The total of now, exactly.
        total: Total,
    },
    /// An order may not have so many of a product. Nothing was moved.
    #[error("{quantity} of {pid}: an order has {}", quantities(*.least, *.most))]
    OutsideQuantity {
        /// Which product.
        pid: String,
        /// How many the order would have.
        quantity: i64,
        /// The smallest quantity; 0: any.
        least: i64,
        /// The largest; 0: any.
        most: i64,
    },
    /// The stock would be less than the product's rules allow. Nothing was changed.
    #[error("product {pid}: {available} would be available, and its rules allow no less than {least} ({}); adjust the stock, or give it another rule", rule_of(*.least))]
    RuleBroken {
        /// Which product.
        pid: String,
        /// The least that may be available.
        least: i64,
        /// What would be.
        available: i64,
    },
    /// Open orders hold it.
    #[error("{kind} {id} is held by open orders: {}{}; cancel them, or delete with cascade", .by.join(", "), and_more(*.more))]
    Held {
        /// What.
        kind: Kind,
        /// Which.
        id: String,
        /// The OIDs of some or all that hold it.
        by: Vec<String>,
        /// How many further orders hold it.
        more: u64,
    },
    /// The order is confirmed or cancelled.
    #[error("order {oid} is {state}; only open orders can be changed")]
    NotOpen {
        /// Which.
        oid: String,
        /// Its state.
        state: String,
    },
    /// The order is in a state from which this move does not lead on.
    #[error("order {oid} is {state}; for this it must be {needs}")]
    WrongState {
        /// Which.
        oid: String,
        /// Its state.
        state: String,
        /// In which states it would do.
        needs: String,
    },
    /// The index that a list would be sorted by is not complete: what an earlier version wrote would be missing.
    #[error(
        "{kind}s can be listed by id alone until their index is complete; staff complete it with feira admin reindex"
    )]
    NotIndexed {
        /// Of what.
        kind: Kind,
    },
    /// Events behind the cursor are kept no more.
    #[error("{}", trimmed(oldest, *kept_ms))]
    FeedTrimmed {
        /// The cursor before the oldest event that is kept.
        oldest: String,
        /// Of a span of time: the earliest moment, milliseconds since 1970, from which on all events are kept; 0: a cursor was asked for.
        kept_ms: i64,
    },
    /// The client or product is being deleted with its orders.
    #[error("{kind} {id} is being deleted (closing)")]
    Closing {
        /// What.
        kind: Kind,
        /// Which.
        id: String,
    },
    /// The order would have too many lines, or too many bytes.
    #[error("order {oid} would have {full}; open another order for the rest")]
    OrderFull {
        /// Which.
        oid: String,
        /// Of what too much.
        full: Full,
    },
    /// The order has no lines: confirmed, it could never be undone.
    #[error("order {oid} has no lines: there is nothing to confirm; add some, or cancel it")]
    OrderEmpty {
        /// Which.
        oid: String,
    },
    /// `if_match` names another version than the current one.
    #[error("{kind} {id} has changed since it was read (etag now {etag}); read it again")]
    Changed {
        /// What.
        kind: Kind,
        /// Which.
        id: String,
        /// The current etag.
        etag: u64,
    },
    /// Others kept changing what the request rests on. Nothing was done.
    #[error("gave up after {attempts} attempts, because others kept changing the same documents; try again")]
    Contended {
        /// How often it was tried.
        attempts: u32,
    },
    /// The request id is older than what the store remembers. Not executed now.
    #[error("request id {request} is older than what is remembered: {}", expired(*.age_ms))]
    RequestExpired {
        /// How long ago it was made by the portal's clock, milliseconds; 0: it does not say when it was made.
        age_ms: i64,
        /// The id.
        request: String,
    },
    /// Somebody asked for the outcome of this id before it ran, and closed it thereby. Never executed.
    #[error("request id {request} was closed before it ran; make a new id")]
    RequestClosed {
        /// The id.
        request: String,
    },
    /// The request was meant for another cluster. Nothing was done, and nothing will be here.
    #[error("this is the port of {portal}, not of cluster {meant}")]
    WrongCluster {
        /// Whose port it is: the portal and its cluster.
        portal: String,
        /// The cluster that was named.
        meant: String,
    },
    /// The shop's records are of a later program than this portal's. Nothing was done.
    #[error(
        "this portal's program knows the shop's records up to version {known}, and they have version {schema}; ask another portal, and start this one anew with the later program"
    )]
    Outdated {
        /// The version of the shop's records.
        schema: u32,
        /// The latest version that the portal knows.
        known: u32,
    },
    /// Orders of earlier versions are still being put into the list. It passes.
    #[error(
        "orders of earlier versions are still being put into this list; it is ready soon: try again, or list them by client"
    )]
    NotListed,
    /// The store cannot serve now. Nothing was done.
    #[error("the store is unavailable: {why}")]
    Unavailable {
        /// What stands in the way.
        cause: Cause,
        /// What is known.
        why: String,
    },
    /// It may have happened. The same request with the same id settles it.
    #[error("outcome unknown ({why}); send the same request again with request id {request} to settle it")]
    OutcomeUnknown {
        /// What is known of why there was no answer.
        why: String,
        /// The id to repeat.
        request: String,
        /// The creation time to repeat with it, milliseconds since 1970.
        created_ms: i64,
    },
    /// The portal has too much to do. Nothing was done.
    #[error("overloaded: {why}")]
    Overloaded {
        /// Of what.
        why: String,
        /// The caller's own connection is what is full, and stays so until he takes what waits for him.
        own: bool,
    },
    /// What is stored cannot be read: a fault of ours or of the store's.
    #[error("the record {key} is damaged: {why}")]
    Damaged {
        /// Its key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Which bound an order would break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// So many lines.
    Lines(u64),
    /// Bytes: long ids, descriptions and data fill an order before its lines do.
    Bytes {
        /// What it would take, as a record or in the transaction that cancels it.
        bytes: u64,
        /// What there is room for.
        most: u64,
    },
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Full::Lines(lines) => write!(f, "{lines} lines, and has at most {ORDER_LINES_MAX}"),
            Full::Bytes { bytes, most } => {
                write!(
                    f,
                    "{bytes} bytes, because its ids, descriptions or data are long, and has at most {most}"
                )
            }
        }
    }
}

fn quantities(least: i64, most: i64) -> String {
    match (least, most) {
        (least, 0) => format!("at least {least} of it, or none"),
        (0, most) => format!("at most {most} of it"),
        (least, most) => format!("{least} to {most} of it, or none"),
    }
}

fn rule_of(least: i64) -> &'static str {
    if least < 0 { "its backorder limit" } else { "its safety stock" }
}

fn proposal(free: Option<&str>) -> String {
    free.map_or_else(|| "choose another id".to_owned(), |free| format!("{free} is free"))
}

fn shortages(short: &[Short], more: u64) -> String {
    let each: Vec<String> = short.iter().map(Short::to_string).collect();
    format!("{}{}", each.join(", "), and_more(more))
}

fn repricings(changed: &[Repriced], more: u64) -> String {
    let each: Vec<String> = changed.iter().map(Repriced::to_string).collect();
    format!("{}{}", each.join(", "), and_more(more))
}

/// What an id's age says of why it is not remembered.
fn expired(age_ms: i64) -> String {
    const LOOK: &str = "look whether it was done, and make a new id";
    let age = match age_ms / HOUR_MS {
        _ if age_ms == 0 => return LOOK.to_owned(),
        0 => "less than an hour".to_owned(),
        hours => format!("{hours} h"),
    };
    format!(
        "by this portal's clock it was made {age} ago; if it was made just now, the clock of its maker or of the store is \
         wrong; else {LOOK}"
    )
}

fn and_more(more: u64) -> String {
    if more == 0 { String::new() } else { format!(" and {more} more") }
}

/// What is said of events that are gone.
fn trimmed(oldest: &str, kept_ms: i64) -> String {
    match kept_ms {
        0 => format!("events behind this cursor are kept no more; those that are begin behind {oldest}"),
        ms => format!(
            "events of this span are kept no more; all are kept that were done from {} on (UTC)",
            moment(ms.saturating_add(999))
        ),
    }
}

/// A moment in UTC, without its part of a second.
fn moment(ms: i64) -> String {
    let of_day = ms.div_euclid(1_000).rem_euclid(24 * 3_600);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", UtcOffset::default().day_of(ms))
}

impl Error {
    /// A request of more than [`REQUEST_BYTES_MAX`].
    pub fn too_large() -> Error {
        const WHY: &str =
            "is larger than 1 MiB (1,048,576 bytes), the most that a portal reads; send it in parts";
        const _: () = assert!(REQUEST_BYTES_MAX == 1_048_576, "the text above says so");
        Error::invalid("request", WHY)
    }

    /// A wrong field.
    pub fn invalid(field: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Invalid { field: field.into(), why: why.into() }
    }

    /// A stored record that cannot be read.
    pub fn damaged(key: &[u8], why: impl fmt::Display) -> Error {
        Error::Damaged { key: String::from_utf8_lossy(key).into_owned(), why: why.to_string() }
    }

    /// The table: gRPC status and machine-readable reason.
    #[must_use]
    pub const fn code_and_reason(&self) -> (Code, &'static str) {
        match self {
            Error::Invalid { .. } => (Code::InvalidArgument, "INVALID_FIELD"),
            Error::RequestReused { .. } => (Code::InvalidArgument, "REQUEST_ID_REUSED"),
            Error::UnknownClient { .. } => (Code::Unauthenticated, "CLIENT_UNKNOWN"),
            Error::NotYours { .. } => (Code::PermissionDenied, "ORDER_OF_ANOTHER_CLIENT"),
            Error::NotFound { .. } => (Code::NotFound, "NOT_FOUND"),
            Error::Gone { .. } => (Code::NotFound, "CLIENT_GONE"),
            Error::AlreadyExists { .. } => (Code::AlreadyExists, "ALREADY_EXISTS"),
            Error::IdKept { .. } => (Code::AlreadyExists, "ID_KEPT"),
            Error::ShortStock { .. } => (Code::FailedPrecondition, "STOCK_SHORT"),
            Error::PriceChanged { .. } => (Code::FailedPrecondition, "PRICE_CHANGED"),
            Error::TotalChanged { .. } => (Code::FailedPrecondition, "TOTAL_CHANGED"),
            Error::OutsideQuantity { .. } => (Code::FailedPrecondition, "QUANTITY_OUTSIDE"),
            Error::RuleBroken { .. } => (Code::FailedPrecondition, "STOCK_RULE_BROKEN"),
            Error::Held { .. } => (Code::FailedPrecondition, "HELD_BY_ORDERS"),
            Error::NotOpen { .. } => (Code::FailedPrecondition, "ORDER_NOT_OPEN"),
            Error::WrongState { .. } => (Code::FailedPrecondition, "ORDER_WRONG_STATE"),
            Error::NotIndexed { .. } => (Code::FailedPrecondition, "INDEX_INCOMPLETE"),
            Error::FeedTrimmed { .. } => (Code::FailedPrecondition, "FEED_TRIMMED"),
            Error::Closing { .. } => (Code::FailedPrecondition, "CLOSING"),
            Error::OrderFull { .. } => (Code::FailedPrecondition, "ORDER_FULL"),
            Error::OrderEmpty { .. } => (Code::FailedPrecondition, "ORDER_EMPTY"),
            Error::Changed { .. } => (Code::Aborted, "CHANGED"),
            Error::Contended { .. } => (Code::Aborted, "CONTENDED"),
            Error::RequestExpired { .. } => (Code::FailedPrecondition, "REQUEST_ID_EXPIRED"),
            Error::RequestClosed { .. } => (Code::Aborted, "REQUEST_ID_CLOSED"),
            Error::Outdated { .. } => (Code::Unavailable, "PORTAL_OUTDATED"),
            Error::NotListed => (Code::Unavailable, "LIST_NOT_READY"),
            Error::Unavailable { cause, .. } => (Code::Unavailable, reason_of(*cause)),
            Error::WrongCluster { .. } => (Code::FailedPrecondition, "WRONG_CLUSTER"),
            Error::OutcomeUnknown { .. } => (Code::DeadlineExceeded, "OUTCOME_UNKNOWN"),
            Error::Overloaded { .. } => (Code::ResourceExhausted, "OVERLOADED"),
            Error::Damaged { .. } => (Code::Internal, "DAMAGED_RECORD"),
        }
    }

    /// The table, for HTTP (RFC 9110, 15; 429 of RFC 6585, 507 of RFC 4918). A client is part of a resource's path there, so one
    /// that is not registered is not found; 401 would promise a way to log in.
    #[must_use]
    pub const fn http_status(&self) -> u16 {
        match self {
            Error::Invalid { .. } => 400,
            Error::NotYours { .. } => 403,
            Error::UnknownClient { .. } | Error::NotFound { .. } => 404,
            Error::AlreadyExists { .. }
            | Error::IdKept { .. }
            | Error::ShortStock { .. }
            | Error::PriceChanged { .. }
            | Error::TotalChanged { .. }
            | Error::OutsideQuantity { .. }
            | Error::RuleBroken { .. }
            | Error::Held { .. }
            | Error::NotOpen { .. }
            | Error::WrongState { .. }
            | Error::NotIndexed { .. }
            | Error::Closing { .. }
            | Error::OrderFull { .. }
            | Error::OrderEmpty { .. }
            | Error::Contended { .. }
            | Error::RequestClosed { .. } => 409,
            Error::Gone { .. } | Error::RequestExpired { .. } | Error::FeedTrimmed { .. } => 410,
            Error::Changed { .. } => 412,
            Error::WrongCluster { .. } => 421,
            Error::RequestReused { .. } => 422,
            Error::Overloaded { .. } => 429,
            Error::Damaged { .. } => 500,
            Error::Unavailable { cause: Cause::OutOfSpace, .. } => 507,
            Error::Unavailable { .. } | Error::Outdated { .. } | Error::NotListed => 503,
            Error::OutcomeUnknown { .. } => 504,
        }
    }

    /// The store cannot be reached, or cannot serve.
    pub fn away(why: impl Into<String>) -> Error {
        Error::Unavailable { cause: Cause::Away, why: why.into() }
    }

    /// Whether the operation may have happened in spite of this error.
    #[must_use]
    pub const fn may_have_happened(&self) -> bool {
        matches!(self, Error::OutcomeUnknown { .. })
    }
}

/// The reason that says what stands between a user and the store.
pub(crate) const fn reason_of(cause: Cause) -> &'static str {
    match cause {
        Cause::Away => "STORE_UNAVAILABLE",
        Cause::Busy => "STORE_BUSY",
        Cause::OutOfSpace => "STORE_OUT_OF_SPACE",
        Cause::ClocksApart => "CLOCKS_APART",
        Cause::Diverged => "STORE_DIVERGED",
        Cause::Locked => "STORE_LOCKED",
    }
}

/// What a failed read of the store means for the user.
impl From<store_client::Error> for Error {
    fn from(error: store_client::Error) -> Error {
        match error {
            store_client::Error::Refused { message, .. } => Error::invalid("request", message),
            store_client::Error::Retry { cause, message } => Error::Unavailable { cause, why: message },
            store_client::Error::Unknown { message } => Error::away(message),
        }
    }
}
