//! The threads around the engine's stages, one each of a replica: writer, ballots, applier, and short-lived background threads
//! for snapshots; and what the thread that turns the nodes of all replicas ([`crate::nodes`]) does with each. They carry each
//! output of a stage to its receiver in the engine's table of contents.
//!
//! A node waits for nothing: neither for peers or clients, nor for a disk that hangs ([`crate::queues`]).

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use store_core::{Ballot, Role, RoleView};
use store_db::Table as _;
use store_engine::front::NodeResponse;
use store_engine::{
    Answer, Applier, ApplierJob, ApplierOut, BallotWriter, ChangeRequest, Job, Node, NodeOut, Report, ToPeer,
    Writer, WriterJob,
};

use crate::background::BackgroundJobs;
use crate::change_waits::ChangeWaits;
use crate::disk;
use crate::error::Error;
use crate::inbox::Intake;
use crate::log_time;
use crate::machine_clock::MachineClock;
use crate::problems::About;
use crate::quarantine;
use crate::queues::{Queues, ToApplier};
use crate::router::ResponseBatch;
use crate::shared::{Disk, Shared, Table};
use crate::trace;

/// Stacks of the threads of stages.
pub(crate) const STACK_BYTES: usize = 2 << 20;
/// Batches that a writer or applier takes at once.
const BATCHES_PER_POLL: usize = 256;
/// Ticks between two renewals of the node's status.
const STATUS_TICKS: u32 = 5;

/// A node, and what is around it.
pub(crate) struct NodeStage {
    node: Node<Disk, Table, MachineClock>,
    shared: Arc<Shared>,
    queues: Queues,
    /// Takes what is for a peer; never waits.
    to_peers: Arc<dyn Fn(ToPeer) + Send + Sync>,
    response_batch: ResponseBatch,
    ticks_to_status: u32,
    change_waits: ChangeWaits,
    /// Kept from turn to turn.
    taken: Intake,
    jobs: Vec<Job>,
    outs: Vec<NodeOut>,
}

impl NodeStage {
    pub(crate) fn new(
        node: Node<Disk, Table, MachineClock>,
        shared: Arc<Shared>,
        queues: Queues,
        to_peers: Arc<dyn Fn(ToPeer) + Send + Sync>,
    ) -> NodeStage {
        NodeStage {
            node,
            shared,
            queues,
            to_peers,
            response_batch: ResponseBatch::default(),
            ticks_to_status: 0,
            change_waits: ChangeWaits::default(),
            taken: Intake::default(),
            jobs: Vec::new(),
            outs: Vec::new(),
        }
    }

    /// The length of a tick.
    pub(crate) fn tick(&self) -> Duration {
        Duration::from_millis(self.shared.config.tick_ms)
    }

    /// Takes what has come, and a tick if there is one, and carries what the node says to it. False: the inbox is closed.
    pub(crate) fn turn(&mut self, is_tick: bool, now: Instant) -> Result<bool, Error> {
        let is_open = self.shared.inbox.take(&mut self.taken);
        if !is_open {
            return Ok(false);
        }
        if self.taken.jobs.is_empty() && self.taken.batches.is_empty() && !is_tick {
            return Ok(true);
        }
        self.jobs.append(&mut self.taken.jobs);
        if is_tick {
            self.jobs.push(Job::Tick);
            self.ticks_to_status = self.ticks_to_status.saturating_sub(1);
        }
        let mut batches = std::mem::take(&mut self.taken.batches);
        for batch in batches.drain(..) {
            if batch.from.is_broken() {
                self.refuse(&batch.jobs);
            } else {
                self.jobs.extend(batch.jobs);
            }
        }
        self.taken.batches = batches;
        if self.shared.trace.is_watched() {
            self.jobs.iter().filter_map(trace::taken).for_each(|event| self.shared.trace.record(|| event));
        }
        let mut outs = std::mem::take(&mut self.outs);
        let polled = self.node.poll(self.jobs.drain(..), &mut outs);
        polled.map_err(|source| Error::Stage { stage: "node", source })?;
        self.carry(&mut outs)?;
        self.outs = outs;
        if self.ticks_to_status == 0 {
            self.look(now);
        }
        Ok(true)
    }

    /// The ends of its queues, for whoever tells the applier to end: that may have to wait. Nothing else of the node is left.
    pub(crate) fn into_queues(self) -> Queues {
        self.queues
    }

    /// What an operator should know of the node now.
    fn look(&mut self, now: Instant) {
        let status = self.node.status();
        disk::look(&self.shared.problems, status.disk);
        log_time::look(&self.shared.problems, &status);
        self.change_waits.look(&self.shared.problems, &status, now);
        self.shared.set_status(status);
        self.ticks_to_status = STATUS_TICKS;
    }

