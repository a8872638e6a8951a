//! The calls about orders, as staff make them for the clients.

use admin_portal::operations::{
    CancelOrder, ConfirmOrder, GetOrder, ListOrders, ModifyOrder, PackOrder, PayOrder, RefundOrder,
    ReturnOrder, SendOrder,
};
use proto::portal::{
    Order, RequestId, StaffGetOrderRequest, StaffListOrdersRequest, StaffModifyOrderRequest,
    StaffMoveRequest, StaffOrderRequest, StaffOrderSummary, StaffReturnRequest,
};

use super::asking::ask;
use super::paging::{Listing, Part, gather};
use crate::failure::Failure;
use crate::reach::places::{Call, READ};
use crate::reach::portals::Portals;
use crate::shop::orders::Content;

/// Which order, in which version, and why it is changed.
#[derive(Clone, Debug)]
pub struct Meant<'a> {
    /// Its client.
    pub cid: &'a str,
    /// Its id.
    pub oid: &'a str,
    /// The etag that was seen; 0: any.
    pub if_match: u64,
    /// Why.
    pub reason: String,
    /// Who says so; empty: nobody in particular.
    pub by: &'a str,
    /// The request's identity.
    pub request: RequestId,
}

/// The list by time.
pub const NEWEST: &str = "newest";

/// An order of a list, and the cursor behind it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// `CID/OID`; of the list by time `TIME/CID/OID`.
    pub cursor: String,
    /// What the list shows of it.
    pub order: StaffOrderSummary,
}

/// Orders, with filters; `wanted` has no page.
///
/// # Errors
/// NOT_FOUND: the client; or as every call.
pub async fn list(
    portals: &Portals,
    wanted: &StaffListOrdersRequest,
    part: Part<'_>,
) -> Result<Listing<Listed>, Failure> {
    gather(part, async |limit, after| {
        let message = StaffListOrdersRequest { limit, after, ..wanted.clone() };
        let page = ask::<ListOrders>(portals, READ, message).await?;
        let orders = page.orders.into_iter();
        let cursor = |order: &StaffOrderSummary| match wanted.sort.as_str() {
            NEWEST => format!("{}/{}/{}", order.listed_ms, order.cid, order.oid),
            _ => format!("{}/{}", order.cid, order.oid),
        };
        let orders = orders.map(|order| Listed { cursor: cursor(&order), order });
        Ok((orders.collect(), page.next, page.damage))
    })
    .await
}

/// An order.
///
/// # Errors
/// NOT_FOUND, PERMISSION_DENIED, or as every call.
pub async fn get(portals: &Portals, cid: &str, oid: &str) -> Result<Order, Failure> {
    let message = StaffGetOrderRequest { cid: cid.to_owned(), oid: oid.to_owned() };
    ask::<GetOrder>(portals, READ, message).await
}

/// Sets quantities in an open order, and its data.
///
/// # Errors
/// NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION, ABORTED, or as every call.
pub async fn modify(portals: &Portals, meant: Meant<'_>, content: Content) -> Result<Order, Failure> {
    let Meant { cid, oid, if_match, reason, by, request } = meant;
    let Content { lines, extra } = content;
    let (cid, oid, by) = (cid.to_owned(), oid.to_owned(), by.to_owned());
    let asked = Some(request.clone());
    let message = StaffModifyOrderRequest { cid, oid, lines, reason, by, if_match, request: asked, extra };
    ask::<ModifyOrder>(portals, Call::write(&request), message).await
}

/// Confirms an order; `total` is what was shown of it, empty: whatever it is.
///
/// # Errors
/// As [`modify`].
pub async fn confirm(portals: &Portals, meant: Meant<'_>, total: &str) -> Result<Order, Failure> {
    let (request, message) = ending(meant);
    let message = StaffOrderRequest { expect_total: total.to_owned(), ..message };
    ask::<ConfirmOrder>(portals, Call::write(&request), message).await
}

/// Cancels an order.
///
/// # Errors
/// As [`modify`].
pub async fn cancel(portals: &Portals, meant: Meant<'_>) -> Result<Order, Failure> {
    let (request, message) = ending(meant);
    ask::<CancelOrder>(portals, Call::write(&request), message).await
}

/// Moves a confirmed order on: paid, packed or sent.
///
/// # Errors
/// As [`modify`].
pub async fn advance(portals: &Portals, meant: Meant<'_>, of: Move) -> Result<Order, Failure> {
    let (request, StaffOrderRequest { cid, oid, reason, by, if_match, request: asked, .. }) = ending(meant);
    let message = StaffMoveRequest { cid, oid, reason, by, if_match, request: asked };
    let call = Call::write(&request);
    match of {
        Move::Pay => ask::<PayOrder>(portals, call, message).await,
        Move::Pack => ask::<PackOrder>(portals, call, message).await,
        Move::Send => ask::<SendOrder>(portals, call, message).await,
    }
}

/// A move that needs no reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// Paid.
    Pay,
    /// Packed.
    Pack,
    /// Sent.
    Send,
}

/// Takes a sent order back.
///
/// # Errors
/// As [`modify`].
pub async fn take_back(portals: &Portals, meant: Meant<'_>, restock: bool) -> Result<Order, Failure> {
    let (request, StaffOrderRequest { cid, oid, reason, by, if_match, request: asked, .. }) = ending(meant);
    let message = StaffReturnRequest { cid, oid, reason, by, restock, if_match, request: asked };
    ask::<ReturnOrder>(portals, Call::write(&request), message).await
}

/// Notes that the money of an order went back.
///
/// # Errors
/// As [`modify`].
pub async fn refund(portals: &Portals, meant: Meant<'_>) -> Result<Order, Failure> {
    let (request, message) = ending(meant);
    ask::<RefundOrder>(portals, Call::write(&request), message).await
}

fn ending(meant: Meant<'_>) -> (RequestId, StaffOrderRequest) {
    let Meant { cid, oid, if_match, reason, by, request } = meant;
    let (cid, oid, by) = (cid.to_owned(), oid.to_owned(), by.to_owned());
    let asked = Some(request.clone());
    (
        request,
        StaffOrderRequest { cid, oid, reason, by, if_match, request: asked, ..StaffOrderRequest::default() },
    )
}
