//! One node: its disk, its table, its clocks, and while it runs the engine and the queues around its stages. It does
//! what `store/server` does with threads: it carries what one stage says to where it belongs, and decides nothing.
//!
//! A process that dies leaves its disk and (as LMDB's pages in the kernel's cache) what was flushed of its table; a machine
//! that dies leaves what was synced of the disk, and no table.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proto::store::PipelineRequest;
use store_core::{Ballot, GroupId, Incarnation, Member, NodeId, Offset, Role, VoteMessage};
use store_db::Memory;
use store_db::limits::{STATE_MACHINE_VERSION, VERSION_FIRST};
use store_engine::{
    Answer, Applier, ApplierJob, ApplierOut, BallotWriter, Clock as _, Error, Job, Node, NodeConfig, NodeOut,
    OpenConfig, Policy, RequestId, Reserve, Snapshots, Status, Streaming, ToPeer, Writer, WriterJob,
};
use store_log::BootId;
use store_log::sim::SimDisk;

use crate::answers::StreamId;
use crate::crossing::CrossSide;
use crate::fetching::Fetching;
use crate::folder::{first_member, identity};
use crate::kv_service::{KvService, NodeResponse};
use crate::made::Made;
use crate::network::{Heard, Packet, Told};
use crate::oracle::Oracle;
use crate::peer_connections::PeerConnections;
use crate::plan::Planted;
use crate::proofs::Proofs;
use crate::stage::{Hung, STAGES, Stage};
use crate::table::{SimTable, table_over};
use crate::time::NodeClock;
use crate::violation::{ensure, violated};

/// Bytes that the disk must have free for writes to be admitted.
const RESERVE_BYTES: u64 = 64 << 10;
/// Offsets between two checkpoints: few, so that a short log has many.
const CHECKPOINT_EVERY: u64 = 64;
/// Log files grow by so much at a time.
const PREALLOCATE_BYTES: u64 = 8 << 10;
/// Ticks between two looks whether there is room, as a server's.
const SHORTAGE_TICKS: u32 = 5;
/// So many entries at the end of a log that was recovered are compared with what was appended.
const TAIL_ENTRIES: u64 = 64;

/// A node.
pub(crate) struct Driver {
    pub(crate) index: usize,
    /// Its group.
    group: GroupId,
    /// Who its folder says it is.
    pub(crate) member: Member,
    /// Who it was before its folder was lost, while the group may still count on that one.
    pub(crate) ghost: Option<Member>,
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) table: SimTable,
    pub(crate) clock: NodeClock,
    /// Raised with every start and every end, so that what was meant for another life is known.
    pub(crate) boot: u64,
    /// Boots of its machine.
    boots: u64,
    /// While it runs.
    pub(crate) up: Option<Up>,
    /// It stands still.
    pub(crate) paused: u32,
    /// What came meanwhile, on a ring.
    pub(crate) held: Vec<(StreamId, PipelineRequest)>,
    /// What of its disk hangs.
    pub(crate) hung: Hung,
    /// An error of the disk was planted: a failure of this node needs no other excuse.
    pub(crate) excused: bool,
    /// Its disk is full.
    pub(crate) capped: bool,
    /// Its files were harmed: it may refuse to start for good.
    pub(crate) damaged: bool,
    /// Its table was changed behind its back, and was not replaced since.
    pub(crate) wrong: bool,
    /// Why it will not start any more.
    pub(crate) gone: Option<String>,
    /// How much longer its disk takes.
    pub(crate) slow_us: u64,
    /// Snapshots taken, and installed.
    pub(crate) taken: u64,
    pub(crate) installed: u64,
    /// Wrong tables replaced.
    pub(crate) replaced: u64,
}

