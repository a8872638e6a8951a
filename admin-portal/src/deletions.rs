//! Deletions with cascade whose portal died: every admin portal looks for their notes ([`portal::deletion`]), about once a second and not in step,
//! takes up what nobody works on, and ends it under the request that began it.
//!
//! A request that was settled meanwhile has a closed id, and one that is older than what is remembered never runs again: the deletion ends all the same,
//! since what is closing takes nothing new, under an id of its own.

use std::collections::HashMap;
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
use tokio::time::sleep;

use crate::{delete_client, delete_product};

/// Between two rounds, on average: portals do not go in step.
const PERIOD_MS: u64 = 1_000;
/// Notes that one round looks at; the next goes on behind them.
const PAGE: u32 = 200;

/// Looks for such deletions until dropped.
pub(crate) async fn run(portal: Arc<Portal>) {
    let (mut after, mut told) = (None, None);
    let mut stuck = HashMap::new();
    let mut watched = Watched::default();
    loop {
        sleep(Duration::from_millis(fastrand::u64(PERIOD_MS / 2..=PERIOD_MS * 3 / 2))).await;
        let round = round(&portal, after.take(), &mut stuck, &mut watched).await;
        let problem = round.as_ref().err().cloned();
        if problem != told {
            match &problem {
                Some(error) => tracing::warn!(%error, "deletions that were cut off cannot be looked for now"),
                None => tracing::info!("deletions that were cut off are looked for again"),
            }
            told = problem;
        }
        after = round.unwrap_or_default();
    }
}

/// Goes over a page of notes; the last one's key, if there are more.
async fn round(
    portal: &Portal,
    after: Option<Bytes>,
    stuck: &mut HashMap<Bytes, Error>,
    watched: &mut Watched,
) -> Result<Option<Bytes>, Error> {
    portal.may_change().await?;
    let listed = portal.list(Range::Prefix(Bytes::from_static(NOTES)), PAGE, after).await?;
    stuck.retain(|at, _| listed.records.iter().any(|one| one.key == *at));
    for one in &listed.records {
        let ended = match portal.take_up(one, watched).await {
            Ok(Some(mut work)) => go_on(portal, &mut work).await,
            Ok(None) => continue,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => drop(stuck.remove(&one.key)),
            Err(error @ Error::Unavailable { .. }) => return Err(error),
            // It keeps no other from being looked at, and is told once.
            Err(error) if stuck.get(&one.key) == Some(&error) => {}
            Err(error) => {
                let key = String::from_utf8_lossy(&one.key);
                tracing::warn!(%key, %error, "a deletion that was cut off cannot be ended");
                stuck.insert(one.key.clone(), error);
            }
        }
    }
    if !listed.more {
        watched.pass_over();
    }
    Ok(listed.records.last().filter(|_| listed.more).map(|one| one.key.clone()))
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
}
