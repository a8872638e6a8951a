//! Duels for one record: a portal is stopped while it waits for the answer of its write, and another portal writes the same meanwhile. When
//! it goes on, the answer and the news of the later write are there at once, and whichever it takes first, the later one holds.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::asking::{Asker, Via};
use super::report::PORTALS;
use super::shared::{Shared, is_duelled, pids};
use super::staff::reprice;
use crate::cluster::Cluster;
use crate::wait;

/// From sending a write to the stop, at most: about as long as a write takes.
const AHEAD_MS_MAX: u64 = 10;
/// The portal stays stopped for so long after the other's write.
const STOPPED_MS_MAX: u64 = 200;

/// One duel for each of the products that are kept for it: nobody else writes them, so that what is wrong stays to be seen. `asker` is one
/// of both administrators' portals.
pub async fn duels(cluster: &Cluster, asker: &Asker, shared: &Shared, rng: &mut fastrand::Rng) {
    for pid in pids().iter().filter(|pid| is_duelled(pid)) {
        let (here, there) = if rng.bool() { (0, 1) } else { (1, 0) };
        let (mut one, mut other) = (rng.fork(), rng.fork());
        let first = reprice((asker, shared, &mut one), Via::Grpc(here), pid);
        let ahead = Duration::from_millis(rng.u64(..AHEAD_MS_MAX));
        let after = Duration::from_millis(rng.u64(..STOPPED_MS_MAX));
        let second = async {
            wait::pass(ahead).await;
            cluster.signal(PORTALS[here], Signal::SIGSTOP);
            reprice((asker, shared, &mut other), Via::Grpc(there), pid).await;
            wait::pass(after).await;
            cluster.signal(PORTALS[here], Signal::SIGCONT);
        };
        tokio::join!(first, second);
    }
}
