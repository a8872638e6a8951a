//! ModifyOrder, ConfirmOrder, CancelOrder: staff change an order for its client, and say why. PayOrder, PackOrder, SendOrder,
//! ReturnOrder, RefundOrder: they move a confirmed one on (`portal::order_move`).
//!
//! They are the client's own operations (`portal::order_change`), under request ids of the same client but with digests of
//! their own: an id that the client used is no id of staff. What differs is the note that the order keeps, and that a client
//! who is not registered is not found, since it is not the caller.

use portal::attempt::Request;
use portal::document::extra::ExtraChange;
use portal::document::order_move::Move;
use portal::document::staff_note::StaffReason;
use portal::expectation::Expectation;
use portal::order_write::OrderChange;
use portal::{Error, Portal};
use proto::portal::{
    Order, StaffModifyOrderRequest, StaffMoveRequest, StaffOrderRequest, StaffReturnRequest,
};

pub(crate) async fn modify_order(
    portal: &Portal,
    mut input: StaffModifyOrderRequest,
) -> Result<Order, Error> {
    let given = input.request.take();
    let request = Request::new("StaffModifyOrder", given, &input)?;
    let staff = Some(StaffReason::parse(&input.reason, &input.by)?);
    let extra = ExtraChange::of_order(&input.extra)?;
    let lines = portal.changed_lines(&input.lines, &extra).await?;
    let named = portal.named_by_staff(&input.cid, &input.oid).await?;
    let change = OrderChange { named, request, if_match: input.if_match, staff };
    portal.modify_order(change, &lines, extra).await
}

pub(crate) async fn confirm_order(portal: &Portal, input: StaffOrderRequest) -> Result<Order, Error> {
    let expectation = Expectation::of_total(&input.expect_total)?;
    portal.confirm_order(change(portal, "StaffConfirmOrder", input).await?, expectation).await
}

pub(crate) async fn cancel_order(portal: &Portal, input: StaffOrderRequest) -> Result<Order, Error> {
    Expectation::none_in(&input.expect_total)?;
    portal.cancel_order(change(portal, "StaffCancelOrder", input).await?).await
}

/// Paid, packed or sent: what needs no reason.
pub(crate) async fn move_order(
    portal: &Portal,
    mut input: StaffMoveRequest,
    of: Move,
    operation: &str,
) -> Result<Order, Error> {
    let given = input.request.take();
    let request = Request::new(operation, given, &input)?;
    let staff = Some(StaffReason::maybe(&input.reason, &input.by)?);
    let named = portal.named_by_staff(&input.cid, &input.oid).await?;
    portal.move_order(OrderChange { named, request, if_match: input.if_match, staff }, of).await
}

pub(crate) async fn return_order(portal: &Portal, mut input: StaffReturnRequest) -> Result<Order, Error> {
    let given = input.request.take();
    let request = Request::new("StaffReturnOrder", given, &input)?;
    let staff = Some(StaffReason::parse(&input.reason, &input.by)?);
    let named = portal.named_by_staff(&input.cid, &input.oid).await?;
    let change = OrderChange { named, request, if_match: input.if_match, staff };
    portal.move_order(change, Move::Return { restock: input.restock }).await
}

pub(crate) async fn refund_order(portal: &Portal, input: StaffOrderRequest) -> Result<Order, Error> {
    Expectation::none_in(&input.expect_total)?;
    portal.move_order(change(portal, "StaffRefundOrder", input).await?, Move::Refund).await
}

async fn change(
    portal: &Portal,
    operation: &str,
    mut input: StaffOrderRequest,
) -> Result<OrderChange, Error> {
    let given = input.request.take();
    let request = Request::new(operation, given, &input)?;
    let staff = Some(StaffReason::parse(&input.reason, &input.by)?);
    let named = portal.named_by_staff(&input.cid, &input.oid).await?;
    Ok(OrderChange { named, request, if_match: input.if_match, staff })
}
