//! Keys of rows: their form, their order, and the way back; cursors; what a change of rows writes.

use proptest::prelude::*;

use super::*;
use crate::document::client::ClientData;
use crate::document::product::ProductData;
use crate::limits::ID_BYTES_MAX;

fn product(description: &str, price: &str) -> ProductRecord {
    let data = serde_json::json!({ "description": description, "price": price }).to_string();
    ProductRecord::new(&ProductData::parse(&data).expect("a product"))
}

fn pid(id: &str) -> Pid {
    Pid::stored("pid", id).expect("an id")
}

fn shown(rows: &[Row]) -> Vec<(String, String)> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    rows.iter().map(|row| (text(&row.key), text(&row.data))).collect()
}

#[test]
fn rows_are_as_documented() {
    let data = r#"{"description":"Maçã Fuji (kg)","price":"2.55","category":"fruit"}"#;
    let mut of = ProductRecord::new(&ProductData::parse(data).expect("a product"));
    let entry = r#"{"words":"maca fuji kg ","category":"fruit"}"#;
    let keys = ["i/p/d/maca fuji kg /{maca-fuji-kg}", "i/p/p/000000000002.550000/{maca-fuji-kg}"];
    let expected = keys.map(|key| (key.to_owned(), entry.to_owned()));
    assert_eq!(shown(&rows_of_product(&pid("maca-fuji-kg"), &of)), expected);
    of.state = State::Closing;
    let closing = &shown(&rows_of_product(&pid("maca-fuji-kg"), &of))[0].1;
    assert_eq!(closing, r#"{"state":"closing","words":"maca fuji kg ","category":"fruit"}"#);
    let cid = Cid::parse("cid", "maria/1").expect("an id");
    let client = ClientRecord::new(ClientData::parse(r#"{"name":"María Silva"}"#).expect("a client"));
    let row = ("i/c/n/maria silva /{maria%2F1}".to_owned(), r#"{"words":"maria silva "}"#.to_owned());
    assert_eq!(shown(&rows_of_client(&cid, &client)), [row]);
    let nameless = ClientRecord::new(ClientData::parse(r#"{"name":7}"#).expect("a client"));
    assert_eq!(shown(&rows_of_client(&cid, &nameless))[0].0, "i/c/n//{maria%2F1}");
    assert_eq!(rows_of_client(&cid, &ClientRecord::gone()), []);
}

#[test]
fn a_category_that_is_no_short_text_is_none() {
    let long = format!("\"{}\"", "x".repeat(CATEGORY_BYTES_MAX + 1));
    for category in ["7", "null", "{}", &long] {
        let data = format!(r#"{{"description":"a","price":"1","category":{category}}}"#);
        let of = ProductRecord::new(&ProductData::parse(&data).expect("a product"));
        assert_eq!(Entry::of_product(&of).category, None, "{category}");
    }
}

#[test]
fn the_longest_row_fits_in_a_key_and_gives_its_id_back() {
    let id = pid(&"%".repeat(ID_BYTES_MAX));
    let of = product(&"ção".repeat(50), "999999999999.999999");
    for row in rows_of_product(&id, &of) {
        assert!(row.key.len() <= proto::check::KEY_BYTES_MAX, "{}", row.key.len());
        let place = place(&row.key).expect("a row");
        assert_eq!((place.id.as_str(), place.record), (id.as_str(), key::product(&id)));
    }
}

#[test]
fn a_row_is_in_the_group_of_its_record() {
    for row in rows_of_product(&pid("maçã {1}/%"), &product("x", "1")) {
        assert_eq!(
            proto::hash::ring_hash(&row.key),
            proto::hash::ring_hash(b"p/{ma\xc3\xa7\xc3\xa3 %7B1%7D%2F%25}")
        );
    }
}

#[test]
fn what_is_no_row_is_read_as_none() {
    for key in [
        &b"i/p"[..],
        b"i/p/d/",
        b"i/p/d/a/{}",
        b"i/p/d/a/{x",
        b"i/p/d/a/b/{x}",
        b"i/p/d/a/{x}/1",
        b"i/p/d/a%2F/{x}",
        b"i/o/s/a/{x}",
        b"i/p/d/\xff/{x}",
        b"p/{x}",
    ] {
        assert_eq!(place(key), None, "{}", String::from_utf8_lossy(key));
    }
}

#[test]
fn a_cursor_is_of_one_order() {
    let rows = rows_of_product(&pid("a/b"), &product("Figo", "1.5"));
    let cursors: Vec<String> = rows.iter().filter_map(|row| cursor_of(&row.key)).collect();
    assert_eq!(cursors, ["d/figo /{a%2Fb}", "p/000000000001.500000/{a%2Fb}"]);
    let (sort, key) = row_at(Kind::Product, &cursors[1]).expect("a cursor");
    assert_eq!((sort, key), (Sort::Price, rows[1].key.clone()));
    for other in ["a/b", "", "figo", "n/figo /{a}"] {
        assert_eq!(row_at(Kind::Product, other), None, "{other}");
    }
    let shown =
        Product { pid: "a/b".into(), description: "Figo".into(), price: "1.50".into(), ..Product::default() };
    assert_eq!(after_product(ListSort::Description, &shown), cursors[0]);
    assert_eq!(after_product(ListSort::Price, &shown), cursors[1]);
    assert_eq!(after_product(ListSort::Id, &shown), "a/b");
    let client = Client { cid: "ana".into(), data: r#"{"name":"Ana"}"#.into(), ..Client::default() };
    assert_eq!(after_client(ListSort::Name, &client), "n/ana /{ana}");
}

#[test]
fn a_change_removes_the_rows_that_are_no_more_and_writes_the_others() {
    let (id, of) = (pid("a"), product("Figo", "1.5"));
    let before = rows_of_product(&id, &of);
    let after = rows_of_product(&id, &product("Figo", "2"));
    let keys = |txn: &Txn| txn.keys().cloned().collect::<Vec<_>>();
    let txn = moved(Txn::new(), &before, &after, 1);
    assert_eq!(keys(&txn), [before[1].key.clone(), after[0].key.clone(), after[1].key.clone()]);
    assert_eq!(keys(&moved(Txn::new(), &before, &[], 1)).len(), 2);
    assert_eq!(keys(&moved(Txn::new(), &[], &after, 1)).len(), 2);
}

proptest! {
    #[test]
    fn keys_are_in_the_order_of_prices(a in 0u64..2_000_000_000_000, b in 0u64..2_000_000_000_000, id in "\\PC{1,8}") {
        let price = |of: u64| format!("{}.{:06}", of / 1_000_000, of % 1_000_000);
        let key = |of: u64| rows_of_product(&pid(&id), &product("x", &price(of)))[1].key.clone();
        prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
    }

    #[test]
    fn keys_are_in_the_order_of_what_is_sorted(a in "[a-c0-1ç ]{1,80}", b in "[a-c0-1ç ]{1,80}", id in "\\PC{1,8}") {
        prop_assume!(!a.trim().is_empty() && !b.trim().is_empty());
        let key = |of: &str| rows_of_product(&pid(&id), &product(of, "1"))[0].key.clone();
        let part = |of: &str| beginning(&folded(of), SORTED_BYTES_MAX).to_owned();
        prop_assert_eq!(key(&a).cmp(&key(&b)), part(&a).cmp(&part(&b)));
    }

    #[test]
    fn rows_give_their_ids_back(id in "[a-z0-9à-žА-я{}/%\u{1f34e} ]{1,20}", name in "\\PC{1,100}") {
        let cid = Cid::stored("cid", &id).expect("an id");
        let data = serde_json::json!({ "name": format!("x{name}") }).to_string();
        let client = ClientRecord::new(ClientData::parse(&data).expect("a client"));
        let row = &rows_of_client(&cid, &client)[0];
        prop_assert!(is_row(&row.key) && !is_row(&key::client(&cid)) && !is_row(&mark(Kind::Client)));
        let at = place(&row.key).expect("a row");
        prop_assert_eq!((at.id, at.record, at.sort), (id, key::client(&cid), Sort::Name));
        let cursor = cursor_of(&row.key).expect("a cursor");
        prop_assert_eq!(row_at(Kind::Client, &cursor), Some((Sort::Name, row.key.clone())));
    }
}
