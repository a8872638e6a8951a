//! Clusters whose ports are exchanged at random under orders: two of one name, and a third restored from the first one's
//! backup. A configured port of one cluster then leads to a node or portal of another.
//!
//! Judged: no request is answered by another cluster. Each cluster's shoppers and handles note what was acknowledged to
//! them; at the end, with everything at home again, each cluster holds all of that, and nothing of another's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use proto::portal::shop_client::ShopClient;
use proto::portal::{ListOrdersRequest, OrderSummary};
use proto::store::{Freshness, Txn};
use store_client::{Config, Range, Replicated, Store, request_identity};
use store_keys::ClusterId;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::metadata::MetadataValue;

use crate::cluster::{Cluster, Options, PATIENCE};
use crate::shop::{insert_client, insert_product, order_request, patient};
use crate::wait;

/// Everybody's shopper: the same id in each cluster.
const CID: &str = "ana";
/// Everybody's product.
const PID: &str = "banana";
/// Keys that handles write begin so.
const KEYS: &str = "exchange/";
/// Exchanges at once, at most.
const EXCHANGES_MAX: usize = 4;
/// How long ports stay exchanged.
const ROUND_MS: std::ops::Range<u64> = 2_000..6_000;
/// The longest run, in times of the one asked for, while nobody was told whose port it was.
const UNTOLD_TIMES_MAX: u32 = 4;
/// One request of the load.
const REQUEST: Duration = Duration::from_secs(3);

/// What came out.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Pairs of ports that were exchanged.
    pub exchanges: u64,
    /// Orders acknowledged.
    pub orders: u64,
    /// Writes of handles acknowledged.
    pub writes: u64,
    /// Refusals that named whose port it was.
    pub messages: u64,
    /// Everything else that was refused or not answered.
    pub refused: u64,
}

/// One of the clusters, and what its users were told.
struct Shop {
    name: &'static str,
    cluster: Cluster,
    id: ClusterId,
    /// What each of its orders takes, so that it is told from those of other clusters.
    quantity: i64,
    messages: Arc<Messages>,
}

/// What users of one cluster were told.
#[derive(Default)]
struct Messages {
    /// Orders acknowledged, by OID.
    orders: Mutex<BTreeSet<String>>,
    /// Keys acknowledged.
    keys: Mutex<BTreeSet<Bytes>>,
    whose_port: AtomicU64,
    refused: AtomicU64,
    /// One of each kind of sentence, for people.
    sentences: Mutex<BTreeMap<String, String>>,
}

impl Messages {
    fn refusal(&self, of: &str, message: &str) {
        let is_told = message.contains("the port of");
        let count = if is_told { &self.whose_port } else { &self.refused };
        count.fetch_add(1, Ordering::Relaxed);
        let kind = format!("{of}: {}", if is_told { "whose port it is" } else { "else" });
        self.sentences.lock().entry(kind).or_insert_with(|| message.to_owned());
    }
}

fn options(nodes: u64, shared: Option<std::net::SocketAddr>) -> Options {
    Options { nodes, shared_broker: shared, ..Options::default() }
}

/// Exchanges ports for so long; the seed makes the choices.
///
/// # Panics
/// If a request was answered by another cluster, or nobody was told whose port it was.
pub async fn exchange(feira: &str, seed: u64, time: Duration) -> Outcome {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut shops = found(feira).await;
    let (stop, mut load) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    for shop in &shops {
        load.spawn(shopper(shop, Arc::clone(&stop)));
        load.spawn(writer(shop, true, Arc::clone(&stop)));
        load.spawn(writer(shop, false, Arc::clone(&stop)));
    }
    // A handle that is given no id believes the majority of its addresses, once: before they are anybody else's.
    wait::until("every handle to know its cluster", PATIENCE, || async {
        let learnt = |shop: &Shop| {
            let own = format!("{KEYS}{}/false/", shop.name);
            shop.messages.keys.lock().iter().any(|key| key.starts_with(own.as_bytes()))
        };
        if shops.iter().all(learnt) { Ok(()) } else { Err("not yet") }
    })
    .await;
    let (began, mut exchanges) = (Instant::now(), 0);
    // Whose port it was somebody is told only if he asks in the middle of an exchange: so they go on until one was, but not for ever.
    let is_told = |shop: &Shop| shop.messages.whose_port.load(Ordering::Relaxed) > 0;
    while began.elapsed() < time || (!shops.iter().any(is_told) && began.elapsed() < time * UNTOLD_TIMES_MAX)
    {
        exchanges += round(&mut shops, &mut rng).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.expect("a user of a cluster does not panic");
    }
    let mut outcome = Outcome { exchanges, ..Outcome::default() };
    for shop in &mut shops {
        shop.cluster.run_all().await;
        check(shop).await;
        outcome.orders += shop.messages.orders.lock().len() as u64;
        outcome.writes += shop.messages.keys.lock().len() as u64;
        outcome.messages += shop.messages.whose_port.load(Ordering::Relaxed);
        outcome.refused += shop.messages.refused.load(Ordering::Relaxed);
        for (kind, sentence) in shop.messages.sentences.lock().iter() {
            eprintln!("{}, {kind}: {sentence}", shop.name);
        }
    }
    outcome
}

