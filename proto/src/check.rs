//! The field checks at admission: every store request is checked here before anything else.
//!
//! Promises: a request that passes has every oneof and known enum values, sizes within the limits below, valid JSON where
//! JSON is due, and identities that the state machine can remember. A [`Violation`] names the field, the mistake and the
//! allowed values.
//! Leaves out: whether the route is this node's, and everything that depends on the data.

pub mod cross;
mod pipeline;

pub use pipeline::pipeline;

use serde_json::value::RawValue;

use crate::hash::hashed_part;
use crate::store::{
    Append, ChangesRequest, CutRequest, DeleteRequest, DeleteVersionRequest, Freshness, GetRequest, Guard,
    Identity, Operation, OutcomeRequest, Returning, Route, ScanRequest, SetRequest, StartAuditRequest,
    TestAndSetRequest, Txn, TxnRequest, freshness, guard::Condition, identity::Id, operation::Action,
    scan_request,
};

/// Bytes of a key. LMDB allows 511; the rest is kept for what the store puts before keys.
pub const KEY_BYTES_MAX: usize = 480;
/// Bytes of a record's data.
pub const DATA_BYTES_MAX: usize = 512 * 1024;
/// Guards and operations of a transaction, together.
pub const TXN_PARTS_MAX: usize = 8_192;
/// Encoded bytes of a transaction, with what its appends add to their keys: with its identity it fits in an entry of the
/// log, which holds 1 MiB, and the keys that it changes fit in a packet of the bus.
pub const TXN_BYTES_MAX: usize = 1024 * 1024 - 4096;
/// How far the time that an id carries may be ahead of the clock of the leader that lets it in.
pub const CLOCK_AHEAD_MS_MAX: i64 = 10_000;
/// How far the time that an id carries can be ahead of any clock that anybody set: further is no time, but a mistake.
pub const AHEAD_MS_MAX: i64 = 100 * 366 * 24 * 3_600 * 1_000;
/// Bytes that an append puts after its key: 16 digits of offset, a dot, 4 digits of index.
pub const APPEND_SUFFIX_BYTES: usize = 21;
/// Quotes of one append.
pub const QUOTES_MAX: usize = 64;
/// Stamps of one operation.
pub const STAMPS_MAX: usize = 8;
/// Bytes of a JSON pointer.
pub const POINTER_BYTES_MAX: usize = 256;
/// Nesting of a JSON value that is set or compared.
pub const JSON_DEPTH_MAX: usize = 64;
/// Bytes of a session's id.
pub const SESSION_BYTES: usize = 16;
/// Bytes of a user request's id.
pub const USER_ID_BYTES_MAX: usize = 64;
/// Records of one page of a scan.
pub const SCAN_LIMIT_MAX: u32 = 1_000;
/// The page of a scan that does not say.
pub const SCAN_LIMIT_DEFAULT: u32 = 100;
/// Prefixes of an audit.
pub const AUDIT_PREFIXES_MAX: usize = 16;

const _: () = assert!(DATA_BYTES_MAX + KEY_BYTES_MAX < TXN_BYTES_MAX, "the largest record can be put");
const _: () = assert!(TXN_PARTS_MAX <= 1 << 16, "an operation's index has four hexadecimal digits");
const _: () = assert!(APPEND_SUFFIX_BYTES == 16 + 1 + 4 && APPEND_SUFFIX_BYTES < KEY_BYTES_MAX);
const _: () = assert!(crate::hash::DIGEST_BYTES == SESSION_BYTES, "one size of opaque id");
const _: () = assert!(CLOCK_AHEAD_MS_MAX < AHEAD_MS_MAX);
const _: () = assert!(SCAN_LIMIT_DEFAULT <= SCAN_LIMIT_MAX);

/// A field that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Violation {
    /// Where, such as `txn.operations[3].add.pointer`.
    pub field: String,
    /// What is wrong and what is allowed.
    pub problem: String,
}

impl Violation {
    fn new(field: &str, problem: impl Into<String>) -> Violation {
        Violation { field: field.to_owned(), problem: problem.into() }
    }

    /// The same inside `parent`.
    fn within(self, parent: &str) -> Violation {
        Violation { field: format!("{parent}.{}", self.field), problem: self.problem }
    }
}

