//! Every rule by which a write happens once (docs/PROTOCOL.md, 4).
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::{Replica, entry, fresh, txn_kind};
use proto::store::command::Kind;
use proto::store::outcome_response::Verdict;
use proto::store::{FailureReason, Identity, RaiseVersion, Txn};
use store_db::limits::{REMEMBERED_MS_MIN, REMEMBERED_RESPONSE_BYTES_MAX};
use store_db::{Error, Memory, Reply, Space, Table as _, apply};

const D: [u8; 16] = [7; 16];

fn user(id: &str, attempt: u32) -> Identity {
    Identity::user(id.to_owned(), 0, attempt, D)
}

fn made(id: &str, created_ms: i64) -> Identity {
    Identity::user(id.to_owned(), created_ms, 1, D)
}

fn session(sequence: u64, lowest: u64) -> Identity {
    Identity::session([9; 16], 5, sequence, lowest, 1, D)
}

fn add_one() -> Txn {
    Txn::new().add("k", 1, "/n", 1, None)
}

fn counter() -> Replica<Memory> {
    let mut replica = fresh();
    replica.txn(Txn::new().put("k", 1, "{\"n\":0}"));
    replica
}

fn value(replica: &Replica<Memory>) -> String {
    replica.data("k").unwrap()
}

#[test]
fn a_remembered_success_answers_every_attempt() {
    let mut replica = counter();
    let first = replica.txn_as(user("r", 2), add_one()).unwrap();
    assert!(first.success && !first.remembered);
    for attempt in [1, 2, 3, 9] {
        let again = replica.txn_as(user("r", attempt), add_one()).unwrap();
        assert!(again.success && again.remembered);
        assert_eq!((again.position, &again.results), (first.position, &first.results));
    }
    assert_eq!(value(&replica), "{\"n\":1}");
}

#[test]
fn a_remembered_failure_answers_its_attempt_and_lower_ones_and_a_higher_one_runs() {
    let mut replica = counter();
    let guarded = || add_one().guard_exists("x");
    assert!(!replica.txn_as(user("r", 2), guarded()).unwrap().success);
    replica.txn(Txn::new().put("x", 1, "there now"));
    for attempt in [1, 2] {
        let again = replica.txn_as(user("r", attempt), guarded()).unwrap();
        assert!(!again.success && again.remembered);
    }
    assert_eq!(value(&replica), "{\"n\":0}");
    // The guard's key comes first in both, so the tag is the same.
    let third = replica.txn_as(user("r", 3), guarded()).unwrap();
    assert!(third.success && !third.remembered);
    assert!(replica.txn_as(user("r", 1), guarded()).unwrap().success, "the success answers every attempt");
    assert_eq!(value(&replica), "{\"n\":1}");
    assert_eq!(
        (replica.count(Space::Replies), replica.count(Space::ReplyOrder)),
        (1, 1),
        "replaced, not added"
    );
    assert_eq!(replica.state().remembered_count, 1);
}

#[test]
fn the_same_id_with_another_digest_is_refused() {
    let mut replica = counter();
    for identity in [user("r", 1), session(1, 1)] {
        replica.txn_as(identity.clone(), add_one()).unwrap();
        let other = Identity { digest: vec![8; 16].into(), attempt: 2, ..identity };
        assert_eq!(replica.txn_as(other, add_one()), Err(FailureReason::IdReused));
    }
    assert_eq!(value(&replica), "{\"n\":2}");
}

#[test]
fn a_write_without_identity_is_not_remembered() {
    let mut replica = counter();
    replica.txn(add_one());
    replica.txn(add_one());
    assert_eq!((value(&replica), replica.count(Space::Replies)), ("{\"n\":2}".to_owned(), 0));
}

#[test]
fn outcome_tells_what_was_done() {
    let mut replica = counter();
    let done = replica.txn_as(user("r", 1), add_one()).unwrap();
    let asked = replica.outcome("k", user("r", 1)).unwrap();
    assert_eq!((asked.verdict(), asked.response.unwrap().position), (Verdict::Done, done.position));
    assert_eq!(
        replica.outcome("k", user("r", 1)).unwrap().verdict(),
        Verdict::Done,
        "asking closes nothing done"
    );
}

#[test]
fn outcome_closes_what_never_ran_so_a_late_original_is_refused() {
    let mut replica = counter();
    for identity in [user("r", 1), session(4, 2)] {
        assert_eq!(replica.outcome("k", identity.clone()).unwrap().verdict(), Verdict::NotDone);
        for attempt in [1, 5] {
            let late = Identity { attempt, ..identity.clone() };
            assert_eq!(replica.txn_as(late, add_one()), Err(FailureReason::ClosedId));
        }
        assert_eq!(replica.outcome("k", identity).unwrap().verdict(), Verdict::NotDone, "and says so again");
    }
    assert_eq!(value(&replica), "{\"n\":0}");
    assert!(replica.txn_as(session(2, 2), add_one()).unwrap().success, "asking gives up no other sequence");
}

