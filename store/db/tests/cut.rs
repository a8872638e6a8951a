//! A group that stands still for one view of all groups: what its log still does, and which cut is one.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::{Replica, fresh, txn_kind};
use proto::store::command::Kind;
use proto::store::prepare_answer::Verdict;
use proto::store::{
    Branch, CrossId, CutCommand, Decide, DecidedBranch, FailureReason, FinishCommand, Finishing,
    ForgetCommand, FreezeCommand, Identity, OutcomeCommand, Owned, PrepareCommand, RaiseVersion, ThawCommand,
    Txn, TxnCommand,
};
use store_db::limits::STATE_MACHINE_VERSION;
use store_db::transfer::{Import, export};
use store_db::{Memory, Reply, cut};

const RING: u64 = 3;

fn group() -> Replica<Memory> {
    let mut group = fresh();
    group.found(Owned { ring_version: RING, ..Owned::whole() });
    group.command(Kind::RaiseVersion(RaiseVersion { version: STATE_MACHINE_VERSION }));
    group.txn(Txn::new().put("s", 1, r#"{"n":5}"#));
    group
}

fn freeze(id: u8) -> Kind {
    Kind::Freeze(FreezeCommand { id: vec![id; 16].into(), ring_version: RING })
}

fn thaw(id: u8) -> Kind {
    Kind::Thaw(ThawCommand { id: vec![id; 16].into() })
}

fn take(id: u8, frozen_at: u64) -> Kind {
    Kind::Cut(CutCommand { id: vec![id; 16].into(), frozen_at, prefixes: vec!["s/".into()] })
}

fn frozen_at(group: &Replica<Memory>) -> u64 {
    cut::freeze(&group.state()).unwrap().offset
}

fn prepare(number: u64) -> Kind {
    let txn = Some(Txn::new().add("s", 9, "/n", -1, Some(0)));
    let id = Some(CrossId::of(1, 7, number));
    let branch = Branch {
        id,
        decider_tag_hash: 9,
        range: Some(Owned::whole()),
        txn,
        guards: Vec::new(),
        operations: vec![0],
    };
    Kind::Prepare(PrepareCommand { branches: vec![branch] })
}

fn finish(number: u64) -> Kind {
    let finishing = Finishing {
        id: Some(CrossId::of(1, 7, number)),
        offset: 0,
        range: Some(Owned::whole()),
        commit: false,
    };
    Kind::Finish(FinishCommand { finishes: vec![finishing] })
}

fn reason(reply: &Reply) -> FailureReason {
    match reply {
        Reply::Refused(refused) => refused.reason,
        Reply::Prepared(answers) => match answers[0].verdict.as_ref().unwrap() {
            Verdict::Refused(failure) => failure.reason(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_group_that_stands_still_takes_nothing_new_and_remembers_nothing() {
    let mut group = group();
    assert_eq!(group.command(freeze(1)), Reply::Frozen);
    let before = group.state();
    let identity = Identity::user("r1", 0, 1, [7; 16]);
    let local = || txn_kind(Txn::new().put("s", 1, "x"), Some(identity.clone()));
    let branch = DecidedBranch { group: 2, range: Some(Owned::arc(1, 2)), offset: 4, results: Vec::new() };
    let decide = Decide {
        id: Some(CrossId::of(1, 1, 1)),
        branches: vec![branch],
        operations: vec![0],
        ..Decide::default()
    };
    let txn = Some(Txn::new().put("s", 1, "x"));
    let decision = Kind::Txn(TxnCommand { txn, identity: Some(identity.clone()), decide: Some(decide) });
    let outcome = Kind::Outcome(OutcomeCommand { tag: "s".into(), identity: Some(identity.clone()) });
    for kind in [local(), decision, outcome, prepare(1), freeze(2)] {
        let reply = group.command(kind.clone());
        assert_eq!(reason(&reply), FailureReason::Frozen, "{kind:?}");
    }
    let after = group.state();
    let told = |state: &proto::store::AppliedState| {
        (
            state.state_hash,
            state.remembered_count,
            state.change_rows,
            state.prepared_count,
            state.decided_count,
        )
    };
    assert_eq!(told(&after), told(&before));
    assert_eq!(group.command(thaw(2)), Reply::Frozen, "of another cut");
    assert!(group.state().frozen.is_some());
    group.command(thaw(1));
    assert!(group.state().frozen.is_none());
    assert!(
        matches!(group.command(local()), Reply::Txn(response) if response.success && !response.remembered)
    );
}

#[test]
fn what_is_prepared_ends_under_a_freeze_and_only_then_there_is_a_cut() {
    let mut group = group();
    group.command(prepare(1));
    group.command(freeze(1));
    let at = frozen_at(&group);
    assert_eq!(reason(&group.command(take(1, at))), FailureReason::NotHere, "a branch is prepared");
    assert!(matches!(group.command(finish(1)), Reply::Finished(acks) if acks.len() == 1));
    assert_eq!(group.command(Kind::Forget(ForgetCommand::default())), Reply::Forgotten);
    for wrong in [take(2, at), take(1, at + 1), take(1, 0)] {
        assert_eq!(reason(&group.command(wrong)), FailureReason::NotHere);
    }
    assert!(matches!(group.command(take(1, at)), Reply::Audit { prefixes, .. } if prefixes.len() == 1));
    assert_eq!(group.command(freeze(1)), Reply::Frozen, "it stands still already");
    assert_eq!(frozen_at(&group), at, "since then");
    // Frozen anew by a copy, it is another freeze, and no cut of the first.
    group.command(thaw(1));
    assert_eq!(reason(&group.command(take(1, at))), FailureReason::NotHere, "it goes on");
    group.command(freeze(1));
    assert!(frozen_at(&group) > at);
    assert_eq!(reason(&group.command(take(1, at))), FailureReason::NotHere);
}

#[test]
fn a_freeze_is_in_what_is_exported_and_under_the_state_hash() {
    let mut group = group();
    let before = group.state().state_hash;
    group.command(freeze(1));
    let state = group.state();
    assert_ne!(state.state_hash, before);
    let mut import = Import::begin(Memory::new()).unwrap();
    let exported =
        store_db::Table::read(&group.table, |read| export(read, &mut |chunk| import.chunk(&chunk)));
    exported.unwrap();
    assert_eq!(cut::freeze(&import.finish().unwrap()), cut::freeze(&state));
}

#[test]
fn only_one_of_several_groups_by_rules_that_know_cuts_is_frozen() {
    let mut alone = fresh();
    alone.command(Kind::RaiseVersion(RaiseVersion { version: STATE_MACHINE_VERSION }));
    assert_eq!(reason(&alone.command(freeze(1))), FailureReason::Invalid);
    let mut early = fresh();
    early.found(Owned { ring_version: RING, ..Owned::whole() });
    assert_eq!(reason(&early.command(freeze(1))), FailureReason::Invalid);
    let mut group = group();
    let other = Kind::Freeze(FreezeCommand { id: vec![1; 16].into(), ring_version: RING + 1 });
    assert_eq!(reason(&group.command(other)), FailureReason::WrongRoute);
    let short = Kind::Freeze(FreezeCommand { id: vec![1; 15].into(), ring_version: RING });
    assert_eq!(reason(&group.command(short)), FailureReason::Invalid);
    assert!(group.state().frozen.is_none());
}
