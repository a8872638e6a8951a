//! Shops in this process, over stores in memory: exported, imported, exported again; what is there, what differs, what is cut off.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portal::id::{Cid, Oid};
use proto::portal::admin_client::AdminClient;
use proto::portal::{DeleteClientRequest, DeleteProductRequest, OrderState};
use proto::store::Freshness;
use store_client::{Range, Store};
use store_engine::memory::MemoryStore;
use tokio::sync::oneshot;

use crate::admin::orders::{Meant, Move};
use crate::admin::{clients, orders, products};
use crate::audit::books::Books;
use crate::exchange::args::{Export, ExportFormat};
use crate::exchange::collection::Collection;
use crate::exchange::entries::Form;
use crate::exchange::import::{Job, Outcome, dry_run, run};
use crate::exchange::number::Decimal;
use crate::exchange::{export, import};
use crate::failure::{Failure, Kind};
use crate::reach::portals::Portals;
use crate::reach::request::request_id;
use crate::shop::orders as shopping;
use crate::show::out::Out;
use crate::verb::call::GivenLine;

/// A shop, and a folder for files.
struct Shop {
    store: Arc<MemoryStore>,
    admin: Portals,
    folder: tempfile::TempDir,
}

fn config(store: &Arc<MemoryStore>) -> (portal::Config, oneshot::Receiver<SocketAddr>) {
    let (bound, address) = oneshot::channel();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = portal::Config::new("portal-1", any, Arc::clone(store) as Arc<_>);
    config.bound = Some(bound);
    // Tests count what is written; a keeper writes by itself.
    config.keeps_feed = false;
    (config, address)
}

fn portals(kind: &'static str, address: SocketAddr) -> Portals {
    Portals::new(kind, &[address.to_string()], None, Duration::from_millis(500), None).unwrap()
}

