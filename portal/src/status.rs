//! Errors on the wire: a gRPC status with google.rpc details, and back.
//!
//! Every error carries an `ErrorInfo` with domain "feira", the reason of the table in `error`, and its fields as
//! metadata. Besides, INVALID_ARGUMENT has a `BadRequest` (field, why), and errors with a list have a
//! `PreconditionFailure`: one violation an item (type = the reason, subject = the PID or OID; for stock the
//! description is `left=3 wanted=5`, and ` holds=2` if the order holds some already; for a price `expected=1.50 price=1.60`). Lists and messages are cut to the size
//! of HTTP/2 trailers; the metadata member `more` counts the rest.

use std::collections::HashMap;

use store_client::Cause;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, PreconditionViolation, StatusExt};

use crate::error::{Error, Full, Kind, Repriced, Short, reason_of};
use crate::limits::{ERROR_LIST_BYTES_MAX, ERROR_LIST_MAX, ERROR_MESSAGE_BYTES_MAX};
use crate::money::{Price, Total};

/// The domain of our reasons.
pub const DOMAIN: &str = "feira";

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let error = bounded(error);
        let (code, reason) = error.code_and_reason();
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata(&error));
        match &error {
            Error::Invalid { field, why } => {
                details.set_bad_request(vec![tonic_types::FieldViolation::new(field.clone(), why.clone())]);
            }
            Error::RequestReused { .. } => {
                let why = "already used for another request".to_owned();
                details.set_bad_request(vec![tonic_types::FieldViolation::new("request.id", why)]);
            }
            Error::ShortStock { short, .. } => {
                let each = short.iter().map(|one| {
                    let mut numbers = format!("left={} wanted={}", one.left, one.wanted);
                    if one.holds > 0 {
                        numbers.push_str(&format!(" holds={}", one.holds));
                    }
                    PreconditionViolation::new(reason, one.pid.clone(), numbers)
                });
                details.set_precondition_failure(each.collect::<Vec<_>>());
            }
            Error::PriceChanged { changed, .. } => {
                let each = changed.iter().map(|Repriced { pid, expected, price }| {
                    let prices = format!("expected={expected} price={price}");
                    PreconditionViolation::new(reason, pid.clone(), prices)
                });
                details.set_precondition_failure(each.collect::<Vec<_>>());
            }
            Error::Held { by, .. } => {
                let each = by.iter().map(|oid| PreconditionViolation::new(reason, oid.clone(), "open order"));
                details.set_precondition_failure(each.collect::<Vec<_>>());
            }
            _ => {}
        }
        let message = cut(&error.to_string(), ERROR_MESSAGE_BYTES_MAX);
        Status::with_error_details(code, message, details)
    }
}

/// The error with its lists and texts cut to what trailers can carry.
pub(crate) fn bounded(error: Error) -> Error {
    match error {
        Error::ShortStock { mut short, more } => {
            let cut = keep_items(&mut short, |one| one.pid.len() + 60);
            Error::ShortStock { short, more: more + cut }
        }
        Error::PriceChanged { mut changed, more } => {
            let cut = keep_items(&mut changed, |one| one.pid.len() + 60);
            Error::PriceChanged { changed, more: more + cut }
        }
        Error::Held { kind, id, mut by, more } => {
            let cut = keep_items(&mut by, |oid| oid.len() + 30);
            Error::Held { kind, id, by, more: more + cut }
        }
        Error::Invalid { field, why } => {
            Error::Invalid { field: cut(&field, 256), why: cut(&why, ERROR_MESSAGE_BYTES_MAX) }
        }
        Error::Unavailable { cause, why } => {
            Error::Unavailable { cause, why: cut(&why, ERROR_MESSAGE_BYTES_MAX) }
        }
        Error::OutcomeUnknown { why, request, created_ms } => {
            Error::OutcomeUnknown { why: cut(&why, ERROR_MESSAGE_BYTES_MAX), request, created_ms }
        }
        Error::Damaged { key, why } => {
            let (key, why) = cut_damage(&key, &why);
            Error::Damaged { key, why }
        }
        other => other,
    }
}