#[test]
fn outcome_closes_what_was_refused() {
    let mut replica = counter();
    let guarded = || add_one().guard_exists("x");
    replica.txn_as(user("r", 1), guarded()).unwrap();
    let asked = replica.outcome("x", user("r", 1)).unwrap();
    assert_eq!((asked.verdict(), asked.response.unwrap().failed.len()), (Verdict::Refused, 1));
    replica.txn(Txn::new().put("x", 1, "there now"));
    assert_eq!(replica.txn_as(user("r", 2), guarded()), Err(FailureReason::ClosedId));
    assert!(
        !replica.txn_as(user("r", 1), guarded()).unwrap().success,
        "its own attempt still has its answer"
    );
    assert_eq!(replica.outcome("x", user("r", 1)).unwrap().verdict(), Verdict::Refused);
    assert_eq!((value(&replica), replica.state().remembered_count), ("{\"n\":0}".to_owned(), 1));
}

#[test]
fn a_session_gives_up_what_is_below_its_lowest() {
    let mut replica = counter();
    for sequence in 1..=5 {
        assert!(replica.txn_as(session(sequence, 1), add_one()).unwrap().success);
    }
    assert!(replica.txn_as(session(2, 1), add_one()).unwrap().remembered);
    assert!(replica.txn_as(session(6, 5), add_one()).unwrap().success);
    assert_eq!(replica.count(Space::Replies), 2, "5 and 6");
    assert_eq!(replica.txn_as(session(2, 1), add_one()), Err(FailureReason::ExpiredId));
    assert_eq!(replica.outcome("k", session(2, 1)).unwrap().verdict(), Verdict::Expired);
    assert!(replica.txn_as(session(5, 5), add_one()).unwrap().remembered);
    assert_eq!((value(&replica), replica.state().remembered_count), ("{\"n\":6}".to_owned(), 2));
}

#[test]
fn a_session_that_gives_up_many_drops_them_over_some_entries() {
    let mut replica = counter();
    for sequence in 1..=200 {
        replica.txn_as(session(sequence, 1), add_one()).unwrap();
    }
    replica.txn_as(session(201, 201), add_one()).unwrap();
    assert_eq!(replica.count(Space::Replies), 201 - 64);
    for sequence in 202..=204 {
        replica.txn_as(session(sequence, 201), add_one()).unwrap();
    }
    assert_eq!(replica.count(Space::Replies), 4);
    assert_eq!(replica.count(Space::ReplyOrder), 4);
}

#[test]
fn a_sequence_with_another_first_key_is_refused() {
    let mut replica = counter();
    replica.txn_as(session(1, 1), add_one()).unwrap();
    let elsewhere = Txn::new().put("other", 1, "x");
    assert_eq!(replica.txn_as(session(1, 1), elsewhere), Err(FailureReason::IdReused));
}

#[test]
fn ids_that_were_forgotten_never_run_whatever_the_clocks_say() {
    let mut replica = counter();
    let now = replica.log_time_ms;
    // Made by a clock that is ahead, so that the window alone would still let it run a day later.
    assert!(replica.txn_as(made("old", now + 9_000), add_one()).unwrap().success);
    replica.log_time_ms += REMEMBERED_MS_MIN - 1;
    replica.txn_as(made("x", 0), add_one()).unwrap();
    assert!(
        replica.txn_as(made("old", now + 9_000), add_one()).unwrap().remembered,
        "kept for 24 h of log time"
    );
    replica.log_time_ms += 1;
    replica.txn_as(made("y", 0), add_one()).unwrap();
    assert_eq!(replica.state().forgotten_ms, now + 9_000);
    assert_eq!(replica.txn_as(made("old", now + 9_000), add_one()), Err(FailureReason::ExpiredId));
    assert_eq!(replica.txn_as(made("never seen", now + 5_000), add_one()), Err(FailureReason::ExpiredId));
    assert_eq!(replica.outcome("k", made("old", now + 9_000)).unwrap().verdict(), Verdict::Expired);
    assert!(replica.txn_as(made("newer", now + 9_001), add_one()).unwrap().success);
    assert_eq!(value(&replica), "{\"n\":4}");
}

#[test]
fn an_id_older_than_the_window_is_refused_even_if_nothing_was_forgotten() {
    let mut replica = counter();
    replica.log_time_ms += REMEMBERED_MS_MIN;
    let edge = replica.log_time_ms - REMEMBERED_MS_MIN;
    assert_eq!(replica.txn_as(made("old", edge), add_one()), Err(FailureReason::ExpiredId));
    assert_eq!(replica.outcome("k", made("old", edge)).unwrap().verdict(), Verdict::Expired);
    assert!(replica.txn_as(made("just in time", edge + 1), add_one()).unwrap().success);
    assert!(replica.txn_as(session(1, 1), add_one()).unwrap().success, "a session may be older");
}

