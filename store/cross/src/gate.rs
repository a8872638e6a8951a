//! Fairness among transactions that are in each other's way, before the log: whoever found locks in its way keeps younger ones out
//! of those keys until its next try, so that the oldest always gets through.
//!
//! Promises: nothing correct rests on it, only progress: what passes is still checked against the locks where it is applied. A
//! reservation ends by itself, so that nobody waits for one who has gone. An older request passes a younger one's reservation, so
//! that two that want each other's keys never wait for each other (wait-die: Rosenkrantz, Stearns and Lewis 1978, "System Level
//! Concurrency Control for Distributed Database Systems").
//! Leaves out: the locks themselves (`store_db::cross`), which know pointers; here a key is one thing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use proto::store::identity::Id;
use proto::store::operation::Action;
use proto::store::pipeline_request::Request;
use proto::store::pipeline_response::Response;
use proto::store::{FailureReason, Identity, PipelineRequest, Returning, Txn, TxnRequest};
use tokio::time::Instant;

/// How long a key is kept for whoever found it locked; tries come more often, at least every 64 ms and what a try takes.
const KEPT: Duration = Duration::from_millis(150);
/// Keys that are kept at once, at most: others are then left to chance.
const KEYS_MAX: usize = 16_384;

/// Whose a request is, oldest first; the same in all its tries.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Who {
    /// When it was made, milliseconds since 1970.
    pub began_ms: i64,
    /// Its id.
    pub request: Bytes,
}

impl Who {
    /// Whether it need not wait for another: it is the same request, or an older one.
    fn passes(&self, other: &Who) -> bool {
        self.request == other.request || self <= other
    }

    /// Of a request that has a name of its own. Whose clock is ahead is not younger than who comes now.
    pub fn named(identity: &Identity, now_ms: i64) -> Option<Who> {
        match &identity.id {
            Some(Id::User(user)) => {
                Some(Who { began_ms: user.created_ms.min(now_ms), request: user.id.clone() })
            }
            _ => None,
        }
    }
}

/// What a transaction does with a key: the strongest of it all. (Locks are finer, and know what in a record is looked at and added to.)
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Use {
    /// It looks.
    Shared,
    /// It adds, and does not tell what came of it.
    Increment,
    /// Anything else.
    Exclusive,
}

impl Use {
    fn goes_with(self, other: Use) -> bool {
        self == other && self != Use::Exclusive
    }
}

/// What a transaction does with each of its keys.
pub fn uses(txn: &Txn) -> HashMap<Bytes, Use> {
    let mut uses: HashMap<Bytes, Use> = HashMap::new();
    let mut note = |key: &Bytes, kind: Use| {
        uses.entry(key.clone()).and_modify(|known| *known = (*known).max(kind)).or_insert(kind);
    };
    txn.guards.iter().for_each(|guard| note(&guard.key, Use::Shared));
    for operation in &txn.operations {
        let kind = match &operation.action {
            Some(Action::Get(_)) => Use::Shared,
            Some(Action::Add(_)) if operation.returning() == Returning::Meta => Use::Increment,
            _ => Use::Exclusive,
        };
        note(&operation.key, kind);
    }
    uses
}

struct Reservation {
    who: Who,
    kind: Use,
    until: Instant,
}

/// The reservations of one group's leader.
#[derive(Default)]
pub struct Gate {
    kept: Mutex<HashMap<Bytes, Reservation>>,
    /// How many, for who only wants to know that there are none.
    count: AtomicUsize,
    /// The group stands still for a consistent view of all groups.
    is_still: AtomicBool,
}

impl Gate {
    /// Whether a request may go on: nobody older keeps one of its keys for something that does not go with it.
    pub fn admits(&self, who: Option<&Who>, txn: &Txn) -> bool {
        if self.is_open() {
            return true;
        }
        let now = Instant::now();
        let mut kept = self.kept.lock();
        if kept.values().all(|one| one.until <= now) {
            kept.clear();
            self.count.store(0, Ordering::Relaxed);
            return true;
        }
        let passes = |key: &Bytes, kind: Use| {
            kept.get(key).is_none_or(|one| {
                one.until <= now || one.kind.goes_with(kind) || who.is_some_and(|who| who.passes(&one.who))
            })
        };
        uses(txn).iter().all(|(key, kind)| passes(key, *kind))
    }

    /// A request found some of its keys locked: all are kept for its next try. Others' adds to what it adds to pass at first, since most
    /// keys have enough for all. They do not once it is in the way of something again: then they may be what it waits for (nearly
    /// nothing is left, and some may give theirs back), and while more come, it never gets in.
    pub fn keep(&self, who: &Who, txn: &Txn) {
        let now = Instant::now();
        let mut kept = self.kept.lock();
        kept.retain(|_, one| one.until > now);
        for (key, kind) in uses(txn) {
            let is_again = kept.get(&key).is_some_and(|one| one.who.request == who.request);
            let kind = if kind == Use::Increment && is_again { Use::Exclusive } else { kind };
            let is_free = kept.get(&key).is_none_or(|one| who.passes(&one.who));
            if is_free && (kept.len() < KEYS_MAX || kept.contains_key(&key)) {
                kept.insert(key, Reservation { who: who.clone(), kind, until: now + KEPT });
            }
        }
        self.count.store(kept.len(), Ordering::Relaxed);
    }

    /// A request is through, or needs nothing any more.
    pub fn release(&self, who: &Who) {
        if self.is_open() {
            return;
        }
        let mut kept = self.kept.lock();
        kept.retain(|_, one| one.who.request != who.request);
        self.count.store(kept.len(), Ordering::Relaxed);
    }

