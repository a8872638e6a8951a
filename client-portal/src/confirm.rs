//! ConfirmOrder: freezes an open order; it holds its stock for good. Confirming a confirmed one changes nothing. One
//! without lines is refused: there is nothing to sell in it, and a confirmation is never undone.

use std::collections::HashMap;

use portal::attempt::Request;
use portal::document::order::Phase;
use portal::order_write::OrderWrite;
use portal::{Error, Portal};
use proto::portal::{Order, OrderRequest};

pub(crate) async fn confirm_order(portal: &Portal, mut requested: OrderRequest) -> Result<Order, Error> {
    let given = requested.request.take();
    let request = Request::new("ConfirmOrder", given, &requested)?;
    let named = portal.named(&requested.cid, &requested.oid).await?;
    let accepts = &[Phase::Open, Phase::Confirmed];
    let mut write = OrderWrite::changing(portal, named, request, accepts, 0).await?;
    loop {
        let txn = match write.known() {
            None => write.change().ask(),
            Some(known) if known.order.phase != Phase::Open => write.change().leave(known),
            Some(known) if known.order.lines.is_empty() => write.change().confirm_none(known),
            Some(known) => write.change().confirm(known)?,
        };
        if let Some(order) = write.send(txn, &HashMap::new()).await? {
            return Ok(order);
        }
    }
}