impl Shop {
    async fn empty() -> Shop {
        // With times of the store, as a cluster has them.
        let store = Arc::new(MemoryStore::new().raised());
        let (config, address) = config(&store);
        tokio::spawn(admin_portal::serve(config, Box::pin(std::future::pending())));
        let admin = portals("admin portal", address.await.unwrap());
        Shop { store, admin, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    async fn exported(&self, what: Collection, format: ExportFormat) -> Vec<u8> {
        let path = self.path("export");
        let args = Export { what, format, out: Some(path.clone()) };
        export::run(&args, &self.admin, &quiet()).await.unwrap();
        std::fs::read(path).unwrap()
    }

    fn job(&self, collection: Collection, file: &Path, format: ExportFormat) -> Job {
        let form = Form { format, encoding: None, separator: None, decimal: Decimal::Point };
        let refused = Some(self.path("refused.csv"));
        Job { collection, file: file.to_owned(), form, update: false, from_line: 0, refused, in_flight: 4 }
    }

    async fn import(&self, collection: Collection, file: &Path) -> Result<Outcome, Failure> {
        let format = match file.extension() {
            Some(extension) if extension == "jsonl" => ExportFormat::Jsonl,
            _ => ExportFormat::Csv,
        };
        run(&self.job(collection, file, format), &self.admin, &quiet()).await
    }

    fn refused(&self) -> String {
        std::fs::read_to_string(self.path("refused.csv")).unwrap()
    }

    /// The laws of the shop.
    async fn audit(&self) {
        let mut books = Books::default();
        for prefix in crate::audit::books::PREFIXES {
            let range = Range::Prefix(bytes::Bytes::from_static(prefix));
            let page = self.store.scan(range, 1_000, None, Freshness::linearizable()).await.unwrap();
            page.records.iter().for_each(|one| books.enter(1, one));
        }
        assert_eq!(books.first_difference(), None);
    }
}

fn quiet() -> Out {
    let mut out = Out::new(false);
    out.quiet = true;
    out
}

fn counts(outcome: &Outcome) -> [u64; 4] {
    let totals = &outcome.totals;
    [totals.new, totals.changed, totals.there, totals.lines_refused]
}

fn meant<'a>(cid: &'a str, oid: &'a str) -> Meant<'a> {
    Meant {
        cid,
        oid,
        if_match: 0,
        reason: "so it is, \"really\"".into(),
        by: "joana",
        request: request_id(None),
    }
}

/// A shop with everything that a file has to carry: orders in each state, rules, a removed client and product, odd texts.
async fn full() -> Shop {
    let shop = Shop::empty().await;
    let (config, address) = config(&shop.store);
    tokio::spawn(client_portal::serve(config, Box::pin(std::future::pending())));
    let till = portals("client portal", address.await.unwrap());
    for (cid, data) in [
        ("ana", "{\"name\":\"Ana; \\\"B\\\"\",\n  \"n\": 1.0}"),
        ("an", r#"{"name":"An","tags":["a","b"]}"#),
        ("ana/b", r#"{"name":"João"}"#),
        ("gone", "{}"),
    ] {
        clients::insert(&shop.admin, cid, data, None).await.unwrap();
    }
    let rules = proto::portal::StockRules { backorder_limit: 20, ..Default::default() };
    let untracked = proto::portal::StockRules { untracked: true, ..Default::default() };
    for (pid, data, rules) in [
        ("fig", r#"{"description":"Fig, dried","quantity":50,"price":"2.5","unit":"kg","n":[1, 2]}"#, None),
        ("late", r#"{"description":"Late","quantity":3,"price":"0.001"}"#, Some(rules)),
        ("work", r#"{"description":"Work","quantity":0,"price":"80"}"#, Some(untracked)),
        ("old", r#"{"description":"Old","quantity":9,"price":"1"}"#, None),
    ] {
        products::insert(&shop.admin, pid, data, rules, None).await.unwrap();
    }
    products::adjust(&shop.admin, "fig", -3, None).await.unwrap();
    let mut made = Vec::new();
    for (at, cid) in ["ana", "an", "ana/b", "gone", "gone", "ana", "ana", "an"].into_iter().enumerate() {
        let pids: &[(&str, i64)] =
            if at == 0 { &[("late", 9), ("work", 2)] } else { &[("fig", 2), ("old", 1)] };
        let given: Vec<GivenLine> =
            pids.iter().map(|(pid, quantity)| GivenLine::of(pid, *quantity)).collect();
        let lines = shopping::lines(&given);
        let order = shopping::create(&till, cid, lines, request_id(None), true).await.unwrap();
        made.push((cid, order.oid));
    }
    move_on(&shop, &made).await;
    let mut remover = AdminClient::connect(format!("http://{}", shop.admin.address())).await.unwrap();
    let client = DeleteClientRequest { cid: "gone".into(), ..Default::default() };
    remover.delete_client(client).await.unwrap();
    let product = DeleteProductRequest { pid: "old".into(), cascade: true, ..Default::default() };
    remover.delete_product(product).await.unwrap();
    shop.audit().await;
    shop
}

/// The first stays open, and each of the others goes further than the one before.
async fn move_on(shop: &Shop, made: &[(&'static str, String)]) {
    let admin = &shop.admin;
    for (at, (cid, oid)) in made.iter().enumerate().skip(1) {
        if at == 1 {
            orders::cancel(admin, meant(cid, oid)).await.unwrap();
            continue;
        }
        orders::confirm(admin, meant(cid, oid), "").await.unwrap();
        for (least, step) in [(3, Move::Pay), (4, Move::Pack), (5, Move::Send)] {
            if at >= least {
                orders::advance(admin, meant(cid, oid), step).await.unwrap();
            }
        }
        if at >= 6 {
            orders::take_back(admin, meant(cid, oid), at == 6).await.unwrap();
        }
        if at == 7 {
            orders::refund(admin, meant(cid, oid)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_goes_through_files_and_comes_out_the_same() {
    let shop = full().await;
    for (format, extension) in [(ExportFormat::Csv, "csv"), (ExportFormat::Jsonl, "jsonl")] {
        let copy = Shop::empty().await;
        let mut before = Vec::new();
        for what in Collection::ALL {
            let bytes = shop.exported(what, format).await;
            assert_eq!(bytes, shop.exported(what, format).await, "the same shop has the same bytes");
            let path = copy.path(&format!("{}.{extension}", what.word()));
            std::fs::write(&path, &bytes).unwrap();
            let outcome = copy.import(what, &path).await.unwrap();
            assert_eq!(counts(&outcome)[3], 0, "{}", copy.refused());
            before.push(bytes);
            copy.audit().await;
        }
        for (what, bytes) in Collection::ALL.into_iter().zip(&before) {
            let (was, is) = (String::from_utf8_lossy(bytes), copy.exported(what, format).await);
            assert_eq!(was, String::from_utf8_lossy(&is), "{what:?} as {extension}");
        }
        // Once more, into both shops: nothing changes.
        for target in [&copy, &shop] {
            let applied = target.store.applied();
            for what in Collection::ALL {
                let path = copy.path(&format!("{}.{extension}", what.word()));
                let outcome = target.import(what, &path).await.unwrap();
                let [new, changed, there, refused] = counts(&outcome);
                assert_eq!((new, changed, refused), (0, 0, 0), "{what:?}: {}", target.refused());
                assert!(there > 2, "{what:?}");
            }
            assert_eq!(target.store.applied(), applied, "nothing was even tried");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_of_all_states_are_exported_with_what_was_removed() {
    let shop = full().await;
    let text = String::from_utf8(shop.exported(Collection::Orders, ExportFormat::Jsonl).await).unwrap();
    let orders: Vec<proto::portal::ImportOrderRequest> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut states: Vec<OrderState> = orders.iter().map(proto::portal::ImportOrderRequest::state).collect();
    states.sort_unstable();
    states.dedup();
    assert_eq!(states.len(), 8, "{states:?}");
    for order in &orders {
        assert_eq!(order.client_removed, order.cid == "gone");
        assert!(order.lines.iter().all(|line| line.product_removed == (line.pid == "old")), "{order:?}");
    }
    assert!(!text.contains("imported"), "the mark is of a shop, not of the order");
}

#[tokio::test]
async fn what_is_there_and_differs_is_refused_unless_it_is_to_be_updated() {
    let shop = Shop::empty().await;
    let clients_file = shop.file("c.csv", "cid,name\nana,Ana\nbia,Bia\n");
    assert_eq!(counts(&shop.import(Collection::Clients, &clients_file).await.unwrap()), [2, 0, 0, 0]);
    let products_file = shop.file("p.csv", "pid,description,quantity,price\nfig,Fig,5,1.5\n");
    assert_eq!(counts(&shop.import(Collection::Products, &products_file).await.unwrap()), [1, 0, 0, 0]);
    let clients_file = shop.file("c.csv", "cid,name\nana,Ana\nbia,Beatriz\n");
    assert_eq!(counts(&shop.import(Collection::Clients, &clients_file).await.unwrap()), [0, 0, 1, 1]);
    assert!(shop.refused().contains("3,data,is there already with other data"), "{}", shop.refused());
    let products_file =
        shop.file("p.csv", "pid,description,quantity,price,quantity_max\nfig,Fig,99,1.75,3\n");
    assert_eq!(counts(&shop.import(Collection::Products, &products_file).await.unwrap()), [0, 0, 0, 1]);
    assert!(shop.refused().contains("2,price,"), "{}", shop.refused());
    for (collection, file) in [(Collection::Clients, &clients_file), (Collection::Products, &products_file)] {
        let job = Job { update: true, ..shop.job(collection, file, ExportFormat::Csv) };
        let outcome = run(&job, &shop.admin, &quiet()).await.unwrap();
        assert_eq!((outcome.totals.changed, outcome.totals.lines_refused), (1, 0), "{collection:?}");
    }
    let fig = products::get(&shop.admin, "fig").await.unwrap();
    assert_eq!(
        (fig.price.as_str(), fig.stock.unwrap().available),
        ("1.75", 5),
        "the quantity is of a new one"
    );
    assert_eq!(fig.rules.unwrap().quantity_max, 3);
    let prices = shop.file("p.csv", "pid,description,quantity,price\nfig,Fig,99,1.75\n");
    assert_eq!(counts(&shop.import(Collection::Products, &prices).await.unwrap()), [0, 0, 1, 0]);
    let stock = shop.file("s.csv", "pid,available\nfig,7\nkiwi,1\n");
    assert_eq!(counts(&shop.import(Collection::Stock, &stock).await.unwrap()), [0, 1, 0, 1]);
    assert!(shop.refused().contains("3,pid,"), "{}", shop.refused());
    assert_eq!(counts(&shop.import(Collection::Stock, &stock).await.unwrap()), [0, 0, 1, 1]);
}

#[tokio::test]
async fn an_update_keeps_rules_and_members_that_the_file_says_nothing_of() {
    let shop = Shop::empty().await;
    let update = async |text: &str| {
        let file = shop.file("p.csv", text);
        let job = Job { update: true, ..shop.job(Collection::Products, &file, ExportFormat::Csv) };
        let outcome = run(&job, &shop.admin, &quiet()).await.unwrap();
        assert_eq!(outcome.totals.lines_refused, 0, "{}", shop.refused());
        products::get(&shop.admin, "fig").await.unwrap()
    };
    let fig = update("pid,description,quantity,price,quantity_max,unit\nfig,Fig,5,1.5,3,kg\n").await;
    assert_eq!((fig.rules.unwrap().quantity_max, fig.extra.as_str()), (3, r#"{"unit":"kg"}"#));
    let fig = update("pid,description,quantity,price\nfig,Fig,5,1.75\n").await;
    assert_eq!((fig.rules.unwrap().quantity_max, fig.extra.as_str()), (3, r#"{"unit":"kg"}"#));
    assert_eq!(fig.price, "1.75");
    let fig = update("pid,description,quantity,price,quantity_max,extra\nfig,Fig,5,1.75,,\n").await;
    assert_eq!(fig.rules.unwrap_or_default().quantity_max, 0);
    assert!(matches!(fig.extra.as_str(), "" | "{}"), "{}", fig.extra);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_id_is_taken_by_another_is_refused() {
    let shop = full().await;
    let text = String::from_utf8(shop.exported(Collection::Orders, ExportFormat::Jsonl).await).unwrap();
    let file = shop.file("o.jsonl", &text.replace("\"quantity\":2,", "\"quantity\":3,"));
    let outcome = shop.import(Collection::Orders, &file).await.unwrap();
    assert!(outcome.totals.new == 0 && outcome.totals.lines_refused > 2, "{:?}", outcome.totals);
    assert!(
        shop.refused().contains("oid,is taken by an order of the shop: its lines are others"),
        "{}",
        shop.refused()
    );
    let empty = Shop::empty().await;
    let outcome = empty.import(Collection::Orders, &shop.file("o.jsonl", &text)).await.unwrap();
    assert_eq!(outcome.totals.new, 0, "clients and products come first");
    assert!(empty.refused().contains(",cid,") && empty.refused().contains(",pid,"), "{}", empty.refused());
}

#[tokio::test]
async fn only_counting_sends_nothing_and_lists_what_is_wrong() {
    let shop = Shop::empty().await;
    let file = shop.file("c.csv", "cid,name\nana,Ana\nana,Ana\n-b,Bia\n");
    let outcome = dry_run(&shop.job(Collection::Clients, &file, ExportFormat::Csv)).unwrap();
    assert_eq!((outcome.totals.read, outcome.totals.lines_refused), (1, 2));
    assert_eq!(shop.refused().lines().count(), 3, "{}", shop.refused());
    assert_eq!(shop.store.applied(), Shop::empty().await.store.applied());
    let told = &outcome.answer.warnings;
    assert_eq!(told[0], "line 3, cid: ana is on line 2 already");
}

#[tokio::test]
async fn orders_of_a_pipe_are_read_twice_as_those_of_a_file_are() {
    let shop = Shop::empty().await;
    let one = Oid::derive(&Cid::parse("cid", "ana").unwrap(), b"1").to_string();
    let text = format!("cid,oid,state,changed_ms,pid,description,quantity,price\nana,{one},sent,9,a,A,1,2\n");
    let pipe = shop.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let to = pipe.clone();
    let writer = std::thread::spawn(move || std::fs::write(to, text));
    let outcome = dry_run(&shop.job(Collection::Orders, &pipe, ExportFormat::Csv)).unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!((outcome.totals.read, outcome.totals.lines_refused), (1, 0));
}

#[tokio::test]
async fn an_import_that_is_cut_off_says_how_far_it_came_and_goes_on() {
    let shop = Shop::empty().await;
    let text: String = (0..40).map(|at| format!("c{at},Client {at}\n")).collect();
    let file = shop.file("c.csv", &format!("cid,name\n{text}-wrong,X\n"));
    let job = Job { in_flight: 1, ..shop.job(Collection::Clients, &file, ExportFormat::Csv) };
    // Down once some are done.
    let (store, out) = (Arc::clone(&shop.store), quiet());
    let watch = async {
        while store.applied() < 15 {
            tokio::task::yield_now().await;
        }
        store.set_down(true);
    };
    let (ended, ()) = tokio::join!(run(&job, &shop.admin, &out), watch);
    let failure = ended.unwrap_err();
    assert!(matches!(failure.kind, Kind::Unreachable | Kind::Unknown), "{failure}");
    let told = failure.to_string();
    assert!(
        told.contains("was cut off: what is on the lines up to ") && told.contains("--from-line"),
        "{told}"
    );
    assert_eq!(shop.refused(), "line,column,reason\n");
    shop.store.set_down(false);
    let outcome = run(&job, &shop.admin, &quiet()).await.unwrap();
    let [new, changed, there, refused] = counts(&outcome);
    assert!(
        new > 0 && there > 0 && new + there == 40 && (changed, refused) == (0, 1),
        "{:?}",
        outcome.totals
    );
    let rest = Job { from_line: 41, ..job };
    assert_eq!(counts(&run(&rest, &shop.admin, &quiet()).await.unwrap()), [0, 0, 1, 1]);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_changes_nothing() {
    let shop = Shop::empty().await;
    let missing = shop.import(Collection::Clients, &shop.path("none.csv")).await.unwrap_err();
    assert!(missing.message.contains("none.csv"), "{missing}");
    let other = shop.file("p.csv", "pid,description,quantity,price\n");
    let failure = shop.import(Collection::Clients, &other).await.unwrap_err();
    assert!(failure.kind == Kind::Usage && failure.message.contains("columns of products"), "{failure}");
    let job =
        Job { refused: Some(other.clone()), ..shop.job(Collection::Products, &other, ExportFormat::Csv) };
    assert!(
        import::run(&job, &shop.admin, &quiet())
            .await
            .unwrap_err()
            .message
            .contains("is the file that is imported")
    );
    assert_eq!(std::fs::read_to_string(other).unwrap(), "pid,description,quantity,price\n");
}
