//! A shopper, who browses, orders, changes his mind, confirms and cancels, and hops between portals and transports: with the token of
//! his session, or with none.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use client_portal::operations::{
    BrowseProducts, CancelOrder, ConfirmOrder, CreateOrder, GetOrder, GetProduct, ModifyOrder,
};
use portal::Error;
use portal::id::{Cid, Oid};
use portal::operation::Operation;
use proto::portal::{
    BrowseProductsRequest, CreateOrderRequest, GetOrderRequest, LineChange, ListSort, ModifyOrderRequest,
    Order, OrderRequest, OrderState, RequestId, ShopGetProductRequest,
};

use super::asking::{Asker, Outcome, Via};
use super::journal::{Entry, Key, Kind, Span};
use super::shared::{KnownOrder, Shared, is_scarce, pids};
use super::staff::note_product;
use crate::shop::request_id;
use crate::wait;

/// Orders that he keeps in mind.
const ORDERS_MAX: usize = 6;
/// Of so many changes that were done one is repeated under its id.
const REPEATED_OF: u32 = 6;

/// See the module.
pub struct Shopper {
    cid: String,
    asker: Asker,
    shared: Arc<Shared>,
    rng: fastrand::Rng,
    /// The latest version that he was shown or has written, if he is in a session.
    floor: Option<u64>,
    /// OIDs of orders that he may change.
    orders: Vec<String>,
}

/// An order as it was answered, when, and over what.
type Answered = (Order, Span, Via);

impl Shopper {
    /// The shopper of this id, in a session or in none.
    #[must_use]
    pub fn new(
        cid: &str,
        asker: Asker,
        shared: Arc<Shared>,
        rng: fastrand::Rng,
        in_session: bool,
    ) -> Shopper {
        let floor = in_session.then_some(0);
        Shopper { cid: cid.to_owned(), asker, shared, rng, floor, orders: Vec::new() }
    }

    /// Shops until all is over, with a pause of so long at most between two requests.
    pub async fn shop(mut self, pace: Duration) {
        while !self.shared.is_over() {
            match self.rng.u8(..100) {
                0..40 => self.look_at_product().await,
                40..47 => self.browse().await,
                47..60 => self.look_at_order().await,
                60..76 => self.create().await,
                76..86 => self.modify().await,
                86..93 => self.finish::<ConfirmOrder>(OrderState::Confirmed).await,
                _ => self.finish::<CancelOrder>(OrderState::Cancelled).await,
            }
            wait::pass(pace.mul_f64(self.rng.f64())).await;
        }
    }

    fn who(&self, via: Via) -> String {
        format!("{} over {via}", self.asker.name)
    }

    fn saw(&mut self, version: u64) {
        self.floor = self.floor.map(|floor| floor.max(version));
    }

    async fn look<O: Operation>(&mut self, request: O::Request) -> Option<(O::Response, Span, Via)> {
        let via = self.asker.way(&mut self.rng);
        let to = (&self.shared.journal, &self.shared.tally);
        match self.asker.ask::<O>(via, request, to).await {
            (Outcome::Done(answer), span) => Some((answer, span, via)),
            _ => None,
        }
    }

    async fn look_at_product(&mut self) {
        let pid = self.rng.choice(pids()).expect("there are products");
        let request = ShopGetProductRequest { cid: self.cid.clone(), pid };
        if let Some((product, span, via)) = self.look::<GetProduct>(request).await {
            self.floor = note_product(&self.shared, &product, span, self.floor, &self.who(via));
        }
    }

    async fn browse(&mut self) {
        let sort = self.rng.choice([ListSort::Unspecified, ListSort::Price]).expect("two").into();
        let request = BrowseProductsRequest { cid: self.cid.clone(), limit: 50, sort, ..Default::default() };
        let Some((page, span, via)) = self.look::<BrowseProducts>(request).await else { return };
        let (floor, who) = (self.floor, self.who(via));
        for product in &page.products {
            let seen = note_product(&self.shared, product, span, floor, &who);
            self.floor = self.floor.max(seen);
        }
    }