type Checked = Result<(), Violation>;

fn ensure(holds: bool, field: &str, problem: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation::new(field, problem())) }
}

/// Checks a `Set`.
///
/// # Errors
/// The first field that breaks a rule.
pub fn set(request: &SetRequest) -> Checked {
    route(request.route.as_ref())?;
    key("key", &request.key)?;
    data("data", &request.data)?;
    identity_if_any(request.identity.as_ref())
}

/// Checks a `Get`.
///
/// # Errors
/// The first field that breaks a rule.
pub fn get(request: &GetRequest) -> Checked {
    route(request.route.as_ref())?;
    key("key", &request.key)?;
    freshness(request.freshness.as_ref())
}

/// Checks a `Delete`.
///
/// # Errors
/// The first field that breaks a rule.
pub fn delete(request: &DeleteRequest) -> Checked {
    route(request.route.as_ref())?;
    key("key", &request.key)?;
    identity_if_any(request.identity.as_ref())
}

/// Checks a `DeleteVersion`.
///
/// # Errors
/// The first field that breaks a rule.
pub fn delete_version(request: &DeleteVersionRequest) -> Checked {
    route(request.route.as_ref())?;
    key("key", &request.key)?;
    identity_if_any(request.identity.as_ref())
}

/// Checks a `TestAndSet`.
///
/// # Errors
/// The first field that breaks a rule.
pub fn test_and_set(request: &TestAndSetRequest) -> Checked {
    route(request.route.as_ref())?;
    key("key", &request.key)?;
    data("data", &request.data)?;
    identity_if_any(request.identity.as_ref())
}

/// Checks a `Scan`.
///
/// # Errors
/// The first field that breaks a rule.
pub fn scan(request: &ScanRequest) -> Checked {
    route(request.route.as_ref())?;
    match &request.range {
        None => {
            return Err(Violation::new("range", "is missing: give a prefix (empty: all keys) or between"));
        }
        Some(scan_request::Range::Prefix(prefix)) => bound("prefix", prefix)?,
        Some(scan_request::Range::Between(between)) => {
            bound("between.from", &between.from)?;
            bound("between.to", &between.to)?;
        }
    }
    ensure(request.limit <= SCAN_LIMIT_MAX, "limit", || {
        format!("is {}; 1 to {SCAN_LIMIT_MAX}, or 0 for {SCAN_LIMIT_DEFAULT}", request.limit)
    })?;
    bound("after", &request.after)?;
    freshness(request.freshness.as_ref())
}

/// Checks a `Txn`.
///
/// # Errors
/// The first field that breaks a rule.
pub fn txn_request(request: &TxnRequest) -> Checked {
    route(request.route.as_ref())?;
    let Some(body) = &request.txn else { return Err(Violation::new("txn", "is missing")) };
    txn(body)?;
    identity_if_any(request.identity.as_ref())
}

/// Checks an `Outcome`.
///
/// # Errors
/// The first field that breaks a rule.
pub fn outcome(request: &OutcomeRequest) -> Checked {
    route(request.route.as_ref())?;
    key("tag", &request.tag)?;
    let Some(whose) = &request.identity else { return Err(Violation::new("identity", "is missing")) };
    request_id(whose).map_err(|violation| violation.within("identity"))
}

/// Checks a `Changes`.
///
/// # Errors
/// The first field that breaks a rule.
pub fn changes(request: &ChangesRequest) -> Checked {
    route(request.route.as_ref())
}

/// Checks a `StartAudit`.
///
/// # Errors
/// The first field that breaks a rule.
pub fn start_audit(request: &StartAuditRequest) -> Checked {
    route(request.route.as_ref())?;
    let count = request.prefixes.len();
    ensure((1..=AUDIT_PREFIXES_MAX).contains(&count), "prefixes", || {
        format!("are {count}; 1 to {AUDIT_PREFIXES_MAX} are allowed")
    })?;
    request.prefixes.iter().try_for_each(|prefix| bound("prefixes", prefix))
}

