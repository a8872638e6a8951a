//! The field checks at the door: every store request is checked here before anything else is done with it.
//!
//! Promises: what passes has every oneof and known enum values, sizes within the limits below, valid JSON where
//! JSON is due, and identities that the state machine can remember. A [`Violation`] names the field and says
//! what is wrong and what is allowed.
//! Leaves out: whether the route is this node's, and everything that depends on the data.

use serde_json::value::RawValue;

use crate::store::{
    Append, ChangesRequest, DeleteRequest, DeleteVersionRequest, Freshness, GetRequest, Guard, Identity,
    Operation, OutcomeRequest, PipelineRequest, Returning, Route, ScanRequest, SetRequest, StartAuditRequest,
    TestAndSetRequest, Txn, TxnRequest, freshness, guard::Condition, identity::Id, operation::Action,
    pipeline_request, scan_request,
};

/// Bytes of a key. LMDB allows 511; the rest is kept for what the store puts before keys.
pub const KEY_BYTES_MAX: usize = 480;
/// Bytes of a record's data.
pub const DATA_BYTES_MAX: usize = 512 * 1024;
/// Guards and operations of a transaction, together.
pub const TXN_PARTS_MAX: usize = 8_192;
/// Encoded bytes of a transaction: with its identity it fits in an entry of the log, which holds 1 MiB.
pub const TXN_BYTES_MAX: usize = 1024 * 1024 - 4096;
/// How far the time that an id carries may be ahead of the clock of the leader that lets it in.
pub const CLOCK_AHEAD_MS_MAX: i64 = 10_000;
/// Bytes that an append puts after its key: 16 digits of offset, a dot, 4 digits of index.
pub const APPEND_SUFFIX_BYTES: usize = 21;
/// Quotes of one append.
pub const QUOTES_MAX: usize = 64;
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