    /// Refuses requests that came after one that was not executed.
    fn refuse(&mut self, jobs: &[Job]) {
        let view = *self.shared.role.borrow();
        for job in jobs {
            if let Job::Write { request_id, .. }
            | Job::WriteAnyway { request_id, .. }
            | Job::Resync { request_id }
            | Job::Read { request_id }
            | Job::ChangeMembers(ChangeRequest { request_id, .. }) = job
            {
                let answer = Answer::NotLeader { epoch: view.epoch, leader: view.leader };
                self.response_batch.add(*request_id, NodeResponse::Answer(answer));
            }
        }
    }

    /// Carries what the node said to where it belongs.
    fn carry(&mut self, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        if self.shared.trace.is_watched() {
            outs.iter().filter_map(trace::said).for_each(|event| self.shared.trace.record(|| event));
        }
        let (mut writes, mut applies, mut ballots) = (Vec::new(), Vec::new(), Vec::new());
        for out in outs.drain(..) {
            match out {
                NodeOut::Write(job) => {
                    tell(&job);
                    writes.push(job);
                }
                NodeOut::Apply(job) => applies.push(job),
                NodeOut::SaveBallot(ballot) => ballots.push(ballot),
                NodeOut::Answer { request_id, answer } => {
                    self.response_batch.add(request_id, NodeResponse::Answer(answer));
                }
                NodeOut::Role(view) => {
                    self.shared.problems.clear(About::Divergence);
                    log_change(self.shared.role.send_replace(view), view);
                    self.ticks_to_status = 0;
                }
                NodeOut::Members(membership) => {
                    self.shared.set_members(membership);
                    self.ticks_to_status = 0;
                }
                NodeOut::TransferFailed => self.shared.transfer_failed.send_modify(|count| *count += 1),
                NodeOut::Quarantined(quarantine) => {
                    quarantine::quarantined(&self.shared, quarantine);
                    self.ticks_to_status = 0;
                }
                NodeOut::Report(report) => self.report(report),
                NodeOut::Fatal(fatal) => return Err(Error::Fatal(fatal)),
                NodeOut::Peer(out) => (self.to_peers)(out),
            }
        }
        self.queues.ballots.send(ballots).map_err(|_| Error::Ended("the ballot's writer"))?;
        self.queues.writer.send(writes).map_err(|_| Error::Ended("the log writer"))?;
        self.queues.applier.send(applies).map_err(|_| Error::Ended("the applier"))?;
        self.shared.router.deliver(&mut self.response_batch);
        Ok(())
    }

    fn report(&self, report: Report) {
        match report {
            Report::ClockJump { last_log_time_ms, time_ms } => {
                tracing::warn!(
                    last_log_time_ms,
                    time_ms,
                    "the voters' clocks are far ahead of the log's time and do not agree; it goes on and catches up slowly"
                );
            }
            Report::OutOfSpace(shortage) => {
                tracing::warn!(%shortage, "writes are refused: out of space");
                self.shared.problems.raise(About::Headroom, shortage.to_string());
            }
            Report::Damage(damage) => quarantine::damaged(&self.shared, damage),
            Report::EpochRefused { from, epoch } => {
                let text = format!(
                    "{from} names epoch {}, which no election can have reached: it was not believed; its disk may be \
                     damaged",
                    epoch.0
                );
                if self.shared.problems.notice(About::Epoch, text) {
                    tracing::warn!(%from, epoch = epoch.0, "an epoch that no election can have reached was refused");
                }
            }
            Report::Divergence(divergence) => quarantine::states_differ(&self.shared, divergence),
            Report::HeadroomAgain => {
                tracing::info!("space is available again");
                self.shared.problems.clear(About::Headroom);
            }
        }
    }
}

/// What an operator wants to know of the log.
fn tell(job: &WriterJob) {
    match job {
        WriterJob::Truncate { from, committed } => tracing::warn!(
            from = from.0,
            committed = committed.0,
            "truncating intermediate entries that the leader's log does not have"
        ),
        WriterJob::Roll { at } => tracing::info!(at = at.0, "the log rolls, and a snapshot is begun"),
        WriterJob::Reset { after, .. } => tracing::info!(%after, "a fetched snapshot replaces the log"),
        WriterJob::Adopt { position } => {
            tracing::info!(%position, "a fetched snapshot replaces the wrong database; the log stays");
        }
        _ => {}
    }
}

