//! Clients that write whenever a disk hangs, each at its own record, without pause, so that somebody always wants to: how long
//! nobody's write succeeds, of all clients, is what the shop notices of the hang (`hangs`). Whether a single one of their writes was done is of no interest.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use proto::store::pipeline_response::Response;
use proto::store::{Identity, PipelineResponse, Txn};
use store_client::Store as _;

use crate::handle::SimStore;
use crate::tasks::Sleeper;
use crate::time::{MS, Micros};

/// Between two looks whether a disk hangs.
const LOOK_US: Micros = 100 * MS;

/// What these clients and the world tell each other.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// A disk hangs: write.
    pub(crate) wanted: Cell<bool>,
    /// When a write succeeded last.
    pub(crate) last: Cell<Micros>,
}

/// Writes until `until`, while it is wanted.
pub(crate) async fn heartbeat(
    (number, store): (u32, SimStore),
    pulse: Rc<Pulse>,
    sleeper: Sleeper,
    mut random: fastrand::Rng,
    until: Micros,
) {
    let key = Bytes::from(format!("h/{{{number}}}"));
    for at in 0u64.. {
        let pause = if pulse.wanted.get() { random.u64(30..120) * MS } else { LOOK_US };
        sleeper.until(sleeper.now.us() + pause).await;
        if sleeper.now.us() >= until {
            return;
        }
        if pulse.wanted.get() {
            // That it succeeded is seen where its answer arrives.
            let _ = store.txn(Txn::new().put(key.clone(), 1, at.to_string()), None::<Identity>).await;
        }
    }
}

/// Whether this answers a write that was done.
pub(crate) fn is_write_that_succeeded(response: &PipelineResponse) -> bool {
    matches!(&response.response, Some(Response::Txn(txn)) if txn.success)
}
