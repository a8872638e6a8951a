//! Refusals before anything is read or written: ids and texts, documents, sizes.

use portal::Error;
use proto::portal::{
    AdjustStockRequest, DeleteClientRequest, DeleteProductRequest, GetClientRequest, GetProductRequest,
    InsertClientRequest, InsertProductRequest, ListRequest, RequestId, UpdateClientRequest,
    UpdateProductRequest,
};
use tonic::Code;

use crate::fixture::{Fixture, answer};

#[tokio::test]
async fn a_request_that_is_too_large_is_an_argument_error_in_our_words() {
    let fixture = Fixture::open().await;
    let data = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    let request = InsertClientRequest { cid: "ana".to_owned(), data, request: None };
    let status = fixture.admin().insert_client(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let Some(Error::Invalid { field, why }) = Error::from_status(&status) else { panic!("ours: {status:?}") };
    assert!(field == "request" && why.contains("1,048,576 bytes"), "{field}: {why}");
}

/// What every id and text of a request is refused for.
const BAD_TEXTS: [&str; 4] = ["two\nlines", "\u{1b}[31mred", "nul\0", "next\u{85}line"];

#[tokio::test]
async fn ids_and_texts_with_control_characters_are_refused() {
    let fixture = Fixture::open().await;
    let mut admin = fixture.admin();
    let list = |prefix: &str, after: &str| ListRequest {
        prefix: prefix.into(),
        after: after.into(),
        ..ListRequest::default()
    };
    for bad in BAD_TEXTS {
        let (id, text) = (bad.to_owned(), bad.replace(char::is_control, "\\u0007"));
        let product = format!("{{\"description\":\"{text}\",\"price\":\"1\",\"quantity\":1}}");
        let fine = r#"{"description":"a","price":"1","quantity":1}"#.to_owned();
        let named = Some(RequestId { id: id.clone(), created_ms: 0 });
        let client = InsertClientRequest { cid: id.clone(), data: "{}".into(), request: None };
        let twice = InsertClientRequest { cid: "ana".into(), data: "{}".into(), request: named };
        let update = UpdateClientRequest { cid: id.clone(), data: "{}".into(), ..Default::default() };
        let delete = DeleteClientRequest { cid: id.clone(), ..Default::default() };
        let insert = InsertProductRequest { pid: id.clone(), data: fine.clone(), request: None, rules: None };
        let described = InsertProductRequest { pid: "a".into(), data: product, request: None, rules: None };
        let change = UpdateProductRequest { pid: id.clone(), data: fine, ..Default::default() };
        let away = DeleteProductRequest { pid: id.clone(), ..Default::default() };
        let adjust = AdjustStockRequest { pid: id.clone(), amount: 1, request: None, if_match_stock: 0 };
        let answers = [
            ("cid", answer(admin.insert_client(client).await).map(drop)),
            ("request.id", answer(admin.insert_client(twice).await).map(drop)),
            ("cid", answer(admin.update_client(update).await).map(drop)),
            ("cid", answer(admin.get_client(GetClientRequest { cid: id.clone() }).await).map(drop)),
            ("cid", answer(admin.delete_client(delete).await).map(drop)),
            ("pid", answer(admin.insert_product(insert).await).map(drop)),
            ("data.description", answer(admin.insert_product(described).await).map(drop)),
            ("pid", answer(admin.update_product(change).await).map(drop)),
            ("pid", answer(admin.get_product(GetProductRequest { pid: id.clone() }).await).map(drop)),
            ("pid", answer(admin.delete_product(away).await).map(drop)),
            ("pid", answer(admin.adjust_stock(adjust).await).map(drop)),
            ("prefix", answer(admin.list_clients(list(bad, "")).await).map(drop)),
            ("after", answer(admin.list_clients(list("", bad)).await).map(drop)),
            ("prefix", answer(admin.list_products(list(bad, "")).await).map(drop)),
            ("after", answer(admin.list_products(list("", bad)).await).map(drop)),
        ];
        for (at, (field, refused)) in answers.into_iter().enumerate() {
            let error = refused.expect_err("a control character");
            let says = matches!(&error, Error::Invalid { field: named, why } if named == field && why.contains("U+00"));
            assert!(says, "{at} {bad:?}: {error}");
        }
    }
    assert!(answer(admin.list_clients(list("", "")).await).unwrap().clients.is_empty());
}

#[tokio::test]
async fn an_id_that_is_empty_and_cannot_be_made_is_refused_with_what_to_do() {
    let fixture = Fixture::open().await;
    for data in ["{}", r#"{"name":7}"#, r#"{"name":"--"}"#] {
        let request = InsertClientRequest { cid: String::new(), data: data.to_owned(), request: None };
        let error = answer(fixture.admin().insert_client(request).await).unwrap_err();
        assert!(matches!(&error, Error::Invalid { field, .. } if field == "cid"), "{data}: {error}");
    }
    let get = GetClientRequest { cid: String::new() };
    let error = answer(fixture.admin().get_client(get).await).unwrap_err();
    assert!(error.to_string().starts_with("cid: the id is empty"), "{error}");
}

#[tokio::test]
async fn nested_members_that_come_twice_are_refused() {
    let fixture = Fixture::open().await;
    let data = r#"{"name":"Ana","address":{"fixture":"A","city":"B","fixture":"C"}}"#.to_owned();
    let insert = InsertClientRequest { cid: "ana".into(), data: data.clone(), request: None };
    let error = answer(fixture.admin().insert_client(insert).await).unwrap_err();
    assert_eq!(error, Error::invalid("data.address.fixture", "comes twice in its object; leave one"));
    let product = r#"{"description":"a","price":"1","quantity":1,"tags":[{"k":1,"k":2}]}"#.to_owned();
    let insert = InsertProductRequest { pid: "a".into(), data: product, request: None, rules: None };
    let error = answer(fixture.admin().insert_product(insert).await).unwrap_err();
    assert!(matches!(&error, Error::Invalid { field, .. } if field == "data.tags[0].k"), "{error}");
}
