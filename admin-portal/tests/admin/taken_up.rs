//! Deletions with cascade whose portal died: another portal finds them, and ends them once, without anybody asking.

use std::num::NonZeroUsize;
use std::sync::Arc;

use portal::attempt::Request;
use portal::cache::Capacity;
use portal::deletion::{Doomed, LEASE_MS, NOTES, Watched, Work};
use portal::document::client::ClientRecord;
use portal::document::order::Phase;
use portal::handle::Bounds;
use portal::id::{Cid, Oid, Pid};
use portal::{Error, Portal, key};
use proto::portal::{
    DeleteClientRequest, DeleteProductRequest, ListEventsRequest, RequestId, StaffSettleRequest,
};
use proto::store::{Freshness, KeyRecord, Record, Txn};
use store_client::{Range, Store, now_ms};
use store_engine::memory::{Fault, MemoryStore};

use crate::fixture::{Fixture, answer};

fn capacity() -> Capacity {
    Capacity { entries: NonZeroUsize::new(100).unwrap(), bytes: 1 << 20 }
}

fn timed(id: &str) -> Option<RequestId> {
    Some(RequestId { id: id.to_owned(), created_ms: now_ms() })
}

fn deleting_client(request: Option<RequestId>) -> DeleteClientRequest {
    DeleteClientRequest { cid: "ana".to_owned(), cascade: true, request, ..DeleteClientRequest::default() }
}

fn deleting_product(request: Option<RequestId>) -> DeleteProductRequest {
    DeleteProductRequest { pid: "a".to_owned(), cascade: true, request, ..DeleteProductRequest::default() }
}

fn ana() -> Doomed {
    Doomed::Client(Cid::parse("cid", "ana").unwrap())
}

fn product_a() -> Doomed {
    Doomed::Product(Pid::parse("pid", "a").unwrap())
}

async fn notes(store: &MemoryStore) -> Vec<KeyRecord> {
    store.scan(Range::Prefix(NOTES.into()), 10, None, Freshness::linearizable()).await.unwrap().records
}

/// Writes a note as if it had been touched long ago.
async fn left_long_ago(store: &MemoryStore, doomed: &Doomed) {
    left_at(store, doomed, 1).await;
}

/// Writes a note as if it had been touched then.
async fn left_at(store: &MemoryStore, doomed: &Doomed, ms: i64) {
    let there = notes(store).await;
    let note = there.iter().find(|one| one.key == doomed.note()).unwrap();
    let text = String::from_utf8(note.record.as_ref().unwrap().data.to_vec()).unwrap();
    let (before, rest) = text.split_once("\"touched_ms\":").unwrap();
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let text = format!("{before}\"touched_ms\":{ms}{rest}");
    assert!(store.txn(Txn::new().put(note.key.clone(), 1, text), None).await.unwrap().success);
}

/// Takes a note up, by a portal that sees it for the first time.
async fn take_up(portal: &Portal, note: &KeyRecord) -> Result<Option<Work>, Error> {
    portal.take_up(note, &mut Watched::default()).await
}

/// A shop with orders of `ana` of both products, and the deletion of `ana` and of `a` begun by a portal that came no further.
async fn cut_off(orders: u32) -> (MemoryStore, Vec<Oid>) {
    let store = MemoryStore::new().raised();
    let fixture = Fixture::over(store.clone(), 1_000).await;
    for cid in ["ana", "bia"] {
        fixture.insert_client(cid).await;
    }
    for pid in ["a", "b"] {
        fixture.insert_product(pid, 10_000).await;
    }
    let mut oids = Vec::new();
    for number in 0..orders {
        oids.push(fixture.order("ana", number, &[("b", 2)]).await);
        fixture.order("bia", number, &[("a", 3), ("b", 1)]).await;
    }
    // Each is read and closed; then the store is away for it.
    for _ in 0..2 {
        fixture.store.plan(None);
    }
    fixture.store.plan(Some(Fault::Refuse));
    answer(fixture.admin().delete_client(deleting_client(timed("r1"))).await).unwrap_err();
    for _ in 0..2 {
        fixture.store.plan(None);
    }
    fixture.store.plan(Some(Fault::Refuse));
    answer(fixture.admin().delete_product(deleting_product(timed("r2"))).await).unwrap_err();
    assert_eq!(notes(&store).await.len(), 2, "both are noted");
    (store, oids)
}

