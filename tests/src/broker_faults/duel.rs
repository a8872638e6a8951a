//! Duels for one record: a portal is stopped while it waits for the answer of its write, and another portal writes the same meanwhile. When
//! it goes on, the answer and the news of the later write are there at once, and whichever it takes first, the later one holds. Then both
//! writes are repeated under their ids, over both portals: the answers are those of then, and neither brings the past back.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::asking::{Asker, Via};
use super::report::PORTALS;
use super::shared::{Shared, is_duelled, pids};
use super::staff::{price, repeat, reprice};
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
        let asked = [price(shared, rng, pid), price(shared, rng, pid)];
        let first = reprice((asker, shared, &mut one), Via::Grpc(here), asked[0].clone());
        let ahead = Duration::from_millis(rng.u64(..AHEAD_MS_MAX));
        let after = Duration::from_millis(rng.u64(..STOPPED_MS_MAX));
        let second = async {
            wait::pass(ahead).await;
            cluster.signal(PORTALS[here], Signal::SIGSTOP);
            let version = reprice((asker, shared, &mut other), Via::Grpc(there), asked[1].clone()).await;
            wait::pass(after).await;
            cluster.signal(PORTALS[here], Signal::SIGCONT);
            version
        };
        let versions = tokio::join!(first, second);
        for (asked, version) in asked.iter().zip([versions.0, versions.1]).filter(|(_, version)| *version > 0)
        {
            for via in [Via::Http(here), Via::Grpc(there)] {
                repeat((asker, shared, rng), via, asked.clone(), version).await;
            }
        }
    }
}
