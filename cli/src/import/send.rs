//! Sending a plan: bounded concurrency, retries, and request ids made from the content, so that an import that was
//! cut off is simply run again.
//!
//! Promises: at most `in_flight` requests wait at once; what the portal refuses is remembered and the rest goes on;
//! only a portal that cannot be reached ends the import; what earlier runs did counts as done ([`super::earlier`]), also after
//! the file was mended.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{StreamExt, TryStreamExt, stream};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use proto::portal::{LineChange, Product, RequestId};
use serde_json::json;

use super::earlier::{Compared, Earlier, Stocked, VERSIONS_MAX, compare, compare_product};
use super::plan::{NewOrder, NewProduct, Plan};
use crate::admin::paging::Part;
use crate::admin::{clients, products};
use crate::failure::{Failure, Kind};
use crate::reach::portals::Portals;
use crate::shop::orders;

/// Lines that one request may name.
const REQUEST_LINES_MAX: usize = portal::limits::REQUEST_LINES_MAX;
/// Bytes of a request id.
const REQUEST_ID_BYTES_MAX: usize = portal::limits::REQUEST_ID_BYTES_MAX;

/// What the portals refused, and why, by client, product and order; and what was there already.
#[derive(Debug, Default)]
pub struct Refusals {
    /// By CID.
    pub clients: BTreeMap<String, String>,
    /// By place in the plan.
    pub products: BTreeMap<usize, String>,
    /// By place in the plan.
    pub orders: BTreeMap<usize, String>,
    /// Orders that an earlier run made of other lines than the file has now: what is different. By place in the plan.
    pub changed: BTreeMap<usize, String>,
    /// Products whose stock the file alone does not tell: what is to be told of each. By place in the plan.
    pub stocks: BTreeMap<usize, String>,
    /// Products whose stock was raised to what the mended file needs, by how much. By place in the plan.
    pub raised: BTreeMap<usize, i64>,
    /// Orders that were there already.
    pub there: usize,
}

/// What became of an order.
enum Placed {
    /// It was there, as the file has it.
    There,
    /// It is there, and the file has it otherwise now.
    Changed(String),
    /// The portal refused it.
    Refused(String),
}

/// What became of a product.
enum Shelved {
    /// It was there with less; so much was added.
    Raised(i64),
    /// It was there with more.
    Over(String),
    /// The portal refused it, or it is another.
    Refused(String),
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
        let known = plan.clients.keys().filter(|cid| !refusals.clients.contains_key(*cid));
        let earlier = stream::iter(known).map(|cid| self.orders_of(cid)).buffer_unordered(self.in_flight);
        let earlier: Vec<(String, HashSet<String>)> = earlier.try_collect().await?;
        let earlier: Earlier = earlier.into_iter().collect();

