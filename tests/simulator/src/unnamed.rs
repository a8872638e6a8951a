//! A client whose writes have no identity: nobody remembers them, so nobody may send one twice. It appends numbers to a list;
//! at the end the list tells what became of each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use proto::store::{Identity, Txn};
use store_client::{Error, Store as _};

use crate::handle::SimStore;
use crate::tasks::Sleeper;
use crate::time::{MS, Micros};
use crate::violation::{ensure, violated};

/// The keys of all that it appends.
pub(crate) const PREFIX: &[u8] = b"u/";
/// Writes on their way at once.
const IN_FLIGHT_MAX: usize = 4;

/// What the client was told of each number.
pub(crate) type Told = Rc<RefCell<BTreeMap<u64, Word>>>;

/// What became of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    /// It was done.
    Done,
    /// It was not done, and never will be.
    Undone,
    /// Nobody can say.
    Unknown,
}

/// Appends until `until`.
pub(crate) async fn append(
    store: SimStore,
    told: Told,
    sleeper: Sleeper,
    mut random: fastrand::Rng,
    until: Micros,
) {
    let mut going = FuturesUnordered::new();
    for number in 0u64.. {
        sleeper.until(sleeper.now.us() + random.u64(20..600) * MS).await;
        if sleeper.now.us() >= until {
            break;
        }
        while going.len() >= IN_FLIGHT_MAX {
            going.next().await;
        }
        let (store, told) = (store.clone(), Rc::clone(&told));
        going.push(async move {
            let txn = Txn::new().append(Bytes::from_static(b"u/{0}/"), 1, number.to_string(), Vec::new());
            let word = match store.txn(txn, None::<Identity>).await {
                Ok(_) => Word::Done,
                Err(Error::Unknown { .. }) => Word::Unknown,
                Err(Error::Refused { .. } | Error::Retry { .. }) => Word::Undone,
            };
            told.borrow_mut().insert(number, word);
        });
    }
    while going.next().await.is_some() {}
}

/// The list holds each number once at most, all that were done and none that was not.
pub(crate) fn check(list: impl Iterator<Item = Bytes>, told: &BTreeMap<u64, Word>) {
    let mut there: BTreeMap<u64, u32> = BTreeMap::new();
    for data in list {
        let number = std::str::from_utf8(&data).ok().and_then(|text| text.parse().ok());
        let number =
            number.unwrap_or_else(|| violated("nothing is made up", format!("{data:?} is in the list")));
        *there.entry(number).or_default() += 1;
    }
    for (number, word) in told {
        let times = there.remove(number).unwrap_or(0);
        let (promise, is_kept) = match word {
            _ if times > 1 => ("nothing is applied twice", false),
            Word::Done => ("nothing acknowledged is lost", times == 1),
            Word::Undone => ("nothing refused happens", times == 0),
            Word::Unknown => ("nothing is applied twice", true),
        };
        ensure(is_kept, promise, || {
            format!("number {number}, written without identity: {word:?}, and {times} times in the list")
        });
    }
    ensure(there.is_empty(), "nothing is made up", || format!("{there:?} are in the list"));
}
