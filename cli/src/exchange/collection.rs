//! The four things that are exported and imported, and the columns of each.

use clap::ValueEnum;

/// The columns of the Online Retail file, in its first and its second edition: sales, which are imported in another way.
pub const ONLINE_RETAIL: [[&str; 8]; 2] = [
    [
        "InvoiceNo",
        "StockCode",
        "Description",
        "Quantity",
        "InvoiceDate",
        "UnitPrice",
        "CustomerID",
        "Country",
    ],
    ["Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country"],
];

/// Whether these are the columns of either edition, in small letters or as they are.
#[must_use]
pub fn is_online_retail(header: &[String]) -> bool {
    let is = |edition: &[&str; 8]| {
        let mut both = header.iter().zip(edition);
        header.len() == edition.len() && both.all(|(one, other)| one.eq_ignore_ascii_case(other))
    };
    ONLINE_RETAIL.iter().any(is)
}

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Collection {
    /// Clients with their data
    Clients,
    /// Products with their rules
    Products,
    /// What is left of each product
    Stock,
    /// Orders with their lines, in their states
    Orders,
}

impl Collection {
    /// All of them, in the order in which a shop is imported.
    pub const ALL: [Collection; 4] =
        [Collection::Clients, Collection::Products, Collection::Orders, Collection::Stock];

    /// The word on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Collection::Clients => "clients",
            Collection::Products => "products",
            Collection::Stock => "stock",
            Collection::Orders => "orders",
        }
    }

    /// One of its records, for reports.
    #[must_use]
    pub const fn one(self) -> &'static str {
        match self {
            Collection::Clients => "client",
            Collection::Products => "product",
            Collection::Stock => "stock",
            Collection::Orders => "order",
        }
    }

    /// The columns of an export, in their order.
    #[must_use]
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            Collection::Clients => &["cid", "data"],
            Collection::Products => &[
                "pid",
                "description",
                "quantity",
                "price",
                "safety_stock",
                "backorder_limit",
                "quantity_min",
                "quantity_max",
                "untracked",
                "low_stock",
                "extra",
            ],
            Collection::Stock => &["pid", "available", "held", "sold"],
            Collection::Orders => &[
                "cid",
                "oid",
                "state",
                "created_ms",
                "changed_ms",
                "client_removed",
                "staff",
                "extra",
                "pid",
                "description",
                "quantity",
                "price",
                "untracked",
                "product_removed",
                "line_extra",
            ],
        }
    }

    /// The columns that a file must have; a client's id can be made from its name.
    #[must_use]
    pub const fn required(self) -> &'static [&'static str] {
        match self {
            Collection::Clients => &[],
            Collection::Products => &["description", "quantity", "price"],
            Collection::Stock => &["pid", "available"],
            Collection::Orders => {
                &["cid", "oid", "state", "changed_ms", "pid", "description", "quantity", "price"]
            }
        }
    }

    /// The column whose cell holds the members that have no column of their own; `None`: there are no others.
    #[must_use]
    pub const fn rest(self) -> Option<&'static str> {
        match self {
            Collection::Clients => Some("data"),
            Collection::Products => Some("extra"),
            Collection::Stock | Collection::Orders => None,
        }
    }

    /// The collection whose columns these are, if a person can see it from them.
    #[must_use]
    pub fn of(header: &[String]) -> Option<Collection> {
        let has = |name: &&str| header.iter().any(|one| one == name);
        let fits = |one: &Collection| one.required().iter().all(&has);
        let by_columns = [Collection::Orders, Collection::Products, Collection::Stock].into_iter().find(fits);
        by_columns.or_else(|| (has(&"cid") || has(&"name")).then_some(Collection::Clients))
    }
}
