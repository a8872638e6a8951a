//! The source of harm to a running cluster, which it takes back. The node that is hit, and the time, are chosen by the seed;
//! what the cluster does in between is not, so a seed gives the same faults and not the same run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nix::sys::signal::Signal;
use proto::store::{Route, TransferLeadershipRequest};

use super::disk::SmallDisk;
use super::fault::Fault;
use super::load::Load;
use crate::cluster::{Cluster, PATIENCE, with_timeout};
use crate::mesh::{Mesh, Weather};
use crate::wait;

/// A pause or a partition lasts so long, milliseconds: longer than any election timer (600 ms by default).
const LASTS_MS: std::ops::RangeInclusive<u64> = 900..=2_500;
/// A node that was killed stays dead for so long, milliseconds.
const DEAD_MS: std::ops::RangeInclusive<u64> = 0..=1_500;
/// Writes that must succeed between two restarts of nodes in turn.
const WRITES_BETWEEN: usize = 30;
/// What filling a disk leaves, at most: always less than the reserve of a small disk.
const LEFT_BYTES_MAX: u64 = 3 << 20;

/// See the module.
#[derive(Debug)]
pub struct Nemesis {
    /// Its choices.
    rng: fastrand::Rng,
    /// What is still to be done before anything is done again.
    deck: Vec<Fault>,
    /// The small disks, by node; empty: there are none.
    disks: BTreeMap<String, SmallDisk>,
}

impl Nemesis {
    /// One that chooses by this seed.
    #[must_use]
    pub fn new(seed: u64, disks: BTreeMap<String, SmallDisk>) -> Nemesis {
        Nemesis { rng: fastrand::Rng::with_seed(seed), deck: Vec::new(), disks }
    }

    /// Chooses what to do next: each of these as often as any other.
    ///
    /// # Panics
    /// If there is nothing to choose from.
    pub fn choose(&mut self, faults: &[Fault]) -> Fault {
        if self.deck.is_empty() {
            self.deck = faults.to_vec();
            self.rng.shuffle(&mut self.deck);
        }
        self.deck.pop().expect("a fault to choose")
    }

    /// Does harm for a while and takes it back: afterwards all nodes run, on whole wires and empty disks. Returns
    /// how many nodes had ended by themselves for want of room.
    pub async fn strike(&mut self, fault: Fault, cluster: &mut Cluster, load: &Load) -> usize {
        match fault {
            Fault::KillOne => {
                let node = self.one_of(&cluster.nodes());
                self.kill(cluster, &[node]).await;
            }
            Fault::KillLeader => {
                let leader = cluster.leader_of(self.shard(cluster)).await;
                self.kill(cluster, &[leader]).await;
            }
            Fault::KillMajority => {
                let nodes = self.majority(cluster).await;
                self.kill(cluster, &nodes).await;
            }
            Fault::KillAll => self.kill(cluster, &cluster.nodes()).await,
            Fault::PauseOne | Fault::PauseLeader => {
                let (leader, follower) = self.leader_and_follower(cluster).await;
                let node = if fault == Fault::PauseLeader { leader } else { follower };
                cluster.signal(&node, Signal::SIGSTOP);
                self.last().await;
                cluster.signal(&node, Signal::SIGCONT);
            }
            Fault::HangOne | Fault::HangLeader => {
                let (leader, follower) = self.leader_and_follower(cluster).await;
                let node = if fault == Fault::HangLeader { leader } else { follower };
                let disks = cluster.hung_disks.as_ref().expect("a cluster whose disks can hang");
                disks.hang(&node);
                self.last().await;
                disks.answer(&node);
            }
            Fault::FullOne | Fault::FullLeader | Fault::FullMajority => {
                return self.fill(fault, cluster).await;
            }
            Fault::InTurn => in_turn(cluster, load).await,
            Fault::RollingRestart => rolling_restart(cluster, load).await,
            Fault::TransferLeadership => transfer_leadership(cluster).await,
            wires => self.disturb(wires, cluster).await,
        }
        0
    }

    async fn kill(&mut self, cluster: &mut Cluster, nodes: &[String]) {
        for node in nodes {
            cluster.kill(node);
        }
        wait::pass(Duration::from_millis(self.rng.u64(DEAD_MS))).await;
        for node in nodes {
            cluster.run(node);
        }
    }

