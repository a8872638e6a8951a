//! The times of pages of many products, in every order and with filters: three nodes and a portal as real processes, and portals that have
//! just started in this one. `docs/evidence/lists.md` has what came out.
//!
//! ```text
//!   cargo build --release -p feira
//!   cargo run --release -p feira-tests --no-default-features --example list_pages -- target/release/feira 100000
//! ```
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::time::{Duration, Instant};

use feira_tests::cluster::{Cluster, Options};
use feira_tests::shop::{insert_client, insert_product, order, patient};
use futures::StreamExt as _;
use portal::Config;
use proto::portal::admin_client::AdminClient;
use proto::portal::{InsertProductRequest, ListOrdersRequest, ListRequest, ListSort, Product};
use serde_json::json;
use tokio::sync::oneshot;
use tonic::transport::Channel;

async fn insert(admin: &mut AdminClient<Channel>, pid: &str, description: &str, price: &str, category: &str) {
    let data = json!({ "description": description, "price": price, "quantity": 9, "category": category });
    let request = InsertProductRequest {
        pid: pid.to_owned(),
        data: data.to_string(),
        ..InsertProductRequest::default()
    };
    admin.insert_product(patient(request)).await.unwrap();
}

/// Words that descriptions are made of.
const SYLLABLES: [&str; 20] = [
    "ma", "çã", "fu", "ji", "ba", "na", "pra", "ta", "li", "mão", "ge", "le", "ia", "que", "jo", "ca", "fé",
    "du", "ro", "si",
];

/// The word of a number below 8,000.
fn word(number: usize) -> String {
    [number % 20, number / 20 % 20, number / 400 % 20].map(|at| SYLLABLES[at]).concat()
}

/// So many products, 64 at a time.
async fn load(admin: &AdminClient<Channel>, count: u64) {
    let each = (0..count).map(|at| {
        let mut admin = admin.clone();
        async move {
            let mut random = fastrand::Rng::with_seed(at);
            let description = [0, 1, 2].map(|_| word(random.usize(..8_000))).join(" ");
            let (price, category) = (random.u64(..100_000), random.u64(..20));
            let price = format!("{}.{:02}", price / 100, price % 100);
            insert(
                &mut admin,
                &format!("product-{at:07}"),
                &description,
                &price,
                &format!("category {category}"),
            )
            .await;
        }
    });
    futures::stream::iter(each).buffer_unordered(64).for_each(|()| async {}).await;
}

/// The portal of a moment: its channel, and what stops it.
async fn fresh_portal(cluster: &Cluster) -> (AdminClient<Channel>, oneshot::Sender<()>) {
    let (bound, address) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut config = Config::new("fresh", "127.0.0.1:0".parse().unwrap(), cluster.ring());
    config.bound = Some(bound);
    let stopped = Box::pin(async move { drop(stopped.await) });
    tokio::spawn(async move { admin_portal::serve(config, stopped).await.unwrap() });
    let address = format!("http://{}", address.await.unwrap());
    let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
    (AdminClient::new(channel).max_decoding_message_size(64 << 20), stop)
}

async fn page(admin: &mut AdminClient<Channel>, request: &ListRequest) -> (Vec<Product>, String, Duration) {
    let begun = Instant::now();
    let page = admin.list_products(patient(request.clone())).await.unwrap().into_inner();
    (page.products, page.next, begun.elapsed())
}

fn told(what: &str, mut times: Vec<Duration>, shown: usize) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    let (median, most, longest) = (at(50), at(95), at(100));
    eprintln!(
        "{what}: median {median:.1?}, 95th of a hundred {most:.1?}, longest {longest:.1?} of {}; {shown} shown in all",
        times.len()
    );
}

/// Orders of the client who has many.
const ORDERS: usize = 10_000;

/// One client's orders, page by page from the first to the last, at a portal that has seen none of them: by tenths of the way.
async fn pages_of_orders(cluster: &Cluster) {
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    insert_product(&mut cluster.admin(1), "fig", 1_000_000, "1.50").await.unwrap();
    let shop = cluster.shop(1);
    let each = (0..ORDERS).map(|_| {
        let mut shop = shop.clone();
        async move { order(&mut shop, "ana", &[("fig", 1)]).await.unwrap() }
    });
    let begun = Instant::now();
    futures::stream::iter(each).buffer_unordered(64).for_each(|_| async {}).await;
    eprintln!("{ORDERS} orders made in {:.1?}", begun.elapsed());
    let (mut shop, mut times, mut shown) = (shop.max_decoding_message_size(64 << 20), Vec::new(), Vec::new());
    let mut after = String::new();
    loop {
        let request = ListOrdersRequest { cid: "ana".into(), limit: 100, after };
        let begun = Instant::now();
        let page = shop.list_orders(patient(request)).await.unwrap().into_inner();
        times.push(begun.elapsed());
        shown.push(page.orders.len());
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    let tenth = times.len().div_ceil(10);
    for (at, (times, shown)) in times.chunks(tenth).zip(shown.chunks(tenth)).enumerate() {
        told(
            &format!("orders of one client, tenth {} of the pages", at + 1),
            times.to_vec(),
            shown.iter().sum(),
        );
    }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (feira, count) = (arguments.next(), arguments.next().and_then(|count| count.parse().ok()));
    let (Some(feira), Some(count)) = (feira, count) else {
        eprintln!("usage: list_pages PATH-OF-FEIRA PRODUCTS");
        return;
    };
    let cluster = Cluster::start(&feira, Options { embedded_broker: true, ..Options::default() }).await;
    let begun = Instant::now();
    load(&cluster.admin(1), count).await;
    eprintln!("{count} products inserted in {:.1?}", begun.elapsed());
    let of = |sort: ListSort, words: &str, category: &str| ListRequest {
        sort: sort.into(),
        words: words.to_owned(),
        category: category.to_owned(),
        limit: 100,
        ..ListRequest::default()
    };
    let sorts = [("id", ListSort::Id), ("price", ListSort::Price), ("description", ListSort::Description)];
    for (name, sort) in sorts {
        let (mut times, mut shown) = (Vec::new(), 0);
        for _ in 0..50 {
            let (mut admin, _stop) = fresh_portal(&cluster).await;
            let (products, _, time) = page(&mut admin, &of(sort, "", "")).await;
            (shown, times) = (shown + products.len(), [times, vec![time]].concat());
        }
        told(&format!("first page by {name} of a portal just started"), times, shown);
    }
    let mut admin = cluster.admin(1).max_decoding_message_size(64 << 20);
    let whole = word(1_234);
    let filters = [("", ""), ("", "category 7"), (&whole[..4], ""), (&whole[..], "")];
    for (name, sort) in sorts {
        for (words, category) in filters {
            let (mut times, mut shown, mut request) = (Vec::new(), 0, of(sort, words, category));
            for _ in 0..50 {
                let (products, next, time) = page(&mut admin, &request).await;
                (shown, times, request.after) = (shown + products.len(), [times, vec![time]].concat(), next);
            }
            told(&format!("pages by {name}, words {words:?}, category {category:?}"), times, shown);
        }
    }
    pages_of_orders(&cluster).await;
    let begun = Instant::now();
    // It looks at every record and row: minutes for a million.
    let output = cluster.command(&["admin", "reindex"]).output().unwrap();
    eprintln!("{} in {:.1?}", String::from_utf8_lossy(&output.stdout).trim(), begun.elapsed());
}
