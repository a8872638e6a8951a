//! Shoppers at a portal: each orders one unit of something and now and then cancels. An acknowledged order is there
//! for ever, in the state that was acknowledged; there are never more orders than were asked for. That the stock is
//! right is `feira audit`'s to say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::portal::shop_client::ShopClient;
use proto::portal::{CreateOrderRequest, ListOrdersRequest, Order, OrderRequest, OrderState};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::client::Client;
use super::ledger::{Ledger, Orders};
use crate::chaos::tally::Ended;
use crate::cluster::{Cluster, PATIENCE};
use crate::shop::{insert_client, insert_product, lines, patient, request_id};
use crate::wait;

/// Products on the shelf: few, so that many want the same.
const PRODUCTS: u64 = 3;
/// Of each: more than any run sells.
const STOCK: i64 = 1_000_000;
/// How often a client asks again under the same request id.
const TRIES: u32 = 3;
/// Orders of one page.
const PAGE: u32 = 1_000;

/// Registers the shoppers and fills the shelf.
pub(super) async fn furnish(cluster: &Cluster, clients: u64) {
    let mut admin = cluster.admin(1);
    for at in 0..clients {
        insert_client(&mut admin, &cid(at)).await.expect("a client can be registered");
    }
    for at in 0..PRODUCTS {
        insert_product(&mut admin, &pid(at), STOCK, "1.25").await.expect("a product can be inserted");
    }
}

fn cid(at: u64) -> String {
    format!("chaos-{at}")
}

fn pid(at: u64) -> String {
    format!("fruit-{at}")
}

pub(super) async fn run(client: Client, shop: ShopClient<Channel>, at: u64, deadline: Duration) {
    let (shared, cid) = (Arc::clone(&client.shared), cid(at));
    let mut shopper = Shopper { client, shop, deadline };
    let mut last = None;
    loop {
        shopper.client.breathe().await;
        let _inside = shared.gate.enter().await;
        match last.take().filter(|_| shopper.client.rng.u8(..100) < 20) {
            Some(oid) => {
                let request =
                    OrderRequest { cid: cid.clone(), oid, request: request_id(), ..OrderRequest::default() };
                shopper.cancel(request).await;
            }
            None => last = shopper.create(&cid).await,
        }
    }
}

/// One who orders and cancels.
struct Shopper {
    client: Client,
    shop: ShopClient<Channel>,
    /// How long a call may take.
    deadline: Duration,
}

impl Shopper {
    async fn create(&mut self, cid: &str) -> Option<String> {
        let client = &mut self.client;
        let lines = lines(&[(&pid(client.rng.u64(..PRODUCTS)), 1)]);
        let request = CreateOrderRequest {
            cid: cid.to_owned(),
            lines,
            request: request_id(),
            ..CreateOrderRequest::default()
        };
        let tries = if client.settles { TRIES } else { 1 };
        let mut ended = Ended::Refused;
        let mut made = None;
        for _ in 0..tries {
            match self.shop.create_order(within(self.deadline, request.clone())).await {
                Ok(order) => {
                    made = Some(order.into_inner().oid);
                    ended = Ended::Ok;
                    break;
                }
                // One try that may have happened leaves all of them open.
                Err(status) => ended = ended.max(check(client, "order", &status)),
            }
        }
        client.shared.tally.count("order", ended, true);
        client.shared.ledger.orders(cid, |orders| match &made {
            Some(oid) => {
                orders.acknowledged.insert(oid.clone(), Some(false));
            }
            None => orders.unknown += u64::from(ended == Ended::Unknown),
        });
        made
    }

    async fn cancel(&mut self, request: OrderRequest) {
        let client = &self.client;
        let (cid, oid) = (request.cid.clone(), request.oid.clone());
        let (ended, state) = match self.shop.cancel_order(within(self.deadline, request)).await {
            Ok(order) => (Ended::Ok, cancelled(client, &order.into_inner())),
            Err(status) => match check(client, "cancel", &status) {
                Ended::Unknown => (Ended::Unknown, None),
                ended => (ended, Some(false)),
            },
        };
        client.shared.tally.count("cancel", ended, true);
        client.shared.ledger.orders(&cid, |orders| {
            orders.acknowledged.insert(oid, state);
        });
    }
}

