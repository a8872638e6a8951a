//! ModifyOrder, by the order's client.

use portal::attempt::Request;
use portal::document::extra::ExtraChange;
use portal::order_write::OrderChange;
use portal::{Error, Portal};
use proto::portal::{ModifyOrderRequest, Order};

pub(crate) async fn modify_order(portal: &Portal, mut requested: ModifyOrderRequest) -> Result<Order, Error> {
    let given = requested.request.take();
    let request = Request::new("ModifyOrder", given, &requested)?;
    let extra = ExtraChange::of_order(&requested.extra)?;
    let lines = portal.changed_lines(&requested.lines, &extra).await?;
    let named = portal.named(&requested.cid, &requested.oid).await?;
    let change = OrderChange { named, request, if_match: requested.if_match, staff: None };
    portal.modify_order(change, &lines, extra).await
}
