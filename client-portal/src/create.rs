//! CreateOrder: an order with its first lines, in one transaction.
//!
//! Lines may be missing: the order is then open and empty, to be filled by ModifyOrder. A quantity of 0 takes
//! a line out, and there is none yet: that is a mistake, and refused.
//!
//! The OID derives from (CID, request id), so a repeated request finds its own order. The client's registration is a
//! guard of the transaction and is not read before.

use portal::attempt::Request;
use portal::change::demands;
use portal::document::extra::ExtraChange;
use portal::id::Oid;
use portal::order_write::{Named, OrderWrite, changed_pids};
use portal::{Error, Portal};
use proto::portal::{CreateOrderRequest, Order};

pub(crate) async fn create_order(portal: &Portal, mut requested: CreateOrderRequest) -> Result<Order, Error> {
    let given = requested.request.take();
    let cid = portal.cid("cid", &requested.cid).await?;
    let request = Request::new("CreateOrder", given, &requested)?;
    if let Some(at) = requested.lines.iter().position(|line| line.quantity == 0) {
        let why = "quantity 0 makes no sense in a new order; leave the line out, or order at least 1";
        return Err(Error::invalid(format!("lines[{at}].quantity"), why));
    }
    let extra = ExtraChange::of_order(&requested.extra)?;
    let lines = portal.lines(&requested.lines).await?;
    let oid = Oid::derive(&cid, request.id());
    let mut write = OrderWrite::creating(portal, Named { cid, oid }, request).with_extra(extra);
    loop {
        let products = portal.known_products(changed_pids(None, &lines)).await?;
        let demands = demands(None, &lines, &products);
        let txn = write.change().create(&lines, &products)?;
        if let Some(order) = write.send(txn, &demands).await? {
            return Ok(order);
        }
    }
}
