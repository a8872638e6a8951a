//! DeleteProduct. Open orders hold a product; with cascade it is taken out of them first.
//!
//! Orders hold stock until it is sent, and have sold it then; the law `initial + adjusted = available + held + sold` is audited for
//! every stock record. So while orders hold or have sold some of the product, its stock record stays when the product goes,
//! with nothing available (the rest is adjusted away); otherwise it goes too. Stocks of earlier versions have no `sold`, so that the
//! deletion guards the version of the stock, which was seen.
//!
//! The rows of the indexes go with the product: each step guards the version of it whose rows it changes.
//!
//! A cascade: (1) state closing, from when on no order takes more of it; (2) its line is taken out of every open order,
//! in batches; (3) the record is deleted, guarded by `open_orders` = 0. As in `delete_client`.

use portal::attempt::{Attempts, Request, shown};
use portal::deletion::{self, Work};
use portal::document::event::{Facts, Subject, What};
use portal::document::product::ProductRecord;
use portal::document::stock::{ADJUSTED, AVAILABLE, LEAST, StockRecord};
use portal::document::{OPEN_ORDERS, STATE, State};
use portal::error::Kind;
use portal::id::Pid;
use portal::index::{self, Row};
use portal::settle::CLOSE;
use portal::{Error, Portal, key};
use proto::portal::{DeleteProductRequest, DeleteResponse};
use proto::store::failed_guard::Reason;
use proto::store::{Record, Txn, TxnResponse};
use store_client::now_ms;

use crate::holders::{self, Begun, Done};
use crate::products::{self, guard_seen, refused};

/// A product that is to go.
struct Doomed {
    /// The version of its record; `None`: there is none.
    product: Option<u64>,
    /// A cascade has begun on it.
    is_closing: bool,
    /// Its rows in the indexes; none if the record cannot be read.
    rows: Vec<Row>,
    /// What the feed says that it was; nothing if the record cannot be read.
    facts: Facts,
    /// Its stock, and the version of that; `None`: there is none.
    stock: Option<(StockRecord, u64)>,
}

pub(crate) async fn delete_product(
    portal: &Portal,
    mut input: DeleteProductRequest,
) -> Result<DeleteResponse, Error> {
    let given = input.request.take();
    let request = Request::new("DeleteProduct", given, &input)?;
    let pid = portal.pid("pid", &input.pid).await?;
    if !input.cascade {
        return end(portal, &pid, &input, request, Done::default()).await;
    }
    let mut begun = close(portal, &pid, input.if_match, &request).await?;
    let changed = holders::remove_all(portal, &pid, begun.work()).await?;
    let done = begun.done(portal, changed).await?;
    end(portal, &pid, &input, request, done).await
}

/// Goes on with a deletion that was begun by another portal, and ends it under `request`.
pub(crate) async fn go_on(
    portal: &Portal,
    pid: &Pid,
    work: &mut Work,
    request: Request,
) -> Result<(), Error> {
    let input =
        DeleteProductRequest { pid: pid.to_string(), cascade: true, ..DeleteProductRequest::default() };
    let changed = holders::remove_all(portal, pid, Some(work)).await?;
    end(portal, pid, &input, request, Done { changed, continued: true, was_closing: false }).await.map(drop)
}

/// The last step, which deletes the product.
async fn end(
    portal: &Portal,
    pid: &Pid,
    input: &DeleteProductRequest,
    request: Request,
    done: Done,
) -> Result<DeleteResponse, Error> {
    let mut attempts = Attempts::new(portal, request);
    loop {
        let doomed = look(portal, pid).await?;
        let event = portal.event(Subject::Product, What::Deleted);
        let event =
            event.after_version(doomed.product.unwrap_or(0)).facts(doomed.facts.clone(), Facts::default());
        let txn = deletion(pid, input, &doomed);
        let event = match &doomed.stock {
            // What is left of it is adjusted away, by the last operation; else the stock goes, too.
            Some((stock, _)) if stock.remains() => {
                event.adjusting(-stock.available, 0, txn.operations.len() - 1)
            }
            _ => event,
        };
        let txn = event.append_to(txn, pid.encoded());
        let answer = attempts.send(txn).await?;
        if answer.success {
            return Ok(done.deleted(document(pid, &answer)?, input.cascade && answer.remembered));
        }
        // With cascade the version that the administrator saw was closed.
        if let Some(error) = refused(pid, if input.cascade { 0 } else { input.if_match }, &answer) {
            return done.refused(anew(error, &answer));
        }
        let stock_at = key::stock(pid);
        let record = portal.read_through(&stock_at).await?.record;
        let Some(record) = record else {
            attempts.again(&answer).await?;
            continue;
        };
        let stock = StockRecord::read(&stock_at, &record)?;
        if stock.open_orders > 0 {
            let by = holders::of_product(portal, pid).await?;
            let more = stock.open_orders.unsigned_abs().saturating_sub(by.len() as u64);
            return Err(Error::Held { kind: Kind::Product, id: pid.to_string(), by, more });
        }
        attempts.again(&answer).await?;
    }
}

