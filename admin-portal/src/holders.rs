//! The open orders that hold a client or a product: listed for a refusal, worked off by a cascade.
//!
//! A cascade changes one order a transaction, [`CASCADE_PARALLEL`] at a time, page by page; each step guards what it
//! read, so that it is harmless when it is repeated, and an interrupted cascade goes on where it stopped.

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use portal::attempt::send_step;
use portal::change::{Change, Known, RequestedLine};
use portal::deletion::Work;
use portal::document;
use portal::document::order::{HolderRecord, OrderRecord, Phase};
use portal::id::{Cid, Oid, Pid};
use portal::limits::{ATTEMPTS_MAX, CASCADE_NAMED_MAX, CASCADE_PARALLEL, ERROR_LIST_MAX, HOLDER_PAGES_MAX};
use portal::order_refusal::{Refused, evaluate};
use portal::{Error, Portal, key};
use proto::portal::{ChangedOrder, DeleteResponse};
use proto::store::{FailedGuard, KeyRecord};
use store_client::Range;

/// Records of one page while searching or working.
const PAGE: u32 = 200;

/// An open order, by its client and id.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    cid: Cid,
    oid: Oid,
}

/// The orders that a cascade has changed: the first by name, the others counted.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    orders: Vec<ChangedOrder>,
    more: u64,
}

impl Changed {
    fn add(&mut self, holder: Holder) {
        if self.orders.len() < CASCADE_NAMED_MAX {
            let Holder { cid, oid } = holder;
            self.orders.push(ChangedOrder { cid: cid.to_string(), oid: oid.to_string() });
        } else {
            self.more += 1;
        }
    }

    /// The answer of the deletion that they were changed for. `continued`: others may have been changed before.
    fn deleted(mut self, data: String, continued: bool) -> DeleteResponse {
        self.orders.sort_unstable_by(|a, b| (&a.oid, &a.cid).cmp(&(&b.oid, &b.cid)));
        DeleteResponse { data, orders: self.orders, orders_more: self.more, continued }
    }
}

/// What the first step of a deletion with cascade came to.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It is closing from now on, which is noted as this call's.
    Mine(Work),
    /// It was closing before this call, by another request or this one.
    Before,
    /// There was nothing to close: perhaps this very request has deleted it.
    Nothing,
}

impl Begun {
    /// The work that is this call's to say that it goes on.
    pub(crate) fn work(&mut self) -> Option<&mut Work> {
        match self {
            Begun::Mine(work) => Some(work),
            Begun::Before | Begun::Nothing => None,
        }
    }

    /// All is worked off. Another may have taken it up since the note was touched.
    pub(crate) async fn done(mut self, portal: &Portal, changed: Changed) -> Result<Done, Error> {
        if let Some(work) = self.work() {
            work.touch_now(portal).await?;
        }
        let continued = self.work().is_none_or(|work| work.is_shared);
        Ok(Done { changed, continued, was_closing: !matches!(self, Begun::Nothing) })
    }
}

/// What was done of a deletion before its last step.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Here.
    pub(crate) changed: Changed,
    /// There may be more, which others have done.
    pub(crate) continued: bool,
    /// This call has seen it closing: if it is gone at the last step, others have done that, too.
    pub(crate) was_closing: bool,
}

impl Done {
    /// The answer; `is_others`: somebody else did the last step.
    pub(crate) fn deleted(self, data: String, is_others: bool) -> DeleteResponse {
        self.changed.deleted(data, self.continued || is_others)
    }

    /// The answer to a last step that was refused.
    pub(crate) fn refused(self, error: Error) -> Result<DeleteResponse, Error> {
        match error {
            Error::NotFound { .. } | Error::Gone { .. } if self.was_closing => {
                Ok(self.deleted("{}".to_owned(), true))
            }
            error => Err(error),
        }
    }
}

/// What a cascade takes out of an order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Out<'a> {
    /// The order is cancelled.
    Everything,
    /// The line of this product goes.
    Product(&'a Pid),
}

impl Out<'_> {
    /// The record that the cascade deletes at last, which is closing as long as it has work to do.
    fn closing(self, cid: &Cid) -> Bytes {
        match self {
            Out::Everything => key::client(cid),
            Out::Product(pid) => key::product(pid),
        }
    }
}

/// An order that lies under the id of a client, in whatever state.
pub(crate) async fn any_order(portal: &Portal, cid: &Cid) -> Result<Option<Bytes>, Error> {
    let listed = portal.list(Range::Prefix(key::orders_of(cid)), 1, None).await?;
    Ok(listed.records.into_iter().next().map(|one| one.key))
}

/// Some of the client's open orders.
pub(crate) async fn of_client(portal: &Portal, cid: &Cid) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let mut after = None;
    for _ in 0..HOLDER_PAGES_MAX {
        let listed = portal.list(Range::Prefix(key::orders_of(cid)), PAGE, after).await?;
        for one in open_orders(cid, &listed.records)? {
            found.push(one.oid.to_string());
        }
        after = listed.records.last().map(|one| one.key.clone());
        if !listed.more || found.len() >= ERROR_LIST_MAX {
            break;
        }
    }
    found.truncate(ERROR_LIST_MAX);
    Ok(found)
}

