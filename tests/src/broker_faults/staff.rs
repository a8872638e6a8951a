//! Staff, who change prices, rules, stocks and clients at both administrators' portals, and look at what the others changed.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use admin_portal::operations::{
    AdjustStock, GetClient, GetProduct, InsertClient, InsertProduct, UpdateClient, UpdateProduct,
};
use portal::operation::Operation;
use proto::portal::{
    AdjustStockRequest, Client, GetClientRequest, GetProductRequest, InsertClientRequest,
    InsertProductRequest, Product, StockRules, UpdateClientRequest, UpdateProductRequest,
};

use super::asking::{Asker, Outcome, Via};
use super::journal::{Entry, Key, Kind, Span};
use super::shared::{Shared, is_duelled, is_ruled, is_scarce, pids};
use crate::shop::request_id;
use crate::wait;

/// Units of a product when it is inserted.
pub const STOCK: i64 = 1_000_000;
const STOCK_SCARCE: i64 = 20;

/// One of the staff.
pub struct Staff {
    asker: Asker,
    shared: Arc<Shared>,
    rng: fastrand::Rng,
    /// The clients there are.
    cids: Arc<Vec<String>>,
    /// It looks more than it changes.
    is_looking: bool,
    /// The latest version that it was shown or has written, if it is in a session.
    floor: Option<u64>,
}

impl Staff {
    /// One who asks by this asker, in a session or in none.
    #[must_use]
    pub fn new(
        asker: Asker,
        shared: Arc<Shared>,
        rng: fastrand::Rng,
        cids: Arc<Vec<String>>,
        (is_looking, in_session): (bool, bool),
    ) -> Staff {
        Staff { asker, shared, rng, cids, is_looking, floor: in_session.then_some(0) }
    }