/// A node that runs.
pub(crate) struct Up {
    pub(crate) node: Node<SimDisk, SimTable, NodeClock>,
    clock: NodeClock,
    /// The last version of the state machine that its program can run: of some first lives an earlier one.
    program: u32,
    writer: Writer<SimDisk>,
    ballot_writer: BallotWriter<SimDisk>,
    pub(crate) applier: Applier<SimDisk, SimTable>,
    pub(crate) snapshots: Arc<Snapshots<SimDisk>>,
    /// To the other nodes.
    pub(crate) lines: PeerConnections,
    /// What is said to them is proven, and what they say.
    pub(crate) proofs: Proofs,
    /// It leads.
    leads: bool,
    /// It lacks room, as it was when that was looked at last; and the ticks since.
    shortage: (bool, u32),
    /// Reads that wait, and what was committed anywhere when they came.
    reads: BTreeMap<RequestId, Offset>,
    /// What came from peers and stages.
    inbox: Vec<Job>,
    pub(crate) kv_service: KvService,
    /// What drives transactions over several groups, on a ring.
    pub(crate) cross: Option<CrossSide>,
    writes: VecDeque<WriterJob>,
    ballots: VecDeque<Ballot>,
    applies: VecDeque<ApplierJob>,
    pub(crate) applier_has_more: bool,
    pub(crate) background: VecDeque<Job>,
    /// Stages whose turn is scheduled, by [`Stage::slot`].
    pub(crate) scheduled: Vec<bool>,
    /// Snapshots that are being sent, by receiver.
    pub(crate) serving: BTreeMap<Member, Streaming<SimDisk>>,
    /// The snapshot that is being fetched.
    pub(crate) fetching: Option<Fetching>,
}

impl Up {
    /// Brings the node something.
    pub(crate) fn hear(&mut self, job: Job) {
        self.inbox.push(job);
    }

    /// Whether a packet is taken: see [`PeerConnections::takes`].
    pub(crate) fn takes(&mut self, packet: &Packet, heard: Option<&Heard>) -> bool {
        let node = &self.node;
        self.lines.takes(packet, heard.map(|heard| &heard.job), || node.status())
    }

    /// The driver of transactions over several groups has something for the node.
    fn asks_node(&self) -> bool {
        self.cross.as_ref().is_some_and(|cross| cross.host.has_appends())
    }

    /// It is in no part of the group, as far as it knows, and serves nobody.
    pub(crate) fn is_non_member(&self) -> bool {
        !self.leads && !self.lines.is_member()
    }
}

impl Up {
    /// What a request id is told: to the client, or the operator, who asked.
    fn answer(&mut self, request_id: RequestId, answer: Answer, table: &SimTable, made: &mut Made) {
        if let Some(came) = self.reads.remove(&request_id)
            && let Answer::ReadReady { at } = answer
        {
            ensure(at >= came, "reads are linearizable", || {
                let node = self.node.status().node;
                format!("{node} answers a read from the state at {at}; {came} was committed when it came")
            });
        }
        if let Some(number) = self.kv_service.operators(request_id) {
            made.told.push((number, answer));
            return;
        }
        if self.kv_service.publishers(request_id) {
            made.published.push((request_id, NodeResponse::Answer(answer)));
            return;
        }
        let table = self.node.status().quarantine.is_none().then_some(table);
        let told = NodeResponse::Answer(answer);
        made.answers.extend(self.kv_service.answer(request_id, told, table, self.cross.as_ref()));
    }

    /// Carries what the node has for its peers.
    fn carry(&mut self, own: Member, out: ToPeer, made: &mut Made) -> Result<(), Error> {
        let (out_of_space, clock_ms, version) = (self.shortage.0, self.clock.wall_ms(), self.program);
        match out {
            ToPeer::Replicator { to, job } => self.lines.post(to, job),
            ToPeer::Forget { peer } => self.lines.forget(peer, &mut made.packets)?,
            ToPeer::Reply { to, reply } => {
                let to = self.lines.asker(to);
                made.packets.extend(
                    to.map(|to| Packet::reply(own, to, &reply, Told { out_of_space, clock_ms, version })),
                );
            }
            ToPeer::Vote { to, message } => {
                let to = match message {
                    VoteMessage::Request(_) => self.lines.at(to),
                    VoteMessage::Reply(_) => self.lines.asker(to),
                };
                made.packets.extend(to.map(|to| Packet::vote(own, to, &message, clock_ms)));
            }
            ToPeer::FetchSnapshot { from, at } => made.fetch = Some((from, at)),
        }
        Ok(())
    }
}

impl Driver {
    /// An initial member of the group, bootstrapped.
    pub(crate) fn bootstrap(
        (group, index): (GroupId, usize),
        members: &proto::store::Membership,
        clock: NodeClock,
    ) -> Driver {
        let driver = Driver::bare((group, index), clock);
        let (member, boot) = (driver.member, BootId::new(b"boot 0").expect("a boot id"));
        store_engine::bootstrap(
            &*driver.disk,
            &identity(group, member.node),
            member.incarnation,
            &boot,
            members,
        )
        .expect("a new disk can be bootstrapped");
        driver
    }

