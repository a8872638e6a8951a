//! Staff and shoppers: they call the production portals (the same services, without a server), which read and write
//! through simulated handles. A request whose answer was lost is sent again, under its id, through another portal.
//!
//! Each shopper keeps a book of the orders that were confirmed to it; at the end the store must hold exactly those.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;

use admin_portal::EventStream;
use portal::cache::Capacity;
use portal::document::staff_note::Did;
use portal::session::{KeptSession, SESSION_HEADER, SessionToken};
use portal::{Error, Portal};
use proto::portal::admin_server::Admin;
use proto::portal::shop_server::Shop;
use proto::portal::{
    AdjustStockRequest, CreateOrderRequest, GetOrderRequest, InsertClientRequest, InsertProductRequest,
    LineChange, ModifyOrderRequest, Order, OrderRequest, OrderState, RequestId, StockRules,
    UpdateProductRequest,
};
use store_client::Store;
use tonic::{Request, Response, Status};

use crate::score::Score;
use crate::tasks::Sleeper;
use crate::time::{MS, Micros, SECOND};
use crate::violation::{ensure, violated};

/// Products on sale.
pub(crate) const PRODUCTS: usize = 4;
/// Of each, at the beginning.
const STOCK: i64 = 300;
/// Of so many acts of the staff one changes a product's rules.
const RULES_EVERY: u32 = 4;
/// How long a cold portal's cache would hold, if it ever became warm.
const LEASE_MS: u64 = 1_000;
/// Times that a request is sent which nobody carried out.
const TRIES_MAX: u32 = 4;

/// The services of both kinds over one portal: they share its cache.
#[derive(Clone)]
pub(crate) struct Portals {
    shop: Arc<dyn Shop>,
    pub(crate) admin: Arc<dyn Admin<WatchEventsStream = EventStream>>,
}

impl Portals {
    /// Over this portal.
    pub(crate) fn new(portal: Arc<Portal>) -> Portals {
        Portals {
            shop: Arc::new(client_portal::shop(Arc::clone(&portal))),
            admin: Arc::new(admin_portal::admin(portal)),
        }
    }
}

/// A portal that no message of the bus reaches.
pub(crate) fn cold(name: &str, store: impl Store) -> Arc<Portal> {
    let capacity = Capacity { entries: NonZeroUsize::MIN.saturating_add(255), bytes: 1 << 20 };
    Portal::new(name, Arc::new(store), capacity, LEASE_MS)
}

/// What a shopper knows of one of its orders.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    pub(crate) state: OrderState,
    /// Quantities by product.
    pub(crate) lines: BTreeMap<String, i64>,
    /// When it was last changed, as the last answer said.
    pub(crate) changed_ms: i64,
}

impl Known {
    /// Whether both have the same state and lines.
    pub(crate) fn is_like(&self, other: &Known) -> bool {
        self.state == other.state && self.lines == other.lines
    }

    /// The same, if the shop has cancelled it because it was open for too long.
    pub(crate) fn expired(&self) -> Option<Known> {
        let expired = || Known { state: OrderState::Cancelled, ..self.clone() };
        (self.state == OrderState::Open).then(expired)
    }
}

/// The orders of all shoppers, by CID and OID.
pub(crate) type Books = Rc<RefCell<BTreeMap<(String, String), Known>>>;

/// What everybody in the shop has.
#[derive(Clone)]
pub(crate) struct Shopping {
    pub(crate) portals: Vec<Portals>,
    pub(crate) sleeper: Sleeper,
    pub(crate) score: Rc<RefCell<Score>>,
    pub(crate) books: Books,
    /// The products are there.
    pub(crate) is_open: Rc<Cell<bool>>,
}

/// A shopper, or one of the staff.
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) shopping: Shopping,
    pub(crate) random: fastrand::Rng,
    /// Requests made so far.
    pub(crate) requests: u64,
    /// What it takes from portal to portal.
    pub(crate) session: KeptSession,
}

/// One try of a request.
pub(crate) struct Try {
    pub(crate) portals: Portals,
    pub(crate) id: RequestId,
    /// The token that it carries.
    token: Option<SessionToken>,
}

impl Try {
    /// A message of the session.
    pub(crate) fn of<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            let token = token.to_string().parse().expect("a token is ASCII");
            request.metadata_mut().insert(SESSION_HEADER, token);
        }
        request
    }
}

pub(crate) fn pid(product: usize) -> String {
    format!("fruit-{product}")
}

