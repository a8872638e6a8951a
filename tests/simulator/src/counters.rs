//! A client that counts: it adds one to one counter after the other, and nobody rests anything on what it is told.
//! Each new value is made of the old record, so a replica whose record was changed behind its back makes another one than
//! the rest, for ever. That is what the fault `wrong-state` strikes: what other clients are told stays right, even while
//! the replica that is wrong leads and has not been found out.

use std::rc::Rc;

use bytes::Bytes;
use proto::store::{Identity, Txn};
use store_client::{Error, Store as _};
use store_db::{Error as TableError, Read as _, Space, Table as _, Write as _};

use crate::handle::SimStore;
use crate::table::SimTable;
use crate::tasks::Sleeper;
use crate::time::{MS, Micros};

/// Counters.
const COUNTERS: u64 = 3;
/// A pause before a count that failed is tried again.
const AGAIN_US: Micros = 300 * MS;

/// The keys of all counters.
pub(crate) const PREFIX: &[u8] = b"n/";

fn key(counter: u64) -> Bytes {
    Bytes::from(format!("n/{{{counter}}}"))
}

/// Counts until `until`, so often.
pub(crate) async fn count(store: Rc<SimStore>, sleeper: Sleeper, mut random: fastrand::Rng, until: Micros) {
    for counter in 0..COUNTERS {
        let text = format!("{{\"n\":0,\"kept\":\"{}\"}}", "k".repeat(40));
        let _ = insist(&store, &sleeper, Txn::new().put(key(counter), 1, text)).await;
    }
    while sleeper.now.us() < until {
        let at = sleeper.now.us() + random.u64(20..400) * MS;
        sleeper.until(at).await;
        let txn = Txn::new().add(key(random.u64(..COUNTERS)), 1, "/n", 1, None);
        // Whether it was counted is of no interest, nor whether the counter is there.
        let _ = store.txn(txn, None::<Identity>).await;
    }
}

async fn insist(store: &SimStore, sleeper: &Sleeper, txn: Txn) -> Result<(), Error> {
    loop {
        match store.txn(txn.clone(), None).await {
            Ok(_) => return Ok(()),
            Err(refused @ Error::Refused { .. }) => return Err(refused),
            Err(_) => sleeper.until(sleeper.now.us() + AGAIN_US).await,
        }
    }
}

/// Changes a byte of what a counter keeps besides its number, in one table, as a disk might: below everything that
/// watches over tables. False: there is no counter yet.
pub(crate) fn spoil(table: &SimTable, dice: u64) -> bool {
    // Layers would hide it: a disk spoils what is on it.
    table.flush().expect("a table in memory can be written");
    let spoilt = table.below().write(|write| {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        write.walk(Space::Records, PREFIX, &mut |key, record| {
            let is_counter = key.starts_with(PREFIX);
            if is_counter {
                found.push((key.to_vec(), record.to_vec()));
            }
            Ok(is_counter)
        })?;
        let Some(pick) = dice.checked_rem(found.len() as u64) else { return Ok(false) };
        let (key, mut record) = found.swap_remove(usize::try_from(pick).expect("small"));
        let kept: Vec<usize> = (0..record.len()).filter(|at| record[*at] == b'k').collect();
        // The word "kept" has one too, at the front; what stands at the end is the value.
        let Some(at) = kept.last() else { return Ok(false) };
        record[*at] = b'A' + u8::try_from(dice % 20).expect("small");
        write.put(Space::Records, &key, &record)?;
        Ok::<_, TableError>(true)
    });
    spoilt.expect("a table in memory can be written")
}
