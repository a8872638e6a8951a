//! Deletions with cascade whose portal died: every admin portal looks for their notes ([`portal::deletion`]), about once a second and not in step,
//! takes up what nobody works on, and ends it under the request that began it.
//!
//! A request that was settled meanwhile has a closed id, and one that is older than what is remembered never runs again: the deletion ends all the same,
//! since what is closing takes nothing new, under an id of its own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portal::attempt::Request;
use portal::deletion::{Doomed, NOTES, Watched, Work};
use portal::document::State;
use portal::document::client::ClientRecord;
use portal::document::product::ProductRecord;
use portal::{Error, Portal};
use proto::portal::{DeleteClientRequest, DeleteProductRequest};
use store_client::Range;
use tokio::time::{Instant, sleep};

use crate::{delete_client, delete_product};

/// Between two rounds, on average: portals do not go in step.
const PERIOD_MS: u64 = 1_000;
/// Notes that one round looks at; the next goes on behind them.
const PAGE: u32 = 200;

/// A deletion that could not be ended is left alone for so long first, doubled each time, up to the hour.
const WAIT: Duration = Duration::from_secs(15);
const WAIT_MAX: Duration = Duration::from_secs(3_600);
/// Notes that are known as stuck at once.
const STUCK_MAX: usize = 10_000;

/// Notes of deletions that could not be ended.
#[derive(Debug, Default)]
struct Stuck {
    all: HashMap<Bytes, Left>,
    /// Those of the pass over all notes that is under way.
    seen: HashSet<Bytes>,
}

/// A deletion that is left alone for a while.
#[derive(Debug)]
struct Left {
    why: Error,
    wait: Duration,
    until: Instant,
}

impl Stuck {
    /// Whether it is to be left alone now.
    fn is_left(&mut self, key: &Bytes) -> bool {
        let Some(left) = self.all.get(key) else { return false };
        self.seen.insert(key.clone());
        Instant::now() < left.until
    }

    /// It could not be ended; whether that is news.
    fn failed(&mut self, key: &Bytes, why: Error) -> bool {
        let before = self.all.get(key);
        let is_news = before.is_none_or(|left| left.why != why);
        let wait = before.map_or(WAIT, |left| (2 * left.wait).min(WAIT_MAX));
        if before.is_some() || self.all.len() < STUCK_MAX {
            self.all.insert(key.clone(), Left { why, wait, until: Instant::now() + wait });
            self.seen.insert(key.clone());
        }
        is_news
    }

    /// All notes were looked at: those that are gone are forgotten.
    fn pass_over(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        self.all.retain(|key, _| seen.contains(key));
    }
}

/// What is known of the notes from round to round.
#[derive(Debug, Default)]
struct Known {
    watched: Watched,
    stuck: Stuck,
    /// The note that the last round ended with; `None`: a pass over all of them begins.
    after: Option<Bytes>,
}

/// Looks for such deletions until dropped.
pub(crate) async fn run(portal: Arc<Portal>) {
    let (mut known, mut told) = (Known::default(), None);
    loop {
        sleep(Duration::from_millis(fastrand::u64(PERIOD_MS / 2..=PERIOD_MS * 3 / 2))).await;
        let problem = round(&portal, &mut known).await.err();
        if problem != told {
            match &problem {
                Some(error) => tracing::warn!(%error, "deletions that were cut off cannot be looked for now"),
                None => tracing::info!("deletions that were cut off are looked for again"),
            }
            told = problem;
        }
    }
}

