//! A record of a file on its way to the portals: looked at, compared with what is there, and written if it is new.
//!
//! Promises: what is there already is not written again, and what is there and differs is only touched where the command says so. An
//! import is repeated safely by that alone: the id of a client, product or order guards itself, and stock is set against the version
//! that was seen. A request id is a new one each time: one made from the line would be answered with the refusal of yesterday, which the
//! store remembers, though the shop has been mended since.

use std::time::Duration;

use admin_portal::operations::{
    AdjustStock, ImportOrder, InsertClient, InsertProduct, UpdateClient, UpdateProduct,
};
use portal::Error;
use portal::document::product::ProductData;
use portal::error::Kind as Of;
use portal::money::Price;
use portal::operation::Operation;
use proto::portal::{
    AdjustStockRequest, ImportOrderRequest, InsertClientRequest, InsertProductRequest, Product, RequestId,
    UpdateClientRequest, UpdateProductRequest,
};

use super::cells::{column_of, on_one_line};
use super::record::Record;
use super::stock::StockLine;
use super::{orders, products as forms};
use crate::admin::asking::ask;
use crate::admin::{clients, orders as calls, products};
use crate::failure::{Failure, Kind};
use crate::reach::places::Call;
use crate::reach::portals::Portals;
use crate::reach::request::request_id;

/// How often stock that others move meanwhile is set anew.
const STOCK_ATTEMPTS_MAX: usize = 8;

/// How often a record is sent again that others kept changing.
const CONTENDED_TRIES_MAX: u32 = 4;
/// The pause before it is: from twice this on, growing.
const CONTENDED_PAUSE_MS: u64 = 10;

/// What became of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// It was not there.
    New,
    /// It was there, as it is in the file.
    There,
    /// It was there, and became as it is in the file.
    Changed,
    /// It was not taken: the column, if it is about one, and why.
    Refused(String, String),
}

/// The way to the portals.
#[derive(Clone, Copy)]
pub struct Sender<'a> {
    /// Those of administrators.
    pub admin: &'a Portals,
    /// What is there and differs becomes as it is in the file.
    pub update: bool,
    /// The file says nothing of the further members of products: they stay.
    pub keeps_extra: bool,
}

