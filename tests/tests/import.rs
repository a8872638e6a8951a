//! `feira import` of a generated file with every irregularity of the real one, while leaders and portals die.
//!
//! The irregularities: cancellations, bad debt, missing customers and descriptions, negative quantities, free and odd
//! prices, duplicates, one code twice in an invoice, codes that differ by case, spaces, broken lines, an invoice of
//! more lines than a request may name. The totals are counted here, without the importer's code.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::process::Dialogue;
use feira_tests::wait;
use serde_json::Value;

/// Lines of the file, without its header.
const LINES: u64 = 3_000;
/// An invoice of so many codes: more than one request may name.
const LONG_INVOICE: u64 = 1_100;
/// What an import may take on a machine that runs other tests too.
const LONG: Duration = Duration::from_secs(180);
const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";

/// xorshift64: the same file for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    /// True once in so many times.
    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// What must come of a file, counted line by line by what its generator knows of each.
#[derive(Default)]
struct Expected {
    text: String,
    lines: u64,
    accepted: u64,
    refused: BTreeMap<&'static str, u64>,
    clients: BTreeSet<u64>,
    /// Quantity by code.
    sold: BTreeMap<String, i64>,
    /// Price of the first valid line by code.
    prices: HashMap<String, &'static str>,
    invoices: BTreeSet<u64>,
}

/// One line before it is written.
struct Line {
    invoice: String,
    code: String,
    description: &'static str,
    quantity: String,
    price: &'static str,
    customer: String,
}

impl Expected {
    fn write(&mut self, line: &Line) {
        let Line { invoice, code, description, quantity, price, customer } = line;
        let text = format!(
            "{invoice},{code},{description},{quantity},2010-12-01 08:26:00,{price},{customer},United Kingdom\n"
        );
        self.text.push_str(&text);
        self.lines += 1;
    }

    fn refuse(&mut self, reason: &'static str) {
        *self.refused.entry(reason).or_insert(0) += 1;
    }

    fn accept(&mut self, invoice: u64, code: &str, quantity: i64, price: &'static str) {
        self.accepted += 1;
        self.invoices.insert(invoice);
        *self.sold.entry(code.to_owned()).or_insert(0) += quantity;
        self.prices.entry(code.to_owned()).or_insert(price);
    }
}

const DESCRIPTIONS: [&str; 5] =
    ["WHITE LANTERN", "\"TEA, \"\"EARL GREY\"\"\"", "", "  CAKE STAND ", "CAFÉ SET"];
const PRICES: [&str; 7] = ["2.55", "0", "0.0", "0.001", "38970", "3.39", "12.5"];

fn code(random: &mut Random) -> String {
    match random.below(40) {
        0 => "BANK CHARGES".to_owned(),
        1 => "85099b".to_owned(),
        2 => "85099B".to_owned(),
        3 => "POST".to_owned(),
        at => format!("{}", 20_000 + at * 7),
    }
}

/// An invoice's lines by one customer, each whole or spoiled in one way.
fn invoice(random: &mut Random, expected: &mut Expected, number: u64) {
    let customer = 12_346 + random.below(90);
    let kind = random.below(20);
    let no_customer = random.one_in(5);
    for _ in 0..=random.below(12) {
        let quantity = i64::try_from(1 + random.below(48)).unwrap();
        let code = code(random);
        let price = PRICES[usize::try_from(random.below(7)).unwrap()];
        let description = DESCRIPTIONS[usize::try_from(random.below(5)).unwrap()];
        let spaced = if random.one_in(9) { format!(" {code} ") } else { code.clone() };
        let mut line = Line {
            invoice: number.to_string(),
            code: spaced,
            description,
            quantity: quantity.to_string(),
            price,
            customer: if no_customer { String::new() } else { format!("{customer}.0") },
        };
        if !no_customer {
            expected.clients.insert(customer);
        }
        match kind {
            0 => {
                line.invoice = format!("C{number}");
                line.quantity = format!("-{quantity}");
                expected.refuse("cancellation (invoice C…)");
            }
            1 => {
                line.invoice = format!("A{number}");
                line.price = "-11062.06";
                expected.refuse("bad debt (invoice A…)");
            }
            _ if no_customer => expected.refuse("no customer"),
            _ => spoil_or_sell(random, expected, &mut line, (number, &code, quantity)),
        }
        expected.write(&line);
        // Exact duplicates are lines like any other.
        if kind > 1
            && !no_customer
            && random.one_in(25)
            && line.quantity == quantity.to_string()
            && line.code.trim() == code
            && line.price == price
        {
            expected.accept(number, &code, quantity, price);
            expected.write(&line);
        }
    }
}