/// Two clusters of one name on one broker, and a third that is restored from the first.
async fn found(feira: &str) -> Vec<Shop> {
    let first = Cluster::start(feira, options(3, None)).await;
    let shared = first.mosquitto.as_ref().map(|broker| broker.address);
    let second = Cluster::start(feira, options(3, shared)).await;
    for cluster in [&first, &second] {
        insert_client(&mut cluster.admin(1), CID).await.expect("a client is inserted");
        insert_product(&mut cluster.admin(1), PID, 1_000_000, "1.00").await.expect("a product is inserted");
    }
    let file = first.path().join("backup");
    let file = file.to_str().expect("a path of text");
    done(&first, &["backup", "--out", file]);
    let mut third = Cluster::prepare(feira, options(1, shared));
    done(&third, &["restore", file]);
    third.run_all().await;
    let all = [("first", first), ("second", second), ("restored", third)];
    let shop = |(quantity, (name, cluster)): (i64, (&'static str, Cluster))| Shop {
        name,
        id: cluster.id(),
        cluster,
        quantity,
        messages: Arc::default(),
    };
    (1..).zip(all).map(shop).collect()
}

fn done(cluster: &Cluster, arguments: &[&str]) {
    let output = cluster.tool(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Exchanges the ports of some parts for a while, then brings everything home.
async fn round(shops: &mut [Shop], rng: &mut fastrand::Rng) -> u64 {
    let mut parts: Vec<(usize, String)> = Vec::new();
    for (at, shop) in shops.iter().enumerate() {
        parts.extend(shop.cluster.parts().into_iter().map(|part| (at, part)));
    }
    rng.shuffle(&mut parts);
    let mut pairs = Vec::new();
    while pairs.len() < rng.usize(1..=EXCHANGES_MAX) {
        let Some((one, part)) = parts.pop() else { break };
        let Some(other) = parts.iter().position(|(at, _)| *at != one) else { break };
        let other = parts.swap_remove(other);
        pairs.push(((one, part), other));
    }
    let moved: Vec<(usize, String, String)> = pairs
        .iter()
        .flat_map(|((a, x), (b, y))| {
            let (at_x, at_y) = (shops[*a].cluster.address(x), shops[*b].cluster.address(y));
            [(*a, x.clone(), at_y.to_owned()), (*b, y.clone(), at_x.to_owned())]
        })
        .collect();
    for (at, part, _) in &moved {
        shops[*at].cluster.kill(part);
    }
    for (at, part, to) in &moved {
        shops[*at].cluster.run_at(part, to);
    }
    wait::pass(Duration::from_millis(rng.u64(ROUND_MS))).await;
    for (at, part, _) in &moved {
        shops[*at].cluster.kill(part);
    }
    // At random a while without them, too.
    if rng.bool() {
        wait::pass(Duration::from_millis(rng.u64(0..500))).await;
    }
    for (at, part, _) in &moved {
        shops[*at].cluster.run(part);
    }
    wait::pass(Duration::from_millis(rng.u64(1_000..3_000))).await;
    moved.len() as u64 / 2
}

/// Orders at the cluster's client portal, naming the cluster as the tools do, until told to stop.
fn shopper(shop: &Shop, stop: Arc<AtomicBool>) -> impl Future<Output = ()> + Send + use<> {
    let (channel, id, messages) = (shop.cluster.channel("client-1"), shop.id, Arc::clone(&shop.messages));
    let (name, quantity) = (shop.name, shop.quantity);
    async move {
        let named: MetadataValue<_> = id.to_string().parse().expect("digits");
        let mut portal = ShopClient::with_interceptor(channel, move |mut request: Request<()>| {
            request.metadata_mut().insert("feira-cluster-id", named.clone());
            Ok(request)
        });
        while !stop.load(Ordering::Relaxed) {
            let request = order_request(CID, &[(PID, quantity)]);
            let asked = tokio::time::timeout(REQUEST, portal.create_order(request)).await;
            match asked {
                Ok(Ok(order)) => drop(messages.orders.lock().insert(order.into_inner().oid)),
                Ok(Err(status)) => messages.refusal("portal", status.message()),
                Err(_) => messages.refusal("portal", &format!("no answer to {name}")),
            }
            wait::pass(Duration::from_millis(10)).await;
        }
    }
}

/// Writes through a handle until told to stop; one that is given the cluster's id, or one that learns it at the start.
fn writer(shop: &Shop, given: bool, stop: Arc<AtomicBool>) -> impl Future<Output = ()> + Send + use<> {
    let nodes = shop.cluster.node_places();
    let (id, messages, name) = (shop.id, Arc::clone(&shop.messages), shop.name);
    async move {
        let cluster = given.then_some(id);
        let config = Config { deadline: REQUEST, cluster, ..Config::of_nodes(nodes) };
        let store = Replicated::new(config).expect("addresses are in order");
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let key = Bytes::from(format!("{KEYS}{name}/{given}/{number}"));
            let txn = Txn::new().put(key.clone(), 1, name);
            match store.txn(txn, Some(request_identity([7; 16]))).await {
                Ok(answer) if answer.success => drop(messages.keys.lock().insert(key.clone())),
                Ok(answer) => panic!("nothing stands against it: {answer:?}"),
                Err(error) => messages.refusal("handle", &error.to_string()),
            }
            // What another cluster has is never read as ours.
            match store.get(key.clone(), Freshness::linearizable()).await {
                Ok(got) => {
                    assert!(got.record.is_some() || !messages.keys.lock().contains(&key), "{key:?} is lost");
                }
                Err(error) => messages.refusal("handle", &error.to_string()),
            }
            wait::pass(Duration::from_millis(10)).await;
        }
    }
}

/// Each cluster has what was acknowledged to its users, and nothing of another's.
async fn check(shop: &Shop) {
    let all = orders(shop).await;
    let own = format!("{}.00", shop.quantity);
    let foreign: Vec<&OrderSummary> = all.iter().filter(|order| order.total != own).collect();
    assert!(foreign.is_empty(), "{} has orders that were made at another cluster: {foreign:?}", shop.name);
    let orders: BTreeSet<String> = all.into_iter().map(|order| order.oid).collect();
    let missing: Vec<String> = shop.messages.orders.lock().difference(&orders).cloned().collect();
    assert!(missing.is_empty(), "orders acknowledged to {} are not there: {missing:?}", shop.name);
    let store = Replicated::new(Config { deadline: PATIENCE, ..shop.cluster.reach() });
    let store = store.expect("addresses are in order");
    let (mut keys, mut after) = (BTreeSet::new(), None);
    loop {
        let range = Range::Prefix(Bytes::from_static(KEYS.as_bytes()));
        let page = store.scan(range, 1_000, after, Freshness::linearizable()).await.expect("a page");
        for record in page.records {
            let own = format!("{KEYS}{}/", shop.name);
            assert!(record.key.starts_with(own.as_bytes()), "{} has {:?}", shop.name, record.key);
            keys.insert(record.key);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let missing: Vec<Bytes> = shop.messages.keys.lock().difference(&keys).cloned().collect();
    assert!(missing.is_empty(), "writes acknowledged to {} are not there: {missing:?}", shop.name);
    // Audited too: an order of another cluster would hold stock of this one.
    shop.cluster.assert_audited().await;
}

/// All orders of the shopper.
async fn orders(shop: &Shop) -> Vec<OrderSummary> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let request = ListOrdersRequest { cid: CID.to_owned(), after, ..ListOrdersRequest::default() };
        let page = wait::until("a page of orders", PATIENCE, || {
            let (mut portal, request) = (shop.cluster.shop(1), request.clone());
            async move { portal.list_orders(patient(request)).await.map_err(|status| status.to_string()) }
        });
        let page = page.await.into_inner();
        all.extend(page.orders);
        if page.next.is_empty() {
            return all;
        }
        after = page.next;
    }
}