        let spared = self.spared(plan, &earlier).await?;
        let needed: Vec<NewProduct> = plan
            .products
            .iter()
            .enumerate()
            .map(|(at, new)| NewProduct { stock: new.stock - spared.get(&at).unwrap_or(&0), ..new.clone() })
            .collect();
        let products = stream::iter(needed.iter().enumerate()).map(|(at, new)| self.product(at, new));
        for (at, shelved) in gather(products, self.in_flight, &product_bar).await? {
            match shelved {
                Shelved::Raised(by) => drop(refusals.raised.insert(at, by)),
                Shelved::Over(why) => drop(refusals.stocks.insert(at, why)),
                Shelved::Refused(why) => drop(refusals.products.insert(at, why)),
            }
        }
        let seen = (&earlier, &refusals);
        let orders =
            stream::iter(plan.orders.iter().enumerate()).map(|(at, new)| self.order(at, new, plan, seen));
        for (at, placed) in gather(orders, self.in_flight, &order_bar).await? {
            match placed {
                Placed::There => refusals.there += 1,
                Placed::Changed(why) => drop(refusals.changed.insert(at, why)),
                Placed::Refused(why) => drop(refusals.orders.insert(at, why)),
            }
        }
        Ok(refusals)
    }

    /// Of each product what the file asks for beyond what orders hold that are there already and stay as they are: nobody needs stock
    /// for it. Less than nothing where such an order holds more.
    async fn spared(&self, plan: &Plan, earlier: &Earlier) -> Result<BTreeMap<usize, i64>, Failure> {
        let orders = stream::iter(&plan.orders).map(|new| self.spared_by(new, plan, earlier));
        let all: Vec<BTreeMap<usize, i64>> = orders.buffer_unordered(self.in_flight).try_collect().await?;
        let mut spared = BTreeMap::new();
        for (product, quantity) in all.into_iter().flatten() {
            *spared.entry(product).or_insert(0) += quantity;
        }
        Ok(spared)
    }

    async fn spared_by(
        &self,
        new: &NewOrder,
        plan: &Plan,
        earlier: &Earlier,
    ) -> Result<BTreeMap<usize, i64>, Failure> {
        let ids: Vec<String> = self.names_of(new).iter().map(|name| self.request("order", name).id).collect();
        let mut from = 0;
        while let Some((at, oid)) = earlier.order(&new.cid, &ids[from..]) {
            let there = orders::get(self.shop(), &new.cid, &oid).await.map_err(again)?;
            let wanted = wanted(new, plan);
            match compare(&there, &wanted, wanted.len() > REQUEST_LINES_MAX) {
                Compared::TakenBack => from += at + 1,
                Compared::Other(_) => {
                    let held = |pid: &str| {
                        there.lines.iter().find(|line| line.pid == pid).map_or(0, |line| line.quantity)
                    };
                    let less =
                        |product: &usize, quantity: &i64| quantity - held(&plan.products[*product].pid);
                    return Ok(new.lines.iter().map(|(product, q)| (*product, less(product, q))).collect());
                }
                Compared::Open | Compared::Done | Compared::Unfinished => break,
            }
        }
        Ok(BTreeMap::new())
    }

    /// The names under which the versions of an order are sent.
    fn names_of(&self, new: &NewOrder) -> Vec<String> {
        (0..VERSIONS_MAX).map(|version| versioned(&format!("{}/{}", new.invoice, new.cid), version)).collect()
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

    /// The orders that a client has before this run sends any.
    async fn orders_of(&self, cid: &str) -> Result<(String, HashSet<String>), Failure> {
        let found = orders::list(self.shop(), cid, Part::default()).await;
        let found = found.map_err(again)?;
        Ok((cid.to_owned(), found.items.into_iter().map(|order| order.oid).collect()))
    }

    fn shop(&self) -> &Portals {
        &self.shops[self.next.fetch_add(1, Ordering::Relaxed) % self.shops.len()]
    }

    async fn product(&self, at: usize, new: &NewProduct) -> Result<Option<(usize, Shelved)>, Failure> {
        let refused = |why| Ok(Some((at, Shelved::Refused(why))));
        let data = json!({
            "description": new.description, "price": new.price.to_string(), "quantity": new.stock,
        });
        let data = data.to_string();
        for version in 0..VERSIONS_MAX {
            let request = self.request("product", &versioned(&new.pid, version));
            let ours = match products::insert(self.admin, &new.pid, &data, None, Some(&request.id)).await {
                Ok(_) => return Ok(None),
                Err(failure) if failure.reason == REUSED => true,
                Err(failure) if failure.reason == "ALREADY_EXISTS" => false,
                Err(failure) => return refused(refusal(failure)?),
            };
            match products::get(self.admin, &new.pid).await {
                Ok(there) => {
                    return self.shelved(&there, new, ours).await.map(|told| told.map(|told| (at, told)));
                }
                // The earlier one was refused.
                Err(failure) if failure.reason == "NOT_FOUND" => {}
                Err(failure) => return refused(refusal(failure)?),
            }
        }
        refused(mended_too_often(&new.pid))
    }

    /// What is to be done about a product that is there; `ours`: an earlier run of this import made it.
    async fn shelved(
        &self,
        there: &Product,
        new: &NewProduct,
        ours: bool,
    ) -> Result<Option<Shelved>, Failure> {
        let pid = &new.pid;
        match compare_product(there, new) {
            Stocked::Same => Ok(None),
            Stocked::Short(by) if ours => {
                let request = self.request("stock", &format!("{pid}={}", new.stock));
                match products::adjust(self.admin, pid, by, Some(&request.id)).await {
                    Ok(_) => Ok(Some(Shelved::Raised(by))),
                    Err(failure) => Ok(Some(Shelved::Refused(refusal(failure)?))),
                }
            }
            Stocked::Over(by) if ours => Ok(Some(Shelved::Over(format!(
                "product {pid} has {by} more than the file needs now: they stay"
            )))),
            Stocked::Short(by) => Ok(Some(Shelved::Refused(format!(
                "product {pid} exists already, and differs: it has {by} less than the file needs; adjust-stock {pid} {by} \
                 adds them"
            )))),
            Stocked::Over(by) => Ok(Some(Shelved::Refused(format!(
                "product {pid} exists already, and differs: it has {by} more than the file needs"
            )))),
            Stocked::Other(why) => {
                Ok(Some(Shelved::Refused(format!("product {pid} exists already, and differs: it {why}"))))
            }
        }
    }

    async fn order(
        &self,
        at: usize,
        new: &NewOrder,
        plan: &Plan,
        (earlier, spoiled): (&Earlier, &Refusals),
    ) -> Result<Option<(usize, Placed)>, Failure> {
        let refused = |why| Ok(Some((at, Placed::Refused(why))));
        if let Some(why) = spoiled.clients.get(&new.cid) {
            return refused(format!("client {}: {why}", new.cid));
        }
        let names = self.names_of(new);
        let ids: Vec<String> = names.iter().map(|name| self.request("order", name).id).collect();
        let shop = self.shop();
        let mut from = 0;
        while let Some((at_there, oid)) = earlier.order(&new.cid, &ids[from..]) {
            let name = &names[from + at_there];
            match self.there(shop, (new, plan), name, &oid).await {
                Ok(Some(placed)) => return Ok(Some((at, placed))),
                Ok(None) => from += at_there + 1,
                Err(failure) => return refused(refusal(failure)?),
            }
        }
        if let Some(why) = new.lines.keys().find_map(|product| spoiled.products.get(product)) {
            return refused(why.clone());
        }
        for name in names.get(from..).unwrap_or_default() {
            match self.place(shop, new, plan, name).await {
                Ok(()) => return Ok(None),
                // The earlier one was refused, or it would be there.
                Err(failure) if failure.reason == REUSED => {}
                Err(failure) => return refused(refusal(failure)?),
            }
        }
        refused(mended_too_often(&new.invoice))
    }

    /// What is to be done about an order that is there under this name; `None`: it was taken back.
    async fn there(
        &self,
        shop: &Portals,
        (new, plan): (&NewOrder, &Plan),
        name: &str,
        oid: &str,
    ) -> Result<Option<Placed>, Failure> {
        let there = orders::get(shop, &new.cid, oid).await?;
        let wanted = wanted(new, plan);
        match compare(&there, &wanted, wanted.len() > REQUEST_LINES_MAX) {
            Compared::Done => {}
            Compared::Open => self.confirm(shop, new, name, oid).await?,
            Compared::Unfinished => {
                let lines = lines_of(new, plan);
                self.fill(shop, new, name, oid, lines.chunks(REQUEST_LINES_MAX).skip(1)).await?;
                self.confirm(shop, new, name, oid).await?;
            }
            Compared::TakenBack => return Ok(None),
            Compared::Other(how) => {
                let told =
                    format!("order {oid} of invoice {} is there already, and {how}: it stays", new.invoice);
                return Ok(Some(Placed::Changed(told)));
            }
        }
        Ok(Some(Placed::There))
    }

    /// Creates an order and confirms it, since it is of the past; one of more lines than a request may name takes several
    /// requests. If a later one is refused, the order is cancelled, so that a refused order holds no stock.
    async fn place(&self, shop: &Portals, new: &NewOrder, plan: &Plan, name: &str) -> Result<(), Failure> {
        let lines = lines_of(new, plan);
        let mut parts = lines.chunks(REQUEST_LINES_MAX);
        let first = parts.next().unwrap_or_default().to_vec();
        let order = orders::create(shop, &new.cid, first, self.request("order", name), true).await?;
        self.fill(shop, new, name, &order.oid, parts).await?;
        self.confirm(shop, new, name, &order.oid).await
    }

    async fn fill<'l>(
        &self,
        shop: &Portals,
        new: &NewOrder,
        name: &str,
        oid: &str,
        parts: impl Iterator<Item = &'l [LineChange]>,
    ) -> Result<(), Failure> {
        for (part, lines) in parts.enumerate() {
            let request = self.request("order", &format!("{name}/{part}"));
            let which = (new.cid.as_str(), oid);
            if let Err(failure) = orders::modify(shop, which, lines.to_vec(), 0, request, true).await {
                // Of a portal that cannot be reached nobody knows what it did: another run goes on.
                if matches!(failure.kind, Kind::Unreachable | Kind::Unknown) {
                    return Err(failure);
                }
                let request = self.request("order", &format!("{name}/cancel"));
                orders::cancel(shop, &new.cid, oid, request).await?;
                return Err(failure);
            }
        }
        Ok(())
    }

    async fn confirm(&self, shop: &Portals, new: &NewOrder, name: &str, oid: &str) -> Result<(), Failure> {
        let request = self.request("order", &format!("{name}/confirm"));
        orders::confirm(shop, (&new.cid, oid), "", request).await.map(drop)
    }
}

