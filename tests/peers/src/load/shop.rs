//! The records of the loads, the same for every peer, and the check of what orders have left of the stock. Pure.

use std::time::Duration;

use anyhow::bail;

/// Keys of put and get.
pub const KEYS: u64 = 10_000;
/// Bytes of their data.
pub const BYTES: usize = 256;
/// Clients of the shop, who order in any order.
pub const SHOPPERS: u64 = 100;
/// Products of orders, each as often; hot orders are of one.
pub const PRODUCTS: u64 = 1_000;
/// What is left of each product at first.
pub const STOCK: u64 = 1_000_000_000_000;
/// An operation is given up after it.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Data of an order, as feira's bench writes it.
pub const ORDER: &str = "{\"state\":\"open\",\"lines\":[{\"pid\":\"bench-p\",\"description\":\"A PRODUCT OF THE BENCH\",\"quantity\":1,\
                         \"price\":\"2.55\"}],\"total\":\"2.55\"}";
/// Data of a product.
pub const PRODUCT: &str = "{\"description\":\"A PRODUCT OF THE BENCH\",\"price\":\"2.55\"}";
/// Data of a client.
pub const CLIENT: &str = "{\"state\":\"active\",\"open_orders\":0,\"data\":{}}";

/// A failed operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    /// Why, in a word.
    pub reason: String,
    /// It may have been done all the same.
    pub perhaps_done: bool,
}

impl Failed {
    /// It was not done.
    pub fn refused(reason: impl Into<String>) -> Failed {
        Failed { reason: reason.into(), perhaps_done: false }
    }

    /// Nobody knows.
    pub fn unknown(reason: impl Into<String>) -> Failed {
        Failed { reason: reason.into(), perhaps_done: true }
    }
}

/// The stock of all products together, and the orders.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Books {
    /// What was there at first.
    pub initial: u64,
    /// What is left.
    pub available: u64,
    /// What is held for orders.
    pub held: u64,
    /// Orders of one unit each.
    pub orders: u64,
}

impl Books {
    /// That what was sold is held, was ordered, and was acknowledged.
    ///
    /// # Errors
    /// It is not so: the numbers.
    pub fn check(self, acknowledged: u64, unknown: u64) -> anyhow::Result<()> {
        let Some(sold) = self.initial.checked_sub(self.available) else {
            bail!("stock: {} are left of {}", self.available, self.initial);
        };
        if sold != self.held || sold != self.orders {
            bail!("stock: {sold} were sold, {} are held, and there are {} orders", self.held, self.orders);
        }
        if sold < acknowledged || sold > acknowledged + unknown {
            bail!(
                "stock: {sold} were sold; {acknowledged} orders were acknowledged, and {unknown} are of unknown outcome"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_are_right_when_what_is_gone_is_what_was_acknowledged() {
        let books = |available, held, orders| Books { initial: 100, available, held, orders };
        assert!(books(90, 10, 10).check(10, 0).is_ok());
        assert!(books(90, 10, 10).check(8, 2).is_ok(), "what is unknown may have been done");
        for (wrong, acknowledged, unknown) in [
            (books(91, 9, 9), 10, 0),
            (books(89, 11, 11), 10, 0),
            (books(90, 10, 9), 10, 0),
            (books(90, 9, 10), 10, 0),
            (books(101, 0, 0), 0, 0),
            (books(90, 10, 10), 7, 2),
        ] {
            assert!(wrong.check(acknowledged, unknown).is_err(), "{wrong:?}");
        }
    }
}
