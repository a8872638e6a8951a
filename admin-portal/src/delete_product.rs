//! DeleteProduct. Open orders hold a product; with cascade it is taken out of them first.
//!
//! Orders hold stock until it is sent, and have sold it then; the law `initial + adjusted = available + held + sold` is audited for
//! every stock record. So while orders hold or have sold some of the product, its stock record stays when the product goes,
//! with nothing available (the rest is adjusted away); otherwise it goes too. Stocks of earlier versions have no `sold`, so that the
//! deletion guards the version of the stock, which was seen.
//!
//! A cascade: (1) state closing, from when on no order takes more of it; (2) its line is taken out of every open order,
//! in batches; (3) the record is deleted, guarded by `open_orders` = 0. As in `delete_client`.

use portal::attempt::{Attempts, Request, shown};
use portal::document::product::ProductRecord;
use portal::document::stock::{ADJUSTED, AVAILABLE, LEAST, StockRecord};
use portal::document::{OPEN_ORDERS, STATE, State};
use portal::error::Kind;
use portal::id::Pid;
use portal::{Error, Portal, key};
use proto::portal::{DeleteProductRequest, DeleteResponse};
use proto::store::failed_guard::Reason;
use proto::store::{Record, Txn, TxnResponse};
use store_client::now_ms;

use crate::holders::{self, Changed};
use crate::products::{guard_match, refused};

/// The stock of a product that is to go, and its version.
struct Seen {
    stock: StockRecord,
    offset: u64,
}

pub(crate) async fn delete_product(
    portal: &Portal,
    mut input: DeleteProductRequest,
) -> Result<DeleteResponse, Error> {
    let given = input.request.take();
    let request = Request::new("DeleteProduct", given, &input)?;
    let pid = portal.pid("pid", &input.pid).await?;
    let (mut continued, mut changed) = (false, Changed::default());
    if input.cascade {
        continued = !close(portal, &pid, input.if_match, request.part("close")).await?;
        changed = holders::remove_all(portal, &pid).await?;
    }
    let mut attempts = Attempts::new(portal, request);
    loop {
        let seen = look(portal, &pid).await?;
        let answer = attempts.send(deletion(&pid, &input, seen.as_ref())).await?;
        if answer.success {
            return Ok(changed.deleted(document(&pid, &answer)?, continued));
        }
        if let Some(error) = refused(&pid, &answer) {
            return Err(anew(error, &answer));
        }
        let stock_at = key::stock(&pid);
        let record = portal.read_through(&stock_at).await?.record;
        let Some(record) = record else {
            attempts.again(&answer).await?;
            continue;
        };
        let stock = StockRecord::read(&stock_at, &record)?;
        if stock.open_orders > 0 {
            let by = holders::of_product(portal, &pid).await?;
            let more = stock.open_orders.unsigned_abs().saturating_sub(by.len() as u64);
            return Err(Error::Held { kind: Kind::Product, id: pid.to_string(), by, more });
        }
        attempts.again(&answer).await?;
    }
}

/// The stock as it is; `None`: there is none.
async fn look(portal: &Portal, pid: &Pid) -> Result<Option<Seen>, Error> {
    let at = key::stock(pid);
    let Some(record) = portal.read_through(&at).await?.record else { return Ok(None) };
    Ok(Some(Seen { stock: StockRecord::read(&at, &record)?, offset: record.offset() }))
}

fn deletion(pid: &Pid, input: &DeleteProductRequest, seen: Option<&Seen>) -> Txn {
    let (at, stock, now) = (key::product(pid), key::stock(pid), now_ms());
    let txn = if input.cascade {
        // A closed record is of another version than the administrator saw.
        guard_match(Txn::new(), pid, 0).guard_json(at.clone(), STATE, State::Closing.json())
    } else {
        guard_match(Txn::new(), pid, input.if_match)
    };
    let txn = txn.guard_json(stock.clone(), OPEN_ORDERS, "0");
    let (offset, seen) = match seen {
        Some(Seen { stock, offset }) => (*offset, *stock),
        // There was no stock, hence no product. A guard that never holds shows whether that is still so.
        None => return txn.guard_offset(stock.clone(), u64::MAX).get(stock),
    };
    let txn = txn.guard_offset(stock.clone(), offset);
    if seen.held == 0 && seen.sold == 0 {
        return txn.delete(at).returning_before().delete(stock).returning_before();
    }
    // The stock is shown as it was before: it is read first. No rule is left of a product that is gone.
    let txn = txn.delete(at).returning_before().get(stock.clone());
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

/// From now on no order takes more of the product; false: that was so before this call.
async fn close(portal: &Portal, pid: &Pid, if_match: u64, request: Request) -> Result<bool, Error> {
    let at = key::product(pid);
    let txn = guard_match(Txn::new(), pid, if_match)
        .guard_json(at.clone(), STATE, State::Active.json())
        .set_json(at, now_ms(), STATE, State::Closing.json());
    let answer = Attempts::new(portal, request).send(txn).await?;
    let Some(failed) = answer.failed.first().filter(|_| !answer.success) else {
        return Ok(!answer.remembered);
    };
    let closing = match failed.record.as_ref().filter(|record| !record.data.is_empty()) {
        Some(record) => ProductRecord::read(&failed.key, record)?.state == State::Closing,
        None => false,
    };
    if closing || failed.reason() == Reason::Absent {
        // Closing: an interrupted cascade is taken up. Absent: perhaps this very request has deleted it; the deletion says.
        return Ok(false);
    }
    Err(refused(pid, &answer).unwrap_or_else(|| Error::damaged(&failed.key, "refused without a reason")))
}
