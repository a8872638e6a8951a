//! One running replica: recovery, then its threads. [`crate::serve`] puts the network around it,
//! [`crate::Embedded`] nothing.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, channel};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use proto::store::{AppliedState, Owned, Route};
use store_core::NodeId;
use store_db::layered::Limits;
use store_db::{Layered, Lmdb, Table as _};
use store_engine::{Engine, NodeConfig, OpenConfig, Policy, Replicators, Reserve, Snapshots, ToPeer};
use store_keys::ClusterKey;
use store_log::{BootId, ClusterId, LogReader, RealDisk, RealFile};
use tokio::sync::{mpsc, watch};

use crate::background::{Audits, BackgroundJobs, SyncEnd, run_flushes, run_syncs};
use crate::config::Config;
use crate::error::Error;
use crate::folder_use::FolderUse;
use crate::machine_clock::MachineClock;
use crate::nodes::Turned;
use crate::queues::{Queues, ToApplier, queues};
use crate::router::ResponseBatch;
use crate::shard::{RING_VERSION, Shard};
use crate::shared::{Disk, Identity, OfProcess, Shared, Start, Table};
use crate::stages::{ApplierThread, NodeStage, STACK_BYTES, run_ballots, run_writer};

/// For so long it is remembered that the disk hung.
const HANG_REMEMBERED_MS: u64 = 3_600_000;

/// A recovered replica whose threads do not run yet.
pub(crate) struct Opened {
    engine: Engine<Disk, Table, MachineClock>,
    table: Table,
    me: Identity,
    /// The lock of the folder ([`RealDisk::in_use`]).
    lock: Weak<()>,
}

/// A replica whose threads run.
pub(crate) struct Running {
    pub(crate) shared: Arc<Shared>,
    pub(crate) audits: Arc<Audits>,
    pub(crate) snapshots: Arc<Snapshots<Disk>>,
    pub(crate) log: LogReader<RealFile>,
    /// What ends the node.
    pub(crate) fatal: mpsc::UnboundedReceiver<Error>,
    folder_use: FolderUse,
    node_end: NodeEnd,
    threads: Vec<JoinHandle<()>>,
    sync_end: SyncEnd,
}

/// The end of a node, for whoever stops its replica.
struct NodeEnd {
    /// Its queues, once it has ended.
    queues: Receiver<Queues>,
    /// An end of the applier's, if the node broke off and left none.
    applier: SyncSender<ToApplier>,
}

impl NodeEnd {
    /// Waits until the node has ended, and tells the applier to end, after all that waits for it.
    fn wait(&self) {
        match self.queues.recv() {
            Ok(queues) => queues.end(),
            // An applier that has ended already has told why.
            Err(_) => drop(self.applier.send(ToApplier::End)),
        }
    }
}

/// The ends of a replica's threads for the carrier of messages.
pub(crate) struct Connect {
    pub(crate) shared: Arc<Shared>,
    pub(crate) replicators: Replicators<Disk>,
    pub(crate) snapshots: Arc<Snapshots<Disk>>,
    /// Where they tell what must end the node.
    pub(crate) fatal: mpsc::UnboundedSender<Error>,
}

/// Recovers the replica in `config`'s folder. Takes as long as it takes: call it off the runtime's threads.
pub(crate) fn open(config: &Config) -> Result<Opened, Error> {
    let group = config.group;
    let failed = |source: store_engine::Error| Error::Open { group, source };
    let folder = config.group_folder(group);
    if !folder.join("meta").exists() {
        let what = format!("no replica in {}: bootstrap the node first", folder.display());
        return Err(Error::Folder { what, source: io::Error::from(io::ErrorKind::NotFound) });
    }
    let disk = Arc::new(RealDisk::open(&folder).map_err(|error| failed(error.into()))?);
    let boot_id = store_log::boot_id().map_err(|error| failed(error.into()))?;
    let lock = disk.in_use();
    let (table, verdict) = open_table(config, &folder, &boot_id)?;
    tracing::info!(?verdict, "the database");
    let identity = store_log::Identity {
        cluster: ClusterId::new(config.cluster.as_bytes()).map_err(|error| failed(error.into()))?,
        group: store_core::GroupId(group),
        node: NodeId(config.node),
        state_machine_version: store_db::limits::STATE_MACHINE_VERSION,
    };
    let opened = store_engine::open(OpenConfig {
        disk,
        identity,
        boot_id,
        log: store_log::Options { files_kept: config.files_kept, ..Default::default() },
        table: table.clone(),
        clock: MachineClock::new(),
        node: node_config(config),
    });
    let engine = opened.map_err(failed)?;
    // One that cannot be read is to be replaced, as recovery has found.
    if let Ok(state) = table.read(|read| store_db::state::read(read)) {
        check_part(config.shard(), &state)?;
    }
    tracing::info!(recovery = ?engine.recovery, "recovered");
    let route = Route::to(group, RING_VERSION);
    let me = Identity { cluster: config.cluster.clone(), route, member: engine.snapshots.meta().member };
    Ok(Opened { engine, table, me, lock })
}