    /// A node outside the group, with an empty folder that can be let in.
    pub(crate) fn spare((group, index): (GroupId, usize), clock: NodeClock) -> Driver {
        let driver = Driver::bare((group, index), clock);
        driver.join();
        driver
    }

    fn bare((group, index): (GroupId, usize), clock: NodeClock) -> Driver {
        Driver {
            index,
            group,
            member: first_member(index),
            ghost: None,
            disk: Arc::new(SimDisk::new()),
            table: table_over(Memory::new(), index),
            clock,
            boot: 0,
            boots: 0,
            up: None,
            paused: 0,
            held: Vec::new(),
            hung: Hung::default(),
            excused: false,
            capped: false,
            damaged: false,
            wrong: false,
            gone: None,
            slow_us: 0,
            taken: 0,
            installed: 0,
            replaced: 0,
        }
    }

    /// Makes its folder, empty.
    fn join(&self) {
        let boot = BootId::new(format!("boot {}", self.boots).as_bytes()).expect("a boot id");
        let Member { node, incarnation } = self.member;
        store_engine::join(&*self.disk, &identity(self.group, node), incarnation, &boot)
            .expect("a new disk can be made a member's");
    }

    /// The node comes back with an empty folder, as another member. Returns who it was.
    pub(crate) fn come_back_empty(&mut self) -> Member {
        self.wipe();
        let before = self.member;
        self.member.incarnation = Incarnation(before.incarnation.0 + 1_000);
        (self.damaged, self.wrong, self.gone) = (false, false, None);
        self.join();
        before
    }

    /// What the node is told at its start. Of some first lives the program is an earlier one.
    fn config(&self, seed: u64, snapshots: Policy) -> NodeConfig {
        let is_earlier = self.boot == 0 && seed % 8 < 2;
        NodeConfig {
            reserve: Reserve { disk_bytes: RESERVE_BYTES, table_bytes: 0 },
            snapshots,
            checkpoint_every: CHECKPOINT_EVERY,
            state_machine_version: if is_earlier { VERSION_FIRST } else { STATE_MACHINE_VERSION },
            ..NodeConfig::new(store_core::Config::new(self.member), seed)
        }
    }

    /// Whether it runs an earlier program.
    pub(crate) fn is_outdated(&self) -> bool {
        self.up.as_ref().is_some_and(|up| up.program < STATE_MACHINE_VERSION)
    }

    /// Recovers and runs.
    ///
    /// # Errors
    /// What recovery says; the node is not up then.
    pub(crate) fn start(
        &mut self,
        seed: u64,
        snapshots: Policy,
        nodes: usize,
        oracle: &mut Oracle,
    ) -> Result<(), Error> {
        let config = self.config(seed, snapshots);
        let program = config.state_machine_version;
        let opened = store_engine::open(OpenConfig {
            disk: Arc::clone(&self.disk),
            identity: identity(self.group, self.member.node),
            boot_id: BootId::new(format!("boot {}", self.boots).as_bytes()).expect("a boot id"),
            log: store_log::Options { preallocate_bytes: PREALLOCATE_BYTES, ..store_log::Options::default() },
            table: self.table.clone(),
            clock: self.clock.clone(),
            node: config,
        });
        let engine = match opened {
            Ok(engine) => engine,
            Err(error) => {
                self.disk.kill();
                return Err(error);
            }
        };
        let membership = engine.node.members().cloned().unwrap_or_default();
        self.boot += 1;
        let before = Offset(engine.log.last().0.saturating_sub(TAIL_ENTRIES));
        let from = engine.log.base().max(before).next();
        let tail = engine.log.read(from, usize::MAX, usize::MAX).unwrap_or_default();
        oracle.started(self.index, &engine.node, self.damaged, &tail);
        self.up = Some(Up {
            node: engine.node,
            clock: self.clock.clone(),
            program,
            writer: engine.writer,
            ballot_writer: engine.ballots,
            applier: engine.applier,
            snapshots: engine.snapshots,
            lines: PeerConnections::new(self.member, engine.replicators, membership),
            proofs: Proofs::new(self.member, (self.index, self.boot)),
            leads: false,
            shortage: (false, 0),
            reads: BTreeMap::new(),
            inbox: Vec::new(),
            kv_service: KvService::default(),
            cross: None,
            writes: VecDeque::new(),
            ballots: VecDeque::new(),
            applies: VecDeque::new(),
            applier_has_more: false,
            background: VecDeque::new(),
            scheduled: vec![false; STAGES + nodes],
            serving: BTreeMap::new(),
            fetching: None,
        });
        Ok(())
    }

