//! Shops of earlier versions, whose records have no rows: refused in other orders than by id, and reindexed step by step.

use bytes::Bytes;
use portal::Error;
use portal::document::client::{ClientData, ClientRecord};
use portal::document::product::{ProductData, ProductRecord};
use portal::document::stock::StockRecord;
use portal::document::write;
use portal::error::Kind;
use portal::id::{Cid, Pid};
use portal::{index, key};
use proto::portal::{ListRequest, ListSort, ReindexRequest, ReindexResponse, UpdateClientRequest};
use proto::store::{Freshness, Txn};
use store_client::Store;
use store_engine::memory::Fault;

use crate::fixture::{Fixture, answer, is_invalid};
use crate::sorted::{all, by, insert, rows_are_right};

async fn done(fixture: &Fixture, txn: Txn) {
    assert!(fixture.store.txn(txn, None).await.unwrap().success);
}

/// Products and clients as an earlier version left them, three rows that belong to nothing, and a record that nobody can read.
async fn of_earlier_version() -> Fixture {
    let fixture = Fixture::open().await;
    for at in 0..7 {
        let pid = Pid::parse("pid", &format!("p{at}")).unwrap();
        let data = format!(r#"{{"description":"Fruit {at}","price":"{}"}}"#, 9 - at);
        let product = write(&ProductRecord::new(&ProductData::parse(&data).unwrap()));
        let stock = write(&StockRecord::new(3));
        done(&fixture, Txn::new().put(key::product(&pid), 1, product).put(key::stock(&pid), 1, stock)).await;
        let cid = Cid::parse("cid", &format!("c{at}")).unwrap();
        let client =
            ClientRecord::new(ClientData::parse(&format!(r#"{{"name":"Ana {}"}}"#, 9 - at)).unwrap());
        done(&fixture, Txn::new().put(key::client(&cid), 1, write(&client))).await;
    }
    let gone = write(&ClientRecord::gone());
    done(&fixture, Txn::new().put(&b"c/{gone}"[..], 1, gone).put(&b"i/c/n/gone /{gone}"[..], 1, "{}")).await;
    done(&fixture, Txn::new().put(&b"i/p/d/fig /{fig}"[..], 1, "{}").put(&b"i/p/nonsense"[..], 1, "{}"))
        .await;
    fixture
}

async fn step(fixture: &Fixture, after: &str, limit: u32) -> Result<ReindexResponse, Error> {
    answer(fixture.admin().reindex(ReindexRequest { after: after.to_owned(), limit }).await)
}

/// Steps from a cursor to the end: what they wrote and removed.
async fn to_the_end(fixture: &Fixture, mut after: String, limit: u32) -> (u64, u64) {
    let (mut written, mut removed) = (0, 0);
    loop {
        let done = step(fixture, &after, limit).await.unwrap();
        (written, removed, after) = (written + done.written, removed + done.removed, done.next);
        if after.is_empty() {
            return (written, removed);
        }
    }
}

async fn is_refused(fixture: &Fixture) -> (bool, bool) {
    let products = answer(fixture.admin().list_products(by(ListSort::Price, 10)).await);
    let clients = answer(fixture.admin().list_clients(by(ListSort::Name, 10)).await);
    let refused = |error: Option<Error>, kind| match error {
        None => false,
        Some(Error::NotIndexed { kind: of }) if of == kind => true,
        Some(other) => panic!("{other}"),
    };
    (refused(products.err(), Kind::Product), refused(clients.err(), Kind::Client))
}

#[tokio::test]
async fn a_list_that_would_lie_is_refused_until_a_reindex_has_come_to_its_end() {
    let fixture = of_earlier_version().await;
    assert_eq!(is_refused(&fixture).await, (true, true));
    // New ones have their rows, and do not make the index complete.
    insert(&fixture, "new", "Banana", "5", "").await;
    fixture.insert_client("new").await;
    assert_eq!(is_refused(&fixture).await, (true, true));
    let request = ListRequest { words: "fru".into(), ..by(ListSort::Id, 10) };
    let by_id = answer(fixture.admin().list_products(request).await).unwrap();
    assert_eq!(by_id.products.len(), 7, "by id, filters need no index");
    let done = to_the_end(&fixture, String::new(), 3).await;
    assert_eq!(done, (2 * 7 + 7, 3));
    assert_eq!(is_refused(&fixture).await, (false, false));
    rows_are_right(&fixture).await;
    let page = answer(fixture.admin().list_products(by(ListSort::Price, 3)).await).unwrap();
    assert_eq!(page.products.iter().map(|one| one.pid.as_str()).collect::<Vec<_>>(), ["p6", "p5", "new"]);
    assert_eq!(to_the_end(&fixture, String::new(), 1_000).await, (0, 0), "once more changes nothing");
}

#[tokio::test]
async fn an_interrupted_reindex_goes_on_where_it_was_and_sets_no_mark_before_its_end() {
    let fixture = of_earlier_version().await;
    let (mut after, mut steps) = (String::new(), 0);
    loop {
        // Each step is cut off once: after so many operations of the store the next is refused.
        for _ in 0..steps % 5 {
            fixture.store.plan(None);
        }
        fixture.store.plan(Some(Fault::Refuse));
        let cut_off = step(&fixture, &after, 2).await;
        while fixture.store.planned() > 0 {
            let _ = fixture.store.get(Bytes::from_static(b"c/{c0}"), Freshness::linearizable()).await;
        }
        let done = match cut_off {
            Ok(done) => done,
            Err(_) => step(&fixture, &after, 2).await.unwrap(),
        };
        (after, steps) = (done.next, steps + 1);
        let marks = fixture.record(index::mark(Kind::Client)).await.is_some();
        assert_eq!(marks, after.is_empty(), "step {steps}");
        if after.is_empty() {
            break;
        }
    }
    assert!(steps > 10, "{steps}");
    assert_eq!(is_refused(&fixture).await, (false, false));
    rows_are_right(&fixture).await;
}

#[tokio::test]
async fn what_changes_during_a_reindex_has_its_rows_at_the_end() {
    let fixture = of_earlier_version().await;
    fixture.insert_product("sold", 100).await;
    let (mut after, mut number) = (String::new(), 0_u32);
    loop {
        let changing = async {
            number += 1;
            fixture.try_order("c3", number, &[("sold", 1)]).await;
            let data = format!(r#"{{"name":"Bia {number}"}}"#);
            let request = UpdateClientRequest { cid: "c4".into(), data, ..Default::default() };
            drop(fixture.admin().update_client(request).await);
            insert(&fixture, &format!("n{number}"), "New", "1", "").await;
        };
        let (done, ()) = futures::future::join(step(&fixture, &after, 2), changing).await;
        after = done.unwrap().next;
        if after.is_empty() {
            break;
        }
    }
    rows_are_right(&fixture).await;
}

#[tokio::test]
async fn damage_has_no_rows_and_is_named() {
    let fixture = of_earlier_version().await;
    done(&fixture, Txn::new().put(&b"p/{p9}"[..], 1, "banana").put(&b"p/{p"[..], 1, "{}")).await;
    done(&fixture, Txn::new().put(&b"i/p/d/fruit 9 /{p9}"[..], 1, "{}")).await;
    let page = step(&fixture, "", 1_000).await.unwrap();
    assert_eq!(
        page.damage.unwrap().records.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(),
        ["p/{p", "p/{p9}"]
    );
    to_the_end(&fixture, page.next, 1_000).await;
    assert!(all(&fixture, "i/p/d/fruit 9").await.is_empty());
    assert_eq!(is_refused(&fixture).await, (false, false));
}

#[tokio::test]
async fn an_empty_shop_is_complete_and_stays_so() {
    let fixture = Fixture::open().await;
    assert_eq!(is_refused(&fixture).await, (false, false));
    assert!(fixture.record(index::mark(Kind::Product)).await.is_none(), "a list writes nothing");
    insert(&fixture, "a", "Fig", "1", "").await;
    fixture.insert_client("ana").await;
    assert_eq!(is_refused(&fixture).await, (false, false));
    for kind in [Kind::Product, Kind::Client] {
        assert!(fixture.record(index::mark(kind)).await.is_some(), "{kind}");
    }
}

#[tokio::test]
async fn a_made_up_cursor_is_refused() {
    let fixture = of_earlier_version().await;
    let next = step(&fixture, "", 2).await.unwrap().next;
    assert_eq!(next.split('.').next_back(), Some("p/{p1}"));
    for after in ["p/{p1}", "3.00000000.c/{c1}", &next.replace("p1", "p2")] {
        is_invalid(step(&fixture, after, 2).await, "after");
    }
    is_invalid(step(&fixture, "", 1_001).await, "limit");
}
