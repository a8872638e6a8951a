//! The screens of staff and shoppers: clients, products, orders, records of the store.

use proto::portal::{
    ChangedOrder, Client, Damage, DamagedRecord, DeleteResponse, Order, OrderLine, OrderState, OrderSummary,
    Product, ReindexResponse, Sales, SalesOfDay, SalesOfProduct, ShopRules, StaffNote, StaffOrderSummary,
    Stock,
};
use proto::store::outcome_response::Verdict;
use proto::store::{KeyRecord, OutcomeResponse, Position, Record, Status, WriteResponse};

use super::{answers, screens};
use crate::admin::order_view;
use crate::admin::paging::Listing;
use crate::admin::sales::{self, Added, Asked};
use crate::admin::shop as rules_of_shop;
use crate::admin::{reindex, view as staff};
use crate::failure::Reader;
use crate::kv::view::{self as kv, Of};
use crate::shop::view as shop;
use crate::verb::{self, help};

const OID: &str = "7k2vq9d4m0xhy3c8w5jb6nztra";
const OTHER_OID: &str = "0f1ge8s2p7kdc4mz9qvw3h5xjt";

fn client(cid: &str, data: &str) -> Client {
    Client { cid: cid.into(), data: data.into(), open_orders: 2, etag: 1_284_661, version: 3 }
}

fn maria() -> Client {
    client(
        "maria-aparecida-dos-santos",
        r#"{"name":"Maria Aparecida dos Santos","city":"São José dos Campos","phones":["+55 12 99999-0001","+55 12 99999-0002"],"address":{"street":"Rua das Laranjeiras, 1200, apartamento 31","zip":"12245-000"},"vip":true}"#,
    )
}

fn product(pid: &str, description: &str, price: &str) -> Product {
    let stock =
        Stock { initial: 1_200, adjusted: -3, available: 1_175, held: 20, etag: 991_827, sold: 2, least: 0 };
    Product {
        pid: pid.into(),
        description: description.into(),
        price: price.into(),
        stock: Some(stock),
        extra: "{}".into(),
        etag: 1_284_663,
        version: 12,
        ..Product::default()
    }
}

fn goods() -> Vec<Product> {
    vec![
        product("banana-prata", "Banana prata", "6.90"),
        product(
            "queijo-minas-artesanal-da-canastra",
            "Queijo minas artesanal da Canastra, meia cura, peça inteira de um quilo",
            "119.90",
        ),
        product("parafuso-m3", "Parafuso M3, aço inoxidável", "0.035"),
    ]
}

fn order() -> Order {
    let line = |pid: &str, description: &str, quantity, price: &str, subtotal: &str| OrderLine {
        pid: pid.into(),
        description: description.into(),
        quantity,
        price: price.into(),
        subtotal: subtotal.into(),
        untracked: false,
        extra: String::new(),
    };
    Order {
        oid: OID.into(),
        cid: "maria-aparecida-dos-santos".into(),
        state: OrderState::Open.into(),
        lines: vec![
            line("banana-prata", "Banana prata", 12, "6.90", "82.80"),
            line(
                "queijo-minas-artesanal",
                "Queijo minas artesanal da Canastra, meia cura",
                1,
                "119.90",
                "119.90",
            ),
            line("parafuso-m3", "Parafuso M3, aço inoxidável", 1_001, "0.035", "35.035"),
        ],
        total: "237.735".into(),
        etag: 5,
        version: 5,
        ..Order::default()
    }
}

