//! Lists of products and clients in every order, with filters and cursors; the rows of the indexes under updates, deletions and races.

use std::collections::BTreeMap;

use bytes::Bytes;
use portal::id::Pid;
use portal::{Error, index, key};
use proto::portal::{
    DeleteClientRequest, DeleteProductRequest, InsertClientRequest, InsertProductRequest, ListRequest,
    ListSort, RecordState, UpdateClientRequest, UpdateProductRequest,
};
use proto::store::{Freshness, Txn};
use store_client::{Range, Store};
use store_engine::memory::Fault;

use crate::fixture::{Fixture, answer, is_invalid};

/// What stands under keys that begin so: data by key.
pub(crate) async fn all(fixture: &Fixture, prefix: &'static str) -> BTreeMap<Bytes, Bytes> {
    let (mut all, mut after) = (BTreeMap::new(), None);
    loop {
        let range = Range::Prefix(prefix.into());
        let page = fixture.store.scan(range, 1_000, after, Freshness::linearizable()).await.unwrap();
        all.extend(page.records.into_iter().map(|one| (one.key, one.record.unwrap().data)));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

/// The law `index-holds-its-records`, and that each record has its rows.
pub(crate) async fn rows_are_right(fixture: &Fixture) {
    let mut expected = BTreeMap::new();
    for prefix in ["p/", "c/"] {
        for (at, _) in all(fixture, prefix).await {
            let record = fixture.record(at.clone()).await.unwrap();
            expected.extend(index::rows_of(&at, &record).unwrap().into_iter().map(|row| (row.key, row.data)));
        }
    }
    let mut there = all(fixture, "i/p/").await;
    there.extend(all(fixture, "i/c/").await);
    assert_eq!(there, expected);
}

pub(crate) async fn insert(fixture: &Fixture, pid: &str, description: &str, price: &str, more: &str) {
    let data = format!(r#"{{"description":"{description}","price":"{price}","quantity":5{more}}}"#);
    let request = InsertProductRequest { pid: pid.to_owned(), data, request: None, rules: None };
    answer(fixture.admin().insert_product(request).await).unwrap();
}

async fn update(fixture: &Fixture, pid: &str, description: &str, price: &str) -> Result<(), Error> {
    let data = format!(r#"{{"description":"{description}","price":"{price}"}}"#);
    let request = UpdateProductRequest { pid: pid.to_owned(), data, ..UpdateProductRequest::default() };
    answer(fixture.admin().update_product(request).await).map(drop)
}

async fn delete(fixture: &Fixture, pid: &str, cascade: bool) -> Result<(), Error> {
    let request = DeleteProductRequest { pid: pid.to_owned(), cascade, ..DeleteProductRequest::default() };
    answer(fixture.admin().delete_product(request).await).map(drop)
}

async fn insert_client(fixture: &Fixture, cid: &str, data: &str) {
    let request = InsertClientRequest { cid: cid.to_owned(), data: data.to_owned(), request: None };
    answer(fixture.admin().insert_client(request).await).unwrap();
}

pub(crate) fn by(sort: ListSort, limit: u32) -> ListRequest {
    ListRequest { sort: sort.into(), limit, ..ListRequest::default() }
}

/// The ids of a list of products, page by page.
async fn products(fixture: &Fixture, mut request: ListRequest) -> Vec<String> {
    let mut pids = Vec::new();
    loop {
        let page = answer(fixture.admin().list_products(request.clone()).await).unwrap();
        assert!(page.products.len() <= request.limit as usize && page.damage.is_none());
        pids.extend(page.products.into_iter().map(|product| product.pid));
        request.after = page.next;
        if request.after.is_empty() {
            return pids;
        }
    }
}

async fn clients(fixture: &Fixture, mut request: ListRequest) -> Vec<String> {
    let mut cids = Vec::new();
    loop {
        let page = answer(fixture.admin().list_clients(request.clone()).await).unwrap();
        assert!(page.clients.len() <= request.limit as usize && page.damage.is_none());
        cids.extend(page.clients.into_iter().map(|client| client.cid));
        request.after = page.next;
        if request.after.is_empty() {
            return cids;
        }
    }
}

/// Fruit and what is none.
async fn stalls() -> Fixture {
    let fixture = Fixture::open().await;
    let fruit = r#","category":"fruit""#;
    insert(&fixture, "b", "Maçã Fuji", "10", fruit).await;
    insert(&fixture, "a", "maca", "2.5", fruit).await;
    insert(&fixture, "d", "Maçã-Verde (kg)", "9.999", fruit).await;
    insert(&fixture, "c", "Abacate", "2.50", r#","category":7"#).await;
    insert(&fixture, "e/{1}", "Faca para maçãs", "0.001", r#","category":"tool""#).await;
    fixture
}

#[tokio::test]
async fn products_are_listed_in_every_order_whatever_the_page() {
    let fixture = stalls().await;
    for limit in [1, 2, 3, 100] {
        for (sort, pids) in [
            (ListSort::Unspecified, ["a", "b", "c", "d", "e/{1}"]),
            (ListSort::Id, ["a", "b", "c", "d", "e/{1}"]),
            (ListSort::Description, ["c", "e/{1}", "a", "b", "d"]),
            (ListSort::Price, ["e/{1}", "a", "c", "d", "b"]),
        ] {
            assert_eq!(products(&fixture, by(sort, limit)).await, pids, "{sort:?}, {limit}");
        }
    }
    let page = answer(fixture.admin().list_products(by(ListSort::Price, 1)).await).unwrap();
    assert_eq!(page.products[0].stock.unwrap().available, 5, "joined with its stock");
    assert_eq!(page.next, "p/000000000000.001000/{e%2F%7B1%7D}");
    rows_are_right(&fixture).await;
}

#[tokio::test]
async fn filters_take_the_same_in_every_order() {
    let fixture = stalls().await;
    let of = |words: &str, category: &str, prefix: &str| ListRequest {
        words: words.to_owned(),
        category: category.to_owned(),
        prefix: prefix.to_owned(),
        ..by(ListSort::Id, 2)
    };
    for (request, pids) in [
        (of("maca", "", ""), vec!["a", "b", "d", "e/{1}"]),
        (of("MAÇÃ fu", "", ""), vec!["b"]),
        (of("fuji maca", "", ""), vec!["b"]),
        (of("aca", "", ""), vec![]),
        (of("kg", "", ""), vec!["d"]),
        (of("", "fruit", ""), vec!["a", "b", "d"]),
        (of("", "Fruit", ""), vec![]),
        (of("", "7", ""), vec![]),
        (of("maca", "tool", ""), vec!["e/{1}"]),
        (of("", "", "e/"), vec!["e/{1}"]),
        (of("maca", "fruit", "b"), vec!["b"]),
    ] {
        for sort in [ListSort::Id, ListSort::Description, ListSort::Price] {
            let mut found = products(&fixture, ListRequest { sort: sort.into(), ..request.clone() }).await;
            found.sort();
            assert_eq!(found, pids, "{sort:?}: {request:?}");
        }
    }
    let cheap = ListRequest { words: "maca".into(), category: "fruit".into(), ..by(ListSort::Price, 1) };
    assert_eq!(products(&fixture, cheap).await, ["a", "d", "b"]);
}

#[tokio::test]
async fn what_is_being_deleted_is_found_by_its_state_and_what_is_gone_by_nothing() {
    let fixture = stalls().await;
    insert_client(&fixture, "ana", r#"{"name":"Ana"}"#).await;
    insert_client(&fixture, "bia", r#"{"name":"Bia"}"#).await;
    let sold = fixture.order("bia", 1, &[("b", 1)]).await;
    fixture.confirm("bia", &sold).await;
    fixture.order("ana", 2, &[("a", 1)]).await;
    // A look and the closing, and then the store is away.
    for _ in 0..2 {
        fixture.store.plan(None);
    }
    fixture.store.plan(Some(Fault::Refuse));
    delete(&fixture, "a", true).await.unwrap_err();
    let deleting =
        |cid: &str| DeleteClientRequest { cid: cid.to_owned(), cascade: true, ..Default::default() };
    for _ in 0..2 {
        fixture.store.plan(None);
    }
    fixture.store.plan(Some(Fault::Refuse));
    answer(fixture.admin().delete_client(deleting("ana")).await).unwrap_err();
    rows_are_right(&fixture).await;
    let in_state = |sort, state: RecordState| ListRequest { state: state.into(), ..by(sort, 2) };
    for sort in [ListSort::Id, ListSort::Description, ListSort::Price] {
        assert_eq!(products(&fixture, in_state(sort, RecordState::Closing)).await, ["a"], "{sort:?}");
        assert_eq!(products(&fixture, in_state(sort, RecordState::Active)).await.len(), 4, "{sort:?}");
    }
    for sort in [ListSort::Id, ListSort::Name] {
        assert_eq!(clients(&fixture, in_state(sort, RecordState::Closing)).await, ["ana"], "{sort:?}");
        assert_eq!(clients(&fixture, in_state(sort, RecordState::Active)).await, ["bia"], "{sort:?}");
    }
    for cid in ["ana", "bia"] {
        answer(fixture.admin().delete_client(deleting(cid)).await).unwrap();
    }
    delete(&fixture, "a", true).await.unwrap();
    delete(&fixture, "b", false).await.unwrap();
    rows_are_right(&fixture).await;
    assert!(clients(&fixture, by(ListSort::Name, 10)).await.is_empty(), "bia's orders are kept, and her id");
    assert_eq!(products(&fixture, by(ListSort::Price, 10)).await, ["e/{1}", "c", "d"]);
}

#[tokio::test]
async fn clients_are_listed_by_name_and_found_by_its_words() {
    let fixture = Fixture::open().await;
    for (cid, data) in [
        ("c1", r#"{"name":"Maria da Silva"}"#),
        ("c2", r#"{"name":"Ávila, José"}"#),
        ("c3", "{}"),
        ("c4", r#"{"name":"maría","x":{"name":"Ana"}}"#),
        ("c5", r#"{"name":["Ana"]}"#),
    ] {
        insert_client(&fixture, cid, data).await;
    }
    for limit in [1, 2, 10] {
        assert_eq!(clients(&fixture, by(ListSort::Name, limit)).await, ["c3", "c5", "c2", "c4", "c1"]);
    }
    for sort in [ListSort::Id, ListSort::Name] {
        let request = ListRequest { words: "Sil MARI".into(), ..by(sort, 1) };
        assert_eq!(clients(&fixture, request).await, ["c1"]);
        assert!(clients(&fixture, ListRequest { words: "ana".into(), ..by(sort, 1) }).await.is_empty());
    }
    let data = r#"{"name":"Zé"}"#.to_owned();
    let request = UpdateClientRequest { cid: "c2".into(), data, ..UpdateClientRequest::default() };
    fixture.insert_product("a", 5).await;
    fixture.order("c2", 1, &[("a", 1)]).await;
    answer(fixture.admin().update_client(request).await).unwrap();
    assert_eq!(clients(&fixture, by(ListSort::Name, 2)).await, ["c3", "c5", "c4", "c1", "c2"]);
    rows_are_right(&fixture).await;
}

#[tokio::test]
async fn an_update_moves_the_rows_and_a_deletion_removes_them() {
    let fixture = stalls().await;
    update(&fixture, "a", "Zimbro", "100").await.unwrap();
    assert_eq!(products(&fixture, by(ListSort::Description, 2)).await, ["c", "e/{1}", "b", "d", "a"]);
    assert_eq!(products(&fixture, by(ListSort::Price, 2)).await, ["e/{1}", "c", "d", "b", "a"]);
    // With a price, and the description as it is.
    update(&fixture, "a", "Zimbro", "0").await.unwrap();
    assert_eq!(products(&fixture, by(ListSort::Price, 2)).await, ["a", "e/{1}", "c", "d", "b"]);
    rows_are_right(&fixture).await;
    delete(&fixture, "a", false).await.unwrap();
    delete(&fixture, "d", true).await.unwrap();
    assert_eq!(products(&fixture, by(ListSort::Price, 2)).await, ["e/{1}", "c", "b"]);
    assert_eq!(all(&fixture, "i/p/").await.len(), 6);
    insert(&fixture, "a", "Amora", "1", "").await;
    rows_are_right(&fixture).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_and_deletions_that_race_leave_exactly_the_rows_of_what_is_left() {
    let fixture = std::sync::Arc::new(Fixture::open().await);
    insert(&fixture, "a", "Fig", "1", "").await;
    insert_client(&fixture, "ana", r#"{"name":"Ana"}"#).await;
    let racers = (0..6_u32).map(|racer| {
        let fixture = fixture.clone();
        tokio::spawn(async move {
            for round in 0..12_u32 {
                let number = racer * 100 + round;
                let data = format!(r#"{{"name":"Ana {number}"}}"#);
                let request = UpdateClientRequest { cid: "ana".into(), data, ..Default::default() };
                match racer {
                    // What nobody else changes may be refused for the others, and never half done.
                    0 => drop(delete(&fixture, "a", round % 2 == 0).await),
                    1 => {
                        let data =
                            format!(r#"{{"description":"Again {number}","price":"{number}","quantity":1}}"#);
                        let request = InsertProductRequest { pid: "a".into(), data, ..Default::default() };
                        drop(fixture.admin().insert_product(request).await);
                    }
                    2 => drop(fixture.try_order("ana", number, &[]).await),
                    3 => drop(fixture.admin().update_client(request).await),
                    _ => drop(update(&fixture, "a", &format!("Fig {number}"), &number.to_string()).await),
                }
            }
        })
    });
    for racer in racers.collect::<Vec<_>>() {
        racer.await.unwrap();
    }
    rows_are_right(&fixture).await;
}

#[tokio::test]
async fn no_page_skips_or_repeats_what_stays_where_it_is() {
    let fixture = Fixture::open().await;
    for at in 0..40 {
        insert(
            &fixture,
            &format!("stays-{at:02}"),
            &format!("Fruit {:02}", (at * 7) % 40),
            &format!("{}.10", (at * 11) % 40),
            "",
        )
        .await;
        insert(&fixture, &format!("moves-{at:02}"), &format!("Fruit {at:02} b"), &format!("{at}.20"), "")
            .await;
    }
    let mut number = 0;
    for sort in [ListSort::Id, ListSort::Description, ListSort::Price] {
        let (mut seen, mut request) = (Vec::new(), by(sort, 7));
        loop {
            let page = answer(fixture.admin().list_products(request.clone()).await).unwrap();
            seen.extend(page.products.into_iter().map(|product| product.pid));
            request.after = page.next;
            if request.after.is_empty() {
                break;
            }
            number += 1;
            let (price, pid) = (number * 17 % 40, format!("moves-{:02}", number * 13 % 40));
            let _ = update(&fixture, &pid, &format!("Fruit {price:02} c"), &format!("{price}.30")).await;
            insert(
                &fixture,
                &format!("new-{number:03}"),
                &format!("Fruit {price:02}"),
                &format!("{price}.10"),
                "",
            )
            .await;
            let _ = delete(&fixture, &format!("moves-{:02}", number * 29 % 40), false).await;
        }
        let mut stayed: Vec<&String> = seen.iter().filter(|pid| pid.starts_with("stays")).collect();
        stayed.sort();
        let expected: Vec<String> = (0..40).map(|at| format!("stays-{at:02}")).collect();
        assert_eq!(stayed, expected.iter().collect::<Vec<_>>(), "{sort:?}");
    }
    rows_are_right(&fixture).await;
}

#[tokio::test]
async fn a_row_of_what_was_changed_past_the_portals_shows_nothing() {
    let fixture = stalls().await;
    let at = key::product(&Pid::parse("pid", "a").unwrap());
    let txn = Txn::new()
        .set_json(at, 1, "/price", "\"77.00\"")
        .put(Bytes::from_static(b"i/p/p/000000000003.000000/{nobody}"), 1, b"{\"words\":\"\"}".to_vec())
        .put(Bytes::from_static(b"i/p/p/000000000003.000000/{b"), 1, b"{}".to_vec())
        .put(Bytes::from_static(b"i/p/p/000000000003.000001/{c}"), 1, b"no row".to_vec());
    assert!(fixture.store.txn(txn, None).await.unwrap().success);
    let request = ListRequest { words: "maca".into(), ..by(ListSort::Price, 10) };
    let page = answer(fixture.admin().list_products(request).await).unwrap();
    assert_eq!(page.products.iter().map(|one| one.pid.as_str()).collect::<Vec<_>>(), ["e/{1}", "d", "b"]);
    let left_out = page.damage.unwrap().records.into_iter().map(|one| one.key).collect::<Vec<_>>();
    assert_eq!(left_out, ["i/p/p/000000000003.000000/{b", "i/p/p/000000000003.000001/{c}"]);
}

#[tokio::test]
async fn a_page_of_large_records_ends_early_in_every_order() {
    let fixture = Fixture::open().await;
    for at in 0..40 {
        let data = format!(r#"{{"name":"Ana {:02}","notes":"{}"}}"#, 39 - at, "x".repeat(60_000));
        insert_client(&fixture, &format!("c{at:02}"), &data).await;
    }
    for request in [by(ListSort::Name, 1_000), ListRequest { words: "ana".into(), ..by(ListSort::Id, 1_000) }]
    {
        let first = answer(fixture.admin().list_clients(request.clone()).await).unwrap();
        assert!((10..20).contains(&first.clients.len()), "{} clients", first.clients.len());
        assert_eq!(clients(&fixture, request).await.len(), 40);
    }
}

#[tokio::test]
async fn an_id_that_reads_as_a_cursor_of_another_order_is_listed_as_any() {
    let fixture = stalls().await;
    let odd = "d/maca /{a}";
    insert(&fixture, odd, "Odd", "1", "").await;
    let (mut seen, mut request) = (Vec::new(), by(ListSort::Id, 1));
    loop {
        let page = answer(fixture.admin().list_products(request.clone()).await).unwrap();
        seen.extend(page.products.into_iter().map(|one| one.pid));
        request.after = page.next;
        if request.after.is_empty() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, ["a", "b", "c", "d", odd, "e/{1}"]);
}

#[tokio::test]
async fn wrong_fields_of_lists_are_named() {
    let fixture = stalls().await;
    let long = "x".repeat(129);
    let of_sort = |after: &str, sort| ListRequest { after: after.to_owned(), ..by(sort, 2) };
    let price = "p/000000000010.000000/{b}";
    for (request, field) in [
        (by(ListSort::Name, 2), "sort"),
        (ListRequest { sort: 9, ..ListRequest::default() }, "sort"),
        (ListRequest { state: 9, ..ListRequest::default() }, "state"),
        (ListRequest { words: "--".into(), ..ListRequest::default() }, "words"),
        (ListRequest { words: long.clone(), ..ListRequest::default() }, "words"),
        (ListRequest { words: "a\nb".into(), ..ListRequest::default() }, "words"),
        (ListRequest { category: long, ..ListRequest::default() }, "category"),
        (of_sort(price, ListSort::Description), "after"),
        (of_sort(price, ListSort::Id), "after"),
        (of_sort("b", ListSort::Price), "after"),
        (of_sort("d/Maçã/b", ListSort::Description), "after"),
        (by(ListSort::Price, 1_001), "limit"),
    ] {
        is_invalid(answer(fixture.admin().list_products(request).await), field);
    }
    assert_eq!(products(&fixture, of_sort(price, ListSort::Price)).await, Vec::<String>::new());
    for (request, field) in [
        (by(ListSort::Price, 2), "sort"),
        (ListRequest { category: "fruit".into(), ..ListRequest::default() }, "category"),
        (of_sort("n/ana /{ana}", ListSort::Unspecified), "after"),
    ] {
        is_invalid(answer(fixture.admin().list_clients(request).await), field);
    }
    let why =
        answer(fixture.admin().list_products(of_sort(price, ListSort::Id)).await).unwrap_err().to_string();
    assert!(why.contains("is a cursor of the list by price, and this one is by id"), "{why}");
}
