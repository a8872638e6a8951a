//! A client that reads all the time and stays at its node while others go on: at a leader that was cut off and does not know
//! yet that another one leads. Its answers are judged where they leave the node, for every read of every client: no entry
//! that was committed anywhere before the read came may be missing (*reads are linearizable*).

use store_client::StoreExt as _;

use crate::handle::SimStore;
use crate::registers::{REGISTERS, register};
use crate::tasks::Sleeper;
use crate::time::{MS, Micros};

/// Reads one register after another until `until`.
pub(crate) async fn read(store: SimStore, sleeper: Sleeper, mut random: fastrand::Rng, until: Micros) {
    while sleeper.now.us() < until {
        let at = sleeper.now.us() + random.u64(40..220) * MS;
        sleeper.until(at).await;
        // Whether it is answered at all depends on the faults.
        let _ = store.read(register(random.u32(..REGISTERS))).await;
    }
}