/// Checks a request for a cut.
///
/// # Errors
/// The first field that breaks a rule.
pub fn cut(request: &CutRequest) -> Checked {
    route(request.route.as_ref())?;
    let count = request.prefixes.len();
    ensure(count <= AUDIT_PREFIXES_MAX, "prefixes", || {
        format!("are {count}; at most {AUDIT_PREFIXES_MAX} are allowed")
    })?;
    request.prefixes.iter().try_for_each(|prefix| bound("prefixes", prefix))
}

/// The bytes of a transaction that count ([`TXN_BYTES_MAX`]): encoded, with what its appends add to their keys, since the keys
/// that a transaction changes are told of in one message.
#[must_use]
pub fn txn_bytes(txn: &Txn) -> usize {
    prost::Message::encoded_len(txn) + appended_bytes(txn)
}

fn appended_bytes(txn: &Txn) -> usize {
    let is_append = |operation: &&Operation| matches!(operation.action, Some(Action::Append(_)));
    txn.operations.iter().filter(is_append).count() * APPEND_SUFFIX_BYTES
}

/// Checks a transaction by itself; fields are named from `txn` on.
///
/// # Errors
/// The first field that breaks a rule.
pub fn txn(txn: &Txn) -> Checked {
    let parts = txn.guards.len() + txn.operations.len();
    ensure((1..=TXN_PARTS_MAX).contains(&parts), "txn", || {
        format!("has {parts} guards and operations; 1 to {TXN_PARTS_MAX} are allowed")
    })?;
    let (bytes, added) = (txn_bytes(txn), appended_bytes(txn));
    ensure(bytes <= TXN_BYTES_MAX, "txn", || {
        let with =
            if added > 0 { format!(" ({added} of them the ends of appended keys)") } else { String::new() };
        format!("has {bytes} bytes{with}; up to {TXN_BYTES_MAX} are allowed: split it")
    })?;
    for (index, part) in txn.guards.iter().enumerate() {
        guard(part).map_err(|violation| violation.within(&format!("txn.guards[{index}]")))?;
    }
    for (index, part) in txn.operations.iter().enumerate() {
        operation(part, index).map_err(|violation| violation.within(&format!("txn.operations[{index}]")))?;
    }
    Ok(())
}

fn guard(guard: &Guard) -> Checked {
    key("key", &guard.key)?;
    match &guard.condition {
        None => Err(Violation::new("condition", "is missing or of a kind not known here")),
        Some(Condition::Version(0)) => Err(Violation::new("version", "is 0; versions begin at 1")),
        Some(Condition::Offset(0)) => Err(Violation::new("offset", "is 0; offsets begin at 1")),
        Some(Condition::NotBeforeMs(..=0)) => {
            Err(Violation::new("not_before_ms", "is no time: milliseconds since 1970, at least 1"))
        }
        Some(Condition::Json(equals)) => {
            pointer("json.pointer", &equals.pointer)?;
            json("json.value", &equals.value)
        }
        Some(_) => Ok(()),
    }
}

fn operation(operation: &Operation, index: usize) -> Checked {
    key("key", &operation.key)?;
    ensure(Returning::try_from(operation.returning).is_ok(), "returning", || {
        format!("is {}, which is not known here", operation.returning)
    })?;
    stamps(operation)?;
    match &operation.action {
        None => Err(Violation::new("action", "is missing or of a kind not known here")),
        Some(Action::Put(put)) => data("put.data", &put.data),
        Some(Action::Delete(_) | Action::Get(_)) => Ok(()),
        Some(Action::Set(set)) => {
            pointer("set.pointer", &set.pointer)?;
            json("set.value", &set.value)
        }
        Some(Action::Append(body)) => append(&operation.key, body, index),
        Some(Action::Add(add)) => pointer("add.pointer", &add.pointer),
    }
}

fn stamps(operation: &Operation) -> Checked {
    let leaves_data = matches!(operation.action, Some(Action::Put(_) | Action::Set(_) | Action::Append(_)));
    ensure(leaves_data || operation.stamps.is_empty(), "stamps", || {
        "are of put, set and append alone".to_owned()
    })?;
    ensure(operation.stamps.len() <= STAMPS_MAX, "stamps", || {
        format!("are {}; up to {STAMPS_MAX} are allowed", operation.stamps.len())
    })?;
    operation.stamps.iter().try_for_each(|stamp| pointer("stamps", stamp))
}