/// The writer's thread: all waiting batches become one poll, hence one sync.
pub(crate) fn run_writer(
    mut writer: Writer<Disk>,
    jobs: &Receiver<Vec<WriterJob>>,
    shared: &Shared,
) -> Result<(), Error> {
    let mut outs = Vec::new();
    while let Ok(mut batch) = jobs.recv() {
        for _ in 1..BATCHES_PER_POLL {
            let Ok(more) = jobs.try_recv() else { break };
            batch.extend(more);
        }
        writer.poll(batch, &mut outs).map_err(|source| Error::Stage { stage: "log writer", source })?;
        shared.inbox.post(outs.drain(..));
    }
    Ok(())
}

/// The thread of the ballot's writer.
pub(crate) fn run_ballots(
    mut writer: BallotWriter<Disk>,
    ballots: &Receiver<Vec<Ballot>>,
    shared: &Shared,
) -> Result<(), Error> {
    let mut outs = Vec::new();
    while let Ok(batch) = ballots.recv() {
        writer.poll(batch, &mut outs).map_err(|source| Error::Stage { stage: "ballot", source })?;
        shared.inbox.post(outs.drain(..));
    }
    Ok(())
}

/// The applier's thread.
pub(crate) struct ApplierThread {
    pub(crate) applier: Applier<Disk, Table>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) jobs: Receiver<ToApplier>,
    pub(crate) background: BackgroundJobs,
    pub(crate) response_batch: ResponseBatch,
}

impl ApplierThread {
    /// Runs until it is told to end; then the table is synced and marked clean.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let (mut outs, mut batch, mut more) = (Vec::new(), Vec::new(), false);
        while self.collect(&mut batch, more) {
            let polled = self.applier.poll(batch.drain(..), &mut outs);
            more = polled.map_err(|source| Error::Stage { stage: "applier", source })?;
            self.carry(&mut outs);
        }
        if self.shared.table.damage().is_some() {
            // The next start makes it anew.
            return Ok(());
        }
        let synced = self.shared.table.sync();
        synced.map_err(|source| Error::Stage { stage: "database", source: source.into() })
    }

    /// Takes what waits; waits for something unless there is more to apply. False: it is told to end. What is
    /// committed and not applied then is applied at the next start: nobody waits for its answer any more.
    fn collect(&mut self, batch: &mut Vec<ApplierJob>, more: bool) -> bool {
        for taken in 0..BATCHES_PER_POLL {
            let wait = taken == 0 && !more;
            match if wait { self.jobs.recv().ok() } else { self.jobs.try_recv().ok() } {
                Some(ToApplier::Jobs(jobs)) => batch.extend(jobs),
                Some(ToApplier::Resume) => self.applier.resume(),
                Some(ToApplier::End) => return false,
                None => break,
            }
        }
        true
    }

    fn carry(&mut self, outs: &mut Vec<ApplierOut>) {
        let mut applied = None;
        let mut jobs = Vec::new();
        for out in outs.drain(..) {
            match out {
                ApplierOut::Applied(now) => {
                    applied = Some(now);
                    jobs.push(Job::Applied(now));
                }
                ApplierOut::Answer { request_id, reply } => {
                    self.response_batch.add(request_id, NodeResponse::Reply(reply));
                }
                ApplierOut::Checkpoint(checkpoint) => jobs.push(Job::Checkpoint(checkpoint)),
                ApplierOut::Replaced(imported) => jobs.push(Job::Replaced(imported)),
                ApplierOut::Imported(imported) => jobs.push(Job::Imported(imported)),
                ApplierOut::Paused(at) => self.background.begin(at),
            }
        }
        self.shared.inbox.post(jobs);
        if let Some(applied) = applied {
            self.shared.applied.send_replace(applied);
        }
        self.shared.router.deliver(&mut self.response_batch);
    }
}

/// Logs what a change of role or leader means, and why a campaign begins.
fn log_change(before: RoleView, view: RoleView) {
    let (role, epoch) = (view.role, view.epoch.0);
    match (view.leader, before.leader) {
        (Some(leader), _) => tracing::info!(?role, epoch, leader = leader.0, "leader changed"),
        (None, Some(leader)) if role == Role::Candidate => tracing::info!(
            ?role,
            epoch,
            leader = leader.0,
            "campaign started: the leader's stream broke, or it was silent for an election timer"
        ),
        (None, Some(leader)) => tracing::info!(?role, epoch, leader = leader.0, "leader lost"),
        (None, None) if role == Role::Candidate => {
            tracing::info!(?role, epoch, "campaign started: no leader is known");
        }
        (None, None) => tracing::info!(?role, epoch, "no leader is known"),
    }
}