impl Sender<'_> {
    /// Sends a record.
    ///
    /// # Errors
    /// A portal cannot be reached, an outcome stays unknown, or something is wrong that is no record's.
    pub async fn send(&self, record: Record) -> Result<Done, Failure> {
        let mut tries = 0;
        loop {
            match self.once(record.clone()).await {
                Err(failure) if failure.reason == "CONTENDED" && tries < CONTENDED_TRIES_MAX => {
                    tries += 1;
                    let pause_ms = CONTENDED_PAUSE_MS << tries;
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(pause_ms..=2 * pause_ms))).await;
                }
                Err(failure) if !is_of_the_run(&failure) => return Ok(refused(&failure)),
                done => return done,
            }
        }
    }

    async fn once(&self, record: Record) -> Result<Done, Failure> {
        match record {
            Record::Client(client) => self.client(client).await,
            Record::Product(product) => self.product(product).await,
            Record::Stock(line) => self.stock(&line).await,
            Record::Order(order) => self.order(*order).await,
        }
    }

    async fn ask<O: Operation>(
        &self,
        make: impl FnOnce(Option<RequestId>) -> O::Request,
    ) -> Result<O::Response, Failure> {
        let request = request_id(None);
        let message = make(Some(request.clone()));
        ask::<O>(self.admin, Call::write(&request), message).await
    }

    async fn client(&self, client: InsertClientRequest) -> Result<Done, Failure> {
        let there = match clients::get(self.admin, &client.cid).await {
            Ok(there) => there,
            Err(failure) if failure.reason == "NOT_FOUND" => {
                let insert = |request| InsertClientRequest { request, ..client };
                return self.ask::<InsertClient>(insert).await.map(|_| Done::New);
            }
            Err(failure) => return Err(failure),
        };
        if on_one_line(&there.data) == on_one_line(&client.data) {
            return Ok(Done::There);
        }
        if !self.update {
            return Ok(differs("data", "is there already with other data"));
        }
        let InsertClientRequest { cid, data, .. } = client;
        let update = |request| UpdateClientRequest { cid, data, if_match: there.etag, request };
        self.ask::<UpdateClient>(update).await.map(|_| Done::Changed)
    }

    async fn product(&self, mut product: InsertProductRequest) -> Result<Done, Failure> {
        let there = match products::get(self.admin, &product.pid).await {
            Ok(there) => there,
            Err(failure) if failure.reason == "NOT_FOUND" => {
                let insert = |request| InsertProductRequest { request, ..product };
                return self.ask::<InsertProduct>(insert).await.map(|_| Done::New);
            }
            Err(failure) => return Err(failure),
        };
        if self.keeps_extra {
            product.data = match forms::with_extra(&product.data, &there.extra) {
                Ok(data) => data,
                Err(error) => {
                    return Ok(differs("extra", &format!("of what is there cannot be kept: {error}")));
                }
            };
        }
        let Some(column) = product_difference(&there, &product) else { return Ok(Done::There) };
        if !self.update {
            return Ok(differs(column, &format!("is there already with another {column}")));
        }
        let InsertProductRequest { pid, data, rules, .. } = product;
        let update = |request| UpdateProductRequest {
            pid,
            data: forms::without_quantity(&data),
            if_match: there.etag,
            if_match_stock: 0,
            request,
            rules,
        };
        self.ask::<UpdateProduct>(update).await.map(|_| Done::Changed)
    }

    async fn stock(&self, line: &StockLine) -> Result<Done, Failure> {
        let mut attempts = 0;
        loop {
            let stock = products::get(self.admin, &line.pid).await?.stock.unwrap_or_default();
            let amount = line.available.saturating_sub(stock.available);
            if amount == 0 {
                return Ok(Done::There);
            }
            let (pid, if_match_stock) = (line.pid.clone(), stock.etag);
            let adjust = |request| AdjustStockRequest { pid, amount, request, if_match_stock };
            attempts += 1;
            match self.ask::<AdjustStock>(adjust).await {
                Ok(_) => return Ok(Done::Changed),
                // Sold meanwhile: what is left is another number than the one that was looked at.
                Err(failure) if failure.reason == "CHANGED" && attempts < STOCK_ATTEMPTS_MAX => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn order(&self, order: ImportOrderRequest) -> Result<Done, Failure> {
        match calls::get(self.admin, &order.cid, &order.oid).await {
            Ok(there) => Ok(match orders::difference(&there, &order) {
                None => Done::There,
                Some(how) => differs("oid", &format!("is taken by an order of the shop: {how}")),
            }),
            // Of a client whom nobody knows, too: the import itself says what it needs.
            Err(failure) if failure.reason == "NOT_FOUND" => {
                let import = |request| ImportOrderRequest { request, ..order };
                self.ask::<ImportOrder>(import).await.map(|_| Done::New)
            }
            Err(failure) => Err(failure),
        }
    }
}

/// Whether a failure is about the whole run: each record would meet it.
fn is_of_the_run(failure: &Failure) -> bool {
    let is_of_request =
        matches!(failure.error(), Some(Error::Invalid { field, .. }) if field.starts_with("request."));
    matches!(failure.kind, Kind::Unreachable | Kind::Unknown)
        || is_of_request
        || ["WRONG_CLUSTER", "CLOCKS_APART"].contains(&failure.reason.as_str())
}

fn differs(column: &str, why: &str) -> Done {
    Done::Refused(column.to_owned(), why.to_owned())
}

/// The column in which a product differs from the one that is there; its quantity counts only when it is new.
fn product_difference(there: &Product, wanted: &InsertProductRequest) -> Option<&'static str> {
    let data = ProductData::parse(&wanted.data).ok()?;
    let extra = if there.extra.is_empty() { "{}" } else { &there.extra };
    let differs = [
        ("description", data.description != there.description),
        ("price", Price::parse(&there.price).ok() != Some(data.price)),
        ("extra", on_one_line(&data.extra.to_json()) != on_one_line(extra)),
        ("rules", wanted.rules.is_some_and(|wanted| there.rules.unwrap_or_default() != wanted)),
    ];
    differs.into_iter().find(|(_, differs)| *differs).map(|(column, _)| column)
}

/// What a portal refused, and the column that it is about.
fn refused(failure: &Failure) -> Done {
    let column = match failure.error() {
        Some(Error::Invalid { field, .. }) => column_of(field).to_owned(),
        Some(Error::ShortStock { .. } | Error::OutsideQuantity { .. }) => "quantity".to_owned(),
        Some(Error::RuleBroken { .. }) => "available".to_owned(),
        Some(Error::Gone { .. } | Error::IdKept { .. }) => "cid".to_owned(),
        Some(Error::NotYours { .. }) => "oid".to_owned(),
        Some(
            Error::NotFound { kind, .. } | Error::AlreadyExists { kind, .. } | Error::Closing { kind, .. },
        ) => match kind {
            Of::Client => "cid",
            Of::Product => "pid",
            Of::Order => "oid",
            Of::Shop => "",
        }
        .to_owned(),
        _ => String::new(),
    };
    Done::Refused(column, failure.sentence().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_record_would_meet_ends_the_run() {
        for (reason, ends) in
            [("WRONG_CLUSTER", true), ("CLOCKS_APART", true), ("CONTENDED", false), ("STOCK_SHORT", false)]
        {
            let mut failure = Failure::refused("no");
            failure.reason = reason.to_owned();
            assert_eq!(is_of_the_run(&failure), ends, "{reason}");
        }
    }
}