/// Refuses a configuration in which the group owns another part of the ring than its state says: requests would go where their keys are not.
fn check_part(shard: Shard, state: &AppliedState) -> Result<(), Error> {
    // Before the first membership is applied nothing says what is owned.
    if state.membership.is_none() || state.owned == shard.owned() {
        return Ok(());
    }
    let part = |owned: Option<Owned>| match owned {
        Some(Owned { after, up_to, ring_version }) => {
            format!("the hashes ({after:016x}, {up_to:016x}] (ring version {ring_version})")
        }
        None => "the whole ring".to_owned(),
    };
    let problem = format!(
        "the replica of shard {} owns {}, and as one of {} it would own {}: the number of shards is that of the cluster's founding; put the configuration \
         back",
        shard.group,
        part(state.owned),
        shard.of,
        part(shard.owned())
    );
    Err(Error::Config { field: "shards", problem })
}

fn open_table(
    config: &Config,
    folder: &Path,
    boot_id: &BootId,
) -> Result<(Layered<Lmdb>, store_db::trust::Verdict), Error> {
    let failed = |error: store_db::Error| Error::Open { group: config.group, source: error.into() };
    let map_bytes = config.table_bytes_max;
    let options = store_db::Options { map_bytes, ..store_db::Options::new(boot_id.to_string()) };
    let (table, verdict) = Lmdb::open(&folder.join("db"), &options).map_err(failed)?;
    Ok((Layered::new(table, Limits::default()), verdict))
}

fn node_config(config: &Config) -> NodeConfig {
    // The engine replaces the member by what the folder says.
    let member = store_core::Member { node: NodeId(config.node), incarnation: store_core::Incarnation(0) };
    let mut core = store_core::Config::new(member);
    core.ticks_heartbeat = config.heartbeat_ticks;
    core.ticks_election_min = config.election_ticks_min;
    core.ticks_election_max = config.election_ticks_max;
    core.ticks_hang_remembered = u32::try_from(HANG_REMEMBERED_MS / config.tick_ms).unwrap_or(u32::MAX);
    core.preferred = config.preferred_leader.map(NodeId);
    let mut node = NodeConfig::new(core, fastrand::u64(..));
    node.reserve = Reserve { disk_bytes: config.disk_reserve_bytes, table_bytes: config.table_reserve_bytes };
    let ticks = config.snapshot_seconds.saturating_mul(1_000) / config.tick_ms;
    node.snapshots = Policy { log_bytes: config.snapshot_log_bytes, ticks };
    node
}