#[test]
fn forgetting_ids_of_users_forgets_no_session() {
    let mut replica = counter();
    replica.txn_as(made("old", replica.log_time_ms), add_one()).unwrap();
    replica.log_time_ms += REMEMBERED_MS_MIN;
    replica.txn(add_one());
    assert!(replica.state().forgotten_ms > 5);
    assert!(replica.txn_as(session(1, 1), add_one()).unwrap().success);
}

#[test]
fn an_id_chosen_by_a_person_is_protected_within_the_window() {
    let mut replica = counter();
    replica.txn_as(user("mine", 1), add_one()).unwrap();
    replica.log_time_ms += REMEMBERED_MS_MIN;
    replica.txn(add_one());
    assert!(
        !replica.txn_as(user("mine", 1), add_one()).unwrap().remembered,
        "after the window it is a new id"
    );
    assert_eq!(value(&replica), "{\"n\":3}");
}

/// After a night off the wall clock is hours ahead of the log's time: ids made today must run, once.
#[test]
fn a_log_whose_time_lags_behind_the_wall_clock_executes_todays_ids_once() {
    let mut replica = counter();
    let today = replica.log_time_ms + 10 * 3_600 * 1_000;
    assert!(replica.txn_as(made("a", today), add_one()).unwrap().success);
    assert!(replica.txn_as(made("a", today), add_one()).unwrap().remembered);
    let session = |sequence| Identity::session([3; 16], today, sequence, 1, 1, D);
    assert!(replica.txn_as(session(1), add_one()).unwrap().success);
    assert!(replica.txn_as(session(1), add_one()).unwrap().remembered);
}

#[test]
fn an_idle_session_is_dropped_whole_and_never_taken_for_new() {
    let mut replica = counter();
    for sequence in 1..=3 {
        replica.txn_as(session(sequence, 1), add_one()).unwrap();
    }
    replica.log_time_ms += REMEMBERED_MS_MIN;
    replica.txn(add_one());
    assert_eq!((replica.count(Space::Sessions), replica.count(Space::Replies)), (0, 0));
    for sequence in [1, 3, 4] {
        assert_eq!(replica.txn_as(session(sequence, 1), add_one()), Err(FailureReason::ExpiredId));
    }
    let younger = Identity::session([4; 16], 6, 1, 1, 1, D);
    assert!(replica.txn_as(younger, add_one()).unwrap().success);
    assert_eq!(value(&replica), "{\"n\":5}");
}

#[test]
fn a_session_that_loses_some_answers_cannot_repeat_them() {
    let mut replica = counter();
    replica.txn_as(session(2, 1), add_one()).unwrap();
    replica.log_time_ms += REMEMBERED_MS_MIN / 2;
    replica.txn_as(session(3, 1), add_one()).unwrap();
    replica.log_time_ms += REMEMBERED_MS_MIN / 2;
    replica.txn(add_one());
    assert_eq!(replica.count(Space::Replies), 1, "only the older went");
    for sequence in [1, 2] {
        assert_eq!(replica.txn_as(session(sequence, 1), add_one()), Err(FailureReason::ExpiredId));
    }
    assert!(replica.txn_as(session(3, 1), add_one()).unwrap().remembered);
    assert!(replica.txn_as(session(4, 1), add_one()).unwrap().success);
}

#[test]
fn an_attempt_below_what_grew_old_is_answered_and_leaves_no_session() {
    let mut replica = counter();
    replica.txn_as(session(6, 1), add_one()).unwrap();
    replica.log_time_ms += REMEMBERED_MS_MIN;
    let failing = Txn::new().guard_absent("k").put("k", 1, "{}");
    assert!(!replica.txn_as(session(5, 1), failing).unwrap().success);
    let again = Identity::session([9; 16], 5, 5, 1, 2, D);
    assert!(replica.txn_as(again.clone(), add_one()).unwrap().success);
    assert!(replica.txn_as(again, add_one()).unwrap().remembered);
    assert_eq!(value(&replica), "{\"n\":2}");
    replica.log_time_ms += REMEMBERED_MS_MIN;
    replica.txn(add_one());
    assert_eq!(replica.count(Space::Sessions), 0);
}

#[test]
fn at_most_a_few_answers_are_dropped_by_one_entry() {
    let mut replica = counter();
    for n in 0..10 {
        replica.txn_as(user(&format!("r{n}"), 1), add_one()).unwrap();
    }
    replica.log_time_ms += REMEMBERED_MS_MIN;
    for left in [6, 2, 0, 0] {
        replica.txn(add_one());
        assert_eq!((replica.count(Space::Replies), replica.state().remembered_count), (left, left as u64));
    }
    assert_eq!(replica.state().remembered_bytes, 0);
}

