//! Every guard and every operation: success and each way to fail.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::fresh;
use proto::check::{DATA_BYTES_MAX, KEY_BYTES_MAX};
use proto::store::failed_guard::Reason;
use proto::store::{
    DeleteRequest, DeleteVersionRequest, Position, Quote, SetRequest, Status, TestAndSetRequest, Txn,
};
use proto::write;
use store_db::limits::{FAILED_GUARDS_MAX, RETURNED_DATA_BYTES_MAX};

fn t() -> Txn {
    Txn::new()
}

#[test]
fn guards_hold_or_say_why_not() {
    let mut replica = fresh();
    replica.txn(t().put("k", 5, r#"{"s":"open","n":7}"#).put("text", 5, "not JSON"));
    replica.txn(t().put("k", 6, r#"{"s":"open","n":7}"#));
    let holding = t()
        .guard_exists("k")
        .guard_absent("none")
        .guard_version("k", 2)
        .guard_offset("k", 2)
        .guard_json("k", "/s", "\"\\u006fpen\"")
        .guard_json("k", "/n", " 7 ");
    assert!(replica.txn(holding).success);
    let failing = [
        (t().guard_exists("none"), Reason::Absent),
        (t().guard_absent("k"), Reason::Present),
        (t().guard_version("k", 1), Reason::WrongVersion),
        (t().guard_version("none", 1), Reason::Absent),
        (t().guard_offset("k", 1), Reason::WrongOffset),
        (t().guard_offset("none", 1), Reason::Absent),
        (t().guard_json("k", "/s", "\"closed\""), Reason::WrongValue),
        (t().guard_json("k", "/x", "1"), Reason::NoValue),
        (t().guard_json("text", "/s", "1"), Reason::NoValue),
        (t().guard_json("none", "/s", "1"), Reason::Absent),
    ];
    for (txn, reason) in failing {
        assert_eq!(replica.fails(txn.clone().put("new", 0, "x")), (false, 0, reason), "{txn:?}");
    }
    assert_eq!(replica.get("new"), None);
}

#[test]
fn every_failed_guard_is_told_of_with_its_record() {
    let mut replica = fresh();
    replica.txn(t().put("a", 1, "A").put("b", 1, "B"));
    let response =
        replica.txn(t().guard_absent("a").guard_exists("a").guard_version("b", 9).guard_exists("c"));
    let told: Vec<_> = response.failed.iter().map(|failed| (failed.index, failed.reason())).collect();
    assert_eq!(told, [(0, Reason::Present), (2, Reason::WrongVersion), (3, Reason::Absent)]);
    assert_eq!(response.failed[1].record.as_ref().unwrap().data, "B");
    assert_eq!((response.failed[2].record.clone(), response.position), (None, Some(Position::at(1, 2))));
    let many = (0..2_000).fold(t(), |txn, n| txn.guard_exists(format!("none{n}")));
    assert_eq!(replica.txn(many).failed.len(), FAILED_GUARDS_MAX);
}

#[test]
fn the_data_of_failed_guards_is_bounded() {
    let mut replica = fresh();
    let large = vec![b'x'; DATA_BYTES_MAX];
    (0..6).for_each(|n| assert!(replica.txn(t().put(format!("k{n}"), 0, large.clone())).success));
    let response = replica.txn((0..6).fold(t(), |txn, n| txn.guard_absent(format!("k{n}"))));
    let bytes: usize = response.failed.iter().map(|failed| failed.record.as_ref().unwrap().data.len()).sum();
    assert_eq!((response.failed.len(), bytes), (6, RETURNED_DATA_BYTES_MAX));
    let reads = (0..6).fold(t(), |txn, n| txn.get(format!("k{n}")));
    assert_eq!(replica.fails(reads), (true, 4, Reason::TooLarge));
}

#[test]
fn a_change_raises_the_version_once_and_carries_the_position() {
    let mut replica = fresh();
    replica.txn(t().put("k", 10, "one"));
    let record = replica.get("k").unwrap();
    assert_eq!((record.version, record.timestamp_ms, record.position), (1, 10, Some(Position::at(1, 1))));
    replica.epoch = 4;
    replica.txn(t().put("k", 11, "{\"n\":1}").add("k", 12, "/n", 1, None).set_json("k", 13, "/m", "2"));
    let record = replica.get("k").unwrap();
    assert_eq!((record.version, record.timestamp_ms, record.position), (2, 13, Some(Position::at(4, 2))));
    assert_eq!(record.data, "{\"n\":2,\"m\":2}");
    assert!(replica.txn(t().guard_exists("k").get("k")).success);
    assert_eq!(replica.version("k"), 2, "reading changes nothing");
    replica.txn(t().delete("k").put("k", 14, "again"));
    assert_eq!(replica.version("k"), 3, "deleted and put in one transaction: one change");
    replica.txn(t().delete("k"));
    replica.txn(t().put("k", 15, "anew"));
    assert_eq!((replica.version("k"), replica.get("k").unwrap().offset()), (1, 6));
}

#[test]
fn deleting_what_is_absent_is_no_effect() {
    let mut replica = fresh();
    replica.txn(t().put("a", 1, "x"));
    let before = replica.state();
    assert!(replica.txn(t().delete("none")).success);
    assert!(replica.txn(t().put("brief", 1, "x").delete("brief")).success);
    let after = replica.state();
    assert_eq!((after.state_hash, after.last_change), (before.state_hash, before.last_change));
    assert!(replica.txn(t().delete("a")).success);
    assert_ne!(replica.state().state_hash, before.state_hash);
    assert_eq!(replica.get("a"), None);
}

#[test]
fn results_return_what_was_asked_for() {
    let mut replica = fresh();
    replica.txn(t().put("k", 1, "old"));
    let put = |txn: Txn| txn.put("k", 2, "new");
    let before = replica.txn(put(t()).returning_before()).results.remove(0).record.unwrap();
    assert_eq!((before.version, &before.data[..]), (1, &b"old"[..]));
    let after = replica.txn(put(t()).returning_after()).results.remove(0).record.unwrap();
    assert_eq!((after.version, &after.data[..]), (3, &b"new"[..]));
    let meta = replica.txn(put(t())).results.remove(0).record.unwrap();
    assert_eq!((meta.version, meta.data.len(), meta.offset()), (4, 0, 4));
    let results = replica.txn(t().delete("k").returning_before().get("k").delete("k")).results;
    assert_eq!(results[0].record.as_ref().unwrap().version, 4);
    assert_eq!((&results[1].record, &results[2].record), (&None, &None));
    let fresh_put = replica.txn(t().put("new", 1, "x").returning_before()).results.remove(0);
    assert_eq!((fresh_put.record, &fresh_put.key[..]), (None, &b"new"[..]));
}

#[test]
fn an_add_moves_only_the_number() {
    let mut replica = fresh();
    let data = "{ \"available\" : 10 , \"held\":0,\n \"x\":[-1] }";
    replica.txn(t().put("s", 1, data));
    let sold = t().add("s", 2, "/available", -10, Some(0)).add("s", 2, "/held", 10, None).returning_after();
    let response = replica.txn(sold);
    let expected = "{ \"available\" : 0 , \"held\":10,\n \"x\":[-1] }";
    assert_eq!(response.results[1].record.as_ref().unwrap().data, expected);
    assert_eq!(replica.data("s").unwrap(), expected);
    replica.txn(t().add("s", 3, "/x/0", -999, None));
    assert_eq!(replica.data("s").unwrap(), expected.replace("[-1]", "[-1000]"));
}

#[test]
fn an_add_that_cannot_be_done_fails_the_whole_transaction() {
    let mut replica = fresh();
    let max = i64::MAX;
    replica.txn(t().put("s", 1, format!("{{\"n\":3,\"max\":{max},\"f\":5.0,\"e\":5e0,\"s\":\"5\"}}")));
    replica.txn(t().put("text", 1, "5 apples"));
    let cases = [
        (t().add("s", 2, "/n", -4, Some(0)), Reason::BelowMinimum),
        (t().add("s", 2, "/n", 1, Some(5)), Reason::BelowMinimum),
        (t().add("s", 2, "/max", 1, None), Reason::Overflow),
        (t().add("s", 2, "/f", 1, None), Reason::NoValue),
        (t().add("s", 2, "/e", 1, None), Reason::NoValue),
        (t().add("s", 2, "/s", 1, None), Reason::NoValue),
        (t().add("s", 2, "/none", 1, None), Reason::NoValue),
        (t().add("text", 2, "/n", 1, None), Reason::NoValue),
        (t().add("none", 2, "/n", 1, None), Reason::Absent),
    ];
    for (txn, reason) in cases {
        let txn = Txn { operations: [t().put("new", 2, "x").operations, txn.operations].concat(), ..txn };
        assert_eq!(replica.fails(txn.clone()), (true, 1, reason), "{txn:?}");
    }
    let failed =
        replica.txn(t().add("s", 2, "/n", -2, Some(0)).add("s", 2, "/n", -2, Some(0))).failed.remove(0);
    assert_eq!((failed.index, failed.reason(), &failed.key[..]), (1, Reason::BelowMinimum, &b"s"[..]));
    assert_eq!(failed.record.unwrap().version, 1, "the record as it is stored");
}

#[test]
fn set_and_append_do_what_they_say() {
    let mut replica = fresh();
    replica.txn(t().put("o", 1, "{\"state\":\"open\"}").put("text", 1, "x"));
    replica.txn(t().set_json("o", 2, "/state", "\"cancelled\"").set_json("o", 2, "/why", "null"));
    assert_eq!(replica.data("o").unwrap(), "{\"state\":\"cancelled\",\"why\":null}");
    assert_eq!(replica.fails(t().set_json("none", 2, "/a", "1")), (true, 0, Reason::Absent));
    assert_eq!(replica.fails(t().set_json("text", 2, "/a", "1")), (true, 0, Reason::NoValue));
    assert_eq!(replica.fails(t().set_json("o", 2, "/a/b", "1")), (true, 0, Reason::NoValue));

    let quotes = vec![Quote::of(0, "/n", "/sum"), Quote::of(0, "", "/all/0")];
    let txn =
        t().put("q", 3, "{\"n\":41}").add("q", 3, "/n", 1, None).append("log/", 4, "{\"all\":[0]}", quotes);
    let response = replica.txn(txn);
    let key = String::from_utf8(response.results[2].key.to_vec()).unwrap();
    assert_eq!(key, format!("log/{:016x}.0002", response.offset()));
    assert_eq!(
        replica.data(&key).unwrap(),
        "{\"all\":[{\"n\":41}],\"sum\":41}",
        "as the quoted operation left it"
    );
    let quote = |operation, source, pointer| vec![Quote::of(operation, source, pointer)];
    assert_eq!(
        replica.fails(t().get("q").append("l", 4, "{}", quote(0, "/x", "/a"))),
        (true, 1, Reason::NoValue)
    );
    assert_eq!(
        replica.fails(t().delete("q").append("l", 4, "{}", quote(0, "", "/a"))),
        (true, 1, Reason::NoValue)
    );
    assert_eq!(
        replica.fails(t().get("q").append("l", 4, "x", quote(0, "", "/a"))),
        (true, 1, Reason::NoValue)
    );
    let taken = format!("l{:016x}.0000", replica.offset + 2);
    replica.txn(t().put(taken, 1, "squatter"));
    assert_eq!(replica.fails(t().append("l", 4, "{}", vec![])), (true, 0, Reason::Present));
}

#[test]
fn records_have_a_largest_size_and_keys_a_longest() {
    let mut replica = fresh();
    let text = |bytes: usize| format!("{{\"n\":9,\"t\":\"{}\"}}", "x".repeat(bytes - 14));
    assert!(replica.txn(t().put("k", 1, text(DATA_BYTES_MAX))).success);
    assert_eq!(replica.fails(t().add("k", 1, "/n", 1, None)), (true, 0, Reason::TooLarge));
    assert_eq!(replica.fails(t().set_json("k", 1, "/n", "10")), (true, 0, Reason::TooLarge));
    assert!(replica.txn(t().add("k", 1, "/n", -1, None)).success);
    assert_eq!(replica.fails(t().put("k", 1, text(DATA_BYTES_MAX + 1))), (true, 0, Reason::TooLarge));
    let longest = vec![b'k'; KEY_BYTES_MAX];
    assert!(replica.txn(t().guard_absent(longest.clone()).put(longest.clone(), 1, "x")).success);
    let too_long = [longest.clone(), vec![b'k']].concat();
    for txn in [t().guard_absent(too_long), t().put("", 1, "x"), t().append(longest, 1, "x", vec![]), t()] {
        let refused = replica.txn_as(proto::store::Identity::user("x", 0, 1, [0; 16]), txn);
        assert_eq!(refused, Err(proto::store::FailureReason::Invalid), "the doors refuse it earlier");
    }
}

#[test]
fn single_record_writes_have_every_outcome_of_clause_d1() {
    let mut replica = fresh();
    let key = bytes::Bytes::from("k");
    let data = bytes::Bytes::from("one");
    let set = SetRequest { key: key.clone(), data: data.clone(), timestamp_ms: 7, ..Default::default() };
    let done = write::set_response(replica.txn(write::set(&set)));
    assert_eq!((done.status(), done.version, done.record), (Status::Success, 1, None));
    let taken = write::set_response(replica.txn(write::set(&set)));
    assert_eq!((taken.status(), taken.record.unwrap().data), (Status::Error, data.clone()));

    let swap =
        |version| TestAndSetRequest { key: key.clone(), data: "two".into(), version, ..Default::default() };
    let wrong = write::test_and_set_response(5, replica.txn(write::test_and_set(&swap(5))));
    assert_eq!((wrong.status(), wrong.record.unwrap().version), (Status::ErrorWv, 1));
    let swapped = write::test_and_set_response(1, replica.txn(write::test_and_set(&swap(1))));
    assert_eq!((swapped.status(), swapped.version, swapped.record.unwrap().data), (Status::Success, 2, data));
    assert_eq!(replica.version("k"), 2);

    let delete_version = |version| DeleteVersionRequest { key: key.clone(), version, ..Default::default() };
    let wrong = write::delete_version_response(replica.txn(write::delete_version(&delete_version(1))));
    assert_eq!((wrong.status(), wrong.record.unwrap().version), (Status::ErrorWv, 2));
    let deleted = write::delete_version_response(replica.txn(write::delete_version(&delete_version(2))));
    assert_eq!((deleted.status(), deleted.record.unwrap().data), (Status::Success, "two".into()));
    let absent = write::delete_version_response(replica.txn(write::delete_version(&delete_version(2))));
    assert_eq!((absent.status(), absent.record), (Status::ErrorNe, None));
    let absent = write::test_and_set_response(2, replica.txn(write::test_and_set(&swap(2))));
    assert_eq!((absent.status(), absent.record), (Status::ErrorNe, None));

    let delete = DeleteRequest { key: key.clone(), ..Default::default() };
    let absent = write::delete_response(replica.txn(write::delete(&delete)));
    assert_eq!((absent.status(), absent.record), (Status::Error, None));
    replica.txn(write::set(&set));
    let deleted = write::delete_response(replica.txn(write::delete(&delete)));
    assert_eq!((deleted.status(), deleted.record.unwrap().version), (Status::Success, 1));
    assert_eq!(replica.get("k"), None);
}