    /// Puts everything on the shelf and registers all clients.
    ///
    /// # Panics
    /// If a portal does not do it.
    pub async fn open(&mut self) {
        for cid in Arc::clone(&self.cids).iter() {
            let (data, content) = self.client_data(cid);
            let request = InsertClientRequest { cid: cid.clone(), data, request: request_id() };
            let (Some(client), span) = self.change::<InsertClient>(request).await else {
                panic!("{cid} cannot be inserted")
            };
            self.wrote(Key::new(Kind::Client, cid), span, client.etag, Some(content));
        }
        for pid in pids() {
            let price = self.shared.price();
            let quantity = if is_scarce(&pid) { STOCK_SCARCE } else { STOCK };
            let data = format!(r#"{{"description":"{pid}","price":"{price}","quantity":{quantity}}}"#);
            let request = InsertProductRequest { pid: pid.clone(), data, request: request_id(), rules: None };
            let (Some(product), span) = self.change::<InsertProduct>(request).await else {
                panic!("{pid} cannot be inserted")
            };
            self.wrote(Key::new(Kind::Product, &pid), span, product.etag, Some(product.price));
            let stock = product.stock.expect("a product that was inserted has a stock");
            self.wrote(Key::new(Kind::Stock, &pid), span, stock.etag, None);
        }
    }

    /// Works until all is over, with a pause of so long at most between two requests.
    pub async fn work(mut self, pace: Duration) {
        while !self.shared.is_over() {
            let pid = self.rng.choice(pids()).expect("there are products");
            let cid = self.rng.choice(self.cids.iter()).expect("there are clients").clone();
            match (self.is_looking, self.rng.u8(..100)) {
                (true, 0..60) | (false, 0..15) => self.look_at_product(&pid).await,
                (true, 60..95) | (false, 15..25) => self.look_at_client(&cid).await,
                (_, 25..65) | (true, _) if !is_duelled(&pid) => {
                    let via = self.asker.way(&mut self.rng);
                    let asked = price(&self.shared, &mut self.rng, &pid);
                    let version = reprice((&self.asker, &self.shared, &mut self.rng), via, asked).await;
                    self.saw(version);
                }
                (_, 65..85) => self.change_client(&cid).await,
                (_, _) => self.adjust(&pid).await,
            }
            wait::pass(pace.mul_f64(self.rng.f64())).await;
        }
    }

    /// Has a change done; `None`: it was refused, or nobody learnt.
    async fn change<O: Operation>(&mut self, request: O::Request) -> (Option<O::Response>, Span)
    where
        O::Request: Debug,
    {
        let via = self.asker.way(&mut self.rng);
        change::<O>((&self.asker, &self.shared, &mut self.rng), via, request).await
    }

    fn saw(&mut self, version: u64) {
        self.floor = self.floor.map(|floor| floor.max(version));
    }

    fn wrote(&mut self, key: Key, span: Span, version: u64, content: Option<String>) {
        self.saw(version);
        self.shared.journal.note([Entry::Wrote { key, span, version, content }]);
    }

    fn client_data(&self, cid: &str) -> (String, String) {
        let content = self.shared.content().to_string();
        (format!(r#"{{"name":"{cid}","content":"{content}"}}"#), content)
    }

    async fn change_client(&mut self, cid: &str) {
        let (data, content) = self.client_data(cid);
        let request = UpdateClientRequest { cid: cid.to_owned(), data, if_match: 0, request: request_id() };
        if let (Some(client), span) = self.change::<UpdateClient>(request).await {
            self.wrote(Key::new(Kind::Client, cid), span, client.etag, Some(content));
        }
    }

    async fn adjust(&mut self, pid: &str) {
        let amount = if is_scarce(pid) { 1 + self.rng.i64(0..5) } else { 50 - self.rng.i64(1..101) };
        let amount = if amount == 0 { 1 } else { amount };
        let request =
            AdjustStockRequest { pid: pid.to_owned(), amount, request: request_id(), if_match_stock: 0 };
        if let (Some(product), span) = self.change::<AdjustStock>(request).await {
            let stock = product.stock.expect("a product that was adjusted has a stock");
            *self.shared.adjusted.lock().entry(pid.to_owned()).or_default() += amount;
            self.wrote(Key::new(Kind::Stock, pid), span, stock.etag, None);
        }
    }

    async fn look<O: Operation>(&mut self, request: O::Request) -> Option<(O::Response, Span, Via)> {
        let via = self.asker.way(&mut self.rng);
        let to = (&self.shared.journal, &self.shared.tally);
        match self.asker.ask::<O>(via, request, to).await {
            (Outcome::Done(answer), span) => Some((answer, span, via)),
            _ => None,
        }
    }

    async fn look_at_product(&mut self, pid: &str) {
        let request = GetProductRequest { pid: pid.to_owned() };
        if let Some((product, span, via)) = self.look::<GetProduct>(request).await {
            let who = format!("{} over {via}", self.asker.name);
            self.floor = note_product(&self.shared, &product, span, self.floor, &who);
        }
    }

    async fn look_at_client(&mut self, cid: &str) {
        let request = GetClientRequest { cid: cid.to_owned() };
        let Some((client, span, via)) = self.look::<GetClient>(request).await else { return };
        let content = content_of(&client);
        let (key, version, floor) = (Key::new(Kind::Client, cid), client.etag, self.floor);
        let who = format!("{} over {via}", self.asker.name);
        self.shared.journal.note([Entry::Read { key, span, version, content, floor, who }]);
        self.saw(version);
    }
}

/// Who has something changed, and by which choices.
pub type By<'s> = (&'s Asker, &'s Shared, &'s mut fastrand::Rng);

/// Has a change done; `None`: it was refused, or nobody learnt.
async fn change<O: Operation>(
    (asker, shared, rng): By<'_>,
    via: Via,
    request: O::Request,
) -> (Option<O::Response>, Span)
where
    O::Request: Debug,
{
    let (outcome, span) = asker.settle::<O>(rng, via, &request, (&shared.journal, &shared.tally)).await;
    match outcome {
        Outcome::Done(answer) => (Some(answer), span),
        Outcome::Refused(_) => (None, span),
        Outcome::Unknown => {
            let what = format!("{}: nobody learnt what became of {}: {request:?}", asker.name, O::NAME);
            shared.journal.wrong(what);
            (None, span)
        }
    }
}

/// A request that gives a product another price, and now and then another rule.
pub fn price(shared: &Shared, rng: &mut fastrand::Rng, pid: &str) -> UpdateProductRequest {
    let price = shared.price();
    let quantity_max = 5 + rng.i64(0..20);
    let rules = is_ruled(pid).then(|| StockRules { quantity_max, ..StockRules::default() });
    let data = format!(r#"{{"description":"{pid}","price":"{price}"}}"#);
    UpdateProductRequest { pid: pid.to_owned(), data, rules, request: request_id(), ..Default::default() }
}

/// Has a product changed; its version, or 0 if nothing was changed.
pub async fn reprice(by: By<'_>, via: Via, asked: UpdateProductRequest) -> u64 {
    let (shared, pid) = (by.1, asked.pid.clone());
    let (Some(product), span) = change::<UpdateProduct>(by, via, asked).await else { return 0 };
    let (key, version, content) = (Key::new(Kind::Product, &pid), product.etag, Some(product.price));
    shared.journal.note([Entry::Wrote { key, span, version, content }]);
    version
}

/// Repeats a change of a product that was done as this version: it is answered as it was then.
pub async fn repeat((asker, shared, _): By<'_>, via: Via, asked: UpdateProductRequest, version: u64) {
    let to = (&shared.journal, &shared.tally);
    if let (Outcome::Done(product), _) = asker.ask::<UpdateProduct>(via, asked, to).await {
        shared.tally.count_repeated();
        if product.etag != version {
            shared.journal.wrong(format!("over {via}: {product:?}, which was done as version {version}"));
        }
    }
}

/// What the callers wrote into a client's document.
fn content_of(client: &Client) -> Option<String> {
    let data: serde_json::Value = serde_json::from_str(&client.data).unwrap_or_default();
    Some(data["content"].as_str().unwrap_or_default().to_owned())
}

/// Notes a product that was shown, with its stock; the floor from now on.
pub fn note_product(
    shared: &Shared,
    product: &Product,
    span: Span,
    floor: Option<u64>,
    who: &str,
) -> Option<u64> {
    let (who, pid) = (who.to_owned(), &product.pid);
    let mut version = product.etag;
    let content = Some(product.price.clone());
    let key = Key::new(Kind::Product, pid);
    let mut entries = vec![Entry::Read { key, span, version, content, floor, who: who.clone() }];
    if let Some(stock) = &product.stock {
        let key = Key::new(Kind::Stock, pid);
        entries.push(Entry::Read { key, span, version: stock.etag, content: None, floor, who });
        version = version.max(stock.etag);
    }
    shared.journal.note(entries);
    floor.map(|floor| floor.max(version))
}