/// The offset goes into the key, and not into the part of it that says which group has it.
fn within(key: &[u8], within: u32) -> Checked {
    let at = usize::try_from(within).unwrap_or(usize::MAX);
    ensure(at <= key.len(), "append.within", || format!("is {within}, and the key has {} bytes", key.len()))?;
    let tag = hashed_part(key);
    let begin = tag.as_ptr() as usize - key.as_ptr() as usize;
    let splits = tag.len() < key.len() && (begin..=begin + tag.len()).contains(&at);
    ensure(at == 0 || !splits, "append.within", || {
        format!("is {within}, which is in the part in braces, and that says which group has the key")
    })
}

fn append(prefix: &[u8], append: &Append, index: usize) -> Checked {
    let bytes_max = KEY_BYTES_MAX - APPEND_SUFFIX_BYTES;
    ensure(prefix.len() <= bytes_max, "key", || {
        format!("has {} bytes; the prefix of an append has up to {bytes_max}", prefix.len())
    })?;
    within(prefix, append.within)?;
    data("append.data", &append.data)?;
    ensure(append.quotes.len() <= QUOTES_MAX, "append.quotes", || {
        format!("are {}; up to {QUOTES_MAX} are allowed", append.quotes.len())
    })?;
    for (nth, quote) in append.quotes.iter().enumerate() {
        let within = |violation: Violation| violation.within(&format!("append.quotes[{nth}]"));
        pointer("pointer", &quote.pointer).map_err(within)?;
        pointer("source", &quote.source).map_err(within)?;
        ensure((quote.operation as usize) < index, "operation", || {
            format!("is {}; only operations before this one ({index}) can be quoted", quote.operation)
        })
        .map_err(within)?;
    }
    Ok(())
}

fn route(route: Option<&Route>) -> Checked {
    match route {
        None => Err(Violation::new("route", "is missing: say which group is meant")),
        Some(_) => Ok(()),
    }
}

fn freshness(wanted: Option<&Freshness>) -> Checked {
    match wanted.and_then(|freshness| freshness.kind.as_ref()) {
        Some(freshness::Kind::Linearizable(false)) => {
            Err(Violation::new("freshness.linearizable", "is false: leave it out, or ask for stale"))
        }
        Some(freshness::Kind::Stale(false)) => {
            Err(Violation::new("freshness.stale", "is false: leave it out"))
        }
        _ => Ok(()),
    }
}

fn identity_if_any(whose: Option<&Identity>) -> Checked {
    whose.map_or(Ok(()), |whose| identity(whose).map_err(|violation| violation.within("identity")))
}

/// Checks the identity of a write. The first attempt is 1, so that a field left out shows.
///
/// # Errors
/// The first field that breaks a rule.
pub fn identity(whose: &Identity) -> Checked {
    request_id(whose)?;
    ensure(whose.attempt >= 1, "attempt", || "is 0; the first attempt is 1".to_owned())?;
    ensure(whose.digest.len() == crate::hash::DIGEST_BYTES, "digest", || {
        format!("has {} bytes; exactly {} are needed", whose.digest.len(), crate::hash::DIGEST_BYTES)
    })
}

/// Checks what of an identity counts in `Outcome`: its id.
///
/// # Errors
/// The first field that breaks a rule.
pub fn request_id(whose: &Identity) -> Checked {
    match &whose.id {
        None => Err(Violation::new("id", "is missing: give session or user")),
        Some(Id::Session(of)) => {
            ensure(of.session.len() == SESSION_BYTES, "session.session", || {
                format!("has {} bytes; exactly {SESSION_BYTES} are needed", of.session.len())
            })?;
            ensure(of.sequence >= 1, "session.sequence", || "is 0; sequences begin at 1".to_owned())?;
            ensure(of.lowest <= of.sequence, "session.lowest", || {
                format!("is {}, above the sequence {}", of.lowest, of.sequence)
            })?;
            ensure(of.created_ms >= 1, "session.created_ms", || {
                format!("is {}; say when the session was made, in milliseconds since 1970", of.created_ms)
            })
        }
        Some(Id::User(of)) => {
            ensure((1..=USER_ID_BYTES_MAX).contains(&of.id.len()), "user.id", || {
                format!("has {} bytes; 1 to {USER_ID_BYTES_MAX} are allowed", of.id.len())
            })?;
            ensure(of.created_ms >= 0, "user.created_ms", || {
                format!("is {}; milliseconds since 1970, or 0 if a person chose the id", of.created_ms)
            })
        }
    }
}