fn spoil_or_sell(
    random: &mut Random,
    expected: &mut Expected,
    line: &mut Line,
    (number, code, quantity): (u64, &str, i64),
) {
    match random.below(30) {
        0 => {
            line.quantity = format!("-{quantity}");
            expected.refuse("the quantity is not above 0");
        }
        1 => {
            line.quantity = "0".to_owned();
            expected.refuse("the quantity is not above 0");
        }
        2 => {
            line.price = "-1.00";
            expected.refuse("the price is no decimal number from 0");
        }
        3 => {
            line.quantity = "some".to_owned();
            expected.refuse("the quantity is no whole number");
        }
        4 => {
            line.code = "  ".to_owned();
            expected.refuse("no stock code");
        }
        _ => expected.accept(number, code, quantity, line.price),
    }
}

/// Lines that are no lines at all.
fn nonsense(expected: &mut Expected) {
    for (text, reason) in [
        ("\n", "not eight fields"),
        ("1,2,3\n", "not eight fields"),
        ("536365,85123A,\"open,6,2010-12-01,2.55,17850.0,United Kingdom\n", "quotes out of balance"),
        (",85123A,X,6,2010-12-01,2.55,17850.0,United Kingdom\n", "no invoice number"),
        ("536365,85123A,X,6,2010-12-01,2.55,somebody,United Kingdom\n", "the customer is no number"),
    ] {
        expected.text.push_str(text);
        expected.lines += 1;
        expected.refuse(reason);
    }
    // The line without an invoice names a customer who is registered all the same.
    expected.clients.insert(17_850);
    let long = format!("536365,{},X,6,2010-12-01,2.55,17850.0,United Kingdom\n", "9".repeat(129));
    expected.text.push_str(&long);
    expected.lines += 1;
    expected.refuse("the stock code has more than 128 bytes");
}

fn generate(seed: u64) -> Expected {
    let mut random = Random(seed);
    let mut expected = Expected { text: format!("{HEADER}\n"), ..Expected::default() };
    for at in 0..LONG_INVOICE {
        let code = format!("L{at}");
        expected.accept(500_000, &code, 2, "1.25");
        let (quantity, customer, invoice) = ("2".to_owned(), "17850.0".to_owned(), "500000".to_owned());
        expected.write(&Line { invoice, code, description: "LONG", quantity, price: "1.25", customer });
    }
    nonsense(&mut expected);
    let mut number = 536_365;
    while expected.lines < LINES {
        invoice(&mut random, &mut expected, number);
        number += 1;
    }
    expected
}

/// A cluster, the file, and where refused lines go.
struct Market {
    cluster: Cluster,
    expected: Expected,
    file: PathBuf,
    refused: PathBuf,
}

impl Market {
    async fn open(seed: u64) -> Market {
        let options = Options { admin_portals: 2, client_portals: 2, ..Options::default() };
        let cluster = Cluster::start(feira_tests::feira!(), options).await;
        let expected = generate(seed);
        let (file, refused) = (cluster.path().join("online.csv"), cluster.path().join("refused.csv"));
        std::fs::write(&file, &expected.text).unwrap();
        Market { cluster, expected, file, refused }
    }

    fn start(&self) -> Dialogue {
        let (file, refused) = (self.file.to_str().unwrap(), self.refused.to_str().unwrap());
        let arguments = ["--json", "import", "--format", "online-retail", file, "--refused", refused];
        let mut import = Dialogue::start(self.cluster.command(&arguments));
        import.hang_up();
        import
    }

    /// The report of an import that must end well, and agree with what was counted here.
    fn end(&self, import: Dialogue) -> Value {
        let output = import.output_within(LONG);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let expected = &self.expected;
        assert_eq!(report["lines"], expected.lines, "{report}");
        assert_eq!(report["accepted"], expected.accepted, "{report}");
        assert_eq!(report["refused"], expected.refused.values().sum::<u64>(), "{report}");
        report
    }