/// Cuts a list where its bytes or its length go over; says how many went.
fn keep_items<T>(items: &mut Vec<T>, bytes: impl Fn(&T) -> usize) -> u64 {
    let mut headroom = ERROR_LIST_BYTES_MAX;
    let fits = items.iter().take(ERROR_LIST_MAX).take_while(|item| {
        let need = bytes(item) + 20;
        let fits = need <= headroom;
        headroom = headroom.saturating_sub(need);
        fits
    });
    let keep = fits.count();
    let gone = items.len() - keep;
    items.truncate(keep);
    gone as u64
}

/// A damaged record's key and what is wrong with it, cut to what an answer can carry.
pub(crate) fn cut_damage(key: &str, why: &str) -> (String, String) {
    (cut(key, 600), cut(why, ERROR_MESSAGE_BYTES_MAX))
}

fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

pub(crate) fn metadata(error: &Error) -> HashMap<String, String> {
    let pairs: Vec<(&str, String)> = match error {
        Error::Invalid { field, why } => vec![("field", field.clone()), ("why", why.clone())],
        Error::RequestReused { request } | Error::RequestClosed { request } => {
            vec![("request", request.clone())]
        }
        Error::RequestExpired { age_ms, request } => {
            vec![("age_ms", age_ms.to_string()), ("request", request.clone())]
        }
        Error::UnknownClient { cid } => vec![("cid", cid.clone())],
        Error::NotYours { oid } => vec![("oid", oid.clone())],
        Error::NotFound { kind, id } | Error::AlreadyExists { kind, id } | Error::Closing { kind, id } => {
            vec![("kind", kind.to_string()), ("id", id.clone())]
        }
        Error::ShortStock { more, .. } | Error::PriceChanged { more, .. } => vec![("more", more.to_string())],
        Error::TotalChanged { oid, expected, total } => {
            vec![("oid", oid.clone()), ("expected", expected.to_string()), ("total", total.to_string())]
        }
        Error::Held { kind, id, more, .. } => {
            vec![("kind", kind.to_string()), ("id", id.clone()), ("more", more.to_string())]
        }
        Error::OutsideQuantity { pid, quantity, least, most } => vec![
            ("pid", pid.clone()),
            ("quantity", quantity.to_string()),
            ("least", least.to_string()),
            ("most", most.to_string()),
        ],
        Error::RuleBroken { pid, least, available } => {
            vec![("pid", pid.clone()), ("least", least.to_string()), ("available", available.to_string())]
        }
        Error::NotOpen { oid, state } => vec![("oid", oid.clone()), ("state", state.clone())],
        Error::WrongState { oid, state, needs } => {
            vec![("oid", oid.clone()), ("state", state.clone()), ("needs", needs.clone())]
        }
        Error::NotIndexed { kind } => vec![("kind", kind.to_string())],
        Error::FeedTrimmed { oldest, kept_ms } => {
            let kept = (*kept_ms != 0).then(|| ("kept_ms", kept_ms.to_string()));
            std::iter::once(("oldest", oldest.clone())).chain(kept).collect()
        }
        Error::Gone { id } => vec![("kind", Kind::Client.to_string()), ("id", id.clone())],
        Error::IdKept { id, free } => {
            let kept = [("kind", Kind::Client.to_string()), ("id", id.clone())];
            kept.into_iter().chain(free.clone().map(|free| ("free", free))).collect()
        }
        Error::OrderFull { oid, full: Full::Lines(lines) } => {
            vec![("oid", oid.clone()), ("lines", lines.to_string())]
        }
        Error::OrderFull { oid, full: Full::Bytes { bytes, most } } => {
            vec![("oid", oid.clone()), ("bytes", bytes.to_string()), ("most", most.to_string())]
        }
        Error::OrderEmpty { oid } => vec![("oid", oid.clone())],
        Error::Changed { kind, id, etag } => {
            vec![("kind", kind.to_string()), ("id", id.clone()), ("etag", etag.to_string())]
        }
        Error::Contended { attempts } => vec![("attempts", attempts.to_string())],
        Error::WrongCluster { portal, meant } => vec![("portal", portal.clone()), ("meant", meant.clone())],
        Error::Outdated { schema, known } => {
            vec![("schema", schema.to_string()), ("known", known.to_string())]
        }
        Error::NotListed => Vec::new(),
        Error::Unavailable { why, .. } => vec![("why", why.clone())],
        Error::Overloaded { why, own } => {
            let own = own.then(|| ("own", "true".to_owned()));
            [("why", why.clone())].into_iter().chain(own).collect()
        }
        Error::OutcomeUnknown { why, request, created_ms } => {
            vec![("why", why.clone()), ("request", request.clone()), ("created_ms", created_ms.to_string())]
        }
        Error::Damaged { key, why } => vec![("key", key.clone()), ("why", why.clone())],
    };
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What a violation says of `name`: `name=…`, one of its words.
fn said<'v>(violation: &'v PreconditionViolation, name: &str) -> Option<&'v str> {
    let mut words = violation.description.split(' ').filter_map(|word| word.split_once('='));
    words.find(|(one, _)| *one == name).map(|(_, value)| value)
}

