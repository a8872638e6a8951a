//! A table without room, where entries are applied: nothing of a batch is kept, nothing is skipped, and with room
//! again the replica goes on with the very entry at which it stopped.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::{Replica, fresh, rows, txn_kind};
use proto::store::Txn;
use store_db::{Error, Lmdb, Options, OutOfSpace, Recent, Table as _, apply};

/// Entries whose rows soon fill a map of one mebibyte.
fn large<T: store_db::Table>(replica: &mut Replica<T>) -> store_core::types::Entry<bytes::Bytes> {
    let key = format!("k/{}", replica.offset);
    replica.next(txn_kind(Txn::new().put(key, 1, vec![7; 20_000]), None))
}

#[test]
fn an_entry_that_met_a_full_map_is_applied_after_the_restart_and_none_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let options = |map_bytes| Options { map_bytes, ..Options::new("boot") };
    let (table, _) = Lmdb::open(folder.path(), &options(1 << 20)).unwrap();
    let mut replica = Replica::new(table);
    let reference = fresh();
    let (stopped_at, batch) = loop {
        let before = (replica.offset, replica.state(), rows(&replica.table));
        let batch = [large(&mut replica), large(&mut replica), large(&mut replica)];
        match replica.table.write(|write| apply(write, &mut replica.recent, &batch)) {
            Ok(replies) => assert_eq!(replies.len(), batch.len()),
            Err(error) => {
                assert!(matches!(error, Error::Full { out_of_space: OutOfSpace::Map, .. }), "{error}");
                assert!(!error.is_deterministic(), "the other replicas go on");
                assert_eq!(
                    (&replica.state(), rows(&replica.table)),
                    (&before.1, before.2),
                    "nothing is kept"
                );
                break (before.0, batch);
            }
        }
        reference.table.write(|write| apply(write, &mut Recent::default(), &batch)).unwrap();
        assert!(replica.offset < 200, "a mebibyte is soon full");
    };
    assert_eq!(replica.state().applied.unwrap().offset, stopped_at);
    // The operator raises store.map_bytes; the log still has the entries.
    drop(replica);
    let (table, verdict) = Lmdb::open(folder.path(), &options(64 << 20)).unwrap();
    assert_eq!(verdict, store_db::trust::Verdict::Trusted);
    table.write(|write| apply(write, &mut Recent::default(), &batch)).unwrap();
    reference.table.write(|write| apply(write, &mut Recent::default(), &batch)).unwrap();
    assert_eq!(rows(&table), rows(&reference.table));
}
