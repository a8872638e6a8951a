//! Moves of confirmed orders by staff: paid, packed, sent, returned, refunded ([`crate::document::order_move`]).
//!
//! Each is one transaction that guards the order's version and moves the units of its lines. It guards nothing of the client, whose
//! orders outlive it. A move that is repeated finds the order where it leads, and changes nothing; a return that says otherwise of
//! the goods than the one before is refused, since they are moved once.
//!
//! Sending adds to `sold`, which stocks of earlier versions lack. The add then fails, and with it the whole transaction; the member
//! is written as 0, guarded by the offset of the record that lacked it, and the move is tried again. The guard makes it safe: if anything
//! has changed in the record meanwhile, it is read anew, and nobody's `sold` is ever set back.

use std::collections::HashMap;

use proto::portal::Order;

use crate::document::order_move::Move;
use crate::error::Error;
use crate::handle::Portal;
use crate::order_write::{OrderChange, OrderWrite};

impl Portal {
    /// Moves a confirmed order on; it must be staff who ask for it.
    ///
    /// # Errors
    /// NOT_FOUND, FAILED_PRECONDITION (it is in another state), ABORTED (`if_match`); or there is no answer.
    ///
    /// # Panics
    /// If it is not staff: our own bug.
    pub async fn move_order(&self, change: OrderChange, of: Move) -> Result<Order, Error> {
        assert!(change.staff.is_some(), "clients move no confirmed orders");
        let oid = change.named.oid;
        let mut write = OrderWrite::moving(self, change, of).await?;
        loop {
            let txn = match write.known() {
                None => write.change().ask(),
                Some(known) => match of.step(known.order.phase) {
                    Some(step) => write.change().advance(known, step)?,
                    None if of.contradicts(&known.order.staff) => {
                        let (state, needs) = (known.order.phase.word().to_owned(), of.from_words());
                        return Err(Error::WrongState { oid: oid.to_string(), state, needs });
                    }
                    None => write.change().leave(known),
                },
            };
            if let Some(order) = write.send(txn, &HashMap::new()).await? {
                return Ok(order);
            }
        }
    }
}
