//! The calls about orders, each with the request id and the retries that its kind needs.

use proto::portal::shop_client::ShopClient;
use proto::portal::{
    BrowseProductsRequest, CreateOrderRequest, GetOrderRequest, LineChange, ListOrdersRequest,
    ModifyOrderRequest, Order, OrderRequest, OrderSummary, Product, RequestId, ShopGetProductRequest,
};

use crate::admin::paging::{Listing, Part, gather};
use crate::failure::Failure;
use crate::reach::places::{Call, READ};
use crate::reach::portals::Portals;

/// The lines of a request.
#[must_use]
pub fn lines(lines: &[(String, i64)]) -> Vec<LineChange> {
    lines.iter().map(|(pid, quantity)| LineChange { pid: pid.clone(), quantity: *quantity }).collect()
}

/// Opens an order.
///
/// # Errors
/// UNAUTHENTICATED, NOT_FOUND, FAILED_PRECONDITION (stock), or as every call.
pub async fn create(
    portals: &Portals,
    cid: &str,
    lines: Vec<LineChange>,
    request: RequestId,
    insistent: bool,
) -> Result<Order, Failure> {
    let call = Call { request: Some(&request), insistent };
    let message = CreateOrderRequest { cid: cid.to_owned(), lines, request: Some(request.clone()) };
    let rpc = |channel, message| async move { ShopClient::new(channel).create_order(message).await };
    portals.send(call, message, rpc).await
}

/// Sets quantities of an order.
///
/// # Errors
/// As [`create`], PERMISSION_DENIED, ABORTED.
pub async fn modify(
    portals: &Portals,
    (cid, oid): (&str, &str),
    lines: Vec<LineChange>,
    if_match: u64,
    request: RequestId,
    insistent: bool,
) -> Result<Order, Failure> {
    let call = Call { request: Some(&request), insistent };
    let message = ModifyOrderRequest {
        cid: cid.to_owned(),
        oid: oid.to_owned(),
        lines,
        if_match,
        request: Some(request.clone()),
    };
    let rpc = |channel, message| async move { ShopClient::new(channel).modify_order(message).await };
    portals.send(call, message, rpc).await
}

/// Freezes an order.
///
/// # Errors
/// As every call about an order.
pub async fn confirm(portals: &Portals, cid: &str, oid: &str, request: RequestId) -> Result<Order, Failure> {
    let message = OrderRequest { cid: cid.to_owned(), oid: oid.to_owned(), request: Some(request.clone()) };
    let rpc = |channel, message| async move { ShopClient::new(channel).confirm_order(message).await };
    portals.send(Call::write(&request), message, rpc).await
}

/// Cancels an order.
///
/// # Errors
/// As every call about an order.
pub async fn cancel(portals: &Portals, cid: &str, oid: &str, request: RequestId) -> Result<Order, Failure> {
    let message = OrderRequest { cid: cid.to_owned(), oid: oid.to_owned(), request: Some(request.clone()) };
    let rpc = |channel, message| async move { ShopClient::new(channel).cancel_order(message).await };
    portals.send(Call::write(&request), message, rpc).await
}

/// An order.
///
/// # Errors
/// As every call about an order.
pub async fn get(portals: &Portals, cid: &str, oid: &str) -> Result<Order, Failure> {
    let message = GetOrderRequest { cid: cid.to_owned(), oid: oid.to_owned() };
    let rpc = |channel, message| async move { ShopClient::new(channel).get_order(message).await };
    portals.send(READ, message, rpc).await
}

/// A client's orders.
///
/// # Errors
/// UNAUTHENTICATED, or as every call.
pub async fn list(portals: &Portals, cid: &str, part: Part<'_>) -> Result<Listing<OrderSummary>, Failure> {
    gather(part, async |limit, after| {
        let message = ListOrdersRequest { cid: cid.to_owned(), limit, after };
        let rpc = |channel, message| async move { ShopClient::new(channel).list_orders(message).await };
        portals.send(READ, message, rpc).await.map(|page| (page.orders, page.next, page.damage))
    })
    .await
}

/// What is sold.
///
/// # Errors
/// UNAUTHENTICATED, or as every call.
pub async fn browse(
    portals: &Portals,
    cid: &str,
    prefix: &str,
    part: Part<'_>,
) -> Result<Listing<Product>, Failure> {
    gather(part, async |limit, after| {
        let message = BrowseProductsRequest { cid: cid.to_owned(), prefix: prefix.to_owned(), limit, after };
        let rpc = |channel, message| async move { ShopClient::new(channel).browse_products(message).await };
        portals.send(READ, message, rpc).await.map(|page| (page.products, page.next, page.damage))
    })
    .await
}

/// One product.
///
/// # Errors
/// UNAUTHENTICATED, NOT_FOUND, or as every call.
pub async fn product(portals: &Portals, cid: &str, pid: &str) -> Result<Product, Failure> {
    let message = ShopGetProductRequest { cid: cid.to_owned(), pid: pid.to_owned() };
    let rpc = |channel, message| async move { ShopClient::new(channel).get_product(message).await };
    portals.send(READ, message, rpc).await
}
