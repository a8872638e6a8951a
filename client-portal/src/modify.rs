//! ModifyOrder: sets the quantity of each product named, moving exactly the difference; all or nothing.
//!
//! A line that is in the order keeps its price; a new one takes the product's price of now, which is guarded, so that
//! a price changed meanwhile is read again and never taken from a stale cache.

use portal::attempt::Request;
use portal::change::demands;
use portal::document::order::Phase;
use portal::order_write::{OrderWrite, new_pids};
use portal::{Error, Portal};
use proto::portal::{ModifyOrderRequest, Order};

pub(crate) async fn modify_order(portal: &Portal, mut requested: ModifyOrderRequest) -> Result<Order, Error> {
    let given = requested.request.take();
    let request = Request::new("ModifyOrder", given, &requested)?;
    if requested.lines.is_empty() {
        return Err(Error::invalid("lines", "is empty; name 1 to 1,000 products"));
    }
    let lines = portal.lines(&requested.lines).await?;
    let named = portal.named(&requested.cid, &requested.oid).await?;
    let mut write = OrderWrite::changing(portal, named, request, &[Phase::Open], requested.if_match).await?;
    loop {
        let (txn, demands) = match write.known() {
            None => (write.change().ask(), std::collections::HashMap::new()),
            Some(known) => {
                let products = portal.known_products(new_pids(Some(known), &lines)).await?;
                (write.change().modify(known, &lines, &products)?, demands(Some(&known.order), &lines))
            }
        };
        if let Some(order) = write.send(txn, &demands).await? {
            return Ok(order);
        }
    }
}
