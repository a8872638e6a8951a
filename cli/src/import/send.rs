//! Sending a plan: bounded concurrency, retries, and request ids made from the content, so that an import that was
//! cut off is simply run again.
//!
//! Promises: at most `in_flight` requests wait at once; what the portal refuses is remembered and the rest goes on;
//! only a portal that cannot be reached ends the import.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{StreamExt, TryStreamExt, stream};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use portal::money::Price;
use proto::portal::{LineChange, Product, RequestId};
use serde_json::json;

use super::plan::{NewOrder, NewProduct, Plan};
use crate::admin::{clients, products};
use crate::failure::{Failure, Kind};
use crate::reach::portals::Portals;
use crate::shop::orders;

/// Lines that one request may name.
const REQUEST_LINES_MAX: usize = portal::limits::REQUEST_LINES_MAX;
/// Bytes of a request id.
const REQUEST_ID_BYTES_MAX: usize = portal::limits::REQUEST_ID_BYTES_MAX;

/// What the portals refused, and why, by client, product and order.
#[derive(Debug, Default)]
pub struct Refusals {
    /// By CID.
    pub clients: BTreeMap<String, String>,
    /// By place in the plan.
    pub products: BTreeMap<usize, String>,
    /// By place in the plan.
    pub orders: BTreeMap<usize, String>,
}

/// Sends plans.
pub struct Importer<'a> {
    /// For clients and products.
    pub admin: &'a Portals,
    /// For orders.
    pub shops: &'a [Portals],
    /// Requests at once.
    pub in_flight: usize,
    /// Part of every request id: another label imports the same file again.
    pub label: String,
    /// Spreads requests over shops.
    pub next: AtomicUsize,
}

impl Importer<'_> {
    /// Sends everything: clients and products, then orders.
    ///
    /// # Errors
    /// A portal cannot be reached, or an outcome stays unknown: run the import again.
    pub async fn send(&self, plan: &Plan) -> Result<Refusals, Failure> {
        let bars = MultiProgress::new();
        let client_bar = bar(&bars, "clients", plan.clients.len());
        let product_bar = bar(&bars, "products", plan.products.len());
        let order_bar = bar(&bars, "orders", plan.orders.len());
        let mut refusals = Refusals::default();

        let clients = stream::iter(&plan.clients).map(|(cid, country)| self.client(cid, country));
        refusals.clients = gather(clients, self.in_flight, &client_bar).await?;
        let products = stream::iter(plan.products.iter().enumerate()).map(|(at, new)| self.product(at, new));
        refusals.products = gather(products, self.in_flight, &product_bar).await?;
        let spoiled = &refusals;
        let orders =
            stream::iter(plan.orders.iter().enumerate()).map(|(at, new)| self.order(at, new, plan, spoiled));
        let refused = gather(orders, self.in_flight, &order_bar).await?;
        refusals.orders = refused;
        Ok(refusals)
    }

    /// The request id of one thing of this import: the same whenever it is run.
    fn request(&self, kind: &str, id: &str) -> RequestId {
        let plain = format!("{}:{kind}:{id}", self.label);
        if plain.len() <= REQUEST_ID_BYTES_MAX {
            return RequestId { id: plain, created_ms: 0 };
        }
        let digest = proto::hash::digest(&[self.label.as_bytes(), kind.as_bytes(), id.as_bytes()]);
        let id = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        RequestId { id, created_ms: 0 }
    }

    async fn client(&self, cid: &str, country: &str) -> Result<Option<(String, String)>, Failure> {
        let data = json!({ "name": format!("Customer {cid}"), "country": country }).to_string();
        let request = self.request("client", cid);
        match clients::insert(self.admin, cid, &data, Some(&request.id)).await {
            Ok(_) => Ok(None),
            // Somebody who is registered already can order: that is all this import needs.
            Err(failure) if failure.reason == "ALREADY_EXISTS" => Ok(None),
            Err(failure) => refusal(failure).map(|why| Some((cid.to_owned(), why))),
        }
    }

    async fn product(&self, at: usize, new: &NewProduct) -> Result<Option<(usize, String)>, Failure> {
        let data = json!({
            "description": new.description, "price": new.price.to_string(), "quantity": new.stock,
        });
        let request = self.request("product", &new.pid);
        match products::insert(self.admin, &new.pid, &data.to_string(), Some(&request.id)).await {
            Ok(_) => Ok(None),
            Err(failure) if failure.reason == "ALREADY_EXISTS" => {
                let there = products::get(self.admin, &new.pid).await?;
                Ok((!same(&there, new)).then(|| (at, format!("exists already, and differs: {}", new.pid))))
            }
            Err(failure) => refusal(failure).map(|why| Some((at, why))),
        }
    }

    async fn order(
        &self,
        at: usize,
        new: &NewOrder,
        plan: &Plan,
        spoiled: &Refusals,
    ) -> Result<Option<(usize, String)>, Failure> {
        if let Some(why) = spoiled.clients.get(&new.cid) {
            return Ok(Some((at, format!("client {}: {why}", new.cid))));
        }
        if let Some(why) = new.lines.keys().find_map(|product| spoiled.products.get(product)) {
            return Ok(Some((at, why.clone())));
        }
        let shop = &self.shops[self.next.fetch_add(1, Ordering::Relaxed) % self.shops.len()];
        match self.place(shop, new, plan).await {
            Ok(()) => Ok(None),
            Err(failure) => refusal(failure).map(|why| Some((at, why))),
        }
    }

    /// Creates an order; one of more lines than a request may name takes several requests. If a later one is
    /// refused, the order is cancelled, so that a refused order holds no stock.
    async fn place(&self, shop: &Portals, new: &NewOrder, plan: &Plan) -> Result<(), Failure> {
        let lines: Vec<LineChange> = new
            .lines
            .iter()
            .map(|(product, quantity)| LineChange {
                pid: plan.products[*product].pid.clone(),
                quantity: *quantity,
            })
            .collect();
        let mut parts = lines.chunks(REQUEST_LINES_MAX);
        let name = format!("{}/{}", new.invoice, new.cid);
        let first = parts.next().unwrap_or_default().to_vec();
        let order = orders::create(shop, &new.cid, first, self.request("order", &name), true).await?;
        for (part, lines) in parts.enumerate() {
            let request = self.request("order", &format!("{name}/{part}"));
            let which = (new.cid.as_str(), order.oid.as_str());
            if let Err(failure) = orders::modify(shop, which, lines.to_vec(), 0, request, true).await {
                let request = self.request("order", &format!("{name}/cancel"));
                orders::cancel(shop, &new.cid, &order.oid, request).await?;
                return Err(failure);
            }
        }
        Ok(())
    }
}

