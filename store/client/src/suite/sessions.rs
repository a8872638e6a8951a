//! A session on top of the store: order, reads included.

use std::sync::Arc;

use proto::store::Txn;

use super::key::key;
use crate::{Session, Store};

const WRITES: usize = 200;

pub(super) async fn order(store: Arc<dyn Store>) {
    let (doc, list) = (key("doc"), key("list/"));
    let session = Session::new(store);
    let mut answers = Vec::new();
    let made = session.submit(Txn::new().put(doc.clone(), 0, r#"{"n":0}"#)).expect("submit");
    for i in 1..=WRITES {
        let guard = format!("{}", i - 1);
        let write = Txn::new()
            .guard_json(doc.clone(), "/n", guard)
            .add(doc.clone(), 1, "/n", 1, None)
            .append(list.clone(), 1, "x", Vec::new());
        let write = session.submit(write).expect("submit");
        let read = session.submit(Txn::new().get(doc.clone())).expect("submit");
        answers.push((i, write, read));
    }
    assert!(made.await.expect("put").success);
    for (i, write, read) in answers {
        assert!(write.await.expect("txn").success, "write {i} found what write {} left", i - 1);
        let read = read.await.expect("txn");
        let data = read.result(0).and_then(|touched| touched.record.as_ref()).map(|r| r.data.clone());
        assert_eq!(
            data,
            Some(format!(r#"{{"n":{i}}}"#).into()),
            "a read sees the write before it, not the next"
        );
    }
    assert_eq!(session.outstanding(), 0);
}
