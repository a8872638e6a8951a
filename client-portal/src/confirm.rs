//! ConfirmOrder, by the order's client.

use portal::attempt::Request;
use portal::expectation::Expectation;
use portal::order_write::OrderChange;
use portal::{Error, Portal};
use proto::portal::{Order, OrderRequest};

pub(crate) async fn confirm_order(portal: &Portal, mut requested: OrderRequest) -> Result<Order, Error> {
    let given = requested.request.take();
    let request = Request::new("ConfirmOrder", given, &requested)?;
    let expectation = Expectation::of_total(&requested.expect_total)?;
    let named = portal.named(&requested.cid, &requested.oid).await?;
    portal.confirm_order(OrderChange { named, request, if_match: 0, staff: None }, expectation).await
}