impl Opened {
    /// Starts the threads but that of the node, which is to be turned ([`crate::nodes`]); `keys` is the cluster key as its file says now; `address` is this node's if its port was allotted just now; `connect` says who takes what is for peers.
    pub(crate) fn start<F>(
        self,
        config: Config,
        keys: watch::Receiver<ClusterKey>,
        address: Option<String>,
        of_process: &OfProcess,
        connect: impl FnOnce(Connect) -> F,
    ) -> Result<(Running, Turned), Error>
    where
        F: Fn(ToPeer) + Send + Sync + 'static,
    {
        let Opened { engine, table, me, lock } = self;
        let Engine { node, writer, ballots, applier, replicators, snapshots, log, .. } = engine;
        let membership = node.members().cloned().unwrap_or_default();
        let status = node.status();
        let of_process = of_process.clone();
        let start = Start { me, config, keys, table, address, status, membership, of_process };
        let shared = Arc::new(Shared::new(start));
        let folder_use = FolderUse::new(lock, &shared);
        let (queues, ends) = queues();
        let (fatal_tell, fatal) = mpsc::unbounded_channel();
        let exported = Arc::clone(&snapshots);
        let background =
            BackgroundJobs::new(Arc::clone(&shared), exported, queues.resume(), fatal_tell.clone());
        let audits = background.audits();
        let connected = Connect {
            shared: Arc::clone(&shared),
            replicators,
            snapshots: Arc::clone(&snapshots),
            fatal: fatal_tell.clone(),
        };
        let to_peers = Arc::new(connect(connected));
        let resume = queues.resume();
        let node = NodeStage::new(node, Arc::clone(&shared), queues, to_peers);
        let applier = ApplierThread {
            applier,
            shared: Arc::clone(&shared),
            jobs: ends.applier,
            background,
            response_batch: ResponseBatch::default(),
        };
        let (writer_shared, ballots_shared) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads_of = Threads { fatal: fatal_tell, span: span_of(&shared) };
        let mut threads = vec![
            threads_of.spawn("writer", move || run_writer(writer, &ends.writer, &writer_shared))?,
            threads_of.spawn("ballots", move || run_ballots(ballots, &ends.ballots, &ballots_shared))?,
            threads_of.spawn("applier", move || applier.run())?,
        ];
        let sync_end = SyncEnd::default();
        threads.extend(database_threads(&shared, &sync_end, &threads_of)?);
        let Threads { fatal: fatal_tell, span } = threads_of;
        let (ended, node_ended) = channel();
        let turned = Turned { node, span, fatal: fatal_tell, ended };
        let node_end = NodeEnd { queues: node_ended, applier: resume };
        let running =
            Running { shared, audits, snapshots, log, fatal, folder_use, node_end, threads, sync_end };
        Ok((running, turned))
    }
}

impl Running {
    /// Ends the threads: what is in the queues is written and applied, then the table is synced. Call it off the
    /// runtime's threads. What a thread ended with, and what shows when the folder is free.
    pub(crate) fn stop(mut self) -> (Result<(), Error>, FolderUse) {
        self.shared.close();
        self.audits.close();
        *self.sync_end.0.lock() = true;
        self.sync_end.1.notify_all();
        self.shared.table.wake();
        self.node_end.wait();
        for thread in self.threads.drain(..) {
            // A thread that panicked has told so.
            let _ = thread.join();
        }
        (self.fatal.try_recv().map_or(Ok(()), Err), self.folder_use)
    }
}

/// The threads that carry the newest rows into the database, and sync it.
fn database_threads(
    shared: &Arc<Shared>,
    end: &SyncEnd,
    threads: &Threads,
) -> Result<[JoinHandle<()>; 2], Error> {
    let (flushed, flushes_end) = (Arc::clone(shared), Arc::clone(end));
    let (synced, syncs_end) = (Arc::clone(shared), Arc::clone(end));
    Ok([
        threads.spawn("flushes", move || run_flushes(&flushed, &flushes_end))?,
        threads.spawn("syncs", move || run_syncs(&synced, &syncs_end))?,
    ])
}

/// What the threads of a replica have in common.
struct Threads {
    /// Where they tell what must end the node.
    fatal: mpsc::UnboundedSender<Error>,
    /// In what they log.
    span: tracing::Span,
}

/// Which group it is, where there are several.
fn span_of(shared: &Shared) -> tracing::Span {
    match shared.config.ring.len() {
        0 | 1 => tracing::Span::none(),
        _ => tracing::info_span!("replica", group = shared.me.route.group),
    }
}

impl Threads {
    /// Runs one; an error or a panic ends the node.
    fn spawn(
        &self,
        name: &'static str,
        work: impl FnOnce() -> Result<(), Error> + Send + 'static,
    ) -> Result<JoinHandle<()>, Error> {
        let (fatal, span) = (self.fatal.clone(), self.span.clone());
        let guarded = move || {
            let _entered = span.entered();
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            match ended {
                Ok(Ok(())) => {}
                // Nobody listens when the node ends already.
                Ok(Err(error)) => drop(fatal.send(error)),
                Err(_) => drop(fatal.send(Error::Ended(name))),
            }
        };
        let builder = thread::Builder::new().name(format!("feira-{name}")).stack_size(STACK_BYTES);
        let failed = |source| Error::Folder { what: format!("a thread for the {name}"), source };
        builder.spawn(guarded).map_err(failed)
    }
}
