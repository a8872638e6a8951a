//! The listing of orders that earlier versions left without a row ([`crate::order_row`]).
//!
//! Every change of an order moves its row, so only orders that nobody has changed since then lack one. They are looked through once, page
//! by page; each that lacks its row gets it in a transaction that guards the order's version. If the order has changed meanwhile,
//! that change has listed it. Rows that are no order's are removed. A run that is interrupted begins anew, and finds less to do; several portals may do it at once.
//!
//! Leaves out orders that portals of earlier programs write after the run: such portals are stopped before (docs/OPERATIONS.md), and
//! `feira audit` finds what they have left, and `feira admin reindex` has it mended: it has the listing done again.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use proto::store::{Freshness, KeyRecord, Txn};
use store_client::Range;
use tokio::time::sleep;

use crate::attempt::send_step;
use crate::document::order::OrderRecord;
use crate::error::Error;
use crate::handle::Portal;
use crate::key;
use crate::limits::SWEEP_PARALLEL;
use crate::order_row::{OrderRow, Place, ROWS};

/// Orders of one page.
const PAGE: u32 = 200;
/// Between two pages: the shop sells on meanwhile.
const PAUSE: Duration = Duration::from_millis(20);
/// So often in a row a page may fail.
const FAILURES_MAX: u32 = 30;

/// Gives every order its row, and takes away rows that are no order's.
///
/// # Errors
/// UNAVAILABLE: the store cannot be used, for longer than is waited.
pub async fn list_all(portal: &Portal) -> Result<(), Error> {
    let listed = each(portal, key::orders(), list).await?;
    let removed = each(portal, Bytes::from_static(ROWS.as_bytes()), remove).await?;
    if listed + removed > 0 {
        tracing::info!(listed, removed, "every order is in the list by time now");
    }
    Ok(())
}

/// Does the same to all records whose keys begin so; how many it changed. A page that could not be done is tried again, a while.
async fn each<F: Future<Output = Result<bool, Error>>>(
    portal: &Portal,
    prefix: Bytes,
    step: impl Fn(Portal, KeyRecord) -> F,
) -> Result<u64, Error> {
    let (mut after, mut changed, mut failed) = (None::<Bytes>, 0, 0);
    loop {
        match page_of(portal, &prefix, after.clone(), &step).await {
            Ok((last, more, count)) => {
                (after, failed) = (last, 0);
                changed += count;
                if !more {
                    return Ok(changed);
                }
            }
            Err(error) if failed == FAILURES_MAX => return Err(error),
            Err(_) => failed += 1,
        }
        sleep(PAUSE * (1 + 10 * failed)).await;
    }
}

/// One page: the last key of it, whether there are more behind it, and how many records were changed.
async fn page_of<F: Future<Output = Result<bool, Error>>>(
    portal: &Portal,
    prefix: &Bytes,
    after: Option<Bytes>,
    step: &impl Fn(Portal, KeyRecord) -> F,
) -> Result<(Option<Bytes>, bool, u64), Error> {
    let page = portal.list(Range::Prefix(prefix.clone()), PAGE, after).await?;
    let last = page.records.last().map(|one| one.key.clone());
    let steps = page.records.into_iter().map(|one| step(portal.again(), one));
    let done: Vec<bool> = stream::iter(steps).buffer_unordered(SWEEP_PARALLEL).try_collect().await?;
    Ok((last, page.more, done.into_iter().filter(|done| *done).count() as u64))
}

/// Gives one order its row; true: it had none.
async fn list(portal: Portal, one: KeyRecord) -> Result<bool, Error> {
    let Some(record) = &one.record else { return Ok(false) };
    let named = key::order_in(&one.key);
    let (Some((cid, oid)), Ok(order)) = (named, OrderRecord::read(&one.key, record)) else {
        let key = String::from_utf8_lossy(&one.key);
        tracing::warn!(%key, "a damaged order is left out of the list by time");
        return Ok(false);
    };
    let row = Place::of(order.phase, record.timestamp_ms, &cid, &oid).key();
    if portal.store().get(row.clone(), Freshness::linearizable()).await?.record.is_some() {
        return Ok(false);
    }
    let data = OrderRow::of_stored(&order, record).to_bytes();
    let txn = Txn::new().guard_offset(one.key.clone(), record.offset()).guard_absent(row.clone());
    let answer = send_step(&portal, txn.put(row, record.timestamp_ms, data)).await?;
    Ok(answer.success)
}

/// Removes a row that is not where its order's is, unless the order is changed meanwhile; true: it was removed. Earlier programs leave
/// such when they change an order that has its row.
async fn remove(portal: Portal, one: KeyRecord) -> Result<bool, Error> {
    let Some(place) = Place::parse(&one.key) else { return Ok(false) };
    let at = key::order(&place.cid, &place.oid);
    let record = portal.read_through(&at).await?.record;
    let txn = match &record {
        None => Txn::new().guard_absent(at),
        Some(record) => {
            let Ok(order) = OrderRecord::read(&at, record) else { return Ok(false) };
            if Place::of(order.phase, record.timestamp_ms, &place.cid, &place.oid) == place {
                return Ok(false);
            }
            Txn::new().guard_offset(at, record.offset())
        }
    };
    Ok(send_step(&portal, txn.delete(one.key)).await?.success)
}
