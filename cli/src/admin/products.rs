//! The calls about products and stock.

use proto::portal::admin_client::AdminClient;
use proto::portal::{
    AdjustStockRequest, DeleteProductRequest, DeleteResponse, GetProductRequest, InsertProductRequest,
    ListRequest, Product, StockRules, UpdateProductRequest,
};
use serde_json::Value;

use super::paging::{Listing, Part, gather};
use super::stock_rules::RuleFlags;
use crate::document::{Document, Members, members_of, text_of, value};
use crate::failure::Failure;
use crate::names::Names;
use crate::reach::places::{Call, READ};
use crate::reach::portals::Portals;
use crate::reach::request::request_id;

/// Adds a product.
///
/// # Errors
/// ALREADY_EXISTS, or as every call.
pub async fn insert(
    portals: &Portals,
    pid: &str,
    data: &str,
    rules: Option<StockRules>,
    request: Option<&str>,
) -> Result<Product, Failure> {
    let request = request_id(request);
    let (pid, data) = (pid.to_owned(), data.to_owned());
    let message = InsertProductRequest { pid, data, request: Some(request.clone()), rules };
    let rpc = |channel, message| async move { AdminClient::new(channel).insert_product(message).await };
    portals.send(Call::write(&request), message, rpc).await
}

/// A product and its stock.
///
/// # Errors
/// NOT_FOUND, or as every call.
pub async fn get(portals: &Portals, pid: &str) -> Result<Product, Failure> {
    let message = GetProductRequest { pid: pid.to_owned() };
    let rpc = |channel, message| async move { AdminClient::new(channel).get_product(message).await };
    portals.send(READ, message, rpc).await
}

/// A product that was changed.
#[derive(Clone, Debug)]
pub struct Changed {
    /// As it is now.
    pub product: Product,
    /// What was left of it before, if a quantity was given: it was written over.
    pub left_before: Option<i64>,
}

/// What must still be so for a change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unless {
    /// The etag of the document; 0: whatever it is.
    pub etag: u64,
    /// What is left.
    pub left: Option<i64>,
}

/// What a product is to be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// Its document, or members of it.
    pub document: &'w Document,
    /// Rules of its stock; the others stay.
    pub rules: RuleFlags,
}

/// Replaces a product's document, or sets members of what is there. A quantity is an adjustment by the difference
/// to what was read here, refused if the stock has moved since.
///
/// # Errors
/// NOT_FOUND; ABORTED if product or stock moved; or as every call.
pub async fn update(
    portals: &Portals,
    pid: &str,
    Wanted { document, rules }: Wanted<'_>,
    names: &Names<'_>,
    unless: Unless,
    request: Option<&str>,
) -> Result<Changed, Failure> {
    let request = request_id(request);
    let given = document.members()?;
    let has_quantity = given.contains_key("quantity");
    if has_quantity && unless.etag > 0 && unless.left.is_none() {
        // Sales move what is left and not the document.
        return Err(Failure::usage("quantity= writes over what is left, of which --if-match says nothing")
            .next("say what is left, too: --if-left N; or change the stock by adjust-stock"));
    }
    let there = match (document, unless.left) {
        (Document::Whole(_), None) if !rules.are_given() => None,
        _ => Some(get(portals, pid).await?),
    };
    let stock = there.as_ref().and_then(|there| there.stock).unwrap_or_default();
    if let Some(left) = unless.left.filter(|left| *left != stock.available) {
        return Err(Failure::conflict(format!(
            "{} of {pid} are left, not {left}; nothing was changed",
            stock.available
        )));
    }
    let mut left_before = None;
    // The rules that are not named stay, so that they must be those that were read.
    let if_match = there.as_ref().filter(|_| rules.are_given() && unless.etag == 0).map(|there| there.etag);
    let mut message = UpdateProductRequest {
        pid: pid.to_owned(),
        data: document.text(),
        if_match: if_match.unwrap_or(unless.etag),
        if_match_stock: if unless.left.is_some() { stock.etag } else { 0 },
        request: Some(request.clone()),
        rules: rules.over(there.as_ref().and_then(|there| there.rules)),
    };
    match (document, there) {
        (Document::Members(_), Some(there)) => {
            let mut members = members_of_product(&there)?;
            names.check(&given, &members)?;
            members.extend(given);
            message.data = text_of(&members);
            message.if_match = if unless.etag == 0 { there.etag } else { unless.etag };
            message.if_match_stock = if has_quantity { stock.etag } else { message.if_match_stock };
            left_before = has_quantity.then_some(stock.available);
        }
        _ => names.check(&given, &Members::new())?,
    }
    let rpc = |channel, message| async move { AdminClient::new(channel).update_product(message).await };
    let product = portals.send(Call::write(&request), message, rpc).await?;
    Ok(Changed { product, left_before })
}

/// A product's document without its quantity, which only changes when it is given.
fn members_of_product(product: &Product) -> Result<Members, Failure> {
    let mut members = if product.extra.is_empty() { Members::new() } else { members_of(&product.extra)? };
    members.insert("description".into(), value(&Value::from(product.description.clone())));
    members.insert("price".into(), value(&Value::from(product.price.clone())));
    Ok(members)
}

/// Deletes a product; returns its document, and the orders that it was taken out of.
///
/// # Errors
/// NOT_FOUND; FAILED_PRECONDITION if orders hold it; or as every call.
pub async fn delete(
    portals: &Portals,
    pid: &str,
    cascade: bool,
    if_match: u64,
    request: Option<&str>,
) -> Result<DeleteResponse, Failure> {
    let request = request_id(request);
    let message =
        DeleteProductRequest { pid: pid.to_owned(), if_match, cascade, request: Some(request.clone()) };
    let rpc = |channel, message| async move { AdminClient::new(channel).delete_product(message).await };
    portals.send(Call::write(&request), message, rpc).await
}

/// Moves stock by a signed amount.
///
/// # Errors
/// NOT_FOUND; FAILED_PRECONDITION if it would fall below zero; or as every call.
pub async fn adjust(
    portals: &Portals,
    pid: &str,
    amount: i64,
    request: Option<&str>,
) -> Result<Product, Failure> {
    let request = request_id(request);
    let message =
        AdjustStockRequest { pid: pid.to_owned(), amount, request: Some(request.clone()), if_match_stock: 0 };
    let rpc = |channel, message| async move { AdminClient::new(channel).adjust_stock(message).await };
    portals.send(Call::write(&request), message, rpc).await
}

/// Products in an order, with filters; `wanted` has no page.
///
/// # Errors
/// FAILED_PRECONDITION: their index is not complete; or as every call.
pub async fn list(
    portals: &Portals,
    wanted: &ListRequest,
    part: Part<'_>,
) -> Result<Listing<Product>, Failure> {
    gather(part, async |limit, after| {
        let message = ListRequest { limit, after, ..wanted.clone() };
        let rpc = |channel, message| async move { AdminClient::new(channel).list_products(message).await };
        portals.send(READ, message, rpc).await.map(|page| (page.products, page.next, page.damage))
    })
    .await
}