    async fn look_at_order(&mut self) {
        let Some(oid) = self.rng.choice(self.orders.iter()).cloned() else { return };
        let request = GetOrderRequest { cid: self.cid.clone(), oid: oid.clone() };
        let Some((order, span, via)) = self.look::<GetOrder>(request).await else { return };
        let (key, version, content) = (Key::new(Kind::Order, &oid), order.etag, Some(said(&order)));
        let (floor, who) = (self.floor, self.who(via));
        self.shared.journal.note([Entry::Read { key, span, version, content, floor, who }]);
        self.saw(version);
    }

    /// Has a change of an order done, and now and then repeats it.
    async fn change<O: Operation<Response = Order>>(
        &mut self,
        request: O::Request,
    ) -> Result<Answered, Option<Error>>
    where
        O::Request: Debug,
    {
        let via = self.asker.way(&mut self.rng);
        let shared = Arc::clone(&self.shared);
        let to = (&shared.journal, &shared.tally);
        let (outcome, span) = self.asker.settle::<O>(&mut self.rng, via, &request, to).await;
        let order = match outcome {
            Outcome::Done(order) => order,
            Outcome::Refused(error) => return Err(Some(error)),
            Outcome::Unknown => {
                let what =
                    format!("{}: nobody learnt what became of {}: {request:?}", self.asker.name, O::NAME);
                shared.journal.wrong(what);
                return Err(None);
            }
        };
        if self.rng.u32(..REPEATED_OF) == 0 {
            let other = self.asker.way(&mut self.rng);
            if let (Outcome::Done(again), _) = self.asker.ask::<O>(other, request, to).await {
                shared.tally.count_repeated();
                if (&again.oid, again.etag) != (&order.oid, order.etag) {
                    shared.journal.wrong(format!(
                        "{} over {via} and again over {other}: {order:?}, {again:?}",
                        O::NAME
                    ));
                }
            }
        }
        Ok((order, span, via))
    }

    /// Notes an order that was made or changed: it, the client, and the stocks of these products are of its version now.
    fn wrote(&mut self, (order, span, _): &Answered, moved: &[String], touches_client: bool) {
        let (version, span) = (order.etag, *span);
        let wrote =
            |kind, id: &str, content| Entry::Wrote { key: Key::new(kind, id), span, version, content };
        let mut entries = vec![wrote(Kind::Order, &order.oid, Some(said(order)))];
        entries.extend(moved.iter().map(|pid| wrote(Kind::Stock, pid, None)));
        if touches_client {
            entries.push(wrote(Kind::Client, &order.cid, None));
        }
        self.shared.journal.note(entries);
        let is_open_to_copies = self.is_open_to_copies(&order.oid);
        let known = KnownOrder { is_open_to_copies, ..KnownOrder::of(order) };
        self.shared.orders.lock().insert(order.oid.clone(), known);
        self.saw(version);
    }

    fn priced(&self, (order, span, via): &Answered, lines: &[LineChange]) {
        let changed = order.lines.iter().filter(|line| lines.iter().any(|one| one.pid == line.pid));
        let lines = changed.map(|line| (line.pid.clone(), line.price.clone())).collect();
        let (oid, version, who) = (order.oid.clone(), order.etag, self.who(*via));
        self.shared.journal.note([Entry::Priced { oid, span: *span, version, lines, who }]);
    }

    fn is_open_to_copies(&self, oid: &str) -> bool {
        self.shared.orders.lock().get(oid).is_some_and(|order| order.is_open_to_copies)
    }

    /// Some lines of different products.
    fn lines(&mut self, most: usize) -> Vec<LineChange> {
        let mut pids = pids();
        self.rng.shuffle(&mut pids);
        let count = 1 + self.rng.usize(..most);
        let line = |pid: String| LineChange {
            quantity: 1 + self.rng.i64(0..if is_scarce(&pid) { 4 } else { 9 }),
            pid,
            ..LineChange::default()
        };
        pids.into_iter().take(count).map(line).collect()
    }