/// Each product has a rule of another kind, looser or stricter by turns.
fn rules(product: usize, turn: i64) -> StockRules {
    let (is_loose, none) = (turn % 2 == 1, StockRules::default());
    match product {
        0 => StockRules { quantity_max: if is_loose { 0 } else { 4 }, ..none },
        1 => StockRules { safety_stock: if is_loose { 5 } else { 60 }, ..none },
        2 => StockRules { backorder_limit: if is_loose { 90 } else { 10 }, ..none },
        _ => StockRules { untracked: is_loose, ..none },
    }
}

fn known(order: &Order) -> Known {
    let lines = order.lines.iter().map(|line| (line.pid.clone(), line.quantity)).collect();
    Known { state: order.state(), lines, changed_ms: order.changed_ms }
}

impl Person {
    /// Sends one request until its fate is known. `Err`: it was refused or not carried out.
    pub(crate) async fn settled<T, F>(&mut self, send: impl Fn(Try) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.requests += 1;
        let created_ms = self.shopping.sleeper.now.wall_ms();
        let id = RequestId { id: format!("{}-{}", self.name, self.requests), created_ms };
        let (mut unsettled, mut tries) = (false, 0);
        loop {
            let portals = self.shopping.portals[self.random.usize(..self.shopping.portals.len())].clone();
            let sent = self.session.token();
            let answered = send(Try { portals, id: id.clone(), token: sent.token.clone() }).await;
            let metadata = answered.as_ref().map_or_else(Status::metadata, Response::metadata);
            if let Some(raised) = metadata.get(SESSION_HEADER).and_then(|token| token.to_str().ok()) {
                self.session.answered(&sent, raised);
            }
            let status = match answered {
                Ok(response) => {
                    self.shopping.score.borrow_mut().settled += u64::from(unsettled);
                    return Ok(response.into_inner());
                }
                Err(status) => status,
            };
            tries += 1;
            match Error::from_status(&status) {
                Some(Error::OutcomeUnknown { .. }) => {
                    self.shopping.score.borrow_mut().lost += u64::from(!unsettled);
                    unsettled = true;
                }
                Some(
                    error @ (Error::Unavailable { .. } | Error::Overloaded { .. } | Error::Contended { .. }),
                ) => {
                    if !unsettled && tries >= TRIES_MAX {
                        return Err(error);
                    }
                }
                // A wall clock that is behind refuses ids that it takes to be of the future.
                Some(error @ Error::Invalid { .. }) if !unsettled => return Err(error),
                Some(Error::Invalid { .. }) => {}
                Some(
                    error @ (Error::Damaged { .. }
                    | Error::RequestReused { .. }
                    | Error::RequestClosed { .. }),
                ) => {
                    violated("the shop understands what is stored", error.to_string());
                }
                Some(refusal) => return Err(refusal),
                None => violated("the shop understands what is stored", status.to_string()),
            }
            let again = self.shopping.sleeper.now.us() + self.random.u64(50..400) * MS;
            self.shopping.sleeper.until(again).await;
        }
    }

    /// Counts how a request ended.
    pub(crate) fn count(&self, ended: &Result<(), Error>) {
        let mut score = self.shopping.score.borrow_mut();
        score.asked += 1;
        match ended {
            Ok(()) => {
                score.succeeded += 1;
                score.orders += 1;
            }
            Err(
                Error::Unavailable { .. }
                | Error::Overloaded { .. }
                | Error::Contended { .. }
                | Error::Invalid { .. },
            ) => score.failed += 1,
            Err(_) => score.succeeded += 1,
        }
    }

    /// The staff: registers everybody, puts the products on sale, and moves their stock now and then.
    pub(crate) async fn staff(mut self, shoppers: u32, operations: u32, until: Micros) {
        for shopper in 0..shoppers {
            let name = shopper_name(shopper);
            let insert = |one: Try| {
                let request = InsertClientRequest {
                    cid: name.clone(),
                    data: format!("{{\"name\":\"{name}\"}}"),
                    request: Some(one.id.clone()),
                };
                async move { one.portals.admin.insert_client(one.of(request)).await }
            };
            self.must(insert).await;
        }
        for product in 0..PRODUCTS {
            let insert = |one: Try| {
                let data = format!(
                    "{{\"description\":\"Fruit {product}\",\"price\":\"1.50\",\"quantity\":{STOCK}}}"
                );
                let (pid, request) = (pid(product), Some(one.id.clone()));
                let request = InsertProductRequest { pid, data, request, rules: Some(rules(product, 1)) };
                async move { one.portals.admin.insert_product(one.of(request)).await }
            };
            self.must(insert).await;
        }
        self.shopping.is_open.set(true);
        for number in 0..operations {
            let at = until / u64::from(operations) * u64::from(number);
            self.shopping.sleeper.until(at).await;
            if number % RULES_EVERY == RULES_EVERY - 1 {
                self.rule(number / RULES_EVERY).await;
                continue;
            }
            self.adjust(number as usize % PRODUCTS).await;
        }
    }

