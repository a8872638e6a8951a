//! The books at the end, reckoned from what callers were answered: each request had one effect, and stock was conserved.

use std::collections::{BTreeMap, BTreeSet};

use admin_portal::operations::{GetOrder, GetProduct, ListOrders};
use proto::portal::{
    GetProductRequest, Order, OrderState, StaffGetOrderRequest, StaffListOrdersRequest, StaffOrderSummary,
};

use super::asking::{Asker, Outcome, Via};
use super::shared::{KnownOrder, Shared, pids};

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Books {
    /// Orders that are there.
    pub orders: usize,
    /// Those whose last request was answered: they are as it was.
    pub as_answered: usize,
    /// Orders of requests that were refused, and of which a copy at the broker was done later.
    pub of_copies: usize,
    /// Units that orders hold.
    pub held: i64,
}

/// Compares; what differs is noted as wrong.
pub async fn compare(asker: &Asker, shared: &Shared) -> Books {
    let mut books = Books::default();
    let mut held: BTreeMap<String, i64> = BTreeMap::new();
    let (known, perhaps) = (shared.orders.lock().clone(), shared.perhaps.lock().clone());
    let found = listed(asker, shared).await;
    let there: BTreeSet<&String> = found.iter().map(|order| &order.oid).collect();
    for oid in known.keys().filter(|oid| !there.contains(oid)) {
        shared.journal.wrong(format!("order {oid} was acknowledged and is not there"));
    }
    for summary in &found {
        books.orders += 1;
        let lines = match known.get(&summary.oid) {
            Some(order) if order.version == summary.etag => {
                books.as_answered += 1;
                if order.state != summary.state() {
                    shared.journal.wrong(format!("{summary:?} was answered as {order:?}"));
                }
                order.lines.clone()
            }
            Some(order) if order.is_open_to_copies => lines_of(asker, shared, summary).await,
            Some(order) => {
                shared.journal.wrong(format!("{summary:?} was answered as {order:?}"));
                continue;
            }
            None if perhaps.contains_key(&summary.oid) => {
                books.of_copies += 1;
                lines_of(asker, shared, summary).await
            }
            None => {
                shared.journal.wrong(format!("nobody's request made {summary:?}"));
                continue;
            }
        };
        if matches!(summary.state(), OrderState::Open | OrderState::Confirmed) {
            lines.into_iter().for_each(|(pid, units)| *held.entry(pid).or_default() += units);
        }
    }
    books.held = held.values().sum();
    for pid in pids() {
        stock(asker, shared, &pid, held.get(&pid).copied().unwrap_or_default()).await;
    }
    books
}

async fn stock(asker: &Asker, shared: &Shared, pid: &str, held: i64) {
    let request = GetProductRequest { pid: pid.to_owned() };
    let answer = asker.ask::<GetProduct>(Via::Grpc(0), request, (&shared.journal, &shared.tally)).await;
    let (Outcome::Done(product), _) = answer else {
        return shared.journal.wrong(format!("{pid} cannot be read at the end"));
    };
    let stock = product.stock.unwrap_or_default();
    let adjusted = shared.adjusted.lock().get(pid).copied().unwrap_or_default();
    let conserved = stock.initial + stock.adjusted == stock.available + stock.held + stock.sold;
    if !conserved || (stock.adjusted, stock.held, stock.sold) != (adjusted, held, 0) || stock.available < 0 {
        let what = format!("{pid}: {stock:?}; answers say adjusted {adjusted}, held {held}, sold 0");
        shared.journal.wrong(what);
    }
}

async fn listed(asker: &Asker, shared: &Shared) -> Vec<StaffOrderSummary> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let request = StaffListOrdersRequest { limit: 1_000, after, ..StaffListOrdersRequest::default() };
        let answer = asker.ask::<ListOrders>(Via::Grpc(0), request, (&shared.journal, &shared.tally)).await;
        let (Outcome::Done(page), _) = answer else {
            shared.journal.wrong("the orders cannot be listed at the end");
            return all;
        };
        all.extend(page.orders);
        after = page.next;
        if after.is_empty() {
            return all;
        }
    }
}

async fn lines_of(asker: &Asker, shared: &Shared, summary: &StaffOrderSummary) -> BTreeMap<String, i64> {
    let request = StaffGetOrderRequest { cid: summary.cid.clone(), oid: summary.oid.clone() };
    let answer = asker.ask::<GetOrder>(Via::Grpc(0), request, (&shared.journal, &shared.tally)).await;
    let order: Order = match answer {
        (Outcome::Done(order), _) => order,
        _ => {
            shared.journal.wrong(format!("{summary:?} cannot be read at the end"));
            return BTreeMap::new();
        }
    };
    KnownOrder::of(&order).lines
}
