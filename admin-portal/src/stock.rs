//! AdjustStock: moves a product's stock by a signed amount, inside the log's order: no lock, no retry.

use portal::attempt::{Attempts, Request};
use portal::document::stock::{ADJUSTED, AVAILABLE, StockRecord};
use portal::error::Short;
use portal::id::Pid;
use portal::limits::STOCK_QUANTITY_MAX;
use portal::{Error, Portal, key};
use proto::portal::{AdjustStockRequest, Product};
use proto::store::failed_guard::Reason;
use proto::store::{Txn, TxnResponse};
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
    let (at, stock, now) = (key::product(&pid), key::stock(&pid), now_ms());
    let txn = Txn::new()
        .guard_exists(at.clone())
        .get(at)
        .add(stock.clone(), now, ADJUSTED, input.amount, None)
        .add(stock, now, AVAILABLE, input.amount, Some(0))
        .returning_after();
    let answer = Attempts::new(portal, request).send(txn).await?;
    if answer.success {
        answered(portal, &pid, &answer).await
    } else {
        Err(why(&pid, input.amount, &answer)?)
    }
}

fn why(pid: &Pid, amount: i64, answer: &TxnResponse) -> Result<Error, Error> {
    if let Some(error) = refused(pid, answer) {
        return Ok(error);
    }
    let Some(failed) = answer.failed.first() else {
        return Err(Error::damaged(&key::stock(pid), "refused without a reason"));
    };
    match (failed.reason(), &failed.record) {
        (Reason::BelowMinimum, Some(record)) => {
            let left = StockRecord::read(&failed.key, record)?.available;
            let short = vec![Short { pid: pid.to_string(), wanted: -amount, left, holds: 0 }];
            Ok(Error::ShortStock { short, more: 0 })
        }
        (Reason::Overflow, _) => Ok(Error::invalid("amount", "the stock would not fit in 64 bits")),
        (reason, _) => Err(Error::damaged(&failed.key, format!("refused for {reason:?}"))),
    }
}