    /// The group stands still, or goes on.
    pub fn stand_still(&self, is_still: bool) {
        self.is_still.store(is_still, Ordering::Relaxed);
    }

    /// Whether the group stands still. What passes a moment too early is refused where it is applied.
    pub fn is_still(&self) -> bool {
        self.is_still.load(Ordering::Relaxed)
    }

    /// Whether nothing is kept.
    pub fn is_open(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }
}

/// Whether a request was answered that a transaction over several groups is in its way.
#[must_use]
pub fn is_locked(response: &Response) -> bool {
    matches!(response, Response::Failure(failure) if failure.reason() == FailureReason::Locked)
}

/// The named writes under way on one stream, by their numbers: what they do, in case they find their keys locked.
#[derive(Default)]
pub struct Named(HashMap<u64, (Who, Txn)>);

impl Named {
    /// A request has come.
    pub fn note(&mut self, request: &PipelineRequest, now_ms: i64) {
        let Some(Request::Txn(TxnRequest { txn: Some(txn), identity: Some(identity), .. })) =
            &request.request
        else {
            return;
        };
        if let Some(who) = Who::named(identity, now_ms) {
            self.0.insert(request.number, (who, txn.clone()));
        }
    }

    /// It was refused before it was tried.
    pub fn forget(&mut self, number: u64) {
        self.0.remove(&number);
    }

    /// It found its keys locked, or is through.
    pub fn tried(&mut self, number: u64, response: &Response, gate: &Gate) {
        let Some((who, txn)) = self.0.remove(&number) else { return };
        if is_locked(response) {
            gate.keep(&who, &txn);
        } else {
            gate.release(&who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(began_ms: i64) -> Who {
        Who { began_ms, request: Bytes::from(began_ms.to_string()) }
    }

    fn put() -> Txn {
        Txn::new().put("k", 1, "x")
    }

    fn add() -> Txn {
        Txn::new().guard_exists("other").add("k", 1, "/n", 1, None)
    }

    fn look() -> Txn {
        Txn::new().guard_exists("k").put("elsewhere", 1, "x")
    }

    #[test]
    fn younger_ones_wait_for_who_found_a_lock_and_older_ones_pass() {
        let gate = Gate::default();
        assert!(gate.is_open() && gate.admits(None, &put()));
        gate.keep(&who(5), &put());
        for waits in [&add(), &look(), &put()] {
            assert!(!gate.admits(Some(&who(6)), waits) && !gate.admits(None, waits));
            assert!(gate.admits(Some(&who(5)), waits) && gate.admits(Some(&who(4)), waits));
        }
        assert!(gate.admits(None, &Txn::new().put("another", 1, "x")));
        // An older one takes the place, a younger one does not.
        gate.keep(&who(7), &put());
        gate.release(&who(7));
        assert!(!gate.admits(None, &put()));
        gate.keep(&who(3), &put());
        gate.release(&who(5));
        assert!(!gate.admits(Some(&who(4)), &put()));
        gate.release(&who(3));
        assert!(gate.is_open());
    }

    #[test]
    fn whose_clock_is_ahead_is_not_younger_than_who_comes_now() {
        let user = |created_ms| proto::store::UserRequest { created_ms, id: Bytes::from_static(b"ahead") };
        let identity = |created_ms| Identity { id: Some(Id::User(user(created_ms))), ..Identity::default() };
        let named = |created_ms| Who::named(&identity(created_ms), 100).expect("it has a name");
        assert_eq!((named(90).began_ms, named(9_000).began_ms), (90, 100));
        // It is the same request at its next try, though it is younger then.
        let gate = Gate::default();
        gate.keep(&named(9_000), &put());
        let later = Who::named(&identity(9_000), 130).expect("it has a name");
        assert!(gate.admits(Some(&later), &put()) && !gate.admits(Some(&who(130)), &put()));
        gate.release(&later);
        assert!(gate.is_open());
    }

    #[test]
    fn what_goes_together_waits_only_for_an_add_that_was_locked_twice() {
        let gate = Gate::default();
        gate.keep(&who(5), &add());
        assert!(gate.admits(None, &add()) && !gate.admits(None, &look()) && !gate.admits(None, &put()));
        gate.keep(&who(5), &add());
        for waits in [&add(), &look(), &put()] {
            assert!(!gate.admits(Some(&who(6)), waits) && gate.admits(Some(&who(5)), waits));
        }
        gate.release(&who(5));
        gate.keep(&who(5), &look());
        gate.keep(&who(5), &look());
        let another = Txn::new().guard_exists("k").get("k");
        assert!(gate.admits(None, &another) && !gate.admits(None, &add()));
        let told = Txn::new().add("k", 1, "/n", 1, None).returning_after();
        assert_eq!(uses(&told)[&Bytes::from("k")], Use::Exclusive, "who adds and is told has seen it");
        let orders = look().add("k", 1, "/n", 1, None);
        assert_eq!(
            uses(&orders)[&Bytes::from("k")],
            Use::Increment,
            "what it looks at is not what it adds to"
        );
    }

    #[test]
    fn nobody_waits_for_one_who_has_gone() {
        let gate = Gate::default();
        gate.keep(&who(5), &put());
        gate.kept.lock().values_mut().for_each(|one| one.until = Instant::now());
        assert!(gate.admits(None, &put()));
        gate.keep(&who(9), &Txn::new().put("another", 1, "x"));
        assert_eq!(gate.kept.lock().len(), 1, "it is cleared away");
    }
}
