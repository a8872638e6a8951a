//! One record of a file, ready for the portals: what each collection has in common.

use portal::Error;
use proto::portal::{ImportOrderRequest, InsertClientRequest, InsertProductRequest};

use super::stock::StockLine;

/// A record.
#[derive(Clone, PartialEq, Debug)]
pub enum Record {
    /// A client.
    Client(InsertClientRequest),
    /// A product.
    Product(InsertProductRequest),
    /// What is left of a product.
    Stock(StockLine),
    /// An order.
    Order(Box<ImportOrderRequest>),
}

impl Record {
    /// The id that no other record of the file may have.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Record::Client(client) => &client.cid,
            Record::Product(product) => &product.pid,
            Record::Stock(line) => &line.pid,
            Record::Order(order) => &order.oid,
        }
    }

    /// The column of that id.
    #[must_use]
    pub const fn id_column(&self) -> &'static str {
        match self {
            Record::Client(_) => "cid",
            Record::Product(_) | Record::Stock(_) => "pid",
            Record::Order(_) => "oid",
        }
    }

    /// Checks it as a portal would, without one; an id that is left out is made.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, with the field.
    pub fn checked(self) -> Result<Record, Error> {
        match self {
            Record::Client(client) => super::clients::checked(&client).map(Record::Client),
            Record::Product(product) => super::products::checked(product).map(Record::Product),
            Record::Stock(line) => line.checked().map(Record::Stock),
            Record::Order(order) => {
                super::orders::check(&order)?;
                Ok(Record::Order(order))
            }
        }
    }
}
