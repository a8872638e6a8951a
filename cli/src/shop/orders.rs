//! The calls about orders, each with the request id and the retries that its kind needs.

use client_portal::operations::{
    BrowseProducts, CancelOrder, ConfirmOrder, CreateOrder, GetOrder, GetProduct, ListOrders, ModifyOrder,
};
use proto::portal::{
    BrowseProductsRequest, CreateOrderRequest, GetOrderRequest, LineChange, ListOrdersRequest,
    ModifyOrderRequest, Order, OrderRequest, OrderSummary, Product, RequestId, ShopGetProductRequest,
};

use crate::admin::paging::{Listing, Part, gather};
use crate::failure::Failure;
use crate::reach::places::{Call, READ};
use crate::shop::via::Asks;
use crate::verb::call::GivenLine;

/// The lines of a request.
#[must_use]
pub fn lines(lines: &[GivenLine]) -> Vec<LineChange> {
    let line = |GivenLine { pid, quantity, price, extra }: &GivenLine| LineChange {
        pid: pid.clone(),
        quantity: *quantity,
        expect_price: price.clone(),
        extra: extra.clone(),
    };
    lines.iter().map(line).collect()
}

/// What an order is to have: lines, and data.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Its lines, or those that change.
    pub lines: Vec<LineChange>,
    /// Data on the order; empty: nothing is said of them.
    pub extra: String,
}

impl From<Vec<LineChange>> for Content {
    fn from(lines: Vec<LineChange>) -> Content {
        Content { lines, extra: String::new() }
    }
}

/// Opens an order.
///
/// # Errors
/// UNAUTHENTICATED, NOT_FOUND, FAILED_PRECONDITION (stock, price), or as every call.
pub async fn create(
    portals: &impl Asks,
    cid: &str,
    content: impl Into<Content>,
    request: RequestId,
    insistent: bool,
) -> Result<Order, Failure> {
    let call = Call { request: Some(&request), insistent };
    let Content { lines, extra } = content.into();
    let message = CreateOrderRequest { cid: cid.to_owned(), lines, request: Some(request.clone()), extra };
    portals.ask::<CreateOrder>(call, message).await
}

/// Sets quantities of an order, and its data.
///
/// # Errors
/// As [`create`], PERMISSION_DENIED, ABORTED.
pub async fn modify(
    portals: &impl Asks,
    (cid, oid): (&str, &str),
    content: impl Into<Content>,
    if_match: u64,
    request: RequestId,
    insistent: bool,
) -> Result<Order, Failure> {
    let call = Call { request: Some(&request), insistent };
    let Content { lines, extra } = content.into();
    let (cid, oid, asked) = (cid.to_owned(), oid.to_owned(), Some(request.clone()));
    let message = ModifyOrderRequest { cid, oid, lines, if_match, request: asked, extra };
    portals.ask::<ModifyOrder>(call, message).await
}

/// Freezes an order; `total` is what was shown of it, empty: whatever it is.
///
/// # Errors
/// FAILED_PRECONDITION (another total), or as every call about an order.
pub async fn confirm(
    portals: &impl Asks,
    (cid, oid): (&str, &str),
    total: &str,
    request: RequestId,
) -> Result<Order, Failure> {
    let message = OrderRequest { expect_total: total.to_owned(), ..naming(cid, oid, &request) };
    portals.ask::<ConfirmOrder>(Call::write(&request), message).await
}

/// Cancels an order.
///
/// # Errors
/// As every call about an order.
pub async fn cancel(portals: &impl Asks, cid: &str, oid: &str, request: RequestId) -> Result<Order, Failure> {
    portals.ask::<CancelOrder>(Call::write(&request), naming(cid, oid, &request)).await
}

fn naming(cid: &str, oid: &str, request: &RequestId) -> OrderRequest {
    let (cid, oid, request) = (cid.to_owned(), oid.to_owned(), Some(request.clone()));
    OrderRequest { cid, oid, request, ..OrderRequest::default() }
}

/// An order.
///
/// # Errors
/// As every call about an order.
pub async fn get(portals: &impl Asks, cid: &str, oid: &str) -> Result<Order, Failure> {
    let message = GetOrderRequest { cid: cid.to_owned(), oid: oid.to_owned() };
    portals.ask::<GetOrder>(READ, message).await
}

/// A client's orders.
///
/// # Errors
/// UNAUTHENTICATED, or as every call.
pub async fn list(portals: &impl Asks, cid: &str, part: Part<'_>) -> Result<Listing<OrderSummary>, Failure> {
    gather(part, async |limit, after| {
        let message = ListOrdersRequest { cid: cid.to_owned(), limit, after };
        portals.ask::<ListOrders>(READ, message).await.map(|page| (page.orders, page.next, page.damage))
    })
    .await
}

/// What is sold, in an order, with filters; `wanted` has no page.
///
/// # Errors
/// UNAUTHENTICATED; FAILED_PRECONDITION: the index is not complete; or as every call.
pub async fn browse(
    portals: &impl Asks,
    wanted: &BrowseProductsRequest,
    part: Part<'_>,
) -> Result<Listing<Product>, Failure> {
    gather(part, async |limit, after| {
        let message = BrowseProductsRequest { limit, after, ..wanted.clone() };
        portals.ask::<BrowseProducts>(READ, message).await.map(|page| (page.products, page.next, page.damage))
    })
    .await
}

/// One product.
///
/// # Errors
/// UNAUTHENTICATED, NOT_FOUND, or as every call.
pub async fn product(portals: &impl Asks, cid: &str, pid: &str) -> Result<Product, Failure> {
    let message = ShopGetProductRequest { cid: cid.to_owned(), pid: pid.to_owned() };
    portals.ask::<GetProduct>(READ, message).await
}