/// Runs calls, so many at once, and gathers what was refused.
async fn gather<K: Ord, F>(
    calls: impl futures::Stream<Item = F>,
    in_flight: usize,
    bar: &ProgressBar,
) -> Result<BTreeMap<K, String>, Failure>
where
    F: Future<Output = Result<Option<(K, String)>, Failure>>,
{
    let ended = calls.buffer_unordered(in_flight).inspect(|_| bar.inc(1));
    let refused = ended.try_filter_map(|refused| async move { Ok(refused) }).try_collect().await;
    bar.finish();
    refused
}

/// Why the portal refused; a portal that could not be reached is no refusal but the end of the import.
fn refusal(failure: Failure) -> Result<String, Failure> {
    match failure.kind {
        Kind::Refused | Kind::Conflict | Kind::Usage => Ok(failure.message),
        Kind::Unreachable | Kind::Unknown => {
            Err(failure.next("run the same import again: what is done already is not done twice"))
        }
    }
}

/// Whether the product there is the one that this import would insert.
fn same(there: &Product, new: &NewProduct) -> bool {
    let price = Price::parse(&there.price);
    let initial = there.stock.map(|stock| stock.initial + stock.adjusted);
    there.description == new.description && price.is_ok_and(|p| p == new.price) && initial == Some(new.stock)
}

/// A progress bar; without a terminal it is hidden.
fn bar(bars: &MultiProgress, what: &'static str, length: usize) -> ProgressBar {
    let style = "{prefix:>9} {bar:30} {pos}/{len} {per_sec} {eta}";
    let style = ProgressStyle::with_template(style).expect("the template is right");
    bars.add(ProgressBar::new(length as u64)).with_style(style).with_prefix(what)
}
