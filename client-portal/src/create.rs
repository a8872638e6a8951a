//! CreateOrder: an order with its first lines, in one transaction.
//!
//! The OID derives from (CID, request id), so a repeated request finds its own order. The client's registration is a
//! guard of the transaction and is not read before.

use portal::attempt::Request;
use portal::change::{merge, taken};
use portal::id::{Cid, Oid};
use portal::order_write::{Named, OrderWrite, new_pids};
use portal::{Error, Portal};
use proto::portal::{CreateOrderRequest, Order};

pub(crate) async fn create_order(portal: &Portal, mut asked: CreateOrderRequest) -> Result<Order, Error> {
    let given = asked.request.take();
    let cid = Cid::parse("cid", &asked.cid)?;
    let request = Request::new("CreateOrder", given, &asked)?;
    let lines = merge(&asked.lines)?;
    let oid = Oid::derive(&cid, request.id());
    let taken = taken(None, &lines);
    let mut write = OrderWrite::creating(portal, Named { cid, oid }, request);
    loop {
        let products = portal.known_products(new_pids(None, &lines)).await?;
        let txn = write.change().create(&lines, &products)?;
        if let Some(order) = write.send(txn, &taken).await? {
            return Ok(order);
        }
    }
}