/// The product and its stock as they are.
async fn look(portal: &Portal, pid: &Pid) -> Result<Doomed, Error> {
    let (at, stock_at) = (key::product(pid), key::stock(pid));
    let (product, stock) =
        futures::future::try_join(portal.read_through(&at), portal.read_through(&stock_at)).await?;
    // What no portal wrote can be deleted, too, and has no rows.
    let rows = product.record.as_ref().and_then(|record| index::rows_of(&at, record).ok());
    let read = |record: Record| Ok::<_, Error>((StockRecord::read(&stock_at, &record)?, record.offset()));
    let known = product.record.as_ref().and_then(|record| ProductRecord::read(&at, record).ok());
    Ok(Doomed {
        is_closing: known.as_ref().is_some_and(|product| product.state == State::Closing),
        facts: known.map(|product| Facts::of_product(&product)).unwrap_or_default(),
        product: product.record.as_ref().map(Record::offset),
        rows: rows.unwrap_or_default(),
        stock: stock.record.map(read).transpose()?,
    })
}

fn deletion(pid: &Pid, input: &DeleteProductRequest, doomed: &Doomed) -> Txn {
    let (at, stock, now) = (key::product(pid), key::stock(pid), now_ms());
    let txn = if input.cascade {
        // A closed record is of another version than the administrator saw.
        guard_seen(Txn::new(), pid, 0, doomed.product).guard_json(at.clone(), STATE, State::Closing.json())
    } else {
        guard_seen(Txn::new(), pid, input.if_match, doomed.product)
    };
    let mut txn = txn.guard_json(stock.clone(), OPEN_ORDERS, "0");
    if input.cascade || doomed.is_closing {
        txn = txn.delete(deletion::Doomed::Product(pid.clone()).note());
    }
    let Some((seen, offset)) = doomed.stock else {
        // There was no stock, hence no product. A guard that never holds shows whether that is still so.
        return txn.guard_offset(stock.clone(), u64::MAX).get(stock);
    };
    let txn = txn.guard_offset(stock.clone(), offset);
    if !seen.remains() {
        let txn = txn.delete(at).returning_before().delete(stock).returning_before();
        return index::moved(txn, &doomed.rows, &[], now);
    }
    // The stock is shown as it was before: it is read first. No rule is left of a product that is gone.
    let txn = txn.delete(at).returning_before().get(stock.clone());
    let txn = index::moved(txn, &doomed.rows, &[], now);
    let txn = match seen.least {
        0 => txn,
        _ => txn.set_json(stock.clone(), now, LEAST, "0"),
    };
    txn.add(stock.clone(), now, ADJUSTED, -seen.available, None).add(
        stock,
        now,
        AVAILABLE,
        -seen.available,
        Some(0),
    )
}

/// A deletion guards the state only in a cascade, whose product is closing; if it is not, what was closed is gone and the
/// PID was inserted anew: that one is not this request's to delete.
fn anew(error: Error, answer: &TxnResponse) -> Error {
    let etag = answer.failed.first().and_then(|failed| failed.record.as_ref()).map_or(0, Record::offset);
    match error {
        Error::Closing { kind, id } => Error::Changed { kind, id, etag },
        other => other,
    }
}

/// The whole document as it was.
fn document(pid: &Pid, answer: &TxnResponse) -> Result<String, Error> {
    let (at, stock_at) = (key::product(pid), key::stock(pid));
    let (Some(product), Some(stock)) = (shown(answer, &at), shown(answer, &stock_at)) else {
        return Ok("{}".to_owned());
    };
    let product = ProductRecord::read(&at, product)?;
    Ok(product.document(&StockRecord::read(&stock_at, stock)?))
}

/// From now on no order takes more of the product, which is noted as this request's deletion.
async fn close(portal: &Portal, pid: &Pid, if_match: u64, request: &Request) -> Result<Begun, Error> {
    let mut attempts = Attempts::new(portal, request.part(CLOSE));
    let doomed = deletion::Doomed::Product(pid.clone());
    loop {
        let seen = products::look(portal, pid).await?;
        let event = portal.event(Subject::Product, What::Closing);
        let event = event.after_version(seen.as_ref().map_or(0, |seen| seen.offset));
        let txn = closing(pid, if_match, seen.as_ref());
        let txn = event.append_to(doomed.noted(txn, request, portal.log_time_ms()), pid.encoded());
        let answer = attempts.send(txn).await?;
        let Some(failed) = answer.failed.first().filter(|_| !answer.success) else {
            let is_new = !answer.remembered;
            return Ok(match is_new {
                true => Begun::Mine(Work::begun(doomed, request.clone(), answer.offset())),
                false => Begun::Before,
            });
        };
        let is_closing = match failed.record.as_ref().filter(|record| !record.data.is_empty()) {
            Some(record) => ProductRecord::read(&failed.key, record)?.state == State::Closing,
            None => false,
        };
        if is_closing || failed.reason() == Reason::Absent {
            // Closing: an interrupted cascade is taken up. Absent: perhaps this very request has deleted it; the deletion says.
            return Ok(if is_closing { Begun::Before } else { Begun::Nothing });
        }
        if let Some(error) = refused(pid, if_match, &answer) {
            return Err(error);
        }
        attempts.again(&answer).await?;
    }
}

fn closing(pid: &Pid, if_match: u64, seen: Option<&products::Seen>) -> Txn {
    let (at, now) = (key::product(pid), now_ms());
    let txn = guard_seen(Txn::new(), pid, if_match, seen.map(|seen| seen.offset))
        .guard_json(at.clone(), STATE, State::Active.json())
        .set_json(at, now, STATE, State::Closing.json());
    let Some(seen) = seen else { return txn };
    let closed = ProductRecord { state: State::Closing, ..seen.product.clone() };
    index::moved(txn, &seen.rows, &index::rows_of_product(pid, &closed), now)
}