/// The quantities that an order is to have, by PID.
fn wanted<'p>(new: &NewOrder, plan: &'p Plan) -> BTreeMap<&'p str, i64> {
    new.lines.iter().map(|(product, quantity)| (plan.products[*product].pid.as_str(), *quantity)).collect()
}

/// What a request id says that was used for other content.
const REUSED: &str = "REQUEST_ID_REUSED";

/// The name under which the so-many-th version of something is sent.
fn versioned(name: &str, version: usize) -> String {
    if version == 0 { name.to_owned() } else { format!("{name}~{version}") }
}

fn mended_too_often(what: &str) -> String {
    format!(
        "{what} was refused in {VERSIONS_MAX} versions of the file under this label: import it under another --label"
    )
}

/// An order's lines as a request has them.
fn lines_of(new: &NewOrder, plan: &Plan) -> Vec<LineChange> {
    let line = |(product, quantity): (&usize, &i64)| LineChange {
        pid: plan.products[*product].pid.clone(),
        quantity: *quantity,
        ..LineChange::default()
    };
    new.lines.iter().map(line).collect()
}

/// Runs calls, so many at once, and gathers what was refused.
async fn gather<K: Ord, V, F>(
    calls: impl futures::Stream<Item = F>,
    in_flight: usize,
    bar: &ProgressBar,
) -> Result<BTreeMap<K, V>, Failure>
where
    F: Future<Output = Result<Option<(K, V)>, Failure>>,
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
        Kind::Unreachable | Kind::Unknown => Err(again(failure)),
    }
}

/// The import ends here, and can be given again; what stands in its way is told first.
fn again(failure: Failure) -> Failure {
    const AGAIN: &str = "run the same import again: what is done already is not done twice";
    let next = match &failure.next {
        Some(next) if !failure.reason.is_empty() => format!("{next}; then {AGAIN}"),
        _ => AGAIN.to_owned(),
    };
    failure.next(next)
}

/// A progress bar; without a terminal it is hidden.
fn bar(bars: &MultiProgress, what: &'static str, length: usize) -> ProgressBar {
    let style = "{prefix:>9} {bar:30} {pos}/{len} {per_sec} {eta}";
    let style = ProgressStyle::with_template(style).expect("the template is right");
    bars.add(ProgressBar::new(length as u64)).with_style(style).with_prefix(what)
}