    /// One more of the staff, who moves the stock of the same product at the same time, through another portal as it happens:
    /// an answer may come when the other one's change has been heard of already.
    pub(crate) async fn second_staff(mut self, operations: u32, until: Micros) {
        self.opening().await;
        for number in 0..operations {
            let at = until / u64::from(operations) * u64::from(number);
            self.shopping.sleeper.until(at).await;
            self.adjust(number as usize % PRODUCTS).await;
        }
    }

    async fn adjust(&mut self, product: usize) {
        let (pid, amount) = (pid(product), self.random.i64(1..60) - 10);
        let amount = if amount == 0 { 1 } else { amount };
        let adjusted = self
            .settled(|one| {
                let request = AdjustStockRequest {
                    pid: pid.clone(),
                    amount,
                    request: Some(one.id.clone()),
                    if_match_stock: 0,
                };
                async move { one.portals.admin.adjust_stock(one.of(request)).await }
            })
            .await;
        self.count(&adjusted.map(|_| ()));
    }

    /// Waits until the products are there.
    pub(crate) async fn opening(&self) {
        while !self.shopping.is_open.get() {
            let again = self.shopping.sleeper.now.us() + 50 * MS;
            self.shopping.sleeper.until(again).await;
        }
    }

    /// Gives the next product other rules; the present stock may forbid them.
    async fn rule(&mut self, turn: u32) {
        let product = turn as usize % PRODUCTS;
        let rules = rules(product, i64::from(turn) / PRODUCTS as i64);
        let ruled = self
            .settled(|one| {
                let request = UpdateProductRequest {
                    pid: pid(product),
                    data: format!("{{\"description\":\"Fruit {product}\",\"price\":\"1.50\"}}"),
                    rules: Some(rules),
                    request: Some(one.id.clone()),
                    ..UpdateProductRequest::default()
                };
                async move { one.portals.admin.update_product(one.of(request)).await }
            })
            .await;
        self.count(&ruled.map(|_| ()));
    }