    /// The process is gone: `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.up = None;
        self.held.clear();
        // What is in no layer any more stays, as LMDB's pages do in the kernel's cache.
        self.table = table_over(self.table.below().clone(), self.index);
        self.boot += 1;
        self.excused = false;
        self.hung = Hung::default();
        self.disk.kill();
    }

    /// The machine lost its power.
    pub(crate) fn lose_power(&mut self, seed: u64) {
        self.kill();
        self.table = table_over(Memory::new(), self.index);
        self.boots += 1;
        self.disk.crash(seed);
    }

    /// The disk is replaced by an empty one.
    pub(crate) fn wipe(&mut self) {
        self.kill();
        self.table = table_over(Memory::new(), self.index);
        self.disk = Arc::new(SimDisk::new());
        self.damaged = true;
    }

    pub(crate) fn status(&self) -> Option<Status> {
        self.up.as_ref().map(|up| up.node.status())
    }

    /// Brings the node something; nothing if it is down.
    pub(crate) fn hear(&mut self, job: Job) {
        if let Some(up) = &mut self.up {
            up.inbox.push(job);
        }
    }

    /// Carries a full layer into the table below, which a disk that hangs does not take.
    pub(crate) fn flush_if_due(&mut self) {
        if self.up.is_some() && !self.hung.database && self.table.wait_until_due(Duration::ZERO) {
            self.table.flush().expect("a table in memory can be written");
        }
    }

    /// The stream to a peer was lost, or opened anew.
    pub(crate) fn reconnected(&mut self, peer: usize) {
        if let Some(up) = &mut self.up {
            up.lines.disconnected(peer);
            up.inbox.push(Job::Reconnected { peer: NodeId(peer as u64 + 1) });
        }
    }

    /// Something done aside is ready to be heard of.
    pub(crate) fn done_in_background(&mut self, job: Job) {
        if let Some(up) = &mut self.up {
            up.background.push_back(job);
        }
    }

    /// The stages that have something to do and no turn scheduled; marks them as scheduled.
    pub(crate) fn due(&mut self, into: &mut Vec<Stage>) {
        let Some(up) = &mut self.up else { return };
        let busy = [
            (Stage::Node, !up.inbox.is_empty() || up.kv_service.has_work() || up.asks_node()),
            (Stage::Writer, !up.writes.is_empty()),
            (Stage::Ballots, !up.ballots.is_empty()),
            (Stage::Applier, !up.applies.is_empty() || up.applier_has_more),
            (Stage::Background, !up.background.is_empty()),
        ];
        let replicators = up.lines.busy().map(|peer| (Stage::Replicator(peer), true));
        for (stage, is_busy) in busy.into_iter().chain(replicators) {
            if is_busy && !std::mem::replace(&mut up.scheduled[stage.slot()], true) {
                into.push(stage);
            }
        }
    }

    /// Turns a stage with all that waits for it.
    ///
    /// # Errors
    /// As the stage: the process must end.
    pub(crate) fn poll(
        &mut self,
        stage: Stage,
        messages_max: usize,
        planted: Planted,
        oracle: &mut Oracle,
        made: &mut Made,
    ) -> Result<(), Error> {
        let up = self.up.as_mut().expect("only a node that runs is turned");
        up.scheduled[stage.slot()] = false;
        match stage {
            Stage::Node => self.poll_node(planted, oracle, made),
            Stage::Writer => self.poll_writer(oracle),
            Stage::Ballots => {
                up.ballot_writer.poll(up.ballots.drain(..), &mut up.inbox)?;
                Ok(())
            }
            Stage::Applier => self.poll_applier(oracle, made),
            Stage::Background => {
                up.inbox.extend(up.background.pop_front());
                Ok(())
            }
            Stage::Replicator(peer) => {
                let purged = up.lines.poll(peer, messages_max, &mut made.packets)?;
                up.inbox.extend(purged);
                Ok(())
            }
        }
    }

    fn poll_node(&mut self, planted: Planted, oracle: &mut Oracle, made: &mut Made) -> Result<(), Error> {
        let up = self.up.as_mut().expect("it runs");
        let mut jobs = std::mem::take(&mut up.inbox);
        if let Some(cross) = &up.cross {
            cross.host.take_appends().for_each(|(append, waits)| up.kv_service.append(append, waits));
        }
        up.kv_service.jobs(&mut jobs, &mut made.answers);
        for job in &jobs {
            match job {
                Job::Read { request_id } => drop(up.reads.insert(*request_id, oracle.last_committed())),
                Job::Tick => up.shortage.1 += 1,
                _ => {}
            }
        }
        let mut outs = Vec::new();
        up.node.poll(jobs, &mut outs)?;
        if up.shortage.1 >= SHORTAGE_TICKS {
            up.shortage = (up.node.status().shortage.is_some(), 0);
        }
        for out in outs {
            oracle.node_said(self.index, &up.node, &out);
            match out {
                NodeOut::Write(job) => {
                    if planted == Planted::EarlyAck
                        && let WriterJob::Append { write, .. } = &job
                    {
                        up.inbox.push(Job::Persisted { write: *write, bytes_since_roll: 0 });
                    }
                    up.writes.push_back(job);
                }
                NodeOut::SaveBallot(ballot) => up.ballots.push_back(ballot),
                NodeOut::Apply(job) => up.applies.push_back(job),
                NodeOut::Fatal(fatal) if !self.damaged => {
                    violated("committed is immutable", format!("{} must stop: {fatal:?}", self.member.node));
                }
                NodeOut::Fatal(_) => self.gone = Some("it must stop".to_owned()),
                NodeOut::Quarantined(None) => {
                    self.wrong = false;
                    up.cross.iter().for_each(|cross| cross.host.set_quarantined(false));
                }
                NodeOut::Answer { request_id, answer } => up.answer(request_id, answer, &self.table, made),
                NodeOut::Members(membership) => up.lines.members(membership),
                NodeOut::Role(view) => {
                    up.leads = view.role == Role::Leader;
                    up.cross.iter().for_each(|cross| cross.host.leads(view));
                }
                NodeOut::Quarantined(Some(_)) => {
                    up.cross.iter().for_each(|cross| cross.host.set_quarantined(true));
                }
                NodeOut::TransferFailed | NodeOut::Report(_) => {}
                NodeOut::Peer(out) => up.carry(self.member, out, made)?,
            }
        }
        oracle.node_turned(self.index, &up.node);
        Ok(())
    }

    fn poll_writer(&mut self, oracle: &mut Oracle) -> Result<(), Error> {
        let up = self.up.as_mut().expect("it runs");
        let jobs: Vec<WriterJob> = up.writes.drain(..).collect();
        oracle.writer_begins(self.index, &jobs);
        let mut outs = Vec::new();
        up.writer.poll(jobs, &mut outs)?;
        oracle.writer_ended(self.index, &outs);
        up.inbox.extend(outs);
        Ok(())
    }

    fn poll_applier(&mut self, oracle: &mut Oracle, made: &mut Made) -> Result<(), Error> {
        let up = self.up.as_mut().expect("it runs");
        let (mut outs, mut paused) = (Vec::new(), None);
        up.applier_has_more = up.applier.poll(up.applies.drain(..), &mut outs)?;
        for out in outs {
            match out {
                ApplierOut::Applied(applied) => {
                    oracle.applied(self.index, applied, &self.table);
                    ensure(applied.version <= up.program, "programs apply what they know", || {
                        let node = self.member.node;
                        format!("{node} runs version {} and has applied by {}", up.program, applied.version)
                    });
                    up.cross.iter().for_each(|cross| cross.host.has_applied(applied));
                    up.inbox.push(Job::Applied(applied));
                }
                ApplierOut::Imported(imported) => {
                    self.installed += 1;
                    up.inbox.push(Job::Imported(imported));
                }
                ApplierOut::Checkpoint(checkpoint) => up.inbox.push(Job::Checkpoint(checkpoint)),
                ApplierOut::Replaced(imported) => {
                    self.replaced += 1;
                    up.inbox.push(Job::Replaced(imported));
                }
                ApplierOut::Answer { request_id, reply } if up.kv_service.publishers(request_id) => {
                    made.published.push((request_id, NodeResponse::Reply(reply)));
                }
                ApplierOut::Answer { request_id, reply } => {
                    let told = NodeResponse::Reply(reply);
                    made.answers.extend(up.kv_service.answer(request_id, told, None, up.cross.as_ref()));
                }
                // The applier says no more until it goes on.
                ApplierOut::Paused(pause) => paused = Some(pause),
            }
        }
        paused.map_or(Ok(()), |pause| self.paused(pause, oracle))
    }

    /// Something was done to its disk that explains a failure.
    pub(crate) fn may_fail(&self) -> bool {
        self.excused || self.capped || self.damaged || self.disk.is_dead()
    }

    /// What the wall clock of this node shows.
    pub(crate) fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }
}