#[test]
fn clients_are_shown_by_their_fields() {
    answers("client", &staff::client("registered with the CID maria-aparecida-dos-santos".into(), &maria()));
    answers(
        "clients",
        &staff::clients(&[client("ana", r#"{"name":"Ana","city":"Recife"}"#), maria(), client("x", "{}")]),
    );
    answers("clients-none", &staff::clients(&[]));
    let orders = vec![
        ChangedOrder { cid: "maria".into(), oid: OID.into() },
        ChangedOrder { cid: "maria".into(), oid: OTHER_OID.into() },
    ];
    let deleted = DeleteResponse { data: maria().data, orders, orders_more: 7, continued: true };
    answers("client-deleted", &staff::deleted("client", "maria-aparecida-dos-santos", &deleted));
}

#[test]
fn products_are_shown_to_staff_and_to_shoppers() {
    let listing = Listing { items: goods(), more: true, warnings: Vec::new() };
    let told = listing.notes(Reader::Staff, "product", |product| product.pid.clone());
    answers("products-of-staff", &staff::products(&goods(), Reader::Staff).warning(told.clone()));
    answers("products-of-shoppers", &staff::products(&goods(), Reader::Shopper).warning(told));
    let one = Product {
        extra: r#"{"unit":"kg","origin":{"farm":"Sítio Boa Vista","state":"MG"}}"#.into(),
        ..goods().remove(1)
    };
    answers("product-of-staff", &staff::product("changed product queijo".into(), &one, Reader::Staff));
    let shopper = staff::product(String::new(), &one, Reader::Shopper);
    assert!(!super::screen::answer(&shopper, super::Look::default()).contains("ETAG"));
    answers("product-of-shoppers", &shopper);
}

#[test]
fn a_reindex_tells_what_it_did_and_what_it_left_out() {
    let record = DamagedRecord { key: "p/{umbu}".into(), why: "expected value at line 1 column 1".into() };
    let done = ReindexResponse {
        looked_at: 1_204,
        written: 301,
        removed: 2,
        damage: Some(Damage { records: vec![record], more: 3 }),
        ..ReindexResponse::default()
    };
    answers("reindexed", &reindex::answer(&done));
}

#[test]
fn sales_are_shown_by_day_and_by_product_with_what_was_taken_back() {
    let day = |day: &str, amount: &str, back: u64| SalesOfDay {
        day: day.into(),
        orders: 214,
        units: 1_890,
        amount: amount.into(),
        orders_back: back,
        units_back: 3 * back,
        amount_back: if back == 0 { "0.00".into() } else { format!("{}.90", 119 * back) },
    };
    let product = |pid: &str, description: &str, units: u64, back: u64| SalesOfProduct {
        pid: pid.into(),
        description: description.into(),
        orders: 87,
        units,
        amount: "10431.3005".into(),
        orders_back: back,
        units_back: back,
        amount_back: if back == 0 { "0.00".into() } else { "119.90".into() },
    };
    let page = Sales {
        days: vec![day("2026-11-28", "13041.135", 0), day("2026-11-29", "1999999999999999998000.00", 2)],
        products: vec![
            product("banana-prata", "Banana prata", 900, 0),
            product("parafuso-m3", "Parafuso M3, aço inoxidável", 2_880, 1),
            product(
                "queijo-minas-artesanal-da-canastra",
                "Queijo minas artesanal da Canastra, meia cura, peça inteira de um quilo",
                900,
                1,
            ),
        ],
        since_ms: 1_795_862_000_000,
        so_far: true,
        currency: "BRL".into(),
        decimals: 2,
        ..Sales::default()
    };
    let mut added = Added::default();
    added.add(page).unwrap();
    let asked =
        Asked { span: 1..2, name: "2026-11".into(), offset: "-03:00".into(), by_product: false, limit: 0 };
    answers("sales-by-day", &sales::view(&asked, &added));
    answers("sales-by-product", &sales::view(&Asked { by_product: true, ..asked.clone() }, &added));
    answers("best-sellers", &sales::view(&Asked { by_product: true, limit: 1, ..asked.clone() }, &added));
    let none = Added::default();
    answers("sales-none", &sales::view(&asked, &none));
}

#[test]
fn orders_are_shown_with_their_totals() {
    answers("order", &shop::order("opened ", &order()));
    answers("order-empty", &shop::order("", &Order { lines: Vec::new(), total: "0.00".into(), ..order() }));
    let summary = |oid: &str, state: OrderState, total: &str| OrderSummary {
        oid: oid.into(),
        state: state.into(),
        lines: 3,
        total: total.into(),
        total_shown: String::new(),
    };
    let listed = [
        summary(OID, OrderState::Open, "237.735"),
        summary(OTHER_OID, OrderState::Confirmed, "1999999999999999998000.00"),
    ];
    answers("orders", &shop::orders(&listed));
    answers("orders-of-cents", &shop::orders(&listed[1..]));
    let extra = r#"{"note":"leave it at the gate behind the bakery","floor":3}"#.to_owned();
    let mut with_data = Order { extra, total_shown: "237.735".into(), ..order() };
    with_data.lines[1].extra = r#"{"cut":"in slices","wrapped":true}"#.into();
    answers("order-with-data", &shop::order("changed ", &with_data));
}

#[test]
fn orders_are_shown_to_staff_with_their_clients_and_what_staff_did() {
    let note = |did: &str, reason: &str, by: &str| StaffNote {
        did: did.into(),
        reason: reason.into(),
        by: by.into(),
        at_ms: 1_795_962_000_000,
    };
    let staff_did = vec![
        note(
            "modified",
            "two kilos were bruised, and there was no time to buy others before the market closed",
            "joana",
        ),
        note("cancelled", "asked for by telephone", ""),
    ];
    let order = Order {
        state: OrderState::Cancelled.into(),
        changed_ms: 1_795_962_000_000,
        created_ms: 1_795_947_300_000,
        staff: staff_did,
        ..order()
    };
    answers("order-of-staff", &order_view::order("", &order));
    let shopper = super::screen::answer(&shop::order("", &order), super::Look::default());
    assert!(shopper.contains("cancelled by staff: asked for by telephone"), "{shopper}");
    let summary = |cid: &str, oid: &str, state: OrderState| StaffOrderSummary {
        cid: cid.into(),
        oid: oid.into(),
        state: state.into(),
        lines: 12,
        total: "1234.565".into(),
        changed_ms: 1_795_962_000_000,
        etag: 1_284_663,
        created_ms: 1_795_947_300_000,
        listed_ms: 1_795_962_000_000,
        total_shown: String::new(),
    };
    let listed = [
        summary("ana", OID, OrderState::Open),
        summary("maria-aparecida-dos-santos", OTHER_OID, OrderState::Confirmed),
    ];
    answers("orders-of-staff", &order_view::orders(&listed));
    let short = [summary("maria-silva", &OID[..24], OrderState::Open)];
    answers("orders-of-staff-short", &order_view::orders(&short));
}

#[test]
fn the_shops_rules_are_shown_and_an_order_says_until_when_it_is_held() {
    let rules = ShopRules {
        hold_minutes: 30,
        currency: "BRL".into(),
        schema: 4,
        orders_listed: true,
        etag: 1_284_663,
        feed_days: 30,
        decimals: Some(0),
    };
    answers("shop-rules", &rules_of_shop::view("set", &rules));
    let none = ShopRules { schema: 1, ..ShopRules::default() };
    answers("shop-rules-none", &rules_of_shop::view("the shop's rules", &none));
    answers("order-held", &shop::order("", &Order { expires_ms: 1_795_962_000_000, ..order() }));
    let expired = StaffNote { did: "expired".into(), at_ms: 1_795_962_000_000, ..StaffNote::default() };
    let order = Order { state: OrderState::Cancelled.into(), staff: vec![expired], ..order() };
    answers("order-expired", &shop::order("", &order));
}

#[test]
fn records_of_the_store_are_shown_with_the_specifications_words_and_what_they_mean() {
    let of = |number, command: &str| Of { number, command: command.into() };
    let at = |offset| Some(Position { epoch: 12, offset });
    let record = |data: &'static str| Record {
        version: 4,
        timestamp_ms: 1_764_351_123_456,
        position: at(1_204_417),
        data: data.into(),
    };
    let answer = |status: Status, record: Option<Record>| WriteResponse {
        status: status.into(),
        record,
        position: at(1_204_423),
        ..WriteResponse::default()
    };
    answers("kv-no-record", &kv::written(&of(7, "del nothing"), &answer(Status::Error, None)));
    let taken =
        answer(Status::Error, Some(record("two kilos of the best bananas that the market has today")));
    answers("kv-taken", &kv::written(&of(8, "set 17"), &taken));
    answers(
        "kv-other-version",
        &kv::written(&of(9, "test-and-set 17"), &answer(Status::ErrorWv, Some(record("x")))),
    );
    answers("kv-absent", &kv::written(&of(10, "update 18"), &answer(Status::ErrorNe, None)));
    let done = WriteResponse { version: 5, ..answer(Status::Success, None) };
    answers("kv-done", &kv::written(&of(11, "update 17"), &done));
    let key = |key: &'static str, data| KeyRecord { key: key.into(), record: Some(record(data)) };
    let records = [
        key(
            "p/{banana-prata}",
            r#"{"state":"active","description":"Banana prata","price":"6.90","extra":{"unit":"kg"}}"#,
        ),
        key(
            "s/{queijo-minas-artesanal-da-canastra}",
            r#"{"initial":1200,"adjusted":-3,"available":1175,"held":22}"#,
        ),
    ];
    answers(
        "kv-scan",
        &kv::page(&of(12, "scan p/"), &records, Position { epoch: 12, offset: 1_204_423 }, true),
    );
    let outcome = OutcomeResponse {
        verdict: Verdict::NotDone.into(),
        position: at(1_204_431),
        ..OutcomeResponse::default()
    };
    answers("kv-outcome", &kv::outcome(&of(13, "outcome 17"), &outcome));
}

#[test]
fn help_is_read_at_every_width() {
    screens("help-admin", |look| help::menu(&verb::admin::MENU, look));
    screens("help-shop", |look| help::menu(&verb::shop::MENU, look));
    screens("help-kv", |look| help::menu(&verb::kv::MENU, look));
    screens("help-of-one", |look| {
        help::verb(verb::admin::MENU.find("update-product").expect("a command"), look)
    });
}