    /// Repeats an insertion until it is done.
    async fn must<T, F>(&mut self, send: impl Fn(Try) -> F)
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        while let Err(error) = self.settled(&send).await {
            let is_here = matches!(error, Error::AlreadyExists { .. });
            ensure(!is_here, "nothing is applied twice", || format!("{error} at its first insertion"));
            let again = self.shopping.sleeper.now.us() + 100 * MS;
            self.shopping.sleeper.until(again).await;
        }
    }

    /// A shopper: so many changes of orders, spread over the time until `until`.
    pub(crate) async fn shopper(mut self, operations: u32, until: Micros) {
        self.opening().await;
        let (begin, pace) = (SECOND, (until - SECOND) / u64::from(operations));
        for number in 0..operations {
            let at = begin + pace * u64::from(number) + self.random.u64(..pace.max(1));
            self.shopping.sleeper.until(at).await;
            let open = self.open_order();
            let ended = match (self.random.u32(..100), open.clone()) {
                (0..30, _) | (_, None) => self.create().await,
                (30..70, Some(oid)) => self.modify(oid).await,
                (70..80, Some(oid)) => self.end(oid, OrderState::Cancelled).await,
                (80..86, Some(oid)) => self.end(oid, OrderState::Confirmed).await,
                (_, Some(oid)) => self.look(oid).await,
            };
            if let (Err(Error::NotOpen { oid, state }), Some(meant)) = (&ended, open) {
                self.was_expired(oid, state, &meant);
            }
            self.count(&ended);
        }
    }

    /// An order that the shopper left open is open, or the shop has cancelled it; whether rightly, the end of the run judges.
    fn was_expired(&self, oid: &str, state: &str, meant: &str) {
        let expired = self.known(meant).expired();
        ensure(oid == meant && state == "cancelled" && expired.is_some(), "session guarantees", || {
            format!("{} left {meant} open, and is told that {oid} is {state}", self.name)
        });
        let of = (self.name.clone(), oid.to_owned());
        self.shopping.books.borrow_mut().extend(expired.map(|expired| (of, expired)));
    }

    fn open_order(&mut self) -> Option<String> {
        let books = self.shopping.books.borrow();
        let mine =
            books.iter().filter(|((cid, _), known)| *cid == self.name && known.state == OrderState::Open);
        let open: Vec<&String> = mine.map(|((_, oid), _)| oid).collect();
        if open.is_empty() { None } else { Some(open[self.random.usize(..open.len())].clone()) }
    }

    /// Some lines, each of at least `least`: a new order has nothing that a 0 could take out.
    fn lines(&mut self, least: i64) -> Vec<LineChange> {
        let count = self.random.usize(1..4);
        let line = |_| LineChange {
            pid: pid(self.random.usize(..PRODUCTS)),
            quantity: self.random.i64(least..6),
            ..LineChange::default()
        };
        (0..count).map(line).collect()
    }

    /// Writes into the book what an answer says, which must be what is expected.
    fn book(&self, order: &Order, expected: &Known) {
        let (oid, found) = (order.oid.clone(), known(order));
        ensure(found.is_like(expected), "the answer is what was asked for", || {
            format!("order {oid} of {}: {found:?}, expected {expected:?}", self.name)
        });
        // What the shop has ended is as its shopper left it before.
        let is_expired = order.staff.iter().any(|note| note.did == Did::Expired.word());
        let changed_ms = if is_expired { expected.changed_ms } else { found.changed_ms };
        self.shopping.books.borrow_mut().insert((self.name.clone(), oid), Known { changed_ms, ..found });
    }

    async fn create(&mut self) -> Result<(), Error> {
        let (cid, lines) = (self.name.clone(), self.lines(1));
        let mut expected = Known { state: OrderState::Open, lines: BTreeMap::new(), changed_ms: 0 };
        add(&mut expected.lines, &lines, false);
        let order = self
            .settled(|one| {
                let (cid, lines) = (cid.clone(), lines.clone());
                let request = CreateOrderRequest {
                    cid,
                    lines,
                    request: Some(one.id.clone()),
                    ..CreateOrderRequest::default()
                };
                async move { one.portals.shop.create_order(one.of(request)).await }
            })
            .await?;
        self.book(&order, &expected);
        Ok(())
    }

    async fn modify(&mut self, oid: String) -> Result<(), Error> {
        let (cid, lines) = (self.name.clone(), self.lines(0));
        let mut expected = self.known(&oid);
        add(&mut expected.lines, &lines, true);
        let order = self
            .settled(|one| {
                let (cid, oid, lines) = (cid.clone(), oid.clone(), lines.clone());
                let request = ModifyOrderRequest {
                    cid,
                    oid,
                    lines,
                    if_match: 0,
                    request: Some(one.id.clone()),
                    ..ModifyOrderRequest::default()
                };
                async move { one.portals.shop.modify_order(one.of(request)).await }
            })
            .await?;
        self.book(&order, &expected);
        Ok(())
    }

    async fn end(&mut self, oid: String, state: OrderState) -> Result<(), Error> {
        let cid = self.name.clone();
        let expected = Known { state, ..self.known(&oid) };
        let order = self
            .settled(|one| {
                let request = OrderRequest {
                    cid: cid.clone(),
                    oid: oid.clone(),
                    request: Some(one.id.clone()),
                    ..OrderRequest::default()
                };
                async move {
                    match state {
                        OrderState::Cancelled => one.portals.shop.cancel_order(one.of(request)).await,
                        _ => one.portals.shop.confirm_order(one.of(request)).await,
                    }
                }
            })
            .await?;
        self.book(&order, &expected);
        Ok(())
    }

    /// A shopper sees its own writes, whichever portal it asks.
    async fn look(&mut self, oid: String) -> Result<(), Error> {
        let (cid, expected) = (self.name.clone(), self.known(&oid));
        let order = self
            .settled(|one| {
                let request = GetOrderRequest { cid: cid.clone(), oid: oid.clone() };
                async move { one.portals.shop.get_order(one.of(request)).await }
            })
            .await?;
        let found = known(&order);
        let is_expired = expected.expired().is_some_and(|expired| expired.is_like(&found));
        ensure(found.is_like(&expected) || is_expired, "session guarantees", || {
            format!("{cid} sees {oid} as {found:?} and left it as {expected:?}")
        });
        if is_expired {
            self.was_expired(&oid, "cancelled", &oid);
        }
        Ok(())
    }

    fn known(&self, oid: &str) -> Known {
        let books = self.shopping.books.borrow();
        books[&(self.name.clone(), oid.to_owned())].clone()
    }
}

/// The name of a shopper, which is its CID.
pub(crate) fn shopper_name(shopper: u32) -> String {
    format!("shopper-{shopper}")
}

/// What these lines make of an order: lines of one product are merged first; 0 takes a line out.
fn add(into: &mut BTreeMap<String, i64>, lines: &[LineChange], replaces: bool) {
    let mut merged: BTreeMap<&str, i64> = BTreeMap::new();
    for line in lines {
        *merged.entry(&line.pid).or_default() += line.quantity;
    }
    for (pid, quantity) in merged {
        if quantity > 0 {
            into.insert(pid.to_owned(), quantity);
        } else if replaces {
            into.remove(pid);
        }
    }
}
