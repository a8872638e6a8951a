//! CancelOrder: puts the stock back, once. A second cancel succeeds and changes nothing; a confirmed order is refused.

use std::collections::HashMap;

use portal::attempt::Request;
use portal::document::order::Phase;
use portal::order_write::OrderWrite;
use portal::{Error, Portal};
use proto::portal::{Order, OrderRequest};

pub(crate) async fn cancel_order(portal: &Portal, mut requested: OrderRequest) -> Result<Order, Error> {
    let given = requested.request.take();
    let request = Request::new("CancelOrder", given, &requested)?;
    let named = portal.named(&requested.cid, &requested.oid).await?;
    let accepts = &[Phase::Open, Phase::Cancelled];
    let mut write = OrderWrite::changing(portal, named, request, accepts, 0).await?;
    loop {
        let txn = match write.known() {
            None => write.change().ask(),
            Some(known) if known.order.phase == Phase::Open => write.change().cancel(known)?,
            Some(known) => write.change().leave(known),
        };
        if let Some(order) = write.send(txn, &HashMap::new()).await? {
            return Ok(order);
        }
    }
}