/// Reads the fields of an error that one of our portals sent.
pub(crate) struct Fields {
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) violations: Vec<PreconditionViolation>,
}

impl Fields {
    fn text(&self, name: &str) -> Option<String> {
        self.metadata.get(name).cloned()
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.metadata.get(name)?.parse().ok()
    }

    fn kind(&self) -> Option<Kind> {
        let word = self.metadata.get("kind")?;
        Kind::ALL.into_iter().find(|kind| kind.word() == word)
    }

    fn repriced(&self) -> Option<Vec<Repriced>> {
        let read = |violation: &PreconditionViolation| {
            let price = |name: &str| Price::parse(said(violation, name)?).ok();
            let (expected, price) = (price("expected")?, price("price")?);
            Some(Repriced { pid: violation.subject.clone(), expected, price })
        };
        self.violations.iter().map(read).collect()
    }

    fn total(&self, name: &str) -> Option<Total> {
        Total::parse(self.metadata.get(name)?).ok()
    }

    fn short(&self) -> Option<Vec<Short>> {
        let read = |violation: &PreconditionViolation| {
            let number = |name: &str| said(violation, name)?.parse::<i64>().ok();
            let (left, wanted, holds) = (number("left")?, number("wanted")?, number("holds").unwrap_or(0));
            Some(Short { pid: violation.subject.clone(), wanted, left, holds })
        };
        self.violations.iter().map(read).collect()
    }

    fn full(&self) -> Option<Full> {
        if let Some(lines) = self.number("lines") {
            return Some(Full::Lines(lines));
        }
        Some(Full::Bytes { bytes: self.number("bytes")?, most: self.number("most")? })
    }

    fn subjects(&self) -> Vec<String> {
        self.violations.iter().map(|violation| violation.subject.clone()).collect()
    }

