//! The member `sold` of stocks of earlier versions, which lack it: written as 0 before the first add to it.

use bytes::Bytes;
use futures::StreamExt;
use proto::store::failed_guard::Reason;
use proto::store::{Txn, TxnResponse};

use crate::attempt::send_step;
use crate::change::Known;
use crate::document::order::Line;
use crate::document::stock::{SOLD, StockRecord};
use crate::error::Error;
use crate::handle::Portal;
use crate::id::Pid;
use crate::key;
use crate::limits::{ATTEMPTS_MAX, CASCADE_PARALLEL};

impl Portal {
    /// Writes `sold` into the stocks of an order's lines that lack it.
    ///
    /// # Errors
    /// UNAVAILABLE; a record is damaged; others kept changing it.
    pub(crate) async fn complete_stocks(&self, order: Option<&Known>) -> Result<(), Error> {
        let lines = order.map_or(&[][..], |known| &known.order.lines);
        let stock_of = |line: &Line| Ok::<_, Error>(key::stock(&Pid::stored("pid", &line.pid)?));
        let stocks: Vec<Bytes> = lines.iter().map(stock_of).collect::<Result<_, _>>()?;
        let each = stocks.into_iter().map(|at| complete_stock(self, at));
        let done = futures::stream::iter(each).buffer_unordered(CASCADE_PARALLEL).collect::<Vec<_>>().await;
        done.into_iter().collect()
    }
}

async fn complete_stock(portal: &Portal, at: Bytes) -> Result<(), Error> {
    for _ in 0..ATTEMPTS_MAX {
        // What is not there at all the move itself finds out.
        let Some(record) = portal.read_through(&at).await?.record else { return Ok(()) };
        StockRecord::read(&at, &record)?;
        if StockRecord::has_sold(&record) {
            return Ok(());
        }
        let txn = Txn::new().guard_offset(at.clone(), record.offset());
        let txn = txn.set_json(at.clone(), store_client::now_ms(), SOLD, "0");
        if send_step(portal, txn).await?.success {
            return Ok(());
        }
    }
    Err(Error::Contended { attempts: ATTEMPTS_MAX })
}

/// Whether a stock had no number where one was to be added to: that of an earlier version has no `sold`.
pub(crate) fn lacks_sold(refused: &TxnResponse) -> bool {
    refused.failed.iter().any(|failed| failed.key.starts_with(b"s/") && failed.reason() == Reason::NoValue)
}
