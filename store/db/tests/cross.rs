//! Transactions over several groups in the log of one: prepared, finished either way, decided; and what is in whose way.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::{Replica, fresh, txn_kind};
use proto::store::command::Kind;
use proto::store::failed_guard::Reason;
use proto::store::outcome_response::Verdict as Outcome;
use proto::store::prepare_answer::Verdict;
use proto::store::{
    Branch, CrossId, CrossRefusal, Decide, DecidedBranch, FailedGuard, FailureReason, FinishCommand,
    Finishing, ForgetCommand, GroupOffset, Identity, IndexedResult, Owned, PrepareCommand, Prepared, Quote,
    Touched, Txn, TxnCommand,
};
use store_db::transfer::{Import, export};
use store_db::{Memory, Reply, Space, Table, cross};

const PARTICIPANT: u64 = 2;

fn t() -> Txn {
    Txn::new()
}

fn id(number: u64) -> CrossId {
    CrossId::of(1, 7, number)
}

/// A group among several; it owns all that these tests ask it for.
fn group() -> Replica<Memory> {
    let mut replica = fresh();
    replica.found(Owned { ring_version: 3, ..Owned::whole() });
    replica.txn(t().put("s", 1, r#"{"n":5,"m":1}"#).put("p", 1, r#"{"price":7,"cost":{"a":1}}"#));
    replica
}

fn branch(id: CrossId, txn: Txn) -> Branch {
    let places = |count: usize| (0..u32::try_from(count).unwrap()).collect::<Vec<u32>>();
    let (guards, operations) = (places(txn.guards.len()), places(txn.operations.len()));
    let range = Some(Owned::whole());
    Branch { id: Some(id), decider_tag_hash: 9, range, txn: Some(txn), guards, operations }
}

trait Cross {
    fn verdict(&mut self, branch: Branch) -> Verdict;
    fn prepare(&mut self, id: CrossId, txn: Txn) -> Prepared;
    fn is_locked(&mut self, txn: Txn) -> bool;
    fn end(&mut self, id: CrossId, offset: u64, commit: bool) -> usize;
    fn is_clear(&self) -> bool;
}

impl<T: Table> Cross for Replica<T> {
    fn verdict(&mut self, branch: Branch) -> Verdict {
        match self.command(Kind::Prepare(PrepareCommand { branches: vec![branch] })) {
            Reply::Prepared(mut answers) => answers.remove(0).verdict.unwrap(),
            other => panic!("not the answer of a prepare: {other:?}"),
        }
    }

    fn prepare(&mut self, id: CrossId, txn: Txn) -> Prepared {
        match self.verdict(branch(id, txn)) {
            Verdict::Prepared(prepared) => prepared,
            other => panic!("not prepared: {other:?}"),
        }
    }

    /// Whether a transaction of this group alone finds a lock; otherwise it is done, or fails.
    fn is_locked(&mut self, txn: Txn) -> bool {
        matches!(self.command(txn_kind(txn, None)), Reply::Locked(_))
    }

    fn end(&mut self, id: CrossId, offset: u64, commit: bool) -> usize {
        let finishing = Finishing { id: Some(id), offset, range: Some(Owned::whole()), commit };
        match self.command(Kind::Finish(FinishCommand { finishes: vec![finishing] })) {
            Reply::Finished(acks) => acks.len(),
            other => panic!("not the answer of a finish: {other:?}"),
        }
    }

    fn is_clear(&self) -> bool {
        let state = self.state();
        let counts = (state.prepared_count, state.prepared_bytes, state.decided_count);
        counts == (0, 0, 0)
            && [Space::Prepared, Space::Locks, Space::Decisions].iter().all(|space| self.count(*space) == 0)
    }
}

fn decide(id: CrossId, operations: Vec<u32>, branches: Vec<DecidedBranch>) -> Option<Decide> {
    Some(Decide { id: Some(id), branches, guards: Vec::new(), operations, refusal: None })
}

fn decided_branch(offset: u64, operation: u32) -> DecidedBranch {
    let touched = Some(Touched { key: "far".into(), record: None });
    let results = vec![IndexedResult { operation, touched }];
    DecidedBranch { group: PARTICIPANT, range: Some(Owned::arc(1, 2)), offset, results }
}

fn decision(identity: Option<Identity>, txn: Txn, decide: Option<Decide>) -> Kind {
    Kind::Txn(TxnCommand { txn: Some(txn), identity, decide })
}

fn user(id: &str, attempt: u32) -> Identity {
    Identity::user(id.to_owned(), 0, attempt, [7; 16])
}

#[test]
fn a_prepared_branch_changes_nothing_until_it_is_finished_and_then_all_of_it() {
    let mut group = group();
    let part = || t().guard_json("p", "/price", "7").add("s", 9, "/n", -2, Some(0)).put("new", 9, "x");
    let prepared = group.prepare(id(1), part());
    assert_eq!(
        (prepared.offset, group.data("s").unwrap(), group.get("new")),
        (3, r#"{"n":5,"m":1}"#.into(), None)
    );
    let told: Vec<_> = prepared.results.iter().map(|it| it.touched.clone().unwrap().record).collect();
    assert_eq!(told[0], None, "which version an addition makes is not known yet");
    assert_eq!(told[1].as_ref().map(|record| (record.version, record.offset())), Some((1, 3)));
    assert_eq!(group.prepare(id(1), part()), prepared, "a copy gets the same answer");
    group.txn(t().add("s", 5, "/n", 1, None));
    assert_eq!(group.end(id(1), 3, true), 1);
    assert_eq!(group.data("s").unwrap(), r#"{"n":4,"m":1}"#);
    let (s, new) = (group.get("s").unwrap(), group.get("new").unwrap());
    assert_eq!((s.version, s.timestamp_ms, s.offset()), (3, 9, group.offset));
    assert_eq!((new.version, new.offset()), (1, 3), "as its answer said");
    assert!(group.is_clear());
    let hash = group.state().state_hash;
    assert_eq!(group.end(id(1), 3, true), 1, "a copy is acknowledged");
    assert_eq!((group.state().state_hash, group.version("s")), (hash, 3), "without effect");
}

#[test]
fn an_end_that_names_another_prepare_has_no_effect_and_any_prepare_can_only_be_aborted() {
    let mut group = group();
    let part = || t().add("s", 9, "/n", -2, Some(0));
    assert_eq!(group.prepare(id(1), part()).offset, 3);
    assert_eq!(group.end(id(1), 3, true), 1);
    assert_eq!(group.prepare(id(1), part()).offset, 5, "a late copy of the prepare");
    assert_eq!(group.end(id(1), 3, true), 1, "and of the finish");
    assert_eq!((group.data("s").unwrap(), group.state().prepared_count), (r#"{"n":3,"m":1}"#.into(), 1));
    assert_eq!(group.end(id(1), 0, true), 0, "a commit names its prepare");
    assert_eq!(group.end(id(2), 0, false), 1, "another transaction");
    assert_eq!(group.state().prepared_count, 1);
    assert_eq!(group.end(id(1), 0, false), 1);
    assert_eq!(group.data("s").unwrap(), r#"{"n":3,"m":1}"#);
    assert!(group.is_clear());
}

#[test]
fn locks_keep_out_whom_the_matrix_says_and_nobody_else() {
    let add = |pointer: &str| t().add("p", 9, pointer, 1, None);
    let wanted: [(&str, Txn); 9] = [
        ("exists", t().guard_exists("p")),
        ("at price", t().guard_json("p", "/price", "7")),
        ("at cost", t().guard_json("p", "/cost", "{\"a\":1}")),
        ("shared", t().guard_offset("p", 2)),
        ("get", t().get("p")),
        ("add price", add("/price")),
        ("add cost", add("/cost/a")),
        ("put", t().put("p", 9, "{}")),
        ("add and tell", add("/price").returning_after()),
    ];
    let held = [
        ("exists", "0000000 11"),
        ("at price", "00000 1 0 11"),
        ("at cost", "000000 1 11"),
        ("shared", "00000 11 11"),
        ("get", "00000 11 11"),
        ("add price", "0 1 0 11 00 11"),
        ("add cost", "00 1 11 00 11"),
        ("put", "111111111"),
        ("add and tell", "111111111"),
    ];
    for ((name, expected), (same, holding)) in held.iter().zip(&wanted) {
        assert_eq!(name, same);
        let expected = expected.replace(' ', "");
        for ((wanting, wanted), expected) in wanted.iter().zip(expected.chars()) {
            let mut group = group();
            group.prepare(id(1), holding.clone());
            let verdict = group.verdict(branch(id(2), wanted.clone()));
            let is_locked =
                matches!(&verdict, Verdict::Locked(holder) if holder.id == Some(id(1)) && holder.offset == 3);
            assert_eq!(is_locked, expected == '1', "{name} held, {wanting} wanted: {verdict:?}");
            assert_eq!(group.is_locked(wanted.clone()), is_locked, "{name} held, {wanting} at once");
            group.end(id(1), 0, false);
            group.end(id(2), 0, false);
            assert!(group.is_clear(), "{name} {wanting}");
            assert!(!group.is_locked(wanted.clone()), "{name} is gone");
        }
    }
}

#[test]
fn an_absent_key_is_locked_like_any_other() {
    let mut group = group();
    group.prepare(id(1), t().guard_absent("none"));
    assert!(group.is_locked(t().put("none", 1, "x")));
    assert!(!group.is_locked(t().guard_absent("none").put("beside", 1, "x")));
    group.prepare(id(2), t().delete("gone"));
    assert!(group.is_locked(t().guard_absent("gone")));
}

#[test]
fn what_can_fail_fails_at_the_prepare_with_its_place_in_the_whole() {
    let mut group = group();
    let whole = |txn: Txn, guards: Vec<u32>, operations: Vec<u32>| Branch {
        guards,
        operations,
        ..branch(id(1), txn)
    };
    let cases = [
        (whole(t().guard_version("p", 9), vec![4], vec![]), (false, 4, Reason::WrongVersion)),
        (whole(t().add("s", 1, "/n", -9, Some(0)), vec![], vec![3]), (true, 3, Reason::BelowMinimum)),
        (whole(t().add("s", 1, "/x", 1, None), vec![], vec![2]), (true, 2, Reason::NoValue)),
        (whole(t().set_json("none", 1, "/x", "1"), vec![], vec![2]), (true, 2, Reason::Absent)),
        (whole(t().add("s", 1, "/n", i64::MAX, None), vec![], vec![2]), (true, 2, Reason::Overflow)),
    ];
    for (branch, expected) in cases {
        let Verdict::Failed(failed) = group.verdict(branch) else { panic!("it cannot be done") };
        let failed = &failed.failed[0];
        assert_eq!((failed.operation, failed.index, failed.reason()), expected);
        assert!(failed.reason() == Reason::Absent || failed.record.is_some());
    }
    group.prepare(id(2), t().add("s", 1, "/n", -1, Some(0)));
    let both = t().guard_absent("s").guard_version("p", 9);
    let Verdict::Failed(failed) = group.verdict(branch(id(3), both)) else { panic!("one guard is definite") };
    assert_eq!((failed.failed.len(), failed.failed[0].index), (1, 1), "of the other nobody can say");
    group.end(id(2), 0, false);
    assert!(group.is_clear());
}

#[test]
fn an_append_has_the_offset_of_its_prepare_and_its_place_in_the_whole() {
    let mut group = group();
    let quotes = vec![Quote::of(4, "/n", "/left")];
    let txn = t().add("s", 1, "/n", -1, None).append("log/{a}/", 1, "{}", quotes);
    let prepared = Branch { operations: vec![4, 9], ..branch(id(1), txn.clone()) };
    let Verdict::Prepared(prepared) = group.verdict(prepared) else { panic!("it can be done") };
    let keys: Vec<_> = prepared.results.iter().map(|it| it.touched.clone().unwrap().key).collect();
    assert_eq!(keys[1], "log/{a}/0000000000000003.0009");
    assert!(
        prepared.results[0].touched.as_ref().unwrap().record.is_some(),
        "an addition that is quoted tells"
    );
    assert!(group.is_locked(t().add("s", 1, "/n", 1, None)), "and is alone");
    group.end(id(1), 3, true);
    assert_eq!(group.data("log/{a}/0000000000000003.0009").unwrap(), r#"{"left":4}"#);
    let quotes_other = Branch { operations: vec![5, 9], ..branch(id(2), txn) };
    let Verdict::Refused(failure) = group.verdict(quotes_other) else { panic!("it quotes another group") };
    assert_eq!(failure.reason(), FailureReason::Invalid);
}

#[test]
fn additions_to_a_record_at_its_largest_size_wait_for_each_other() {
    let mut group = group();
    let room = proto::check::DATA_BYTES_MAX - 14;
    group.txn(t().put("k", 1, format!("{{\"n\":9,\"t\":\"{}\"}}", "x".repeat(room))));
    let Verdict::Failed(failed) = group.verdict(branch(id(1), t().add("k", 1, "/n", 1, None))) else {
        panic!("a digit too many")
    };
    assert_eq!(failed.failed[0].reason(), Reason::TooLarge);
    group.prepare(id(2), t().add("k", 1, "/n", -1, None));
    assert!(group.is_locked(t().add("k", 1, "/n", 1, None)), "its room depends on another");
    group.end(id(2), 0, true);
    group.end(id(2), 0, false);
    assert!(!group.is_locked(t().add("k", 1, "/n", 0, None)));
}

#[test]
fn every_key_of_every_entry_must_be_the_groups_own() {
    let here = proto::hash::ring_hash(b"a");
    let mut group = fresh();
    group.found(Owned::arc(here - 1, here));
    let route = Err(FailureReason::WrongRoute);
    let reason = |reply: Reply| match reply {
        Reply::Refused(refused) => Err(refused.reason),
        other => Ok(other),
    };
    assert!(group.txn(t().put("{a}1", 1, "x")).success);
    for txn in [t().put("b", 1, "x"), t().put("{a}1", 1, "x").guard_absent("b"), t().get("{a}1").get("b")] {
        assert_eq!(reason(group.command(txn_kind(txn.clone(), None))), route);
        assert_eq!(reason(group.command(txn_kind(txn.clone(), Some(user("u", 1))))), route);
        let Verdict::Refused(failure) = group.verdict(branch(id(1), txn.clone())) else {
            panic!("not its own")
        };
        assert_eq!(failure.reason(), FailureReason::WrongRoute);
    }
    assert_eq!(group.outcome("b", user("u", 1)).map(|_| ()), Err(FailureReason::WrongRoute));
    assert_eq!(group.outcome("a", user("u", 1)).unwrap().verdict(), Outcome::NotDone);
    let append = |prefix: &str| txn_kind(t().append(prefix.to_owned(), 1, "{}", vec![]), None);
    assert_eq!(reason(group.command(append("a"))), Err(FailureReason::Invalid), "its end may be anywhere");
    assert!(matches!(group.command(append("{a}")), Reply::Txn(response) if response.success));
}

#[test]
fn a_group_alone_knows_of_no_other() {
    let mut alone = fresh();
    let before = alone.rows();
    let kinds = [
        Kind::Prepare(PrepareCommand { branches: vec![branch(id(1), t().put("k", 1, "x"))] }),
        Kind::Finish(FinishCommand::default()),
        Kind::Forget(ForgetCommand { ids: vec![id(1)] }),
        decision(
            None,
            t().put("k", 1, "x"),
            decide(CrossId::of(1, 1, 1), vec![0], vec![decided_branch(4, 1)]),
        ),
    ];
    for kind in kinds {
        let reply = alone.command(kind);
        assert!(
            matches!(&reply, Reply::Refused(refused) if refused.reason == FailureReason::Invalid),
            "{reply:?}"
        );
    }
    assert_eq!(alone.rows(), before);
}

#[test]
fn a_decision_does_its_own_part_and_remembers_the_answer_of_the_whole() {
    let mut group = group();
    group.epoch = 7;
    let own = || t().put("o", 1, "order").get("s");
    let whole = decide(id(1), vec![0, 2], vec![decided_branch(44, 1)]);
    let reply = group.command(decision(Some(user("u", 1)), own(), whole.clone()));
    assert!(reply.commits());
    let Reply::Txn(response) = reply else { panic!("an answer") };
    let keys: Vec<_> = response.results.iter().map(|result| result.key.clone()).collect();
    assert_eq!(keys, ["o", "far", "s"], "in the order of the whole");
    let position = |group, offset| GroupOffset { group, offset };
    assert_eq!(response.positions, [position(1, 3), position(PARTICIPANT, 44)]);
    assert_eq!(group.data("o").unwrap(), "order");
    let commits = |group: &Replica<Memory>, number, offset| {
        let range = Owned::arc(1, 2);
        group.table.read(|read| cross::is_committed(read, id(number), offset, &range)).unwrap()
    };
    assert!(commits(&group, 1, 44) && !commits(&group, 1, 45) && !commits(&group, 2, 44));
    // A copy of a prepare may stand at the same offset of another group's log: it is not the one that is named.
    let elsewhere = Owned::arc(2, 3);
    assert!(!group.table.read(|read| cross::is_committed(read, id(1), 44, &elsewhere)).unwrap());
    // Another try of the same request is answered from memory, and so aborted.
    let again = group.command(decision(
        Some(user("u", 1)),
        own(),
        decide(id(2), vec![0, 2], vec![decided_branch(60, 1)]),
    ));
    assert!(
        !again.commits()
            && matches!(again, Reply::Txn(again) if again.remembered && again.positions == response.positions)
    );
    assert!(!commits(&group, 2, 60));
    assert_eq!(group.version("o"), 1);
    let twice = group.command(decision(None, own(), whole));
    assert!(matches!(twice, Reply::Refused(refused) if refused.reason == FailureReason::Invalid));
    assert_eq!(
        group.command(Kind::Forget(ForgetCommand { ids: vec![id(1), id(1), id(9)] })),
        Reply::Forgotten
    );
    assert!(!commits(&group, 1, 44) && group.is_clear());
}

#[test]
fn a_decision_that_fails_is_remembered_one_that_is_locked_is_not() {
    let mut group = group();
    group.epoch = 7;
    let participant = || vec![decided_branch(44, 0)];
    group.prepare(CrossId::of(3, 1, 1), t().put("o", 1, "theirs"));
    let own = || t().put("o", 1, "ours");
    let locked = group.command(decision(Some(user("u", 1)), own(), decide(id(1), vec![1], participant())));
    assert!(matches!(locked, Reply::Locked(holder) if holder.id == Some(CrossId::of(3, 1, 1))));
    assert_eq!((group.count(Space::Replies), group.state().decided_count), (0, 0));
    group.end(CrossId::of(3, 1, 1), 0, false);
    let taken = Txn { guards: t().guard_exists("o").guards, ..own() };
    let fails = decide(id(2), vec![1], participant()).map(|decide| Decide { guards: vec![5], ..decide });
    let Reply::Txn(failed) = group.command(decision(Some(user("u", 1)), taken, fails)) else {
        panic!("an answer")
    };
    assert_eq!(
        (failed.success, failed.failed[0].index, failed.failed[0].reason()),
        (false, 5, Reason::Absent)
    );
    let remembered =
        group.command(decision(Some(user("u", 1)), own(), decide(id(3), vec![1], participant())));
    assert!(matches!(remembered, Reply::Txn(response) if response.remembered && !response.success));
    assert!(
        group.command(decision(Some(user("u", 2)), own(), decide(id(4), vec![1], participant()))).commits()
    );
}

#[test]
fn a_refusal_by_a_participant_is_the_failure_of_the_attempt() {
    let mut group = group();
    group.epoch = 7;
    let failed = FailedGuard {
        operation: true,
        index: 3,
        reason: Reason::BelowMinimum.into(),
        ..FailedGuard::default()
    };
    let refusal = Some(CrossRefusal { failed: vec![failed.clone()] });
    let refused = Some(Decide { id: Some(id(1)), refusal, operations: vec![0], ..Decide::default() });
    let own = || t().put("o", 1, "ours");
    let Reply::Txn(response) = group.command(decision(Some(user("u", 1)), own(), refused)) else {
        panic!("an answer")
    };
    assert_eq!((response.success, response.failed), (false, vec![failed]));
    let outcome = group.outcome("o", user("u", 1)).unwrap();
    assert_eq!(outcome.verdict(), Outcome::Refused);
    let late = decide(id(2), vec![0], vec![decided_branch(44, 1)]);
    let closed = group.command(decision(Some(user("u", 2)), own(), late));
    assert!(matches!(closed, Reply::Refused(refused) if refused.reason == FailureReason::ClosedId));
    assert_eq!(group.get("o"), None);
}

#[test]
fn a_decision_of_another_epoch_or_without_a_whole_is_refused_without_effect() {
    let mut group = group();
    group.epoch = 8;
    let before = group.rows();
    let now = CrossId::of(1, 8, 1);
    for (txn, decide) in [
        (t().put("o", 1, "x"), decide(id(1), vec![0], vec![decided_branch(44, 1)])),
        (t().put("o", 1, "x"), decide(now, vec![0], vec![])),
        (t().put("o", 1, "x"), decide(now, vec![0], vec![decided_branch(0, 1)])),
        (t().put("o", 1, "x"), decide(now, vec![0], vec![decided_branch(44, 2)])),
        (t().put("o", 1, "x"), decide(now, vec![1], vec![decided_branch(44, 1)])),
        (t().put("o", 1, "x"), decide(now, vec![0, 1], vec![decided_branch(44, 2)])),
    ] {
        let reply = group.command(decision(Some(user("u", 1)), txn, decide));
        assert!(
            matches!(&reply, Reply::Refused(refused) if refused.reason == FailureReason::Invalid),
            "{reply:?}"
        );
    }
    assert_eq!(group.rows(), before);
}

#[test]
fn readers_hear_of_intents_and_not_of_guards() {
    let mut group = group();
    let of = |group: &Replica<Memory>, key: &str| {
        let intents = group.table.read(|read| cross::intents(read, key.as_bytes())).unwrap();
        intents
            .into_iter()
            .map(|intent| (intent.id, intent.offset, intent.decider_tag_hash))
            .collect::<Vec<_>>()
    };
    group.prepare(id(1), t().guard_json("p", "/price", "7").add("s", 1, "/n", -1, None).put("o/1", 1, "x"));
    group.prepare(id(2), t().add("s", 1, "/n", -1, None));
    assert_eq!((of(&group, "p"), of(&group, "o")), (vec![], vec![]));
    assert_eq!(of(&group, "s"), [(id(1), 3, 9), (id(2), 4, 9)]);
    assert_eq!(of(&group, "o/1"), [(id(1), 3, 9)]);
    let page = |group: &Replica<Memory>, prefix: &str, after: &str, next: Option<&str>| {
        let range = proto::store::scan_request::Range::Prefix(prefix.to_owned().into());
        let look = |read: &_| cross::intents_of_page(read, &range, after.as_bytes(), next.map(str::as_bytes));
        let mut keys: Vec<_> = group.table.read(look).unwrap().into_iter().map(|intent| intent.key).collect();
        keys.sort();
        keys
    };
    assert_eq!(page(&group, "", "", None), ["o/1", "s", "s"]);
    assert_eq!(
        (page(&group, "o/", "", None), page(&group, "", "o/1", None)),
        (vec!["o/1".into()], vec!["s".into(); 2])
    );
    assert_eq!(
        (page(&group, "", "", Some("p")), page(&group, "o/", "o/1", None)),
        (vec!["o/1".into()], vec![])
    );
    let finished =
        |number, offset| group.table.read(|read| cross::is_finished(read, id(number), offset)).unwrap();
    assert!(
        !finished(1, 3) && !finished(1, 0) && finished(1, 2) && finished(3, 3),
        "what is live, what is not"
    );
    assert!(!finished(3, 99), "nobody knows what is not applied");
}

#[test]
fn the_feed_tells_of_what_may_change_when_it_is_prepared_and_when_it_ends() {
    let mut group = group();
    let changed = |group: &Replica<Memory>| {
        let store_db::changes::Feed::Changes(batch) =
            group.table.read(|read| store_db::changes::since(read, 2, 100)).unwrap()
        else {
            panic!("nothing was trimmed")
        };
        batch.changes.into_iter().map(|change| (change.offset, change.keys)).collect::<Vec<_>>()
    };
    group.prepare(id(1), t().guard_exists("p").add("s", 1, "/n", -1, None).put("new", 1, "x"));
    group.prepare(id(2), t().guard_exists("p"));
    group.end(id(1), 0, false);
    group.end(id(2), 0, false);
    let keys = || vec!["new".into(), "s".into()];
    assert_eq!(changed(&group), [(3, keys()), (5, keys())]);
}

#[test]
fn prepares_and_decisions_travel_with_the_state_and_count_in_its_hash() {
    let mut group = group();
    group.epoch = 7;
    let mut hashes = vec![group.state().state_hash];
    group.prepare(CrossId::of(3, 1, 1), t().guard_exists("p").add("s", 1, "/n", -1, None));
    hashes.push(group.state().state_hash);
    group.command(decision(None, t().put("o", 1, "x"), decide(id(1), vec![0], vec![decided_branch(44, 1)])));
    hashes.push(group.state().state_hash);
    let other = Memory::new();
    let mut import = Import::begin(other.clone()).unwrap();
    let sent = group.table.read(|read| export(read, &mut |chunk| import.chunk(&chunk)));
    sent.unwrap();
    import.finish().unwrap();
    let mut copy = Replica { epoch: 7, offset: group.offset, ..Replica::new(other) };
    assert_eq!((copy.rows(), copy.state()), (group.rows(), group.state()));
    assert!(copy.is_locked(t().put("s", 1, "x")), "locks are there at once");
    for group in [&mut group, &mut copy] {
        group.command(Kind::Forget(ForgetCommand { ids: vec![id(1)] }));
        hashes.push(group.state().state_hash);
    }
    copy.offset = group.offset + 1;
    group.offset += 1;
    hashes.dedup();
    assert_eq!(hashes.len(), 4, "each changes the hash: {hashes:?}");
}

#[test]
fn one_entry_ends_no_more_than_the_feed_can_tell_of() {
    let mut group = group();
    let large = |n: u64| t().put(format!("k{n}"), 1, vec![b'x'; 500_000]);
    (1..=5).for_each(|n| drop(group.prepare(id(n), large(n))));
    let finishing =
        |n: u64| Finishing { id: Some(id(n)), offset: n + 2, range: Some(Owned::whole()), commit: true };
    let all = FinishCommand { finishes: (1..=5).map(finishing).collect() };
    for left in [3, 1, 0] {
        let Reply::Finished(acks) = group.command(Kind::Finish(all.clone())) else { panic!("an answer") };
        assert_eq!(group.state().prepared_count, left);
        assert!(acks.len() as u64 >= 5 - left && acks.iter().all(|ack| ack.range.unwrap().ring_version == 3));
    }
    assert!(group.is_clear());
}

#[test]
fn the_rows_of_prepared_branches_are_counted() {
    let mut group = group();
    let each = |n: u64| branch(id(n), t().add("s", 1, "/n", 0, None).guard_exists("p"));
    let command = PrepareCommand { branches: (1..=300).map(each).collect() };
    let Reply::Prepared(answers) = group.command(Kind::Prepare(command)) else { panic!("an answer") };
    assert!(answers.iter().all(|answer| matches!(answer.verdict, Some(Verdict::Prepared(_)))));
    let sum = |space: Space| {
        let rows = group.rows().into_iter().filter(move |row| row.0 == space);
        rows.map(|row| (row.1.len() + row.2.len()) as u64).sum::<u64>()
    };
    assert_eq!(group.state().prepared_count, 300);
    assert_eq!(group.state().prepared_bytes, sum(Space::Prepared) + sum(Space::Locks));
}