#[test]
fn an_answer_too_large_to_remember_is_remembered_without_its_data() {
    let mut replica = fresh();
    replica.txn(Txn::new().put("big", 1, vec![b'x'; REMEMBERED_RESPONSE_BYTES_MAX + 1]));
    let read = || Txn::new().get("big");
    let first = replica.txn_as(user("r", 1), read()).unwrap();
    assert!(
        !first.trimmed
            && first.results[0].record.as_ref().unwrap().data.len() > REMEMBERED_RESPONSE_BYTES_MAX
    );
    let again = replica.txn_as(user("r", 1), read()).unwrap();
    assert!(again.success && again.remembered && again.trimmed);
    let record = again.results[0].record.as_ref().unwrap();
    assert_eq!((record.version, record.data.len(), again.position), (1, 0, first.position));

    let many = (0..1_000).fold(Txn::new(), |txn, n| txn.put(format!("{n:0200}"), 1, "x"));
    assert_eq!(replica.txn_as(user("m", 1), many.clone()).unwrap().results.len(), 1_000);
    let again = replica.txn_as(user("m", 1), many).unwrap();
    assert!(again.success && again.trimmed && again.results.is_empty());
    let guards = (0..1_000).fold(Txn::new(), |txn, n| txn.guard_absent(format!("{n:0200}")));
    assert_eq!(replica.txn_as(user("g", 1), guards.clone()).unwrap().failed.len(), 1_000);
    let again = replica.txn_as(user("g", 1), guards).unwrap();
    assert!(!again.success && again.trimmed && again.failed.len() == 64);
}

#[test]
fn answers_are_bounded_in_bytes() {
    let mut replica = fresh();
    replica.txn(Txn::new().put("big", 1, vec![b'x'; 60_000]));
    let limit = store_db::limits::REMEMBERED_BYTES_MAX;
    for n in 0..limit / 60_000 + 20 {
        replica.txn_as(made(&format!("r{n}"), replica.log_time_ms), Txn::new().get("big")).unwrap();
        replica.log_time_ms += 1;
    }
    let state = replica.state();
    assert!(state.remembered_bytes <= limit && state.remembered_bytes > limit - 200_000);
    assert_eq!(state.remembered_count, replica.count(Space::Replies) as u64);
    let first = made("r0", 1_000_000);
    assert_eq!(replica.txn_as(first, Txn::new().get("big")), Err(FailureReason::ExpiredId));
}

#[test]
fn a_batch_that_came_to_nothing_leaves_no_sequence_used() {
    let mut replica = counter();
    replica.txn_as(session(1, 1), add_one()).unwrap();
    // It ends in its middle, at an entry of a later release.
    let next = entry(1, replica.offset + 1, replica.log_time_ms, txn_kind(add_one(), Some(session(2, 1))));
    let later = Kind::RaiseVersion(RaiseVersion { version: u32::MAX });
    let later = entry(1, replica.offset + 2, replica.log_time_ms, later);
    assert!(replica.table.write(|write| apply(write, &mut replica.recent, &[next, later])).is_err());
    // Or it is not kept.
    let kind = txn_kind(add_one(), Some(session(2, 1)));
    let next = entry(1, replica.offset + 1, replica.log_time_ms, kind);
    let failed = replica.table.write(|write| {
        let replies = apply(write, &mut replica.recent, &[next])?;
        assert!(matches!(&replies[0], Reply::Txn(ran) if ran.success && !ran.remembered), "{replies:?}");
        Err::<(), _>(Error::AlreadyOpen { path: "any error".into() })
    });
    assert!(failed.is_err());
    let ran = replica.txn_as(session(2, 1), add_one()).unwrap();
    assert!(ran.success && !ran.remembered);
    assert_eq!(value(&replica), "{\"n\":2}");
}

#[test]
fn a_session_of_many_sequences_is_as_right_as_one_of_few() {
    let mut replica = counter();
    for sequence in 1..=1_500 {
        assert!(!replica.txn_as(session(sequence, 1), add_one()).unwrap().remembered);
    }
    for sequence in [1, 700, 1_500] {
        assert!(replica.txn_as(session(sequence, 1), add_one()).unwrap().remembered);
    }
    assert_eq!(value(&replica), "{\"n\":1500}");
    // It gives most of them up; some go with each of its writes.
    for sequence in 1_501..1_600 {
        assert!(!replica.txn_as(session(sequence, 1_490), add_one()).unwrap().remembered);
    }
    assert_eq!(replica.txn_as(session(1_489, 1), add_one()), Err(FailureReason::ExpiredId));
    assert!(replica.txn_as(session(1_490, 1_490), add_one()).unwrap().remembered);
    assert_eq!(replica.state().remembered_count, 110);
}
