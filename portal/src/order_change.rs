//! Changes of an order that is there: modify, confirm, cancel. Its client asks for them at the client portal, staff for the
//! client at the admin portal: the same transactions with the same errors, and with a note of staff in the order.
//!
//! - **Modify** sets the quantity of each product named, moving exactly the difference; all or nothing. A line that is in the
//!   order keeps its price; a new one takes the product's price of now. The product's version is guarded, so that a price or a rule
//!   changed meanwhile is read again and never taken from a stale cache.
//! - **Confirm** freezes an open order; it holds its stock for good. Confirming a confirmed one changes nothing. One
//!   without lines is refused: there is nothing to sell in it, and a confirmation is never undone.
//! - **Cancel** puts the stock back, once. A second cancel succeeds and changes nothing; a confirmed order is refused.

use std::collections::HashMap;

use proto::portal::Order;

use crate::change::{RequestedLine, demands};
use crate::document::extra::ExtraChange;
use crate::document::order::Phase;
use crate::error::Error;
use crate::expectation::Expectation;
use crate::handle::Portal;
use crate::order_write::{OrderChange, OrderWrite, changed_pids};

impl Portal {
    /// Sets quantities in an open order, and its data.
    ///
    /// # Errors
    /// NOT_FOUND (order, product), FAILED_PRECONDITION (not open, price, stock, quantity, closing, full), ABORTED (`if_match`); or the
    /// client is not registered; or there is no answer.
    pub async fn modify_order(
        &self,
        change: OrderChange,
        lines: &[RequestedLine],
        extra: ExtraChange,
    ) -> Result<Order, Error> {
        let mut write = OrderWrite::changing(self, change, &[Phase::Open]).await?;
        write = write.expecting(Expectation::of_lines(lines)).with_extra(extra);
        loop {
            let (txn, demands) = match write.known() {
                None => (write.change().ask(), HashMap::new()),
                Some(known) => {
                    let products = self.known_products(changed_pids(Some(known), lines)).await?;
                    let demands = demands(Some(&known.order), lines, &products);
                    (write.change().modify(known, lines, &products)?, demands)
                }
            };
            if let Some(order) = write.send(txn, &demands).await? {
                return Ok(order);
            }
        }
    }

    /// Confirms an order that is as its request was shown it.
    ///
    /// # Errors
    /// NOT_FOUND, FAILED_PRECONDITION (cancelled, empty, total, closing), ABORTED (`if_match`); or the client is not registered; or
    /// there is no answer.
    pub async fn confirm_order(&self, change: OrderChange, expectation: Expectation) -> Result<Order, Error> {
        let mut write = OrderWrite::changing(self, change, &[Phase::Open, Phase::Confirmed]).await?;
        write = write.expecting(expectation);
        loop {
            let txn = match write.known() {
                None => write.change().ask(),
                Some(known) if known.order.phase != Phase::Open => write.change().leave(known),
                Some(known) if known.order.lines.is_empty() => write.change().confirm_none(known),
                Some(known) => write.change().confirm(known)?,
            };
            if let Some(order) = write.send(txn, &HashMap::new()).await? {
                return Ok(order);
            }
        }
    }

    /// Cancels an order.
    ///
    /// # Errors
    /// NOT_FOUND, FAILED_PRECONDITION (confirmed, closing), ABORTED (`if_match`); or the client is not registered; or there
    /// is no answer.
    pub async fn cancel_order(&self, change: OrderChange) -> Result<Order, Error> {
        let mut write = OrderWrite::changing(self, change, &[Phase::Open, Phase::Cancelled]).await?;
        loop {
            let txn = match write.known() {
                None => write.change().ask(),
                Some(known) if known.order.phase == Phase::Open => write.change().cancel(known)?,
                Some(known) => write.change().leave(known),
            };
            if let Some(order) = write.send(txn, &HashMap::new()).await? {
                return Ok(order);
            }
        }
    }
}