    pub(crate) fn error(&self, reason: &str) -> Option<Error> {
        Some(match reason {
            "INVALID_FIELD" => Error::Invalid { field: self.text("field")?, why: self.text("why")? },
            "REQUEST_ID_REUSED" => Error::RequestReused { request: self.text("request")? },
            "CLIENT_UNKNOWN" => Error::UnknownClient { cid: self.text("cid")? },
            "ORDER_OF_ANOTHER_CLIENT" => Error::NotYours { oid: self.text("oid")? },
            "NOT_FOUND" => Error::NotFound { kind: self.kind()?, id: self.text("id")? },
            "ALREADY_EXISTS" => Error::AlreadyExists { kind: self.kind()?, id: self.text("id")? },
            "STOCK_SHORT" => Error::ShortStock { short: self.short()?, more: self.number("more")? },
            "PRICE_CHANGED" => Error::PriceChanged { changed: self.repriced()?, more: self.number("more")? },
            "TOTAL_CHANGED" => Error::TotalChanged {
                oid: self.text("oid")?,
                expected: self.total("expected")?,
                total: self.total("total")?,
            },
            "HELD_BY_ORDERS" => Error::Held {
                kind: self.kind()?,
                id: self.text("id")?,
                by: self.subjects(),
                more: self.number("more")?,
            },
            "QUANTITY_OUTSIDE" => Error::OutsideQuantity {
                pid: self.text("pid")?,
                quantity: self.number("quantity")?,
                least: self.number("least")?,
                most: self.number("most")?,
            },
            "STOCK_RULE_BROKEN" => Error::RuleBroken {
                pid: self.text("pid")?,
                least: self.number("least")?,
                available: self.number("available")?,
            },
            "ORDER_NOT_OPEN" => Error::NotOpen { oid: self.text("oid")?, state: self.text("state")? },
            "ORDER_WRONG_STATE" => Error::WrongState {
                oid: self.text("oid")?,
                state: self.text("state")?,
                needs: self.text("needs")?,
            },
            "INDEX_INCOMPLETE" => Error::NotIndexed { kind: self.kind()? },
            "FEED_TRIMMED" => {
                let kept_ms = self.number("kept_ms").unwrap_or_default();
                Error::FeedTrimmed { oldest: self.text("oldest")?, kept_ms }
            }
            "CLOSING" => Error::Closing { kind: self.kind()?, id: self.text("id")? },
            "CLIENT_GONE" => Error::Gone { id: self.text("id")? },
            "ID_KEPT" => Error::IdKept { id: self.text("id")?, free: self.text("free") },
            "ORDER_FULL" => Error::OrderFull { oid: self.text("oid")?, full: self.full()? },
            "ORDER_EMPTY" => Error::OrderEmpty { oid: self.text("oid")? },
            "CHANGED" => {
                Error::Changed { kind: self.kind()?, id: self.text("id")?, etag: self.number("etag")? }
            }
            "CONTENDED" => Error::Contended { attempts: self.number("attempts")? },
            "REQUEST_ID_EXPIRED" => Error::RequestExpired {
                age_ms: self.number("age_ms").unwrap_or(0),
                request: self.text("request")?,
            },
            "REQUEST_ID_CLOSED" => Error::RequestClosed { request: self.text("request")? },
            "WRONG_CLUSTER" => {
                Error::WrongCluster { portal: self.text("portal")?, meant: self.text("meant")? }
            }
            "PORTAL_OUTDATED" => {
                Error::Outdated { schema: self.number("schema")?, known: self.number("known")? }
            }
            "LIST_NOT_READY" => Error::NotListed,
            "OUTCOME_UNKNOWN" => {
                let (request, created_ms) = (self.text("request")?, self.number("created_ms")?);
                Error::OutcomeUnknown { why: self.text("why").unwrap_or_default(), request, created_ms }
            }
            "OVERLOADED" => {
                Error::Overloaded { why: self.text("why")?, own: self.text("own").as_deref() == Some("true") }
            }
            "DAMAGED_RECORD" => Error::Damaged { key: self.text("key")?, why: self.text("why")? },
            other => {
                let cause = Cause::ALL.into_iter().find(|cause| reason_of(*cause) == other)?;
                Error::Unavailable { cause, why: self.text("why")? }
            }
        })
    }
}

impl Error {
    /// The error that a portal sent; `None` if this status is not one of ours (a lost connection, say).
    #[must_use]
    pub fn from_status(status: &Status) -> Option<Error> {
        let details = status.get_error_details();
        let info = details.error_info()?;
        if info.domain != DOMAIN {
            return None;
        }
        let violations = details.precondition_failure().map(|failure| failure.violations.clone());
        let fields = Fields { metadata: info.metadata.clone(), violations: violations.unwrap_or_default() };
        let error = fields.error(&info.reason)?;
        (error.code_and_reason().0 == status.code()).then_some(error)
    }

    /// The gRPC status code alone.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code_and_reason().0
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn every_error() -> Vec<Error> {
        let unavailable = Cause::ALL.map(|cause| Error::Unavailable { cause, why: "no leader".into() });
        refusals().into_iter().chain(unavailable).collect()
    }

