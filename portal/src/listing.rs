//! The listing of orders that earlier versions left without a row ([`crate::order_row`]).
//!
//! Every change of an order moves its row, so only orders that nobody has changed since then lack one. They are looked through once, page
//! by page; each that lacks its row gets it in a transaction that guards the order's version. If the order has changed meanwhile,
//! that change has listed it. A run that is interrupted begins anew, and finds less to do; several portals may do it at once.
//!
//! Leaves out orders that portals of earlier programs write after the run: such portals are stopped before (docs/OPERATIONS.md), and
//! `feira audit` finds what they have left.

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
use crate::order_row::{OrderRow, Place};

/// Orders of one page.
const PAGE: u32 = 200;
/// Between two pages: the shop sells on meanwhile.
const PAUSE: Duration = Duration::from_millis(20);

/// Gives every order its row.
///
/// # Errors
/// UNAVAILABLE: the store cannot be used.
pub async fn list_all(portal: &Portal) -> Result<(), Error> {
    let (mut after, mut listed) = (None::<Bytes>, 0u64);
    loop {
        let page = portal.list(Range::Prefix(key::orders()), PAGE, after).await?;
        after = page.records.last().map(|one| one.key.clone());
        let steps = stream::iter(page.records).map(async |one| list(portal, one).await);
        let done: Vec<bool> = steps.buffer_unordered(SWEEP_PARALLEL).try_collect().await?;
        listed += done.into_iter().filter(|done| *done).count() as u64;
        if !page.more {
            break;
        }
        sleep(PAUSE).await;
    }
    if listed > 0 {
        tracing::info!(listed, "orders of earlier versions are in the list by time now");
    }
    Ok(())
}

/// Gives one order its row; true: it had none.
async fn list(portal: &Portal, one: KeyRecord) -> Result<bool, Error> {
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
    let answer = send_step(portal, txn.put(row, record.timestamp_ms, data)).await?;
    Ok(answer.success)
}