/// Checks a request of a pipeline.
///
/// # Errors
/// The first field that breaks a rule.
pub fn pipeline(request: &PipelineRequest) -> Checked {
    use pipeline_request::Request;
    match &request.request {
        None => Err(Violation::new("request", "is missing or of a kind not known here")),
        Some(Request::Txn(inner)) => txn_request(inner).map_err(|violation| violation.within("txn")),
        Some(Request::Get(inner)) => get(inner).map_err(|violation| violation.within("get")),
        Some(Request::Scan(inner)) => scan(inner).map_err(|violation| violation.within("scan")),
        Some(Request::Outcome(inner)) => outcome(inner).map_err(|violation| violation.within("outcome")),
    }
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
    let bytes = prost::Message::encoded_len(txn);
    ensure(bytes <= TXN_BYTES_MAX, "txn", || {
        format!("has {bytes} bytes; up to {TXN_BYTES_MAX} are allowed: split it")
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

fn append(prefix: &[u8], append: &Append, index: usize) -> Checked {
    let bytes_max = KEY_BYTES_MAX - APPEND_SUFFIX_BYTES;
    ensure(prefix.len() <= bytes_max, "key", || {
        format!("has {} bytes; the prefix of an append has up to {bytes_max}", prefix.len())
    })?;
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
        Some(route) => ensure(route.group > 0, "route.group", || "is 0; groups begin at 1".to_owned()),
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

/// Refuses an id made in the future: were it forgotten, everything made until then would be refused as older. Only
/// the leader's door asks this, by its own clock; nothing that is replicated rests on it.
///
/// # Errors
/// The id was made more than [`CLOCK_AHEAD_MS_MAX`] after `now_ms`.
pub fn made_by(whose: &Identity, now_ms: i64) -> Checked {
    let (field, created_ms) = match &whose.id {
        Some(Id::Session(of)) => ("session.created_ms", of.created_ms),
        Some(Id::User(of)) => ("user.created_ms", of.created_ms),
        None => return Ok(()),
    };
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
mod tests {
    use super::*;
    use crate::store::{KeyRange, Quote};
    use bytes::Bytes;

    fn problem(checked: Checked) -> String {
        checked.expect_err("must be refused").to_string()
    }

    fn here() -> Option<Route> {
        Some(Route { group: 1, ring_version: 1 })
    }

    fn txn_problem(body: &Txn) -> String {
        problem(txn(body))
    }

    #[test]
    fn keys_and_data_have_limits() {
        let mut request = SetRequest { route: here(), key: "k".into(), ..SetRequest::default() };
        assert_eq!(set(&request), Ok(()));
        request.data = vec![0; DATA_BYTES_MAX].into();
        request.key = vec![b'k'; KEY_BYTES_MAX].into();
        assert_eq!(set(&request), Ok(()));
        request.data = vec![0; DATA_BYTES_MAX + 1].into();
        assert_eq!(problem(set(&request)), "data: has 524289 bytes; a record's data has up to 524288");
        request.key = vec![b'k'; KEY_BYTES_MAX + 1].into();
        assert_eq!(problem(set(&request)), "key: has 481 bytes; a key has 1 to 480");
        request.key = Bytes::new();
        assert_eq!(problem(set(&request)), "key: has 0 bytes; a key has 1 to 480");
        request.route = None;
        assert_eq!(problem(set(&request)), "route: is missing: say which group is meant");
        let get_without_group =
            GetRequest { route: Some(Route::default()), key: "k".into(), freshness: None };
        assert!(problem(get(&get_without_group)).starts_with("route.group"));
    }

    #[test]
    fn a_transaction_names_the_part_that_is_wrong() {
        assert!(txn_problem(&Txn::new()).starts_with("txn: has 0 guards"));
        let mut many = Txn::new();
        many.operations = vec![Txn::new().get("k").operations[0].clone(); TXN_PARTS_MAX + 1];
        assert!(txn_problem(&many).starts_with("txn: has 8193"));
        let big = Txn::new().put("a", 0, vec![0; DATA_BYTES_MAX]).put("b", 0, vec![0; DATA_BYTES_MAX]);
        assert!(txn_problem(&big).contains("split it"));
        let cases = [
            (Txn::new().get("k").add("k", 0, "x", 1, None), "txn.operations[1].add.pointer"),
            (Txn::new().set_json("k", 0, "/a~2", "1"), "txn.operations[0].set.pointer"),
            (Txn::new().set_json("k", 0, "/a~", "1"), "txn.operations[0].set.pointer"),
            (Txn::new().set_json("k", 0, "/a", "{"), "txn.operations[0].set.value"),
            (
                Txn::new().set_json("k", 0, "/a", "[".repeat(65) + &"]".repeat(65)),
                "txn.operations[0].set.value",
            ),
            (Txn::new().guard_json("k", "/a", "1 2"), "txn.guards[0].json.value"),
            (Txn::new().guard_json("k", &"/a".repeat(129), "1"), "txn.guards[0].json.pointer"),
            (Txn::new().guard_version("k", 0), "txn.guards[0].version"),
            (Txn::new().guard_offset("k", 0), "txn.guards[0].offset"),
            (Txn::new().guard_exists(""), "txn.guards[0].key"),
            (Txn::new().append(vec![b'a'; 460], 0, "", vec![]), "txn.operations[0].key"),
            (
                Txn::new().get("k").append("p", 0, "{}", vec![Quote::of(1, "/a", "/b")]),
                "txn.operations[1].append.quotes[0].operation",
            ),
        ];
        for (body, field) in cases {
            assert_eq!(txn(&body).expect_err(field).field, field);
        }
        assert_eq!(txn(&Txn::new().get("k").append("p", 0, "{}", vec![Quote::of(0, "/a~1~0", "")])), Ok(()));
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let mut body = Txn::new().get("k").guard_exists("k");
        body.guards[0].condition = None;
        assert_eq!(txn(&body).expect_err("no condition").field, "txn.guards[0].condition");
        body.guards.clear();
        body.operations[0].returning = 9;
        assert_eq!(txn(&body).expect_err("unknown enum").field, "txn.operations[0].returning");
        body.operations[0].returning = 0;
        body.operations[0].action = None;
        assert_eq!(txn(&body).expect_err("no action").field, "txn.operations[0].action");
        assert!(problem(pipeline(&PipelineRequest::default())).starts_with("request"));
        let inner = TxnRequest { route: here(), txn: Some(body), identity: None };
        let request = PipelineRequest { number: 1, request: Some(pipeline_request::Request::Txn(inner)) };
        assert!(problem(pipeline(&request)).starts_with("txn.txn.operations[0].action"));
    }

    #[test]
    fn identities_are_ones_that_can_be_remembered() {
        let good = Identity::session([1; 16], 5, 3, 2, 1, [0; 16]);
        assert_eq!(identity(&good), Ok(()));
        let cases = [
            (Identity::session([1; 16], 5, 0, 0, 1, [0; 16]), "session.sequence"),
            (Identity::session([1; 16], 5, 3, 4, 1, [0; 16]), "session.lowest"),
            (Identity::session([1; 16], 0, 3, 3, 1, [0; 16]), "session.created_ms"),
            (Identity::user("", 0, 1, [0; 16]), "user.id"),
            (Identity::user(vec![b'x'; 65], 0, 1, [0; 16]), "user.id"),
            (Identity::user("x", -1, 1, [0; 16]), "user.created_ms"),
            (Identity::user("x", 0, 0, [0; 16]), "attempt"),
            (Identity { digest: Bytes::from_static(b"short"), ..good.clone() }, "digest"),
            (Identity { id: None, ..good.clone() }, "id"),
        ];
        for (whose, field) in cases {
            assert_eq!(identity(&whose).expect_err(field).field, field);
        }
        let mut request = OutcomeRequest { route: here(), tag: "k".into(), identity: None };
        assert_eq!(outcome(&request).expect_err("no identity").field, "identity");
        request.identity = Some(Identity { attempt: 0, digest: Bytes::new(), ..good });
        assert_eq!(outcome(&request), Ok(()), "of the identity only the id counts");
    }

    #[test]
    fn scans_have_a_range_and_a_limit() {
        let prefix = Some(scan_request::Range::Prefix(Bytes::new()));
        let mut request =
            ScanRequest { route: here(), range: prefix, limit: 1_000, ..ScanRequest::default() };
        assert_eq!(scan(&request), Ok(()));
        request.limit = 1_001;
        assert!(problem(scan(&request)).starts_with("limit: is 1001"));
        request.limit = 0;
        let range = KeyRange { from: Bytes::new(), to: vec![0; 481].into() };
        request.range = Some(scan_request::Range::Between(range));
        assert!(problem(scan(&request)).starts_with("between.to"));
        request.range = None;
        assert!(problem(scan(&request)).starts_with("range"));
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        let cases = [("1", 0), ("[[]]", 2), (r#"{"a[{\"[":[1]}"#, 2), (r#"["\\",[]]"#, 2)];
        for (text, depth) in cases {
            assert_eq!(json_depth(text.as_bytes()), depth, "{text}");
        }
    }

    #[test]
    fn an_id_made_in_the_future_is_refused_at_the_door() {
        for (created_ms, allowed) in [(0, true), (1_000, true), (11_000, true), (11_001, false)] {
            let user = Identity::user("x", created_ms, 1, [0; 16]);
            assert_eq!(made_by(&user, 1_000).is_ok(), allowed, "{created_ms}");
            let session = Identity::session([1; 16], created_ms.max(1), 1, 1, 1, [0; 16]);
            assert_eq!(made_by(&session, 1_000).is_ok(), allowed, "{created_ms}");
        }
    }
}