/// Goes over a page of notes.
async fn round(portal: &Portal, known: &mut Known) -> Result<(), Error> {
    portal.may_change().await?;
    let listed = portal.list(Range::Prefix(Bytes::from_static(NOTES)), PAGE, known.after.clone()).await?;
    for one in &listed.records {
        if known.stuck.is_left(&one.key) {
            continue;
        }
        let ended = match portal.take_up(one, &mut known.watched).await {
            Ok(Some(mut work)) => go_on(portal, &mut work).await,
            Ok(None) => continue,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => drop(known.stuck.all.remove(&one.key)),
            Err(error @ Error::Unavailable { .. }) => return Err(error),
            // It keeps no other from being looked at, and is told once.
            Err(error) => {
                if known.stuck.failed(&one.key, error.clone()) {
                    let key = String::from_utf8_lossy(&one.key);
                    tracing::warn!(%key, %error, "a deletion that was cut off cannot be ended");
                }
            }
        }
    }
    known.after = listed.records.last().filter(|_| listed.more).map(|one| one.key.clone());
    if known.after.is_none() {
        known.watched.pass_over();
        known.stuck.pass_over();
    }
    Ok(())
}

/// The version of what a note is of, and whether it is being deleted; `None`: it is not there.
async fn look(portal: &Portal, doomed: &Doomed) -> Result<Option<(u64, bool)>, Error> {
    let at = doomed.record();
    let Some(record) = portal.read_through(&at).await?.record else { return Ok(None) };
    let state = match doomed {
        Doomed::Client(_) => ClientRecord::read(&at, &record)?.state,
        Doomed::Product(_) => ProductRecord::read(&at, &record)?.state,
    };
    Ok(Some((record.offset(), state == State::Closing)))
}

/// Ends a deletion, unless what it is of is not being deleted any more.
async fn go_on(portal: &Portal, work: &mut Work) -> Result<(), Error> {
    let seen = look(portal, &work.doomed).await?;
    if !seen.is_some_and(|(_, is_closing)| is_closing) {
        return work.end(portal, seen.map(|(offset, _)| offset)).await;
    }
    let ended = match ended(portal, work, work.request.clone()).await {
        Err(Error::RequestClosed { .. } | Error::RequestExpired { .. } | Error::RequestReused { .. }) => {
            ended(portal, work, of_its_own(&work.doomed)?).await
        }
        ended => ended,
    };
    match ended {
        // Somebody else has ended it meanwhile, and perhaps inserted it anew.
        Err(error @ (Error::NotFound { .. } | Error::Gone { .. } | Error::Changed { .. })) => {
            match look(portal, &work.doomed).await? {
                Some((_, true)) => Err(error),
                seen => work.end(portal, seen.map(|(offset, _)| offset)).await,
            }
        }
        Err(error) => Err(error),
        Ok(()) => {
            tracing::info!(doomed = ?work.doomed, "a deletion that was cut off has come to its end");
            Ok(())
        }
    }
}

async fn ended(portal: &Portal, work: &mut Work, request: Request) -> Result<(), Error> {
    match work.doomed.clone() {
        Doomed::Client(cid) => delete_client::go_on(portal, &cid, work, request).await,
        Doomed::Product(pid) => delete_product::go_on(portal, &pid, work, request).await,
    }
}