/// When an id was made, and the field that says so.
fn made_at(whose: &Identity) -> Option<(&'static str, i64)> {
    match &whose.id {
        Some(Id::Session(of)) => Some(("session.created_ms", of.created_ms)),
        Some(Id::User(of)) => Some(("user.created_ms", of.created_ms)),
        None => None,
    }
}

/// Refuses an id whose time is no time: no clock is so wrong.
///
/// # Errors
/// The id says that it was made more than [`AHEAD_MS_MAX`] after `now_ms`.
pub fn made_some_time(whose: &Identity, now_ms: i64) -> Checked {
    let Some((field, created_ms)) = made_at(whose) else { return Ok(()) };
    ensure(created_ms.saturating_sub(now_ms) <= AHEAD_MS_MAX, field, || {
        format!("is {created_ms}, more than a hundred years from now; milliseconds since 1970 are meant")
    })
}

/// Refuses an id made in the future: were it forgotten, everything made until then would be refused as older. Only
/// the leader's admission asks this, by its own clock; nothing that is replicated rests on it.
///
/// # Errors
/// The id was made more than [`CLOCK_AHEAD_MS_MAX`] after `now_ms`.
pub fn made_by(whose: &Identity, now_ms: i64) -> Checked {
    let Some((field, created_ms)) = made_at(whose) else { return Ok(()) };
    let ahead_ms = created_ms.saturating_sub(now_ms);
    ensure(ahead_ms <= CLOCK_AHEAD_MS_MAX, field, || {
        format!(
            "is {ahead_ms} ms ahead of this node's clock: this clock, or that of whoever made the id, is wrong"
        )
    })
}

fn key(field: &str, key: &[u8]) -> Checked {
    ensure((1..=KEY_BYTES_MAX).contains(&key.len()), field, || {
        format!("has {} bytes; a key has 1 to {KEY_BYTES_MAX}", key.len())
    })
}

/// An end of a range: as a key, but may be empty.
fn bound(field: &str, key: &[u8]) -> Checked {
    ensure(key.len() <= KEY_BYTES_MAX, field, || {
        format!("has {} bytes; up to {KEY_BYTES_MAX} are allowed", key.len())
    })
}

fn data(field: &str, data: &[u8]) -> Checked {
    ensure(data.len() <= DATA_BYTES_MAX, field, || {
        format!("has {} bytes; a record's data has up to {DATA_BYTES_MAX}", data.len())
    })
}

fn pointer(field: &str, pointer: &str) -> Checked {
    ensure(pointer.len() <= POINTER_BYTES_MAX, field, || {
        format!("has {} bytes; a JSON pointer has up to {POINTER_BYTES_MAX}", pointer.len())
    })?;
    ensure(pointer.is_empty() || pointer.starts_with('/'), field, || {
        format!("{pointer:?} is not a JSON pointer: it begins with / or is empty (RFC 6901)")
    })?;
    let escapes = pointer.split('~').skip(1);
    ensure(escapes.into_iter().all(|rest| rest.starts_with(['0', '1'])), field, || {
        format!("{pointer:?} is not a JSON pointer: write ~ as ~0 and / in a name as ~1 (RFC 6901)")
    })
}

fn json(field: &str, value: &[u8]) -> Checked {
    if let Err(error) = serde_json::from_slice::<&RawValue>(value) {
        return Err(Violation::new(field, format!("is not JSON: {error}")));
    }
    let depth = json_depth(value);
    ensure(depth <= JSON_DEPTH_MAX, field, || {
        format!("is nested {depth} deep; up to {JSON_DEPTH_MAX} is allowed")
    })
}

/// How deeply valid JSON is nested: 0 for a scalar.
#[must_use]
pub fn json_depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests;
