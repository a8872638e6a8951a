//! The contents of an exported state, checked without a table.
#![allow(clippy::unwrap_used)]

mod fixture;

use bytes::Bytes;
use fixture::{fresh, rows};
use proto::store::Txn;
use store_db::transfer::{Checker, Contents, export};
use store_db::{Error, Space, Table as _};

fn exported() -> (Vec<Bytes>, Contents) {
    let mut replica = fresh();
    (0..700).for_each(|n| assert!(replica.txn(Txn::new().put(format!("k{n}"), 1, vec![7; 1_000])).success));
    let mut chunks = Vec::new();
    let read = replica.table.read(|read| {
        export(read, &mut |chunk| {
            chunks.push(chunk);
            Ok(())
        })
    });
    read.unwrap();
    let all = rows(&replica.table);
    let count = |space: Space| all.iter().filter(|row| row.0 == space).count() as u64;
    (chunks, Contents { rows: Space::ALL.map(count), state: replica.state() })
}

fn check<'c>(chunks: impl IntoIterator<Item = &'c Bytes>) -> Result<Contents, Error> {
    let mut checker = Checker::default();
    chunks.into_iter().try_for_each(|chunk| checker.chunk(chunk))?;
    checker.finish()
}

#[test]
fn an_exported_state_says_what_it_holds() {
    let (chunks, held) = exported();
    assert!(chunks.len() > 3 && held.rows[0] == 700);
    assert_eq!(check(&chunks).unwrap(), held);
}

#[test]
fn a_state_with_a_chunk_less_or_another_byte_is_no_state() {
    let (chunks, _) = exported();
    for without in 0..chunks.len() {
        let rest = chunks.iter().enumerate().filter(|(at, _)| *at != without).map(|(_, chunk)| chunk);
        assert!(check(rest).is_err(), "without chunk {without}");
    }
    for at in (0..chunks[1].len()).step_by(997) {
        let mut changed = chunks.clone();
        let mut bytes = changed[1].to_vec();
        bytes[at] ^= 0x10;
        changed[1] = bytes.into();
        assert!(matches!(check(&changed), Err(Error::Damaged { .. })), "byte {at}");
    }
    assert!(check([&chunks[0], &chunks[0]]).is_err() && check([]).is_err());
}
