//! AdjustStock: moves a product's stock by a signed amount, inside the log's order: no lock, and no retry unless the product changes.
//!
//! With `if_match_stock` it is done only to the version of the stock that was seen: whoever sets what is left names it.
//!
//! What takes units goes by the product's rules, whose version it guards; what brings some needs none.

use portal::attempt::{Attempts, Request};
use portal::change::KnownProduct;
use portal::document::event::{Subject, What};
use portal::document::stock::{ADJUSTED, AVAILABLE, LEAST, StockRecord};
use portal::error::{Kind, Short};
use portal::id::Pid;
use portal::limits::STOCK_QUANTITY_MAX;
use portal::{Error, Portal, key};
use proto::portal::{AdjustStockRequest, Product};
use proto::store::failed_guard::Reason;
use proto::store::{FailedGuard, Record, Txn, TxnResponse};
use store_client::now_ms;

use crate::products::{answered, refused};

pub(crate) async fn adjust_stock(portal: &Portal, mut input: AdjustStockRequest) -> Result<Product, Error> {
    let given = input.request.take();
    let request = Request::new("AdjustStock", given, &input)?;
    if input.amount == 0 || input.amount.unsigned_abs() > STOCK_QUANTITY_MAX.unsigned_abs() {
        let why = format!("must be within -{STOCK_QUANTITY_MAX} and {STOCK_QUANTITY_MAX}, and not 0");
        return Err(Error::invalid("amount", why));
    }
    let pid = portal.pid("pid", &input.pid).await?;
    let mut attempts = Attempts::new(portal, request);
    loop {
        let known = if input.amount < 0 { Some(portal.known_product(&pid).await?) } else { None };
        let low_stock = known.iter().flatten().map(|known| known.product.rules.low_stock).sum();
        let txn = adjustment(&pid, &input, known);
        let left_by = txn.operations.len() - 1;
        let event =
            portal.event(Subject::Product, What::Adjusted).adjusting(input.amount, low_stock, left_by);
        let answer = attempts.send(event.append_to(txn, pid.encoded())).await?;
        if answer.success {
            return answered(portal, &pid, &answer).await;
        }
        if let Some(error) = moved(&pid, input.if_match_stock, &answer) {
            return Err(error);
        }
        let is_stale =
            |failed: &FailedGuard| matches!(failed.reason(), Reason::WrongOffset | Reason::WrongValue);
        if !answer.failed.iter().any(is_stale) {
            return Err(why(&pid, input.amount, &answer)?);
        }
        attempts.again(&answer).await?;
    }
}

/// `known`: the product whose rules what is taken goes by, which may not be there; `None`: nothing is taken.
fn adjustment(pid: &Pid, input: &AdjustStockRequest, known: Option<Option<KnownProduct>>) -> Txn {
    let (at, stock, now, amount) = (key::product(pid), key::stock(pid), now_ms(), input.amount);
    let (mut txn, mut least) = (Txn::new(), None);
    txn = match known {
        Some(Some(KnownProduct { product, offset })) => {
            let txn = txn.guard_offset(at.clone(), offset);
            match *least.insert(product.rules.least()) {
                0 => txn,
                least => txn.guard_json(stock.clone(), LEAST, least.to_string()),
            }
        }
        // It is not there, and the guard says so; if it came meanwhile, that shows.
        Some(None) => txn.guard_exists(at.clone()).guard_offset(at.clone(), u64::MAX),
        None => txn.guard_exists(at.clone()),
    };
    if input.if_match_stock != 0 {
        txn = txn.guard_offset(stock.clone(), input.if_match_stock);
    }
    txn.get(at)
        .add(stock.clone(), now, ADJUSTED, amount, None)
        .add(stock, now, AVAILABLE, amount, least)
        .returning_after()
}

/// The stock is not of the version that the amount was based on; `None`: it is, or none was named.
fn moved(pid: &Pid, if_match_stock: u64, answer: &TxnResponse) -> Option<Error> {
    let at = key::stock(pid);
    let of_stock = |failed: &&FailedGuard| failed.key == at && failed.reason() == Reason::WrongOffset;
    let failed = answer.failed.iter().find(of_stock).filter(|_| if_match_stock != 0)?;
    let etag = failed.record.as_ref().map_or(0, Record::offset);
    Some(Error::Changed { kind: Kind::Product, id: pid.to_string(), etag })
}

fn why(pid: &Pid, amount: i64, answer: &TxnResponse) -> Result<Error, Error> {
    if let Some(error) = refused(pid, 0, answer) {
        return Ok(error);
    }
    let Some(failed) = answer.failed.first() else {
        return Err(Error::damaged(&key::stock(pid), "refused without a reason"));
    };
    match (failed.reason(), &failed.record) {
        (Reason::BelowMinimum, Some(record)) => {
            let stock = StockRecord::read(&failed.key, record)?;
            let (left, least) = (stock.available, stock.least);
            if least != 0 {
                return Ok(Error::RuleBroken { pid: pid.to_string(), least, available: left + amount });
            }
            let short = vec![Short { pid: pid.to_string(), wanted: -amount, left, holds: 0 }];
            Ok(Error::ShortStock { short, more: 0 })
        }
        (Reason::Overflow, _) => Ok(Error::invalid("amount", "the stock would not fit in 64 bits")),
        (reason, _) => Err(Error::damaged(&failed.key, format!("refused for {reason:?}"))),
    }
}
