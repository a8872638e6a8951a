//! Many clients at once: never oversold, one transaction an order, and everything adds up after any mixture, with
//! answers lost, requests refused and reordered on the way.

use std::collections::HashMap;
use std::time::Duration;

use portal::Error;
use proptest::prelude::*;
use proto::portal::{CreateOrderRequest, ModifyOrderRequest, Order, OrderRequest};
use store_engine::memory::Faults;

use crate::fixture::{Fixture, Shop, answer, change, create, creation, id, naming};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_sell_out_one_product_exactly_with_one_transaction_an_order() {
    const CLIENTS: i64 = 64;
    const STOCK: i64 = 500;
    let fixture = Fixture::open().await;
    fixture.insert_product("hot", "1", STOCK).await;
    let clients: Vec<String> = (0..CLIENTS).map(|i| format!("client{i}")).collect();
    for cid in &clients {
        fixture.insert_client(cid).await;
    }
    create(&fixture, "ana", &[]).await.unwrap();
    let before = fixture.transactions().await;
    let buyers = clients.iter().map(|cid| {
        let (mut shop, cid) = (fixture.shop(), cid.clone());
        tokio::spawn(async move {
            let mut bought = 0;
            loop {
                match answer(shop.create_order(creation(&cid, &[("hot", 1)])).await) {
                    Ok(_) => bought += 1,
                    Err(Error::ShortStock { short, .. }) => {
                        assert_eq!((short[0].wanted, short[0].left), (1, 0));
                        return bought;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        })
    });
    let mut bought = Vec::new();
    for buyer in buyers.collect::<Vec<_>>() {
        bought.push(buyer.await.unwrap());
    }
    assert_eq!(bought.iter().sum::<i64>(), STOCK);
    let refused = u64::try_from(CLIENTS).unwrap();
    assert_eq!(fixture.transactions().await - before, u64::try_from(STOCK).unwrap() + refused);
    fixture.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tills_of_one_client_change_one_order_without_losing_anything() {
    let fixture = Fixture::open().await;
    for till in 0..8 {
        fixture.insert_product(&format!("p{till}"), "1", 100).await;
    }
    let order = create(&fixture, "ana", &[]).await.unwrap();
    let tills = (0..8).map(|till| {
        let (mut shop, order) = (fixture.shop(), order.clone());
        tokio::spawn(async move {
            for quantity in 1..=5 {
                let wanted = format!("p{till}");
                // ABORTED means that nothing was done: it may be asked again.
                while let Err(error) = answer(shop.modify_order(change(&order, &[(&wanted, quantity)])).await)
                {
                    assert!(matches!(error, Error::Contended { .. }), "{error}");
                }
            }
        })
    });
    for till in tills.collect::<Vec<_>>() {
        till.await.unwrap();
    }
    let order = answer(
        fixture
            .shop()
            .get_order(proto::portal::GetOrderRequest { cid: order.cid.clone(), oid: order.oid.clone() })
            .await,
    );
    assert_eq!(order.unwrap().total, "40.00");
    fixture.audit().await;
}

#[derive(Clone, Debug)]
enum Step {
    Create(Vec<(u8, i64)>),
    Modify(usize, Vec<(u8, i64)>),
    Confirm(usize),
    Cancel(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let lines = || prop::collection::vec((0u8..4, 0i64..6), 1..4);
    prop_oneof![
        3 => lines().prop_map(Step::Create),
        4 => (any::<usize>(), lines()).prop_map(|(order, lines)| Step::Modify(order, lines)),
        1 => any::<usize>().prop_map(Step::Confirm),
        2 => any::<usize>().prop_map(Step::Cancel),
    ]
}

fn named(lines: &[(u8, i64)]) -> Vec<(String, i64)> {
    lines.iter().map(|(product, quantity)| (format!("p{product}"), *quantity)).collect()
}

/// A new order of these lines, without those of 0, which have nothing to take out.
fn opening(cid: &str, wanted: &[(&str, i64)]) -> CreateOrderRequest {
    let lines: Vec<(&str, i64)> = wanted.iter().copied().filter(|(_, quantity)| *quantity > 0).collect();
    creation(cid, &lines)
}

/// Repeats one request with its id until its outcome is known.
async fn settle(
    shop: &mut Shop,
    step: &Step,
    orders: &[Order],
    cid: &str,
    request: &str,
) -> Result<Order, Error> {
    loop {
        let pick = |at: usize| orders[at % orders.len()].clone();
        let given = id(request);
        let owned;
        let wanted: Vec<(&str, i64)> = match step {
            Step::Create(lines) | Step::Modify(_, lines) => {
                owned = named(lines);
                owned.iter().map(|(pid, quantity)| (pid.as_str(), *quantity)).collect()
            }
            _ => Vec::new(),
        };
        let answered = match step {
            _ if orders.is_empty() => {
                shop.create_order(CreateOrderRequest { request: given, ..opening(cid, &wanted) }).await
            }
            Step::Create(_) => {
                shop.create_order(CreateOrderRequest { request: given, ..opening(cid, &wanted) }).await
            }
            Step::Modify(at, _) => {
                let request = ModifyOrderRequest { request: given, ..change(&pick(*at), &wanted) };
                shop.modify_order(request).await
            }
            Step::Confirm(at) => {
                shop.confirm_order(OrderRequest { request: given, ..naming(&pick(*at)) }).await
            }
            Step::Cancel(at) => {
                shop.cancel_order(OrderRequest { request: given, ..naming(&pick(*at)) }).await
            }
        };
        match answer(answered) {
            Err(Error::OutcomeUnknown { .. } | Error::Unavailable { .. } | Error::Contended { .. }) => {}
            settled => return settled,
        }
    }
}

async fn shopper(mut shop: Shop, cid: String, steps: Vec<Step>) -> HashMap<String, Order> {
    let mut orders: Vec<Order> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        match settle(&mut shop, step, &orders, &cid, &format!("r{number}")).await {
            Ok(order) => match orders.iter_mut().find(|one| one.oid == order.oid) {
                Some(there) => *there = order,
                None => orders.push(order),
            },
            Err(Error::ShortStock { .. } | Error::NotOpen { .. } | Error::OrderEmpty { .. }) => {}
            Err(other) => panic!("{step:?}: {other}"),
        }
    }
    orders.into_iter().map(|order| (order.oid.clone(), order)).collect()
}

async fn market(seed: u64, shoppers: Vec<Vec<Step>>) {
    let fixture = Fixture::open().await;
    for product in 0..4 {
        fixture.insert_product(&format!("p{product}"), "1.25", 12).await;
    }
    for number in 0..shoppers.len() {
        fixture.insert_client(&format!("client{number}")).await;
    }
    fixture.store.set_faults(Some(Faults {
        seed,
        refuse_per_mille: 50,
        lose_per_mille: 100,
        reorder_per_mille: 200,
        delay_per_mille: 100,
        delay_ms_max: 2,
    }));
    let days = shoppers
        .into_iter()
        .enumerate()
        .map(|(number, steps)| tokio::spawn(shopper(fixture.shop(), format!("client{number}"), steps)));
    let mut known = HashMap::new();
    for day in days.collect::<Vec<_>>() {
        known.extend(day.await.unwrap());
    }
    fixture.store.set_faults(None);
    fixture.audit().await;
    for (oid, order) in known {
        let asked = proto::portal::GetOrderRequest { cid: order.cid.clone(), oid };
        assert_eq!(
            answer(fixture.shop().get_order(asked).await),
            Ok(order),
            "what was answered is what is stored"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_adds_up_after_any_mixture_with_faults(
        seed in any::<u64>(),
        shoppers in prop::collection::vec(prop::collection::vec(step(), 1..12), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let day = async { tokio::time::timeout(Duration::from_secs(60), market(seed, shoppers)).await };
        runtime.block_on(day).expect("it ends");
    }
}