    async fn disturb(&mut self, fault: Fault, cluster: &Cluster) {
        let (leader, follower) = self.leader_and_follower(cluster).await;
        let (leader, follower) = (number(&leader), number(&follower));
        let nodes: Vec<u64> = cluster.nodes().iter().map(|node| number(node)).collect();
        let mesh = cluster.mesh.as_ref().expect("a cluster with wires");
        let others = |of: u64| nodes.iter().copied().filter(move |node| *node != of);
        let cut = Weather::Cut;
        match fault {
            Fault::IsolateOne => others(follower).for_each(|other| mesh.set_both(follower, other, cut)),
            Fault::IsolateLeader => others(leader).for_each(|other| mesh.set_both(leader, other, cut)),
            Fault::DeafLeader => others(leader).for_each(|other| mesh.set(other, leader, cut)),
            Fault::MuteLeader => others(leader).for_each(|other| mesh.set(leader, other, cut)),
            Fault::Partial => mesh.set_both(leader, follower, cut),
            Fault::Delay => mesh.set_all(Weather::Slow(Duration::from_millis(self.rng.u64(5..=60)))),
            Fault::Loss => mesh.set_all(Weather::Lossy(self.rng.u8(1..=10))),
            other => unreachable!("{other} is not done on wires"),
        }
        self.last().await;
        heal(mesh);
    }

    async fn fill(&mut self, fault: Fault, cluster: &mut Cluster) -> usize {
        let nodes = match fault {
            Fault::FullMajority => self.majority(cluster).await,
            Fault::FullLeader => vec![cluster.leader().await],
            _ => vec![self.leader_and_follower(cluster).await.1],
        };
        for node in &nodes {
            let left = if self.rng.bool() { 0 } else { self.rng.u64(..LEFT_BYTES_MAX) };
            self.disks[node].fill(left);
        }
        self.last().await;
        for node in &nodes {
            self.disks[node].empty();
        }
        // A node whose log could not be made durable, or that could not apply, ends by itself: as a supervisor does.
        cluster.run_those_that_ended()
    }

    async fn last(&mut self) {
        wait::pass(Duration::from_millis(self.rng.u64(LASTS_MS))).await;
    }

    async fn leader_and_follower(&mut self, cluster: &Cluster) -> (String, String) {
        let shard = self.shard(cluster);
        let leader = cluster.leader_of(shard).await;
        let followers: Vec<String> =
            cluster.nodes_of(shard).into_iter().filter(|node| *node != leader).collect();
        (leader, self.one_of(&followers))
    }

    /// One of the ring's shards.
    fn shard(&mut self, cluster: &Cluster) -> u64 {
        self.rng.u64(cluster.shards())
    }

    /// A majority of the nodes, the leader first.
    async fn majority(&mut self, cluster: &Cluster) -> Vec<String> {
        let mut nodes = cluster.nodes();
        let count = nodes.len() / 2 + 1;
        self.rng.shuffle(&mut nodes);
        let leader = cluster.leader().await;
        nodes.sort_by_key(|node| *node != leader);
        nodes.truncate(count);
        nodes
    }

    fn one_of(&mut self, nodes: &[String]) -> String {
        self.rng.choice(nodes).cloned().expect("a node to choose")
    }
}

fn heal(mesh: &Mesh) {
    mesh.set_all(Weather::Fair);
}

fn number(node: &str) -> u64 {
    node.trim_start_matches("node-").parse().expect("nodes are numbered")
}

/// Clause B8: one replica of every range at a time is killed and started again, one after the other, while reads and writes go on.
async fn in_turn(cluster: &mut Cluster, load: &Load) {
    let shards: Vec<Vec<String>> = cluster.shards().map(|shard| cluster.nodes_of(shard)).collect();
    for turn in 0..shards[0].len() {
        // A node may be of several shards.
        let hit: BTreeSet<&String> = shards.iter().map(|nodes| &nodes[turn]).collect();
        for node in &hit {
            cluster.kill(node);
        }
        load.more(WRITES_BETWEEN, PATIENCE).await;
        for node in &hit {
            cluster.run(node);
        }
        for (shard, nodes) in cluster.shards().zip(&shards) {
            back(cluster, shard, &nodes[turn]).await;
        }
        load.more(WRITES_BETWEEN, PATIENCE).await;
    }
}

async fn rolling_restart(cluster: &mut Cluster, load: &Load) {
    for node in cluster.nodes() {
        cluster.stop(&node);
        cluster.run(&node);
        back(cluster, 1, &node).await;
        load.more(WRITES_BETWEEN, PATIENCE).await;
    }
}

/// Waits until a restarted node follows and has what the leader had committed when asked.
async fn back(cluster: &Cluster, shard: u64, node: &str) {
    let leader = cluster.leader_of(shard).await;
    let goal =
        wait::until("the leader's word", PATIENCE, || cluster.status_in(shard, &leader)).await.committed;
    wait::until(&format!("{node} to catch up"), PATIENCE, || async {
        let status = cluster.status_in(shard, node).await.map_err(|error| error.to_string())?;
        let applied = status.applied.unwrap_or_default().offset;
        if applied >= goal { Ok(()) } else { Err(format!("{applied} of {goal}")) }
    })
    .await;
}

async fn transfer_leadership(cluster: &Cluster) {
    let leader = cluster.leader().await;
    let request = TransferLeadershipRequest { route: Some(Route::to(1, 1)), to: 0 };
    // It may be given up under load; then nothing has changed, and that is fine too.
    let _ = cluster.operator(&leader).transfer_leadership(with_timeout(request)).await;
}