    async fn create(&mut self) {
        let (lines, request) = (self.lines(3), request_id());
        let asked = CreateOrderRequest {
            cid: self.cid.clone(),
            lines: lines.clone(),
            request: request.clone(),
            ..Default::default()
        };
        match self.change::<CreateOrder>(asked).await {
            Ok(made) => {
                let moved: Vec<String> = lines.iter().map(|line| line.pid.clone()).collect();
                self.wrote(&made, &moved, true);
                self.priced(&made, &lines);
                if self.orders.len() == ORDERS_MAX {
                    self.orders.swap_remove(self.rng.usize(..ORDERS_MAX));
                }
                self.orders.push(made.0.oid);
            }
            // A copy of the request may be under way at the broker.
            Err(_) => {
                let oid = oid_of(&self.cid, &request.expect("an id was made"));
                self.shared.perhaps.lock().insert(oid, self.cid.clone());
            }
        }
    }

    async fn modify(&mut self) {
        let Some((oid, known)) = self.known() else { return };
        // Of what is there already another quantity than before, so that the stock moves.
        let mut lines = self.lines(2);
        lines
            .iter_mut()
            .for_each(|line| line.quantity += i64::from(known.get(&line.pid) == Some(&line.quantity)));
        let (cid, request) = (self.cid.clone(), request_id());
        let asked = ModifyOrderRequest {
            cid,
            oid: oid.clone(),
            lines: lines.clone(),
            if_match: 0,
            request,
            ..Default::default()
        };
        match self.change::<ModifyOrder>(asked).await {
            Ok(made) => {
                let moved: Vec<String> = lines.iter().map(|line| line.pid.clone()).collect();
                self.wrote(&made, &moved, false);
                // A line that was there keeps its price.
                lines.retain(|line| !known.contains_key(&line.pid));
                self.priced(&made, &lines);
            }
            Err(_) => self.leave(&oid),
        }
    }

    async fn finish<O: Operation<Request = OrderRequest, Response = Order>>(&mut self, wanted: OrderState) {
        let Some((oid, lines)) = self.known() else { return };
        let Some(before) = self.shared.orders.lock().get(&oid).cloned() else { return };
        let request = OrderRequest {
            cid: self.cid.clone(),
            oid: oid.clone(),
            request: request_id(),
            ..Default::default()
        };
        match self.change::<O>(request).await {
            Ok(made) if before.state == OrderState::Open && made.0.state() == wanted => {
                let moved: Vec<String> = lines.into_keys().collect();
                self.wrote(&made, &moved, true);
                // Now and then he wants to change what is final.
                if self.rng.u8(..4) != 0 {
                    self.orders.retain(|other| *other != oid);
                }
            }
            // What is so already is left and shown as it is.
            Ok((order, ..)) if order.state() == wanted && order.etag == before.version => {}
            Ok((order, ..)) => {
                self.shared.journal.wrong(format!("{}: {order:?}, and before {before:?}", O::NAME));
            }
            Err(_) => self.leave(&oid),
        }
    }

    /// One of his orders, and its lines.
    fn known(&mut self) -> Option<(String, BTreeMap<String, i64>)> {
        let oid = self.rng.choice(self.orders.iter())?.clone();
        let lines = self.shared.orders.lock().get(&oid)?.lines.clone();
        Some((oid, lines))
    }

    /// A request about an order was refused, or not answered: a copy of it may come yet, so it is left as it is.
    fn leave(&mut self, oid: &str) {
        if let Some(order) = self.shared.orders.lock().get_mut(oid) {
            order.is_open_to_copies = true;
        }
        self.orders.retain(|other| other != oid);
    }
}

/// What an order says, in one line.
fn said(order: &Order) -> String {
    let lines: Vec<String> =
        order.lines.iter().map(|line| format!("{} {} at {}", line.quantity, line.pid, line.price)).collect();
    format!("{:?}: {}, {}", order.state(), lines.join(", "), order.total)
}

/// The OID that a request for an order makes.
fn oid_of(cid: &str, request: &RequestId) -> String {
    let cid = Cid::parse("cid", cid).expect("our clients' ids are in order");
    Oid::derive(&cid, request.id.as_bytes()).to_string()
}
