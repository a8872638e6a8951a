//! Refusals before anything is read or written: ids, sizes.

use portal::Error;
use proto::portal::{
    BrowseProductsRequest, CreateOrderRequest, GetOrderRequest, LineChange, ListOrdersRequest,
    ModifyOrderRequest, OrderRequest, ShopGetProductRequest,
};

use crate::fixture::{Fixture, answer, creation, id as request_id};

#[tokio::test]
async fn ids_with_control_characters_are_refused_by_every_operation() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    let mut shop = fixture.shop();
    for bad in ["two\nlines", "\u{1b}[31mred", "nul\0"] {
        let id = || bad.to_owned();
        let order = OrderRequest { cid: "ana".into(), oid: id(), request: None, ..OrderRequest::default() };
        let of = OrderRequest { cid: id(), oid: "o".into(), request: None, ..OrderRequest::default() };
        let get = GetOrderRequest { cid: "ana".into(), oid: id() };
        let lines = vec![LineChange { pid: "a".into(), quantity: 1, ..LineChange::default() }];
        let modify = ModifyOrderRequest { cid: "ana".into(), oid: id(), lines, ..Default::default() };
        let named = CreateOrderRequest { request: request_id(bad), ..creation("ana", &[]) };
        let list = ListOrdersRequest { cid: id(), ..Default::default() };
        let after = ListOrdersRequest { cid: "ana".into(), after: id(), ..Default::default() };
        let browse = BrowseProductsRequest { cid: "ana".into(), prefix: id(), ..Default::default() };
        let product = ShopGetProductRequest { cid: "ana".into(), pid: id() };
        let answers = [
            ("cid", answer(shop.create_order(creation(bad, &[])).await).map(drop)),
            ("lines[0].pid", answer(shop.create_order(creation("ana", &[(bad, 1)])).await).map(drop)),
            ("request.id", answer(shop.create_order(named).await).map(drop)),
            ("oid", answer(shop.modify_order(modify).await).map(drop)),
            ("oid", answer(shop.confirm_order(order.clone()).await).map(drop)),
            ("oid", answer(shop.cancel_order(order).await).map(drop)),
            ("cid", answer(shop.cancel_order(of).await).map(drop)),
            ("oid", answer(shop.get_order(get).await).map(drop)),
            ("cid", answer(shop.list_orders(list).await).map(drop)),
            ("after", answer(shop.list_orders(after).await).map(drop)),
            ("prefix", answer(shop.browse_products(browse).await).map(drop)),
            ("pid", answer(shop.get_product(product).await).map(drop)),
        ];
        for (at, (field, refused)) in answers.into_iter().enumerate() {
            let error = refused.expect_err("a control character");
            assert!(
                matches!(&error, Error::Invalid { field: one, .. } if one == field),
                "{at} {bad:?}: {error}"
            );
            assert!(!error.to_string().contains(bad), "{error:?} is safe to print");
        }
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_an_argument_error_in_our_words() {
    let fixture = Fixture::open().await;
    let prefix = "x".repeat((1 << 20) + 1);
    let browse = BrowseProductsRequest { cid: "ana".into(), prefix, ..Default::default() };
    let error = answer(fixture.shop().browse_products(browse).await).unwrap_err();
    assert!(matches!(&error, Error::Invalid { field, .. } if field == "request"), "{error}");
}
