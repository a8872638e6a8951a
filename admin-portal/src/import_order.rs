//! ImportOrder: an order of another shop, or of this one's past, as it was (`portal::order_import`).
//!
//! The client is named as it stands: an order's id is made from it, so that no other form of it will do.

use portal::attempt::Request;
use portal::change::Imported;
use portal::{Error, Portal};
use proto::portal::{ImportOrderRequest, Order};

pub(crate) async fn import_order(portal: &Portal, mut input: ImportOrderRequest) -> Result<Order, Error> {
    let given = input.request.take();
    let request = Request::new("ImportOrder", given, &input)?;
    let import = Imported::parse(&input, portal.log_time_ms())?;
    let named = portal.named_for_import(&input.cid, &input.oid)?;
    portal.import_order(&named, request, &import).await
}
