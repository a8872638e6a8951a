//! Chaos over real processes: store nodes with real files, clients that ask without pause, and a nemesis that does
//! harm by a seed (`cargo xtask chaos`).
//!
//! ```text
//!   start ─► │ load ─ harm ─ load goes on ─ pause ─ compare everything │ ─► … ─► judge the history
//!            └──────────────────────── one round ──────────────────────┘
//! ```
//!
//! After each round everything is whole again, and all of this must hold: clients go on by themselves; no node has
//! ended or panicked; all replicas have applied the same log with the same effects; what was acknowledged is there
//! and what was refused is not; the books of the shop are right on every replica (`feira audit`). At the end no
//! epoch had two leaders, transactions are strictly serializable, and the history is linearizable, an outcome that nobody learnt staying possible for ever.
//!
//! Leaves out: faults that need a machine to lose its power (the simulation loses unsynced bytes), and clocks.

pub mod catch_up;
pub mod disk;
pub mod elections;
pub mod fault;
pub mod history;
pub mod hung_disk;
pub mod load;
pub mod nemesis;
pub mod report;
pub mod tally;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use feira_lincheck::{AppendOp, Limits, RecordOp};

use crate::chaos::disk::SmallDisk;
use crate::chaos::fault::Fault;
use crate::chaos::history::History;
use crate::chaos::load::{Client, Load, Shared, Volume, store_of};
use crate::chaos::nemesis::Nemesis;
use crate::chaos::report::Report;
use crate::cluster::{Cluster, Options, PATIENCE};

/// A small disk: its log, its snapshots and its table fit in a tenth of it.
const DISK_BYTES: u64 = 256 << 20;
/// The settings of the store on small disks: writes leave 8 MiB free, and snapshots are small.
const ON_SMALL_DISKS: &str = "disk_reserve_bytes = 8388608\nmap_bytes = 268435456\nsnapshot_bytes = 8388608";
/// And on others: logs roll and snapshots are taken in the middle of it all.
const ON_LARGE_DISKS: &str = "snapshot_bytes = 2097152";
/// Writes that must succeed before harm is done, and after it.
const WRITES_BEFORE: usize = 100;
const WRITES_AFTER: usize = 100;
/// How long clients may take to go on after harm.
const RECOVERY: Duration = Duration::from_secs(30);

/// Judging the history takes at most so long.
const CHECK_TIME_MAX: Duration = Duration::from_secs(300);

/// What to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program.
    pub feira: PathBuf,
    /// Rounds are begun for so long.
    pub time: Duration,
    /// And at most so many.
    pub rounds: u64,
    /// Where the history goes.
    pub history: PathBuf,
    /// The seed of all choices.
    pub seed: u64,
    /// What may be done.
    pub faults: Vec<Fault>,
    /// Shards of the ring.
    pub shards: u64,
    /// Store nodes of each.
    pub nodes: u64,
    /// Those are the same nodes for all shards.
    pub shared: bool,
    /// How much is asked.
    pub volume: Volume,
}

/// Does chaos and judges it.
///
/// # Panics
/// If anything does not hold: it says what, and where the folders and logs are left.
pub async fn run(settings: &Settings) -> Report {
    let mut report = Report { seed: settings.seed, nodes: settings.nodes, ..Report::default() };
    let (mut cluster, disks, faults) = prepare(settings, &mut report);
    cluster.begin().await;
    let history = History::create(&settings.history).expect("the history's file can be made");
    let shared = Arc::new(Shared::new(history));
    let mut load = Load::start(&cluster, Arc::clone(&shared), settings.volume, settings.seed).await;
    let mut nemesis = Nemesis::new(settings.seed, disks);
    let mut auditor = auditor(&cluster, &shared, settings);
    let begun = Instant::now();
    let mut rounds = 0;
    while rounds < settings.rounds && begun.elapsed() < settings.time {
        load.more(WRITES_BEFORE, RECOVERY).await;
        let fault = nemesis.choose(&faults);
        let harmed = Instant::now();
        report.ended_for_room += nemesis.strike(fault, &mut cluster, &load).await;
        load.more(WRITES_AFTER, RECOVERY).await;
        let gap = shared.tally.longest_gap(harmed);
        eprintln!("{} round {}: {fault}: {} ms without a write", utc(), shared.round(), gap.as_millis());
        report.faults.entry(fault).or_default().push(gap);
        load.pause(settings.volume.deadline * 4 + PATIENCE).await;
        compare(&mut cluster, &load, &mut auditor).await;
        report.verified += 1;
        rounds += 1;
        shared.gate.open();
    }
    load.pause(settings.volume.deadline * 4 + PATIENCE).await;
    let store = store_of(&cluster, PATIENCE);
    load.verify(&store, cluster.shop(1), true).await.unwrap_or_else(|what| panic!("at the end: {what}"));
    report.took = begun.elapsed();
    conclude(&cluster, &shared, &mut report);
    report
}

