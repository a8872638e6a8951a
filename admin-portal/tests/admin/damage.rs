//! Records that no portal wrote: lists leave them out and name them, a get says what is wrong, and nothing else suffers.

use bytes::Bytes;
use portal::Error;
use portal::limits::ERROR_LIST_MAX;
use proto::portal::{Damage, GetProductRequest, ListRequest};
use proto::store::Txn;
use store_client::Store;

use crate::fixture::{Fixture, answer};

async fn put(fixture: &Fixture, key: &[u8], data: &str) {
    let txn = Txn::new().put(Bytes::copy_from_slice(key), 1, data.as_bytes().to_vec());
    assert!(fixture.store.txn(txn, None).await.unwrap().success);
}

/// All ids that lists of this page size show, and all keys that they leave out.
async fn products(fixture: &Fixture, limit: u32) -> (Vec<String>, Vec<String>) {
    let (mut pids, mut left_out, mut after) = (Vec::new(), Vec::new(), String::new());
    loop {
        let request = ListRequest { limit, after, ..ListRequest::default() };
        let page = answer(fixture.admin().list_products(request).await).unwrap();
        assert!(limit == 0 || page.products.len() <= limit as usize);
        pids.extend(page.products.into_iter().map(|one| one.pid));
        left_out.extend(page.damage.unwrap_or_default().records.into_iter().map(|one| one.key));
        after = page.next;
        if after.is_empty() {
            return (pids, left_out);
        }
    }
}

#[tokio::test]
async fn one_damaged_record_leaves_the_rest_of_the_list_readable() {
    let fixture = Fixture::open().await;
    for pid in ["a", "m", "z"] {
        fixture.insert_product(pid, 1).await;
    }
    // No product; no stock; keys that hold no id, also at the end of a page and of the list.
    put(&fixture, b"p/{b}", "banana").await;
    put(&fixture, b"s/{m}", "{}").await;
    for key in [&b"p/{c"[..], b"p/{c}}", b"p/{%zz}", b"p/{\xff}", b"p/{~}x", b"p/{}", b"p/{n%0A}"] {
        put(&fixture, key, "{}").await;
    }
    for limit in [0, 1, 2, 3] {
        let (pids, mut left_out) = products(&fixture, limit).await;
        assert_eq!(pids, ["a", "z"], "limit {limit}");
        left_out.sort();
        let replaced = "p/{\u{fffd}}";
        let all = ["p/{%zz}", "p/{b}", "p/{c", "p/{c}}", "p/{n%0A}", "p/{}", "p/{~}x", replaced, "s/{m}"];
        assert_eq!(left_out, all, "limit {limit}");
    }
    let getting = |pid: &str| GetProductRequest { pid: pid.to_owned() };
    let error = answer(fixture.admin().get_product(getting("b")).await).unwrap_err();
    assert!(matches!(&error, Error::Damaged { key, .. } if key == "p/{b}"), "{error}");
    assert!(answer(fixture.admin().get_product(getting("a")).await).is_ok());
}

#[tokio::test]
async fn much_damage_is_counted_and_the_list_goes_on() {
    let fixture = Fixture::open().await;
    fixture.insert_client("zoe").await;
    for at in 0..=ERROR_LIST_MAX {
        put(&fixture, format!("c/{{{at:03}}}").as_bytes(), "{\"data\":{}}").await;
    }
    let request = ListRequest { limit: 1_000, ..ListRequest::default() };
    let page = answer(fixture.admin().list_clients(request).await).unwrap();
    assert_eq!(page.clients.iter().map(|one| one.cid.as_str()).collect::<Vec<_>>(), ["zoe"]);
    let Damage { records, more } = page.damage.unwrap();
    assert_eq!((records.len(), more), (ERROR_LIST_MAX, 1));
    assert_eq!(records[7].key, "c/{007}");
    assert!(records[7].why.contains("missing field"), "{}", records[7].why);
}
