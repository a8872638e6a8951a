//! ModifyOrder: sets the quantity of each product named, moving exactly the difference; all or nothing.
//!
//! A line that is in the order keeps its price; a new one takes the product's price of now, which is guarded, so that
//! a price changed meanwhile is read again and never taken from a stale cache.

use portal::attempt::Request;
use portal::change::taken;
use portal::document::order::Phase;
use portal::order_write::{OrderWrite, new_pids};
use portal::{Error, Portal};
use proto::portal::{ModifyOrderRequest, Order};

pub(crate) async fn modify_order(portal: &Portal, mut asked: ModifyOrderRequest) -> Result<Order, Error> {
    let given = asked.request.take();
    let request = Request::new("ModifyOrder", given, &asked)?;
    if asked.lines.is_empty() {
        return Err(Error::invalid("lines", "is empty; name 1 to 1,000 products"));
    }
    let lines = portal.lines(&asked.lines).await?;
    let named = portal.named(&asked.cid, &asked.oid).await?;
    let mut write = OrderWrite::changing(portal, named, request, &[Phase::Open], asked.if_match).await?;
    loop {
        let (txn, taken) = match write.known() {
            None => (write.change().ask(), std::collections::HashMap::new()),
            Some(known) => {
                let products = portal.known_products(new_pids(Some(known), &lines)).await?;
                (write.change().modify(known, &lines, &products)?, taken(Some(&known.order), &lines))
            }
        };
        if let Some(order) = write.send(txn, &taken).await? {
            return Ok(order);
        }
    }
}