    fn refusals() -> Vec<Error> {
        let (kind, id) = (Kind::Product, "maçã".to_owned());
        let oid = "0123456789abcdefghjkmnpq".to_owned();
        vec![
            Error::invalid("lines[2].quantity", "not negative"),
            Error::RequestReused { request: "r".into() },
            Error::UnknownClient { cid: "ana".into() },
            Error::NotYours { oid: oid.clone() },
            Error::NotFound { kind: Kind::Order, id: oid.clone() },
            Error::AlreadyExists { kind: Kind::Client, id: id.clone() },
            Error::ShortStock {
                short: vec![Short { pid: id.clone(), wanted: 5, left: 3, holds: 0 }],
                more: 0,
            },
            Error::ShortStock {
                short: vec![Short { pid: id.clone(), wanted: 5, left: 3, holds: 2 }],
                more: 0,
            },
            Error::PriceChanged {
                changed: vec![Repriced {
                    pid: id.clone(),
                    expected: Price::parse("1.5").expect("a price"),
                    price: Price::parse("1.605").expect("a price"),
                }],
                more: 2,
            },
            Error::TotalChanged {
                oid: oid.clone(),
                expected: Total::parse("12.3").expect("a total"),
                total: Total::parse("1999999999999999998000.000001").expect("a total"),
            },
            Error::OutsideQuantity { pid: id.clone(), quantity: 30, least: 2, most: 20 },
            Error::RuleBroken { pid: id.clone(), least: -3, available: -4 },
            Error::Held { kind, id: id.clone(), by: vec![oid.clone()], more: 2 },
            Error::NotOpen { oid: oid.clone(), state: "confirmed".into() },
            Error::WrongState { oid: oid.clone(), state: "open".into(), needs: "paid or packed".into() },
            Error::NotIndexed { kind },
            Error::FeedTrimmed { oldest: "1:17.65535".to_owned(), kept_ms: 0 },
            Error::FeedTrimmed { oldest: "1:17.65535".to_owned(), kept_ms: 1_795_962_000_000 },
            Error::Closing { kind, id: id.clone() },
            Error::OrderFull { oid: oid.clone(), full: Full::Lines(2_001) },
            Error::OrderFull { oid: oid.clone(), full: Full::Bytes { bytes: 1_100_000, most: 1_040_384 } },
            Error::OrderEmpty { oid },
            Error::Gone { id: id.clone() },
            Error::IdKept { id: id.clone(), free: Some("ana-2".to_owned()) },
            Error::IdKept { id: id.clone(), free: None },
            Error::Changed { kind, id, etag: 17 },
            Error::Contended { attempts: 16 },
            Error::RequestExpired { age_ms: 90_000_000, request: "r".into() },
            Error::RequestClosed { request: "r".into() },
            Error::WrongCluster { portal: "client-portal-1 of cluster 5".into(), meant: "6".into() },
            Error::Outdated { schema: 3, known: 2 },
            Error::NotListed,
            Error::OutcomeUnknown { why: "no majority".into(), request: "r".into(), created_ms: 5 },
            Error::Overloaded { why: "64 requests".into(), own: false },
            Error::Overloaded { why: "answers not taken".into(), own: true },
            Error::damaged(b"s/{x}", "not JSON"),
        ]
    }

    #[test]
    fn every_error_survives_the_wire() {
        for error in every_error() {
            let status = Status::from(error.clone());
            assert_eq!((status.code(), status.message()), (error.code(), error.to_string().as_str()));
            assert_eq!(Error::from_status(&status), Some(error));
        }
    }

    #[test]
    fn the_table_for_people_is_the_table() {
        let text = include_str!("../../docs/SCHEMA.md");
        for error in every_error() {
            let (code, reason) = error.code_and_reason();
            let rows = text.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
            let row = rows.filter(|row| row.len() == 8).find(|row| row[2] == reason);
            let row = row.unwrap_or_else(|| panic!("docs/SCHEMA.md has no row for {reason}"));
            assert_eq!(
                row[1].replace('_', "").to_lowercase(),
                format!("{code:?}").to_lowercase(),
                "{reason}"
            );
            assert_eq!(row[6], error.http_status().to_string(), "{reason}");
        }
    }

    #[test]
    fn reasons_are_distinct() {
        let mut errors = refusals();
        errors.dedup_by_key(|error| std::mem::discriminant(error));
        let mut reasons: Vec<&str> = errors.iter().map(|error| error.code_and_reason().1).collect();
        let all = reasons.len();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), all);
    }

    #[test]
    fn long_lists_fit_in_trailers_and_count_the_rest() {
        let short = (0..1_000).map(|i| Short {
            pid: format!("{i:0>128}"),
            wanted: i64::MAX,
            left: i64::MIN,
            holds: i64::MAX,
        });
        let status = Status::from(Error::ShortStock { short: short.collect(), more: 0 });
        assert!(status.details().len() * 4 / 3 + 3 * status.message().len() < 16 * 1024);
        let Some(Error::ShortStock { short, more }) = Error::from_status(&status) else {
            panic!("a shortage: {status:?}")
        };
        assert!(short.len() > 20, "{} items fit", short.len());
        assert_eq!(short.len() as u64 + more, 1_000);
    }

    #[test]
    fn foreign_statuses_are_not_ours() {
        assert_eq!(Error::from_status(&Status::unavailable("connection refused")), None);
        let details = ErrorDetails::with_error_info("NOT_FOUND", "example.com", HashMap::new());
        assert_eq!(Error::from_status(&Status::with_error_details(Code::NotFound, "", details)), None);
    }
}