/// Some of the open orders that hold the product.
pub(crate) async fn of_product(portal: &Portal, pid: &Pid) -> Result<Vec<String>, Error> {
    let listed = portal.list(Range::Prefix(key::holders_of(pid)), PAGE, None).await?;
    let oids = listed.records.iter().filter_map(|one| key::oid_in(&one.key));
    Ok(oids.map(|oid| oid.to_string()).take(ERROR_LIST_MAX).collect())
}

fn open_orders(cid: &Cid, records: &[KeyRecord]) -> Result<Vec<Holder>, Error> {
    let mut open = Vec::new();
    for KeyRecord { key: at, record } in records {
        let Some(record) = record else { continue };
        if OrderRecord::read(at, record)?.phase == Phase::Open {
            let oid = key::oid_in(at).ok_or_else(|| Error::damaged(at, "not an order's key"))?;
            open.push(Holder { cid: cid.clone(), oid });
        }
    }
    Ok(open)
}

fn holders(records: &[KeyRecord]) -> Result<Vec<Holder>, Error> {
    let holder = |KeyRecord { key: at, record }: &KeyRecord| {
        let record = record.as_ref()?;
        let read = || {
            let holder: HolderRecord = document::read(at, &record.data)?;
            let oid = key::oid_in(at).ok_or_else(|| Error::damaged(at, "not a holder's key"))?;
            Ok(Holder { cid: Cid::stored("cid", &holder.cid)?, oid })
        };
        Some(read())
    };
    records.iter().filter_map(holder).collect()
}

/// Cancels all open orders of a client that is closing.
pub(crate) async fn cancel_all(
    portal: &Portal,
    cid: &Cid,
    work: Option<&mut Work>,
) -> Result<Changed, Error> {
    let range = Range::Prefix(key::orders_of(cid));
    work_off(portal, range, |records| open_orders(cid, records), Out::Everything, work).await
}

/// Takes a product that is closing out of all open orders.
pub(crate) async fn remove_all(
    portal: &Portal,
    pid: &Pid,
    work: Option<&mut Work>,
) -> Result<Changed, Error> {
    work_off(portal, Range::Prefix(key::holders_of(pid)), holders, Out::Product(pid), work).await
}

async fn work_off(
    portal: &Portal,
    range: Range,
    of_page: impl Fn(&[KeyRecord]) -> Result<Vec<Holder>, Error>,
    out: Out<'_>,
    mut work: Option<&mut Work>,
) -> Result<Changed, Error> {
    let mut changed = Changed::default();
    let mut after: Option<Bytes> = None;
    loop {
        if let Some(work) = work.as_deref_mut() {
            work.touch(portal).await?;
        }
        let listed = portal.list(range.clone(), PAGE, after).await?;
        let steps = of_page(&listed.records)?.into_iter().map(|holder| take_out(portal, holder, out));
        let steps = stream::iter(steps).buffer_unordered(CASCADE_PARALLEL);
        let done: Vec<Option<Holder>> = steps.try_collect().await?;
        done.into_iter().flatten().for_each(|holder| changed.add(holder));
        after = listed.records.last().map(|one| one.key.clone());
        if !listed.more {
            return Ok(changed);
        }
    }
}

/// One order of a cascade; an order that no longer is in the way is left alone. So is one of a client or product that is
/// not closing: another cascade has ended, and what was inserted since is not this one's to touch. (Nor can an order be
/// open whose client is gone.) Returns it if it was changed here.
async fn take_out(portal: &Portal, holder: Holder, out: Out<'_>) -> Result<Option<Holder>, Error> {
    let Holder { cid, oid } = &holder;
    let (at, closing) = (key::order(cid, oid), out.closing(cid));
    for _ in 0..ATTEMPTS_MAX {
        let Some(record) = portal.read_through(&at).await?.record else { return Ok(None) };
        let known = Known::read(&at, &record)?;
        let change = Change::by_cascade(cid, oid, portal.log_time_ms(), closing.clone());
        let change = change.told_by(portal.teller());
        let txn = match out {
            _ if known.order.phase != Phase::Open => return Ok(None),
            Out::Everything => change.cancel(&known)?,
            Out::Product(pid) => {
                let none_of_it = [RequestedLine::of(pid.clone(), 0)];
                change.modify(&known, &none_of_it, &std::collections::HashMap::new())?
            }
        };
        let answer = send_step(portal, txn).await?;
        let is_over = |failed: &FailedGuard| failed.key == closing || failed.key == key::client(cid);
        if answer.success {
            return Ok(Some(holder));
        }
        if answer.failed.iter().any(is_over) {
            return Ok(None);
        }
        if let Refused::For(error) = evaluate(cid, oid, &std::collections::HashMap::new(), &answer)? {
            return Err(error);
        }
    }
    Err(Error::Contended { attempts: ATTEMPTS_MAX })
}