/// A request that nobody has made.
fn of_its_own(doomed: &Doomed) -> Result<Request, Error> {
    match doomed {
        Doomed::Client(cid) => {
            let message = DeleteClientRequest { cid: cid.to_string(), cascade: true, ..Default::default() };
            Request::new("DeleteClient", None, &message)
        }
        Doomed::Product(pid) => {
            let message = DeleteProductRequest { pid: pid.to_string(), cascade: true, ..Default::default() };
            Request::new("DeleteProduct", None, &message)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use portal::cache::Capacity;
    use portal::document::order::{OrderRecord, Phase};
    use portal::id::{Cid, Oid, Pid};
    use portal::key;
    use proto::portal::{DeleteResponse, InsertClientRequest, InsertProductRequest, RequestId};
    use proto::store::{Freshness, KeyRecord, Txn};
    use store_client::{Store as _, now_ms};
    use store_engine::memory::{Fault, MemoryStore};
    use tokio::time::{advance, pause};

    use super::*;
    use crate::{clients, products};

    fn over(store: &MemoryStore) -> Arc<Portal> {
        let capacity = Capacity { entries: NonZeroUsize::MIN, bytes: 1 << 20 };
        Portal::new("one", Arc::new(store.clone()), capacity, 1_000)
    }

    fn ana() -> Doomed {
        Doomed::Client(Cid::parse("cid", "ana").expect("an id"))
    }

    fn fig() -> Doomed {
        Doomed::Product(Pid::parse("pid", "fig").expect("an id"))
    }

    async fn insert(portal: &Portal, doomed: &Doomed) {
        match doomed {
            Doomed::Client(cid) => {
                let input = InsertClientRequest { cid: cid.to_string(), data: "{}".into(), request: None };
                clients::insert_client(portal, input).await.expect("inserted");
            }
            Doomed::Product(pid) => {
                let data = r#"{"description":"Fig","price":"1","quantity":3}"#.to_owned();
                let input = InsertProductRequest { pid: pid.to_string(), data, request: None, rules: None };
                products::insert_product(portal, input).await.expect("inserted");
            }
        }
    }

    async fn delete(portal: &Portal, doomed: &Doomed, id: &str) -> Result<DeleteResponse, Error> {
        let request = Some(RequestId { id: id.to_owned(), created_ms: now_ms() });
        match doomed {
            Doomed::Client(cid) => {
                let input = DeleteClientRequest { cid: cid.to_string(), cascade: true, request, if_match: 0 };
                delete_client::delete_client(portal, input).await
            }
            Doomed::Product(pid) => {
                let input =
                    DeleteProductRequest { pid: pid.to_string(), cascade: true, request, if_match: 0 };
                delete_product::delete_product(portal, input).await
            }
        }
    }

    async fn notes(store: &MemoryStore) -> Vec<KeyRecord> {
        store
            .scan(Range::Prefix(NOTES.into()), 1_000, None, Freshness::linearizable())
            .await
            .expect("notes")
            .records
    }

    async fn put(store: &MemoryStore, txn: Txn) {
        assert!(store.txn(txn, None).await.expect("an answer").success);
    }

    /// Is there, and a deletion of it was begun and cut off; the work of whoever has taken that up.
    async fn cut_off(store: &MemoryStore, doomed: &Doomed) -> Work {
        let portal = over(store);
        insert(&portal, doomed).await;
        for fault in [None, None, Some(Fault::Refuse)] {
            store.plan(fault);
        }
        delete(&portal, doomed, "r1").await.expect_err("the store is away for it");
        let note = notes(store).await.remove(0);
        let record = note.record.expect("a note");
        let stored = portal::deletion::DeletionRecord::read(&note.key, &record.data).expect("a note");
        Work::begun(doomed.clone(), stored.asked(), record.offset())
    }

    /// From now on operations of the store pass, but for the last of these, which waits until another has gone on.
    fn wait_at(store: &MemoryStore, operation: usize) {
        (1..operation).for_each(|_| store.plan(None));
        store.plan(Some(Fault::DelayBefore(Duration::from_millis(1))));
    }

    async fn is_waiting(store: &MemoryStore) {
        while store.planned() > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// A client of whom an order is left is gone, and not absent.
    async fn leave_order(store: &MemoryStore) {
        let cid = Cid::parse("cid", "ana").expect("an id");
        let order = OrderRecord::new(Phase::Confirmed, Vec::new()).to_bytes();
        put(store, Txn::new().put(key::order(&cid, &Oid::derive(&cid, b"1")), 1, order)).await;
    }

    #[tokio::test]
    async fn what_somebody_else_ends_meanwhile_is_at_its_end() {
        for (doomed, is_anew, has_order) in [
            (ana(), false, false),
            (ana(), false, true),
            (ana(), true, false),
            (fig(), false, false),
            (fig(), true, false),
        ] {
            let store = MemoryStore::new().raised();
            let mut work = cut_off(&store, &doomed).await;
            if has_order {
                leave_order(&store).await;
            }
            let (one, other) = (over(&store), over(&store));
            // Behind its look at what is closing.
            wait_at(&store, 3);
            let meanwhile = async {
                is_waiting(&store).await;
                delete(&other, &doomed, "r3").await.expect("deleted");
                if is_anew {
                    insert(&other, &doomed).await;
                }
            };
            let (ended, ()) = futures::join!(go_on(&one, &mut work), meanwhile);
            assert_eq!(ended, Ok(()), "{doomed:?}, anew: {is_anew}, with an order: {has_order}");
            assert_eq!(notes(&store).await, []);
            assert_eq!(look(&one, &doomed).await.expect("read").is_some(), is_anew || has_order);
        }
    }

    #[tokio::test]
    async fn who_deletes_again_what_is_closing_is_not_told_that_it_was_never_there() {
        for (doomed, has_order) in [(ana(), false), (ana(), true), (fig(), false)] {
            let store = MemoryStore::new().raised();
            let mut work = cut_off(&store, &doomed).await;
            if has_order {
                leave_order(&store).await;
            }
            let (one, other) = (over(&store), over(&store));
            // Behind its first step, which finds it closing.
            wait_at(&store, 3);
            let meanwhile = async {
                is_waiting(&store).await;
                go_on(&other, &mut work).await.expect("ended");
            };
            let (deleted, ()) = futures::join!(delete(&one, &doomed, "r2"), meanwhile);
            let deleted = deleted.expect("it is deleted");
            assert!(deleted.continued && deleted.data == "{}", "{deleted:?}");
            // What was not there to begin with is told as such.
            let never = delete(&one, &doomed, "r4").await.expect_err("there is none");
            assert!(matches!(never, Error::NotFound { .. } | Error::Gone { .. }), "{never}");
        }
    }

    #[tokio::test]
    async fn the_note_of_what_cannot_be_read_stays_and_that_is_told() {
        for doomed in [ana(), fig()] {
            let store = MemoryStore::new().raised();
            let mut work = cut_off(&store, &doomed).await;
            put(&store, Txn::new().put(doomed.record(), 1, r#"{"state":"#)).await;
            let ended = go_on(&over(&store), &mut work).await;
            assert!(matches!(ended, Err(Error::Damaged { .. })), "{ended:?}");
            assert_eq!(notes(&store).await.len(), 1);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_ended_is_left_alone_for_longer_each_time_up_to_an_hour() {
        pause();
        let key = Bytes::from_static(b"d/c/{ana}");
        let why = || Error::damaged(b"d/c/{ana}", "so it is");
        let mut stuck = Stuck::default();
        assert!(!stuck.is_left(&key) && stuck.failed(&key, why()));
        let mut wait = WAIT;
        for _ in 0..12 {
            advance(wait - Duration::from_millis(1)).await;
            assert!(stuck.is_left(&key), "{wait:?}");
            advance(Duration::from_millis(1)).await;
            assert!(!stuck.is_left(&key), "{wait:?}");
            assert!(!stuck.failed(&key, why()), "it was told");
            wait = (2 * wait).min(WAIT_MAX);
        }
        assert_eq!(wait, WAIT_MAX);
        assert!(stuck.failed(&key, Error::damaged(b"d/c/{ana}", "and now so")));
    }

    #[tokio::test]
    async fn what_is_known_of_a_note_is_forgotten_when_it_is_gone_and_not_before() {
        let store = MemoryStore::new().raised();
        let portal = over(&store);
        let all = PAGE as usize + 1;
        for number in 0..all {
            put(&store, Txn::new().put(format!("d/c/nonsense{number:04}"), 1, "{}")).await;
        }
        let mut known = Known::default();
        for _ in 0..4 {
            round(&portal, &mut known).await.expect("looked at");
        }
        assert!(known.after.is_none());
        assert_eq!(known.stuck.all.len(), all);
        assert!(known.stuck.all.values().all(|left| left.wait == WAIT), "each was tried once");
        put(&store, Txn::new().delete("d/c/nonsense0000")).await;
        for _ in 0..2 {
            round(&portal, &mut known).await.expect("looked at");
        }
        assert_eq!(known.stuck.all.len(), all - 1);
    }
}
