//! GetOrder and ListOrders: reads, through the cache and through a scan.

use portal::document::order::OrderRecord;
use portal::error::Kind;
use portal::id::Oid;
use portal::{Error, Portal, key, page};
use proto::portal::{GetOrderRequest, ListOrdersRequest, ListOrdersResponse, Order};
use store_client::Range;

pub(crate) async fn get_order(portal: &Portal, asked: &GetOrderRequest) -> Result<Order, Error> {
    let named = portal.named(&asked.cid, &asked.oid).await?;
    portal.registered(&asked.cid).await?;
    let at = key::order(&named.cid, &named.oid);
    match portal.read_certain_absence(&at).await?.record {
        Some(record) => Ok(OrderRecord::read(&at, &record)?.shown(&named.cid, &named.oid, &record)),
        None => Err(Error::NotFound { kind: Kind::Order, id: named.oid.to_string() }),
    }
}

pub(crate) async fn list_orders(
    portal: &Portal,
    asked: &ListOrdersRequest,
) -> Result<ListOrdersResponse, Error> {
    let limit = page::limit(asked.limit)?;
    let cid = portal.registered(&asked.cid).await?;
    let after = match asked.after.as_str() {
        "" => None,
        text => {
            let oid = Oid::parse(text).ok_or_else(|| Error::invalid("after", "is not the id of an order"))?;
            Some(key::order(&cid, &oid))
        }
    };
    let listed = portal.list(Range::Prefix(key::orders_of(&cid)), limit, after).await?;
    let mut orders = Vec::with_capacity(listed.records.len());
    for one in &listed.records {
        let Some(record) = &one.record else { continue };
        let oid = key::oid_in(&one.key).ok_or_else(|| Error::damaged(&one.key, "not an order's key"))?;
        orders.push(OrderRecord::read(&one.key, record)?.summary(&oid));
    }
    let next = match orders.last() {
        Some(last) if listed.more => last.oid.clone(),
        _ => String::new(),
    };
    Ok(ListOrdersResponse { orders, next })
}