    /// The file of refused lines has each with its reason; its numbers are lines of the file.
    fn lists_the_refused(&self) {
        let mut by_reason: BTreeMap<String, u64> = BTreeMap::new();
        let mut numbers = BTreeSet::new();
        for row in csv::Reader::from_path(&self.refused).unwrap().records() {
            let row = row.unwrap();
            *by_reason.entry(row[1].to_owned()).or_insert(0) += 1;
            assert!(numbers.insert(row[0].parse::<u64>().unwrap()), "line {} twice", &row[0]);
        }
        let expected: BTreeMap<String, u64> =
            self.expected.refused.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
        assert_eq!(by_reason, expected);
        assert!(numbers.iter().all(|number| (2..=self.expected.lines + 1).contains(number)));
        assert_eq!(self.expected.accepted + numbers.len() as u64, self.expected.lines);
    }

    /// One JSON document of a tool that must succeed.
    fn told(&self, arguments: &[&str]) -> Value {
        let output = self.cluster.tool(&[&["--json"][..], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What is in the shop is what was counted here: nothing is left of any product, and all of it is in orders.
    async fn has_what_was_counted(&self) {
        let expected = &self.expected;
        let products = self.told(&["admin", "list-products"]);
        let mut held = BTreeMap::new();
        for product in products.as_array().unwrap() {
            let (pid, stock) = (product["pid"].as_str().unwrap(), &product["stock"]);
            assert_eq!(stock["available"], 0, "{product}");
            held.insert(pid.to_owned(), stock["held"].as_i64().unwrap());
            let number = |price: &str| price.parse::<f64>().unwrap().to_bits();
            assert_eq!(number(product["price"].as_str().unwrap()), number(expected.prices[pid]), "{product}");
        }
        assert_eq!(held, expected.sold);
        let clients = self.told(&["admin", "list-clients"]);
        let clients: BTreeSet<u64> =
            clients.as_array().unwrap().iter().map(|c| c["cid"].as_str().unwrap().parse().unwrap()).collect();
        assert_eq!(clients, expected.clients);
        // Σ by code over the orders themselves, not over the stock records.
        let (mut ordered, mut orders) = (BTreeMap::new(), 0);
        for cid in &clients {
            let cid = cid.to_string();
            let listed = self.told(&["shop", "--cid", &cid, "list-orders"]);
            let oids: Vec<&str> =
                listed.as_array().unwrap().iter().map(|o| o["oid"].as_str().unwrap()).collect();
            orders += oids.len();
            if oids.is_empty() {
                continue;
            }
            let each: Vec<String> = oids.iter().map(|oid| format!("get-order {oid}")).collect();
            let arguments = ["--json", "shop", "--cid", &cid, "-c", &each.join("; ")];
            let output = self.cluster.tool(&arguments);
            for order in String::from_utf8(output.stdout).unwrap().lines() {
                let order: Value = serde_json::from_str(order).unwrap();
                assert_eq!(order["state"], "confirmed", "{order}");
                for line in order["lines"].as_array().unwrap() {
                    let pid = line["pid"].as_str().unwrap().to_owned();
                    *ordered.entry(pid).or_insert(0) += line["quantity"].as_i64().unwrap();
                }
            }
        }
        assert_eq!((orders, &ordered), (expected.invoices.len(), &expected.sold));
        self.cluster.assert_audited().await;
    }

    /// Waits until the import has made so many orders at least.
    async fn ordered(&self, import: &mut Dialogue, orders: u64) {
        wait::until("orders to be made", LONG, || {
            let ended = import.ended();
            async move {
                assert!(ended.is_none(), "the import ended before anything could be broken");
                let mut made = 0;
                for at in 1..=2 {
                    if let Ok(status) = self.cluster.portal_status(&format!("client-{at}")).await {
                        made += status.transactions;
                    }
                }
                if made >= orders { Ok(()) } else { Err(format!("{made} of {orders}")) }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_dirty_file_is_imported_to_the_last_line_and_a_second_time_changes_nothing() {
    let market = Market::open(0x0E15_2010).await;
    let dry =
        market.told(&["import", "--format", "online-retail", market.file.to_str().unwrap(), "--dry-run"]);
    assert_eq!(
        (&dry["lines"], &dry["accepted"]),
        (&market.expected.lines.into(), &market.expected.accepted.into())
    );
    assert_eq!(
        market.told(&["admin", "list-clients"]).as_array().unwrap().len(),
        0,
        "a dry run sends nothing"
    );
    market.end(market.start());
    market.lists_the_refused();
    market.has_what_was_counted().await;
    market.cluster.wait_until_equal().await;
    market.end(market.start());
    market.has_what_was_counted().await;
}

#[tokio::test]
async fn an_import_goes_on_by_itself_when_the_leader_is_killed() {
    let mut market = Market::open(0x0E15_2011).await;
    let mut import = market.start();
    market.ordered(&mut import, 20).await;
    let leader = market.cluster.leader().await;
    market.cluster.kill(&leader);
    market.cluster.leader().await;
    market.cluster.run(&leader);
    market.end(import);
    market.lists_the_refused();
    market.has_what_was_counted().await;
    market.cluster.wait_until_equal().await;
}

#[tokio::test]
async fn an_import_goes_on_by_itself_when_portals_are_killed() {
    let mut market = Market::open(0x0E15_2012).await;
    market.cluster.kill("admin-1");
    let mut import = market.start();
    market.ordered(&mut import, 10).await;
    market.cluster.kill("client-1");
    market.cluster.run("admin-1");
    market.end(import);
    market.cluster.run("client-1");
    market.cluster.wait_until_live().await;
    market.lists_the_refused();
    market.has_what_was_counted().await;
}

#[tokio::test]
async fn an_import_that_was_killed_is_finished_by_another() {
    let market = Market::open(0x0E15_2013).await;
    let mut import = market.start();
    market.ordered(&mut import, 10).await;
    drop(import);
    market.end(market.start());
    market.lists_the_refused();
    market.has_what_was_counted().await;
}

/// A file with these lines.
fn file_of(lines: &[&str]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!("{HEADER}\n{text}")
}

#[tokio::test]
async fn a_file_that_was_mended_goes_on_where_it_was_refused_and_tells_what_changed() {
    let options = Options { client_portals: 2, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    let file = cluster.path().join("shop.csv");
    let import = |lines: &[&str]| {
        std::fs::write(&file, file_of(lines)).unwrap();
        let refused = cluster.path().join("refused.csv");
        let arguments = ["--json", "import", "--format", "online-retail", file.to_str().unwrap()];
        let output = cluster.tool(&[&arguments[..], &["--refused", refused.to_str().unwrap()]].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let code = if report["accepted"] == 0 { 1 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{said}");
        (report, std::fs::read_to_string(refused).unwrap(), said)
    };
    let orders = |cid: &str| {
        let listed = cluster.tool(&["--json", "shop", "--cid", cid, "list-orders"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        listed.as_array().unwrap().clone()
    };
    // Invoice 1 is whole, one line of 2 and all of 3 are spoiled.
    let (one, two) = ("1,A,Apple,2,d,1.00,501,X", "2,A,Apple,3,d,1.00,502,X");
    let spoiled = ["2,B,Beet,two,d,2.00,502,X", "3,A,Apple,some,d,1.00,503,X"];
    let (first, _, said) = import(&[one, two, spoiled[0], spoiled[1]]);
    assert_eq!((&first["accepted"], &first["refused"], &first["orders"]), (&2.into(), &2.into(), &2.into()));
    assert!(orders("501").iter().all(|order| order["state"] == "confirmed"), "invoices are of the past");
    assert!(said.contains("invoices are of the past: their orders are confirmed"), "{said}");

    let mended = ["2,B,Beet,2,d,2.00,502,X", "3,A,Apple,4,d,1.00,503,X"];
    let (second, refused, said) = import(&[one, two, mended[0], mended[1]]);
    // 1 is there; 3 is new, and needs more apples than there were; 2 is there with other lines, which is told.
    assert_eq!((&second["accepted"], &second["refused"]), (&2.into(), &2.into()), "{second}");
    assert_eq!((&second["there_already"], &second["changed"]), (&1.into(), &1.into()), "{second}");
    assert!(refused.contains("is there already, and has 0 of B, and the file 2"), "{refused}");
    for told in ["is there already, and has 0 of B, and the file 2", "the stock of A was raised by 4"] {
        assert!(said.contains(told), "{told} is not in: {said}");
    }
    for cid in ["501", "502", "503"] {
        let orders = orders(cid);
        assert!(orders.len() == 1 && orders[0]["state"] == "confirmed", "{cid}: {orders:?}");
    }
    let apple = cluster.tool(&["--json", "admin", "get-product", "A"]);
    let apple: Value = serde_json::from_slice(&apple.stdout).unwrap();
    assert_eq!((&apple["stock"]["held"], &apple["stock"]["available"]), (&9.into(), &0.into()), "{apple}");
    // What stays has no beets, so that nobody needs any.
    let beet = cluster.tool(&["--json", "admin", "get-product", "B"]);
    let beet: Value = serde_json::from_slice(&beet.stdout).unwrap();
    assert_eq!((&beet["stock"]["held"], &beet["stock"]["available"]), (&0.into(), &0.into()), "{beet}");
    // And again: nothing new.
    let (third, _, said) = import(&[one, two, mended[0], mended[1]]);
    assert_eq!((&third["accepted"], &third["there_already"]), (&2.into(), &2.into()), "{third}");
    assert_eq!(orders("503").len(), 1);
    assert!(said.contains("their orders are confirmed") && !said.contains("was raised"), "{said}");
    // Nothing was ordered, so that nothing is confirmed.
    let (none, _, said) = import(&[spoiled[0]]);
    assert!(none["accepted"] == 0 && !said.contains("are confirmed"), "{said}");
    cluster.assert_audited().await;
}

#[tokio::test]
async fn what_the_portal_refused_is_imported_when_the_file_is_mended() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let file = cluster.path().join("shop.csv");
    let import = |lines: &[&str]| {
        std::fs::write(&file, file_of(lines)).unwrap();
        let refused = cluster.path().join("refused.csv");
        let arguments = ["--json", "import", "--format", "online-retail", file.to_str().unwrap()];
        let output = cluster.tool(&[&arguments[..], &["--refused", refused.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (report, std::fs::read_to_string(refused).unwrap())
    };
    let there = cluster.tool(&["admin", "insert-product", "A", "description=Apple", "quantity=5", "price=1"]);
    assert!(there.status.success());
    let (first, refused) = import(&["1,A,Apple,5,d,1.50,501,X", "2,B,Beet,1,d,2.00,501,X"]);
    assert_eq!((&first["accepted"], &first["refused"]), (&1.into(), &1.into()), "{first}");
    assert!(refused.contains("costs 1.00, and 1.5") && refused.contains("in the file"), "{refused}");
    let (second, refused) = import(&["1,A,Apple,5,d,1.00,501,X", "2,B,Beet,1,d,2.00,501,X"]);
    assert_eq!((&second["accepted"], &second["refused"]), (&2.into(), &0.into()), "{second}: {refused}");
    assert_eq!(second["there_already"], 1);
    cluster.assert_audited().await;
}

#[tokio::test]
async fn files_that_are_none_are_refused_with_what_to_do() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let file = cluster.path().join("other.csv");
    let import = |text: Option<&[u8]>| {
        text.iter().for_each(|text| std::fs::write(&file, text).unwrap());
        let output = cluster.tool(&["import", "--format", "online-retail", file.to_str().unwrap()]);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = import(None);
    assert!(code == Some(1) && said.contains("cannot open") && said.contains("other.csv"), "{said}");
    for text in [&b""[..], b"pid,description\n", b"\xff\xfe\n", &[b'x'; 100_000]] {
        let (code, said) = import(Some(text));
        assert!(code == Some(2) && said.contains(HEADER), "{said}");
    }
    let refused = cluster.tool(&["import", "--format", "other", "x.csv"]);
    assert_eq!(refused.status.code(), Some(2));
    wait::until("nothing to have been made", PATIENCE, || async {
        let listed = cluster.tool(&["--json", "admin", "list-clients"]);
        if listed.stdout == b"[]\n" { Ok(()) } else { Err(format!("{listed:?}")) }
    })
    .await;
}