/// The cluster, configured; what it needs for the faults asked for; and those that can be done here.
fn prepare(settings: &Settings, report: &mut Report) -> (Cluster, BTreeMap<String, SmallDisk>, Vec<Fault>) {
    let mut faults = settings.faults.clone();
    let wants_disks = faults.iter().any(|fault| fault.needs_small_disks());
    let options = Options {
        shards: settings.shards,
        nodes: settings.nodes,
        shared: settings.shared,
        embedded_broker: true,
        store: if wants_disks { ON_SMALL_DISKS } else { ON_LARGE_DISKS },
        wired: faults.iter().any(|fault| fault.needs_wires()),
        disks_hang: faults.iter().any(|fault| fault.needs_disks_that_hang()),
        ..Options::default()
    };
    let feira = settings.feira.to_str().expect("the program's path is text");
    let mut cluster = Cluster::prepare(feira, options);
    cluster.keep_if_failed = true;
    let mut disks = BTreeMap::new();
    for id in (1..=settings.nodes).filter(|_| wants_disks) {
        let node = format!("node-{id}");
        match SmallDisk::mount(&cluster.data_of(&node), DISK_BYTES) {
            Ok(disk) => drop(disks.insert(node, disk)),
            Err(why) => {
                report.left_out.push(format!("full disks: {why}"));
                faults.retain(|fault| !fault.needs_small_disks());
                disks.clear();
                break;
            }
        }
    }
    assert!(!faults.is_empty(), "nothing is left to be done: {:?}", report.left_out);
    (cluster, disks, faults)
}

/// A client that reads everything of a round once more when the others wait.
fn auditor(cluster: &Cluster, shared: &Arc<Shared>, settings: &Settings) -> Client {
    let store = store_of(cluster, PATIENCE);
    Client::new(Arc::clone(shared), store, fastrand::Rng::with_seed(settings.seed), true, 0)
}

/// Everything that must hold while nobody asks; begins the next round.
async fn compare(cluster: &mut Cluster, load: &Load, auditor: &mut Client) {
    cluster.all_run();
    cluster.wait_until_equal().await;
    let store = store_of(cluster, PATIENCE);
    let verified = load.verify(&store, cluster.shop(1), false).await;
    verified.unwrap_or_else(|what| panic!("round {}: {what}", load.shared.round()));
    let anomalies = load.shared.tally.anomalies();
    assert!(anomalies.is_empty(), "no client may hear this: {anomalies:#?}");
    for key in load.shared.next_round() {
        let answered = match key.starts_with("a/") {
            true => auditor.list(&key, AppendOp::Get).await.is_some(),
            false => auditor.record(&key, RecordOp::Get).await.is_some(),
        };
        assert!(answered, "{key} cannot be read on a whole cluster");
    }
    let mut audit = cluster.command(&["audit"]);
    let audited = tokio::task::spawn_blocking(move || audit.output()).await.expect("an audit does not panic");
    let audited = audited.expect("the program can be started");
    assert!(audited.status.success(), "feira audit: {}", String::from_utf8_lossy(&audited.stderr));
}

/// What can be judged only at the end.
fn conclude(cluster: &Cluster, shared: &Shared, report: &mut Report) {
    for shard in cluster.shards() {
        let nodes = cluster.nodes_of(shard).into_iter();
        let logs: Vec<(String, String)> = nodes.map(|node| (node.clone(), cluster.log_of(&node))).collect();
        let leaders = elections::leaders(shard, logs.iter().map(|(node, log)| (node.as_str(), log.as_str())));
        report.leaders += leaders.unwrap_or_else(|what| panic!("{what}")).len();
    }
    report.operations = shared.tally.counts();
    let limits = Limits { time_max: Some(CHECK_TIME_MAX), ..Limits::default() };
    report.transactions = shared.transactions.check().unwrap_or_else(|what| panic!("{what}"));
    report.checked = shared.history.check(&limits).unwrap_or_else(|what| panic!("{what}"));
}

/// The time of day, as the nodes' logs say it.
fn utc() -> String {
    let ms = store_client::now_ms();
    let of_day = |unit: i64, count: i64| ms / unit % count;
    format!(
        "{:02}:{:02}:{:02}.{:03}Z",
        of_day(3_600_000, 24),
        of_day(60_000, 60),
        of_day(1_000, 60),
        of_day(1, 1_000)
    )
}
