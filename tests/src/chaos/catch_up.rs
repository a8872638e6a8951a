//! A replica that was away through several snapshots comes back: how long it takes to catch up while nobody writes,
//! then while 64 clients write, and what that costs the writers. Measured in one run, on one cluster.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::store::Txn;
use store_client::Session;
use tokio::task::JoinSet;

use super::load::{Gate, store_of};
use crate::cluster::{Cluster, Options, PATIENCE};
use crate::wait;

/// Clients that write.
const CLIENTS: u64 = 64;
/// Keys of each client, written again and again, so that the state to be fetched is as large in both measurements.
const KEYS: u64 = 500;
/// Bytes of each write's data.
const DATA_BYTES: usize = 1 << 10;
/// Snapshots that the leader takes while the replica is away: more than the log files that are kept for a replica that
/// is slow, so that the log no longer reaches back to it.
const SNAPSHOTS: usize = 3 * store_log::limits::FILES_FOR_PEERS + 2;
/// Snapshots are taken this often, so that a run ends.
const STORE: &str = "snapshot_bytes = 16777216";
/// What the replica says when it has taken one over.
const INSTALLED: &str = "a fetched snapshot replaces the log";
/// Writing goes on for so long after the snapshots, before the replica comes back; the rates before are of this time.
const BEFORE: Duration = Duration::from_secs(5);
/// Until it has caught up, at most.
const CATCH_UP_MAX: Duration = Duration::from_secs(300);

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// To catch up while nobody writes.
    pub idle: Duration,
    /// To catch up while all write.
    pub busy: Duration,
    /// Writes a second with all three replicas, before one goes away.
    pub rate_whole: f64,
    /// Writes a second while it is away, just before it comes back.
    pub rate_before: f64,
    /// Writes a second while it catches up.
    pub rate_during: f64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (idle, busy) = (self.idle.as_secs_f64(), self.busy.as_secs_f64());
        writeln!(f, "caught up while nobody writes     {idle:>9.2} s")?;
        writeln!(f, "caught up while {CLIENTS} clients write  {busy:>9.2} s  ({:.1} times)", busy / idle)?;
        writeln!(f, "writes a second, three replicas   {:>9.0}", self.rate_whole)?;
        writeln!(f, "writes a second, one is away      {:>9.0}", self.rate_before)?;
        let share = |of: f64| 100.0 * self.rate_during / of;
        let (whole, before) = (share(self.rate_whole), share(self.rate_before));
        let during = self.rate_during;
        writeln!(f, "writes a second, it catches up    {during:>9.0}  ({whole:.0} %, {before:.0} %)")
    }
}

/// Measures on a cluster of three.
///
/// # Panics
/// If the cluster does not do what it should.
pub async fn measure(feira: &Path) -> Measured {
    let feira = feira.to_str().expect("the program's path is text");
    let options = Options {
        client_portals: 0,
        admin_portals: 0,
        embedded_broker: true,
        store: STORE,
        ..Options::default()
    };
    let mut cluster = Cluster::start(feira, options).await;
    let writers = Writers::start(&cluster);
    let leader = cluster.leader().await;
    let follower = cluster.nodes().into_iter().find(|node| *node != leader).expect("a follower");

    away_through_snapshots(&mut cluster, &leader, &follower).await;
    // As long as below, so that as much of the log is to be pushed behind the snapshot.
    wait::pass(BEFORE).await;
    writers.pause().await;
    let begun = Instant::now();
    cluster.run(&follower);
    caught_up(&cluster, &leader, &follower).await;
    let idle = begun.elapsed();

    writers.gate.open();
    let rate_whole = writers.rate(wait::pass(BEFORE)).await;
    away_through_snapshots(&mut cluster, &leader, &follower).await;
    let rate_before = writers.rate(wait::pass(BEFORE)).await;
    let begun = Instant::now();
    cluster.run(&follower);
    let rate_during = writers.rate(caught_up(&cluster, &leader, &follower)).await;
    let busy = begun.elapsed();

    writers.pause().await;
    cluster.wait_until_equal().await;
    let installed = cluster.log_of(&follower).matches(INSTALLED).count();
    assert!(installed >= 2, "both times by a snapshot, not {installed}: the log reached back");
    Measured { idle, busy, rate_whole, rate_before, rate_during }
}

async fn away_through_snapshots(cluster: &mut Cluster, leader: &str, follower: &str) {
    cluster.kill(follower);
    let cluster = &*cluster;
    let mut last = cluster.status(leader).await.expect("the leader answers").snapshot;
    for _ in 0..SNAPSHOTS {
        last = wait::until("a snapshot", CATCH_UP_MAX, || async {
            let status = cluster.status(leader).await.map_err(|error| error.to_string())?;
            if status.snapshot > last { Ok(status.snapshot) } else { Err(format!("still at {last}")) }
        })
        .await;
    }
}

/// Waits until the follower has applied what the leader had committed a moment before.
async fn caught_up(cluster: &Cluster, leader: &str, follower: &str) {
    wait::until("a replica to catch up", CATCH_UP_MAX, || async {
        let said = |error: tonic::Status| error.to_string();
        let committed = cluster.status(leader).await.map_err(said)?.committed;
        let applied = cluster.status(follower).await.map_err(said)?.applied.unwrap_or_default().offset;
        if applied >= committed { Ok(()) } else { Err(format!("{applied} of {committed}")) }
    })
    .await;
}

/// Clients that write as fast as they are answered.
struct Writers {
    gate: Arc<Gate>,
    written: Arc<AtomicU64>,
    _clients: JoinSet<()>,
}

impl Writers {
    fn start(cluster: &Cluster) -> Writers {
        let (gate, written) = (Arc::new(Gate::default()), Arc::new(AtomicU64::new(0)));
        let mut clients = JoinSet::new();
        for at in 0..CLIENTS {
            // A session's answers are forgotten as the next one is asked for. Remembered ones would make the state larger
            // from one measurement to the next.
            let session = Session::new(store_of(cluster, PATIENCE));
            let (gate, written) = (Arc::clone(&gate), Arc::clone(&written));
            clients.spawn(async move {
                let data = Bytes::from(vec![b'x'; DATA_BYTES]);
                for next in 0_u64.. {
                    let _inside = gate.enter().await;
                    let put = Txn::new().put(format!("c/{at}/{}", next % KEYS), 0, data.clone());
                    let submitted = session.submit(put).expect("nothing else waits in this session");
                    written.fetch_add(u64::from(submitted.await.is_ok()), Ordering::Relaxed);
                }
            });
        }
        Writers { gate, written, _clients: clients }
    }

    /// Writes a second until something is done.
    async fn rate(&self, until: impl Future<Output = ()>) -> f64 {
        let (begun, before) = (Instant::now(), self.written.load(Ordering::Relaxed));
        until.await;
        let written = self.written.load(Ordering::Relaxed) - before;
        // Counts of writes are far below where a double is no longer exact.
        #[allow(clippy::cast_precision_loss)]
        let written = written as f64;
        written / begun.elapsed().as_secs_f64()
    }

    async fn pause(&self) {
        self.gate.close();
        wait::until("writers to hear", PATIENCE * 2, || async {
            let inside = self.gate.inside();
            if inside == 0 { Ok(()) } else { Err(format!("{inside} wait")) }
        })
        .await;
    }
}
