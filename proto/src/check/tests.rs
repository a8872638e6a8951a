//! Values that pass the checks of requests, and values that do not.

use super::*;
use crate::store::{KeyRange, Quote};
use crate::store::{PipelineRequest, pipeline_request};
use bytes::Bytes;

fn problem(checked: Checked) -> String {
    checked.expect_err("must be refused").to_string()
}

fn here() -> Option<Route> {
    Some(Route::to(1, 1))
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
    // Any node of the ring may be asked, so that no group need be named.
    let without_group = GetRequest { route: Some(Route::default()), key: "k".into(), freshness: None };
    assert_eq!(get(&without_group), Ok(()));
}

/// 2,215 of them were 1,041,060 bytes, and a change of more than a packet.
#[test]
fn what_an_append_adds_to_its_key_counts() {
    let of = |appends: usize| {
        let prefix = vec![b'k'; KEY_BYTES_MAX - APPEND_SUFFIX_BYTES];
        (0..appends).fold(Txn::new(), |txn, _| txn.append(prefix.clone(), 0, "", Vec::new()))
    };
    assert!(prost::Message::encoded_len(&of(2_215)) < TXN_BYTES_MAX);
    assert!(txn_problem(&of(2_215)).contains("46515 of them the ends of appended keys"));
    assert_eq!(txn(&of(2_000)), Ok(()));
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
        (Txn::new().set_json("k", 0, "/a", "[".repeat(65) + &"]".repeat(65)), "txn.operations[0].set.value"),
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
    let mut request = ScanRequest { route: here(), range: prefix, limit: 1_000, ..ScanRequest::default() };
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
fn an_id_made_in_the_future_is_refused_before_it_is_queued() {
    for (ahead_ms, allowed) in [(AHEAD_MS_MAX, true), (AHEAD_MS_MAX + 1, false), (i64::MAX - 1_000, false)] {
        let user = Identity::user("x", 1_000 + ahead_ms, 1, [0; 16]);
        assert_eq!(made_some_time(&user, 1_000).is_ok(), allowed, "{ahead_ms}");
    }
    for (created_ms, allowed) in [(0, true), (1_000, true), (11_000, true), (11_001, false)] {
        let user = Identity::user("x", created_ms, 1, [0; 16]);
        assert_eq!(made_by(&user, 1_000).is_ok(), allowed, "{created_ms}");
        let session = Identity::session([1; 16], created_ms.max(1), 1, 1, 1, [0; 16]);
        assert_eq!(made_by(&session, 1_000).is_ok(), allowed, "{created_ms}");
    }
}
