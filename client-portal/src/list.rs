//! GetOrder and ListOrders: reads, through the cache and through a scan.

use portal::document::order::OrderRecord;
use portal::id::{Cid, Oid};
use portal::page::{LeftOut, Page};
use portal::{Error, Portal, key, page};
use proto::portal::{GetOrderRequest, ListOrdersRequest, ListOrdersResponse, Order, OrderSummary};
use store_client::Range;

pub(crate) async fn get_order(portal: &Portal, requested: &GetOrderRequest) -> Result<Order, Error> {
    let named = portal.named(&requested.cid, &requested.oid).await?;
    portal.registered(&requested.cid).await?;
    portal.order(&named).await
}

pub(crate) async fn list_orders(
    portal: &Portal,
    requested: &ListOrdersRequest,
) -> Result<ListOrdersResponse, Error> {
    let limit = page::limit(requested.limit)?;
    let cid = portal.registered(&requested.cid).await?;
    let after = match requested.after.as_str() {
        "" => None,
        text => {
            let oid = Oid::parse(text).ok_or_else(|| Error::invalid("after", "is not the id of an order"))?;
            Some(key::order(&cid, &oid))
        }
    };
    let range = Range::Prefix(key::orders_of(&cid));
    let cursor_of = |at: &[u8]| oid_at(&cid, at).map(|oid| oid.to_string());
    let Page { records, next } = portal.page(range, limit, after, cursor_of).await?;
    let shop = portal.rules_seen();
    let mut orders = Vec::with_capacity(records.len());
    let mut left_out = LeftOut::default();
    for one in &records {
        let Some(record) = &one.record else { continue };
        let oid = oid_at(&cid, &one.key).ok_or_else(|| Error::damaged(&one.key, "not an order's key"));
        let shown = oid.and_then(|oid| Ok(OrderRecord::read(&one.key, record)?.summary(&oid)));
        let shown = left_out
            .or(shown)?
            .map(|order| OrderSummary { total_shown: shop.total_shown(&order.total), ..order });
        orders.extend(shown);
    }
    Ok(ListOrdersResponse { orders, next, damage: left_out.damage() })
}

/// The OID of the order that this client has under this key; `None`: it is no order's key.
fn oid_at(cid: &Cid, at: &[u8]) -> Option<Oid> {
    key::oid_in(at).filter(|oid| key::order(cid, oid) == at)
}
