//! CancelOrder, by the order's client.

use portal::attempt::Request;
use portal::expectation::Expectation;
use portal::order_write::OrderChange;
use portal::{Error, Portal};
use proto::portal::{Order, OrderRequest};

pub(crate) async fn cancel_order(portal: &Portal, mut requested: OrderRequest) -> Result<Order, Error> {
    let given = requested.request.take();
    let request = Request::new("CancelOrder", given, &requested)?;
    Expectation::none_in(&requested.expect_total)?;
    let named = portal.named(&requested.cid, &requested.oid).await?;
    portal.cancel_order(OrderChange { named, request, if_match: 0, staff: None }).await
}