/// What was done, by what its events say of these.
async fn done(fixture: &Fixture, did: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let asked = ListEventsRequest { after, limit: 1_000, ..ListEventsRequest::default() };
        let page = answer(fixture.admin().list_events(asked).await).unwrap();
        found.extend(page.events.into_iter().filter(|event| event.did == did).map(|event| event.id));
        after = page.next;
        if !page.more {
            found.sort();
            return found;
        }
    }
}

async fn settled(fixture: &Fixture, asked: StaffSettleRequest) -> String {
    answer(fixture.admin().settle(asked).await).unwrap().outcome
}

fn of_client(id: &str) -> StaffSettleRequest {
    StaffSettleRequest { cid: "ana".into(), request: timed(id), ..StaffSettleRequest::default() }
}

fn of_product(id: &str) -> StaffSettleRequest {
    StaffSettleRequest { pid: "a".into(), request: timed(id), ..StaffSettleRequest::default() }
}

#[tokio::test]
async fn what_a_portal_left_is_ended_once_by_others_under_the_request_that_began_it() {
    let (store, oids) = cut_off(230).await;
    left_long_ago(&store, &ana()).await;
    left_long_ago(&store, &product_a()).await;
    // Two at once.
    let (one, other) = (Fixture::keeping(store.clone()).await, Fixture::keeping(store.clone()).await);
    one.until("both deletions have come to their ends", async || {
        notes(&store).await.is_empty().then_some(())
    })
    .await;
    for doomed in [ana(), product_a()] {
        let left = one.record(doomed.record()).await;
        let is_there = left.is_some_and(|record| ClientRecord::registers(&doomed.record(), &record));
        assert!(!is_there, "{doomed:?}");
    }
    for oid in &oids {
        assert_eq!(one.order_of("ana", oid).await.phase, Phase::Cancelled);
    }
    assert!(one.stock("a").await.is_none());
    let stock = one.stock("b").await.unwrap();
    assert!(stock.is_conserved() && (stock.held, stock.open_orders) == (230, 230), "{stock:?}");
    assert_eq!(done(&one, "deleted").await, ["a", "ana"]);
    let mut cancelled: Vec<String> = oids.iter().map(ToString::to_string).collect();
    cancelled.sort();
    assert_eq!(done(&one, "cancelled").await, cancelled, "each once");
    assert_eq!(settled(&other, of_client("r1")).await, "done");
    assert_eq!(settled(&other, of_product("r2")).await, "done");
    let again = answer(one.admin().delete_client(deleting_client(timed("r1"))).await).unwrap();
    assert!(again.continued && again.data == "{}", "{again:?}");
}

#[tokio::test]
async fn a_deletion_that_somebody_works_on_is_taken_up_by_nobody_and_one_that_nobody_does_by_one() {
    let (store, _) = cut_off(1).await;
    let note = async || notes(&store).await.into_iter().find(|one| one.key == ana().note()).unwrap();
    let portal = |name| Portal::new(name, Arc::new(store.clone()), capacity(), 1_000);
    let (one, other) = (portal("one"), portal("other"));
    assert!(take_up(&one, &note().await).await.unwrap().is_none(), "it was begun just now");
    left_long_ago(&store, &ana()).await;
    let seen = note().await;
    let (first, second) = futures::join!(take_up(&one, &seen), take_up(&other, &seen));
    let taken: Vec<_> = [first.unwrap(), second.unwrap()].into_iter().flatten().collect();
    assert_eq!(taken.len(), 1, "two who look at the same moment");
    assert!(take_up(&other, &note().await).await.unwrap().is_none(), "it has a worker again");
    let begun = taken.into_iter().next().unwrap();
    assert_eq!((begun.request.named().0, &begun.doomed), ("r1", &ana()));
    // Of a note that was touched meanwhile nobody takes an older version.
    assert!(take_up(&one, &seen).await.unwrap().is_none());
}

