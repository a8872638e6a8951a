//! BrowseProducts in every order, with filters.

use bytes::Bytes;
use portal::Error;
use portal::document::product::{ProductData, ProductRecord};
use portal::document::stock::StockRecord;
use portal::document::write;
use portal::error::Kind;
use portal::id::Pid;
use portal::{index, key};
use proto::portal::{BrowseProductsRequest, ListSort};
use proto::store::Txn;
use store_client::Store;

use crate::fixture::{Fixture, answer};

/// A product with its rows, as staff insert it.
async fn insert(fixture: &Fixture, pid: &str, data: &str) {
    let pid = Pid::parse("pid", pid).unwrap();
    let product = ProductRecord::new(&ProductData::parse(data).unwrap());
    let txn = Txn::new().put(key::product(&pid), 1, write(&product)).put(
        key::stock(&pid),
        1,
        write(&StockRecord::new(3)),
    );
    let txn = index::moved(txn, &[], &index::rows_of_product(&pid, &product), 1);
    assert!(fixture.store.txn(txn, None).await.unwrap().success);
}

async fn mark(fixture: &Fixture) {
    let txn = Txn::new().put(index::mark(Kind::Product), 1, Bytes::from_static(b"{}"));
    assert!(fixture.store.txn(txn, None).await.unwrap().success);
}

fn by(sort: ListSort, words: &str, category: &str) -> BrowseProductsRequest {
    let (cid, words, category) = ("ana".to_owned(), words.to_owned(), category.to_owned());
    BrowseProductsRequest { cid, words, category, sort: sort.into(), limit: 2, ..Default::default() }
}

/// The ids of all pages.
async fn browse(fixture: &Fixture, mut request: BrowseProductsRequest) -> Result<Vec<String>, Error> {
    let mut pids = Vec::new();
    loop {
        let page = answer(fixture.shop().browse_products(request.clone()).await)?;
        assert!(page.products.iter().all(|product| product.stock.unwrap().available == 3));
        pids.extend(page.products.into_iter().map(|product| product.pid));
        request.after = page.next;
        if request.after.is_empty() {
            return Ok(pids);
        }
    }
}

#[tokio::test]
async fn products_are_browsed_in_every_order_and_found_by_words_and_category() {
    let fixture = Fixture::open().await;
    insert(&fixture, "a", r#"{"description":"Maçã","price":"9","category":"fruit"}"#).await;
    insert(&fixture, "b", r#"{"description":"Faca","price":"11","category":"tool"}"#).await;
    insert(&fixture, "c", r#"{"description":"Banana-maçã","price":"10","category":"fruit"}"#).await;
    mark(&fixture).await;
    for (request, pids) in [
        (by(ListSort::Unspecified, "", ""), &["a", "b", "c"][..]),
        (by(ListSort::Description, "", ""), &["c", "b", "a"]),
        (by(ListSort::Price, "", ""), &["a", "c", "b"]),
        (by(ListSort::Description, "maca", ""), &["c", "a"]),
        (by(ListSort::Price, "", "tool"), &["b"]),
        (by(ListSort::Id, "MAÇ ban", "fruit"), &["c"]),
    ] {
        assert_eq!(browse(&fixture, request.clone()).await.unwrap(), pids, "{request:?}");
    }
    for (request, field) in [
        (by(ListSort::Name, "", ""), "sort"),
        (by(ListSort::Id, "!", ""), "words"),
        (BrowseProductsRequest { after: "d/maca /{a}".into(), ..by(ListSort::Price, "", "") }, "after"),
    ] {
        let error = browse(&fixture, request).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid { field: at, .. } if at == field), "{error}");
    }
    let nobody = BrowseProductsRequest { cid: "nobody".into(), ..by(ListSort::Price, "", "") };
    assert_eq!(browse(&fixture, nobody).await, Err(Error::UnknownClient { cid: "nobody".into() }));
}

#[tokio::test]
async fn without_a_complete_index_products_are_browsed_by_id_alone() {
    let fixture = Fixture::open().await;
    assert_eq!(browse(&fixture, by(ListSort::Price, "", "")).await.unwrap(), Vec::<String>::new());
    insert(&fixture, "a", r#"{"description":"Maçã","price":"9"}"#).await;
    let refused = Error::NotIndexed { kind: Kind::Product };
    assert_eq!(browse(&fixture, by(ListSort::Price, "", "")).await, Err(refused));
    assert_eq!(browse(&fixture, by(ListSort::Id, "mac", "")).await.unwrap(), ["a"]);
}