fn cancelled(client: &Client, order: &Order) -> Option<bool> {
    let is = order.state() == OrderState::Cancelled;
    if !is {
        client.shared.tally.anomaly(format!("order {} was cancelled and is {:?}", order.oid, order.state()));
    }
    Some(is)
}

fn within<T>(time: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(time);
    request
}

/// What a failure of a write at a portal says about it. Only a word of the portal's own can say that it did not
/// happen.
fn check(client: &Client, kind: &str, status: &Status) -> Ended {
    let said = status.get_error_details();
    let reason = said.error_info().map(|info| info.reason.as_str());
    match (status.code(), reason) {
        (Code::Unavailable | Code::ResourceExhausted | Code::Aborted, Some(_)) => Ended::Refused,
        (Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown, _) => Ended::Unknown,
        _ => {
            client.shared.tally.anomaly(format!("{kind}: {status:?}"));
            Ended::Unknown
        }
    }
}

/// Lists every client's orders and compares.
pub(super) async fn verify(shop: &mut ShopClient<Channel>, ledger: &Ledger) -> Result<(), String> {
    for (cid, orders) in ledger.all_orders() {
        let found = wait::until("orders to be listed", PATIENCE, || list(shop.clone(), &cid)).await;
        compare(&orders, &found).map_err(|what| format!("client {cid}: {what}"))?;
    }
    Ok(())
}

async fn list(mut shop: ShopClient<Channel>, cid: &str) -> Result<BTreeMap<String, OrderState>, Status> {
    let (mut found, mut after) = (BTreeMap::new(), String::new());
    loop {
        let request = ListOrdersRequest { cid: cid.to_owned(), limit: PAGE, after };
        let page = shop.list_orders(patient(request)).await?.into_inner();
        found.extend(page.orders.iter().map(|order| (order.oid.clone(), order.state())));
        after = page.next;
        if after.is_empty() {
            return Ok(found);
        }
    }
}

fn compare(orders: &Orders, found: &BTreeMap<String, OrderState>) -> Result<(), String> {
    for (oid, cancelled) in &orders.acknowledged {
        let state = found.get(oid).ok_or_else(|| format!("order {oid} was acknowledged and is lost"))?;
        if cancelled.is_some_and(|cancelled| cancelled != (*state == OrderState::Cancelled)) {
            return Err(format!("order {oid} is {state:?}; cancelled: {cancelled:?}"));
        }
    }
    let most = orders.acknowledged.len() as u64 + orders.unknown;
    if found.len() as u64 > most {
        return Err(format!("{} orders, but at most {most} were asked for", found.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_orders_wrong_states_and_orders_made_twice_are_told() {
        let one = |oid: &str, cancelled| (oid.to_owned(), cancelled);
        let mut orders = Orders { acknowledged: [one("a", Some(false))].into(), unknown: 1 };
        let found = |all: &[(&str, OrderState)]| all.iter().map(|(oid, s)| ((*oid).to_owned(), *s)).collect();
        let open = OrderState::Open;
        assert_eq!(compare(&orders, &found(&[("a", open), ("b", open)])), Ok(()));
        assert!(compare(&orders, &found(&[])).expect_err("lost").contains("lost"));
        assert!(
            compare(&orders, &found(&[("a", OrderState::Cancelled)]))
                .expect_err("state")
                .contains("is Cancelled")
        );
        assert!(
            compare(&orders, &found(&[("a", open), ("b", open), ("c", open)]))
                .expect_err("twice")
                .contains("3 orders")
        );
        orders.acknowledged.insert("a".to_owned(), None);
        assert_eq!(compare(&orders, &found(&[("a", OrderState::Cancelled)])), Ok(()));
    }
}