#[tokio::test]
async fn what_was_settled_as_begun_is_ended_all_the_same() {
    let (store, _) = cut_off(3).await;
    let fixture = Fixture::over(store.clone(), 1_000).await;
    assert_eq!(settled(&fixture, of_client("r1")).await, "begun");
    assert_eq!(settled(&fixture, of_product("r2")).await, "begun");
    left_long_ago(&store, &ana()).await;
    left_long_ago(&store, &product_a()).await;
    let keeping = Fixture::keeping(store.clone()).await;
    keeping
        .until("both deletions have come to their ends", async || {
            notes(&store).await.is_empty().then_some(())
        })
        .await;
    assert_eq!(done(&keeping, "deleted").await, ["a", "ana"]);
    assert_eq!(settled(&keeping, of_client("r1")).await, "begun", "under that id it never will be");
}

#[tokio::test]
async fn a_note_goes_with_the_last_step_and_one_of_what_is_not_being_deleted_goes_by_itself() {
    let (store, _) = cut_off(1).await;
    let fixture = Fixture::over(store.clone(), 1_000).await;
    // Ended by another request, and then inserted anew.
    answer(fixture.admin().delete_client(deleting_client(timed("r3"))).await).unwrap();
    answer(fixture.admin().delete_product(deleting_product(timed("r4"))).await).unwrap();
    assert_eq!(notes(&store).await, []);
    fixture.insert_product("a", 5).await;
    let request = Request::again("r9", 0, [7; 16]);
    let nobody = Doomed::Client(Cid::parse("cid", "nobody").unwrap());
    for doomed in [product_a(), nobody] {
        let put = doomed.noted(Txn::new(), &request, 1);
        assert!(store.txn(put, None).await.unwrap().success);
        left_long_ago(&store, &doomed).await;
    }
    // What no portal wrote keeps none from being looked at.
    let odd = Txn::new().put("d/c/nonsense", 1, "{}");
    assert!(store.txn(odd, None).await.unwrap().success);
    let keeping = Fixture::keeping(store.clone()).await;
    keeping.until("the notes are gone", async || (notes(&store).await.len() == 1).then_some(())).await;
    assert!(keeping.stock("a").await.is_some(), "what is sold is not touched");
}

#[tokio::test]
async fn who_finds_his_deletion_taken_up_says_that_others_may_have_done_some_of_it() {
    let store = MemoryStore::new().raised();
    let portal = Portal::new("one", Arc::new(store.clone()), capacity(), 1_000);
    let at = key::client(&Cid::parse("cid", "ana").unwrap());
    let put = ana().noted(Txn::new().put(at, 1, "{}"), &Request::again("r1", 0, [7; 16]), 1);
    let begun = store.txn(put, None).await.unwrap();
    left_long_ago(&store, &ana()).await;
    let note = notes(&store).await.remove(0);
    let offset = note.record.as_ref().map(Record::offset).unwrap();
    assert!(offset > begun.offset());
    let mut first = take_up(&portal, &note).await.unwrap().unwrap();
    first.touch(&portal).await.unwrap();
    assert!(!first.is_shared);
    left_long_ago(&store, &ana()).await;
    let second = take_up(&portal, &notes(&store).await.remove(0)).await.unwrap();
    assert!(second.is_some());
    // He who lost it takes nothing of the other's away, and knows it when he is to say that he is still there.
    first.end(&portal, None).await.unwrap();
    assert_eq!(notes(&store).await.len(), 1);
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    first.touch(&portal).await.unwrap();
    assert!(first.is_shared);
}

