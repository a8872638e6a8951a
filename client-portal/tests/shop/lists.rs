//! GetOrder, ListOrders, BrowseProducts, GetProduct.

use portal::Error;
use portal::error::Kind;
use proto::portal::{
    BrowseProductsRequest, GetOrderRequest, ListOrdersRequest, OrderState, ShopGetProductRequest,
};

use bytes::Bytes;
use proto::store::Txn;
use store_client::Store;

use crate::fixture::{Fixture, answer, create, naming};

fn getting(cid: &str, oid: &str) -> GetOrderRequest {
    GetOrderRequest { cid: cid.to_owned(), oid: oid.to_owned() }
}

fn listing(cid: &str, limit: u32, after: &str) -> ListOrdersRequest {
    ListOrdersRequest { cid: cid.to_owned(), limit, after: after.to_owned() }
}

fn browsing(cid: &str, prefix: &str, limit: u32, after: &str) -> BrowseProductsRequest {
    let (cid, prefix, after) = (cid.to_owned(), prefix.to_owned(), after.to_owned());
    BrowseProductsRequest { cid, prefix, limit, after, ..BrowseProductsRequest::default() }
}

#[tokio::test]
async fn an_order_is_shown_as_it_was_answered() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", "1", 10).await;
    let order = create(&fixture, "ana", &[("a", 2)]).await.unwrap();
    assert_eq!(answer(fixture.shop().get_order(getting("ana", &order.oid)).await), Ok(order));
}

#[tokio::test]
async fn foreign_and_unknown_orders_are_not_shown() {
    let fixture = Fixture::open().await;
    fixture.insert_client("bia").await;
    let oid = create(&fixture, "ana", &[]).await.unwrap().oid;
    let not_yours = Error::NotYours { oid: oid.clone() };
    assert_eq!(answer(fixture.shop().get_order(getting("bia", &oid)).await), Err(not_yours));
    let unknown = Error::NotFound { kind: Kind::Order, id: "nope".to_owned() };
    assert_eq!(answer(fixture.shop().get_order(getting("ana", "nope")).await), Err(unknown));
    let nobody = Error::UnknownClient { cid: "nobody".to_owned() };
    assert_eq!(answer(fixture.shop().get_order(getting("nobody", &oid)).await), Err(nobody));
}

#[tokio::test]
async fn orders_are_listed_page_by_page() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana2").await;
    fixture.insert_product("a", "1.10", 100).await;
    let mut expected = Vec::new();
    for i in 0..7 {
        let order = create(&fixture, "ana", &[("a", i + 1)]).await.unwrap();
        expected.push((order.oid, order.total, order.lines.len()));
    }
    create(&fixture, "ana2", &[("a", 1)]).await.unwrap();
    expected.sort();
    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let page = answer(fixture.shop().list_orders(listing("ana", 3, &after)).await).unwrap();
        assert!(page.orders.len() <= 3);
        listed.extend(page.orders.into_iter().map(|one| (one.oid, one.total, one.lines as usize)));
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn a_list_shows_the_state_and_refuses_bad_fields() {
    let fixture = Fixture::open().await;
    let order = create(&fixture, "ana", &[]).await.unwrap();
    answer(fixture.shop().cancel_order(naming(&order)).await).unwrap();
    let page = answer(fixture.shop().list_orders(listing("ana", 0, "")).await).unwrap();
    assert_eq!(page.orders[0].state(), OrderState::Cancelled);
    for (request, field) in [(listing("ana", 1_001, ""), "limit"), (listing("ana", 1, "nope"), "after")] {
        let error = answer(fixture.shop().list_orders(request).await).unwrap_err();
        assert!(matches!(&error, Error::Invalid { field: at, .. } if at == field), "{error}");
    }
    let error = answer(fixture.shop().list_orders(listing("nobody", 0, "")).await).unwrap_err();
    assert_eq!(error, Error::UnknownClient { cid: "nobody".to_owned() });
}

#[tokio::test]
async fn one_damaged_record_leaves_the_rest_of_the_orders_readable() {
    let fixture = Fixture::open().await;
    let order = create(&fixture, "ana", &[]).await.unwrap();
    let damaged = [&b"o/{ana}/"[..], b"o/{ana}/zzz", b"o/{ana}/x/0123456789abcdefghjkmnpq"];
    for key in damaged {
        let put = Txn::new().put(Bytes::copy_from_slice(key), 1, b"no order".to_vec());
        assert!(fixture.store.txn(put, None).await.unwrap().success);
    }
    for limit in [0, 1] {
        let (mut oids, mut left_out, mut after) = (Vec::new(), Vec::new(), String::new());
        loop {
            let page = answer(fixture.shop().list_orders(listing("ana", limit, &after)).await).unwrap();
            oids.extend(page.orders.into_iter().map(|one| one.oid));
            left_out.extend(page.damage.unwrap_or_default().records.into_iter().map(|one| one.key));
            after = page.next;
            if after.is_empty() {
                break;
            }
        }
        left_out.sort();
        assert_eq!((oids, left_out.len()), (vec![order.oid.clone()], 3), "limit {limit}");
    }
}

#[tokio::test]
async fn products_are_browsed_with_their_stock_by_prefix_and_page() {
    let fixture = Fixture::open().await;
    for (pid, quantity) in [("maca", 3), ("maca/fuji", 4), ("maca{gala}", 5), ("pera", 6)] {
        fixture.insert_product(pid, "2", quantity).await;
    }
    create(&fixture, "ana", &[("maca/fuji", 1)]).await.unwrap();
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = answer(fixture.shop().browse_products(browsing("ana", "maca", 2, &after)).await).unwrap();
        for product in page.products {
            let stock = product.stock.unwrap();
            seen.push((product.pid, product.price, stock.available, stock.held));
        }
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 3);
    for (pid, available, held) in [("maca", 3, 0), ("maca/fuji", 3, 1), ("maca{gala}", 5, 0)] {
        assert!(seen.contains(&(pid.to_owned(), "2.00".to_owned(), available, held)), "{seen:?}");
    }
    let error = answer(fixture.shop().browse_products(browsing("nobody", "", 0, "")).await).unwrap_err();
    assert_eq!(error, Error::UnknownClient { cid: "nobody".to_owned() });
    let error = answer(fixture.shop().browse_products(browsing("ana", "", 1_001, "")).await).unwrap_err();
    assert!(matches!(error, Error::Invalid { field, .. } if field == "limit"));
}

#[tokio::test]
async fn one_product_is_shown_with_its_stock() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", "2.5", 3).await;
    let getting = |cid: &str, pid: &str| ShopGetProductRequest { cid: cid.to_owned(), pid: pid.to_owned() };
    let product = answer(fixture.shop().get_product(getting("ana", "a")).await).unwrap();
    assert_eq!((product.price.as_str(), product.stock.unwrap().available), ("2.50", 3));
    assert_eq!((product.extra.as_str(), product.stock_age_ms), ("{}", 0));
    for (cid, pid, error) in [
        ("ana", "x", Error::NotFound { kind: Kind::Product, id: "x".to_owned() }),
        ("nobody", "a", Error::UnknownClient { cid: "nobody".to_owned() }),
    ] {
        assert_eq!(answer(fixture.shop().get_product(getting(cid, pid)).await), Err(error));
    }
    let error = answer(fixture.shop().get_product(getting("ana", "")).await).unwrap_err();
    assert!(matches!(error, Error::Invalid { field, .. } if field == "pid"));
}