#[tokio::test]
async fn a_portal_whose_clock_is_behind_takes_up_what_it_has_seen_unchanged_for_the_time_of_a_lease() {
    let store = MemoryStore::new().raised();
    let bounds = Bounds { clock_off_ms: -3_600_000, ..Bounds::default() };
    let behind = Portal::limited("behind", Arc::new(store.clone()), capacity(), bounds);
    let put = ana().noted(Txn::new(), &Request::again("r1", 0, [7; 16]), 1);
    assert!(store.txn(put, None).await.unwrap().success);
    let lease = std::time::Duration::from_millis(LEASE_MS.unsigned_abs());
    let long_ago_ms = now_ms() - 2 * LEASE_MS;
    let mut watched = Watched::default();
    let mut note = notes(&store).await.remove(0);
    tokio::time::pause();
    for touched in [0, 1] {
        // Its time begins anew with each version.
        left_at(&store, &ana(), long_ago_ms + touched).await;
        note = notes(&store).await.remove(0);
        assert!(behind.take_up(&note, &mut watched).await.unwrap().is_none(), "by its clock it is too early");
        tokio::time::advance(lease / 2).await;
        assert!(behind.take_up(&note, &mut watched).await.unwrap().is_none(), "it may be touched yet");
    }
    tokio::time::advance(lease / 2).await;
    let taken = behind.take_up(&note, &mut watched).await.unwrap();
    assert_eq!(taken.expect("nobody works on it").doomed, ana());
    // The guard in the store decides: by the log's time this one was touched just now.
    let behind = Portal::limited("another", Arc::new(store.clone()), capacity(), bounds);
    left_at(&store, &ana(), now_ms()).await;
    let note = notes(&store).await.remove(0);
    assert!(behind.take_up(&note, &mut watched).await.unwrap().is_none());
    tokio::time::advance(lease).await;
    assert!(behind.take_up(&note, &mut watched).await.unwrap().is_none());
}

/// Between the first step and the last, within a page, where nobody touches the note.
#[tokio::test]
async fn a_deletion_that_was_taken_up_within_a_page_says_that_others_may_have_done_some_of_it() {
    for is_taken_up in [false, true] {
        let store = MemoryStore::new().raised();
        let fixture = Fixture::over(store.clone(), 1_000).await;
        fixture.insert_client("ana").await;
        fixture.insert_product("a", 10).await;
        fixture.order("ana", 1, &[("a", 2)]).await;
        fixture.order("ana", 2, &[("a", 2)]).await;
        for (doomed, request) in [(ana(), "r1"), (product_a(), "r2")] {
            // It is read and closed, and its orders are listed after a while.
            for _ in 0..2 {
                store.plan(None);
            }
            store.plan(Some(Fault::DelayBefore(std::time::Duration::from_millis(1))));
            let mut admin = fixture.admin();
            let deletion = async {
                match &doomed {
                    Doomed::Client(_) => answer(admin.delete_client(deleting_client(timed(request))).await),
                    Doomed::Product(_) => {
                        answer(admin.delete_product(deleting_product(timed(request))).await)
                    }
                }
            };
            let other = async {
                while store.planned() > 0 {
                    tokio::task::yield_now().await;
                }
                if is_taken_up {
                    let portal = Portal::new("other", Arc::new(store.clone()), capacity(), 1_000);
                    left_long_ago(&store, &doomed).await;
                    let note = notes(&store).await.remove(0);
                    assert!(take_up(&portal, &note).await.unwrap().is_some());
                }
            };
            let (deleted, ()) = futures::join!(deletion, other);
            assert_eq!(deleted.unwrap().continued, is_taken_up, "{doomed:?}");
            assert_eq!(notes(&store).await, []);
        }
    }
}
