//! One node of the cluster: an engine and the queues around its stages.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use proto::store::scan_request::Range;
use proto::store::{Member as WireMember, Membership};
use store_core::{Ballot, GroupId, Incarnation, Member, NodeId, Offset, Position};
use store_db::{Memory, Table, query, state};
use store_engine::{
    Applied, ApplierJob, ApplierOut, Engine, Error, Job, NodeConfig, NodeOut, OpenConfig, Pump, PumpInbox,
    PumpOut, Snapshots, Status, Streaming, Ticket, WriterJob,
};
use store_log::sim::SimDisk;
use store_log::{BootId, ClusterId, Identity, Offered};

use super::network::Packet;
use super::{Hands, Told};

/// Which stage to turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    Node,
    Writer,
    Ballots,
    Applier,
    Pump(NodeId),
    /// Lets the node hear of a snapshot that was taken or fetched aside.
    Aside,
}

/// What a turn brought to others.
#[derive(Default)]
pub struct Made {
    pub answers: Vec<(Ticket, Told)>,
    pub packets: Vec<Packet>,
    pub applied: Vec<Applied>,
    pub fetch: Option<(NodeId, Position)>,
}

/// A node.
pub struct Replica {
    pub id: NodeId,
    pub disk: Arc<SimDisk>,
    pub table: Memory,
    pub inbox: VecDeque<Job>,
    /// What was done aside and is not reported yet.
    aside: VecDeque<Job>,
    /// Audits that were reached: id, position, what the table said it had applied then.
    pub audits: Vec<(Bytes, Position, Offset)>,
    /// Jobs that the writer reported as durable.
    pub persisted: u64,
    pub snapshots_taken: u64,
    pub installs: u64,
    /// Snapshots that came here whole.
    pub fetched: u64,
    /// The position of a snapshot that is in the table, and that the core may not know of yet.
    pub imported: Offset,
    /// Snapshots are not written for now: whoever does it is slow.
    pub writes_held: bool,
    /// Stages that are not turned: the disk hangs.
    pub held_stages: Vec<Stage>,
    pub starts: u64,
    boots: u64,
    up: Option<Up>,
}

/// A node that runs.
struct Up {
    engine: Engine<SimDisk, Memory, Hands>,
    pumps: BTreeMap<NodeId, (PumpInbox, Pump<SimDisk>)>,
    writer: VecDeque<WriterJob>,
    ballots: VecDeque<Ballot>,
    applier: VecDeque<ApplierJob>,
    applier_has_more: bool,
    /// A snapshot that the applier stands still for, and that is held.
    held: Option<(Position, u64)>,
}

pub fn member(id: NodeId) -> Member {
    Member { node: id, incarnation: Incarnation(100 + id.0) }
}

pub fn members(ids: &[NodeId]) -> Membership {
    let member = |id: &NodeId| WireMember {
        node: id.0,
        incarnation: member(*id).incarnation.0,
        address: format!("127.0.0.1:{}", 7_000 + id.0),
        joined: false,
    };
    Membership { voters: ids.iter().map(member).collect(), ..Membership::default() }
}

fn identity(id: NodeId) -> Identity {
    let cluster = ClusterId::new(b"simulated").unwrap();
    Identity { cluster, group: GroupId(1), node: id, state_machine_version: 1 }
}

impl Replica {
    pub fn bootstrap(id: NodeId, members: &Membership) -> Replica {
        let disk = Arc::new(SimDisk::new());
        let boot = BootId::new(b"boot 0").unwrap();
        store_engine::bootstrap(&disk, &identity(id), member(id).incarnation, &boot, members).unwrap();
        Replica {
            id,
            disk,
            table: Memory::new(),
            inbox: VecDeque::new(),
            aside: VecDeque::new(),
            audits: Vec::new(),
            persisted: 0,
            snapshots_taken: 0,
            installs: 0,
            fetched: 0,
            imported: Offset::ZERO,
            writes_held: false,
            held_stages: Vec::new(),
            starts: 0,
            boots: 0,
            up: None,
        }
    }

    /// Recovers an engine from the folder.
    pub fn engine(&self, node: NodeConfig, clock: Hands) -> Engine<SimDisk, Memory, Hands> {
        let config = OpenConfig {
            disk: Arc::clone(&self.disk),
            identity: identity(self.id),
            boot_id: BootId::new(format!("boot {}", self.boots).as_bytes()).unwrap(),
            log: store_log::Options { preallocate_bytes: 64 << 10, ..Default::default() },
            table: self.table.clone(),
            clock,
            node,
        };
        store_engine::open(config).unwrap()
    }

    pub fn open(&mut self, node: NodeConfig, clock: Hands, peers: &[NodeId]) {
        let engine = self.engine(node, clock);
        let pumps = peers.iter().map(|peer| (*peer, engine.pumps.pump(*peer))).collect();
        let (writer, ballots, applier) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        self.inbox.clear();
        self.aside.clear();
        self.starts += 1;
        self.up = Some(Up { engine, pumps, writer, ballots, applier, applier_has_more: false, held: None });
    }

    pub fn is_up(&self) -> bool {
        self.up.is_some()
    }

    pub fn kill(&mut self) {
        self.up = None;
        self.inbox.clear();
        self.aside.clear();
        self.disk.kill();
    }

    pub fn crash(&mut self, seed: u64) {
        self.up = None;
        self.inbox.clear();
        self.aside.clear();
        self.table = Memory::new();
        self.boots += 1;
        self.disk.crash(seed);
    }

    pub fn status(&self) -> Option<Status> {
        self.up.as_ref().map(|up| up.engine.node.status())
    }

    /// What recovery said at the last start.
    pub fn recovery(&self) -> &store_engine::Recovery {
        &self.up.as_ref().unwrap().engine.recovery
    }

    pub fn log_base(&self) -> Offset {
        self.up.as_ref().unwrap().engine.log.base()
    }

    /// What the table itself says.
    pub fn applied(&self) -> Offset {
        let applied = self.table.read(state::read).map(|state| state::applied(&state).offset);
        applied.map_or(Offset::ZERO, Offset)
    }

    /// Every record.
    pub fn records(&self) -> BTreeMap<String, String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut found = BTreeMap::new();
        let mut after = Bytes::new();
        loop {
            let page = |read: &_| query::scan(read, &Range::Prefix(Bytes::new()), 1_000, &after);
            let (records, next) = self.table.read(page).unwrap();
            for record in records {
                found.insert(text(&record.key), text(&record.record.unwrap().data));
            }
            match next {
                Some(next) => after = next,
                None => return found,
            }
        }
    }

    pub fn reconnected(&mut self, peer: NodeId) {
        if let Some(up) = &self.up {
            up.pumps[&peer].0.disconnected();
            self.inbox.push_back(Job::Reconnected { peer });
        }
    }

    pub fn hear(&mut self, job: Job) {
        if self.is_up() {
            self.inbox.push_back(job);
        }
    }

    /// What could be turned.
    pub fn choices(&self) -> Vec<Stage> {
        let Some(up) = &self.up else { return Vec::new() };
        let mut stages = Vec::new();
        if !self.inbox.is_empty() {
            stages.push(Stage::Node);
        }
        if !self.aside.is_empty() {
            stages.push(Stage::Aside);
        }
        if !up.writer.is_empty() {
            stages.push(Stage::Writer);
        }
        if !up.ballots.is_empty() {
            stages.push(Stage::Ballots);
        }
        if !up.applier.is_empty() || up.applier_has_more {
            stages.push(Stage::Applier);
        }
        let busy = up.pumps.iter().filter(|(_, (inbox, _))| inbox.has_work());
        stages.extend(busy.map(|(peer, _)| Stage::Pump(*peer)));
        stages.retain(|stage| !self.held_stages.contains(stage));
        stages
    }

    pub fn turn(&mut self, stage: Stage, messages_max: usize, made: &mut Made) -> Result<(), Error> {
        match stage {
            Stage::Node => self.turn_node(made),
            Stage::Writer => self.turn_writer(),
            Stage::Ballots => {
                let up = self.up.as_mut().unwrap();
                let mut saved = Vec::new();
                up.engine.ballots.turn(up.ballots.drain(..), &mut saved)?;
                self.inbox.extend(saved);
                Ok(())
            }
            Stage::Applier => self.turn_applier(made),
            Stage::Aside => {
                self.inbox.extend(self.aside.pop_front());
                Ok(())
            }
            Stage::Pump(peer) => {
                let mut outs = Vec::new();
                let up = self.up.as_mut().unwrap();
                up.pumps.get_mut(&peer).unwrap().1.turn(messages_max, &mut outs)?;
                for out in outs {
                    match out {
                        PumpOut::Send(message) => made.packets.push(Packet::push(self.id, peer, &message)),
                        PumpOut::Purged => self.inbox.push_back(Job::Reconnected { peer }),
                    }
                }
                Ok(())
            }
        }
    }

    fn turn_node(&mut self, made: &mut Made) -> Result<(), Error> {
        let mut outs = Vec::new();
        let up = self.up.as_mut().unwrap();
        up.engine.node.turn(self.inbox.drain(..), &mut outs)?;
        for out in outs {
            match out {
                NodeOut::SaveBallot(ballot) => up.ballots.push_back(ballot),
                NodeOut::Write(job) => up.writer.push_back(job),
                NodeOut::Apply(job) => up.applier.push_back(job),
                NodeOut::Pump { to, job } => up.pumps[&to].0.post(job),
                NodeOut::Forget { peer } => up.pumps[&peer].0.post(store_engine::PumpJob::Stop),
                NodeOut::Reply { to, message } => made.packets.push(Packet::reply(self.id, to, &message)),
                NodeOut::Vote { to, message } => made.packets.push(Packet::vote(self.id, to, &message)),
                NodeOut::Answer { ticket, answer } => made.answers.push((ticket, Told::Node(answer))),
                NodeOut::FetchSnapshot { from, at } => made.fetch = Some((from, at)),
                NodeOut::Fatal(fatal) => panic!("{} must stop: {fatal:?}", self.id),
                NodeOut::Role(_)
                | NodeOut::Members(_)
                | NodeOut::HandOverFailed
                | NodeOut::Fenced(_)
                | NodeOut::Report(_) => {}
            }
        }
        Ok(())
    }

    /// Turns the writer with everything that waits; how many changing disk operations that took.
    pub fn turn_writer_counted(&mut self) -> u64 {
        let before = self.disk.operations();
        self.turn_writer().unwrap();
        self.disk.operations() - before
    }

    /// The writer is to remove what a snapshot of where the log stands makes needless.
    pub fn purge(&mut self) {
        let snapshot = self.status().unwrap().applied.position;
        self.up.as_mut().unwrap().writer.push_back(WriterJob::Purge { snapshot, peers: Offset(u64::MAX) });
        self.turn_writer().unwrap();
    }

    pub fn writer_jobs(&self) -> usize {
        self.up.as_ref().unwrap().writer.len()
    }

    fn turn_writer(&mut self) -> Result<(), Error> {
        let up = self.up.as_mut().unwrap();
        let mut outs = Vec::new();
        up.engine.writer.turn(up.writer.drain(..), &mut outs)?;
        self.persisted += outs.iter().filter(|job| matches!(job, Job::Persisted { .. })).count() as u64;
        self.inbox.extend(outs);
        Ok(())
    }

    fn turn_applier(&mut self, made: &mut Made) -> Result<(), Error> {
        let up = self.up.as_mut().unwrap();
        let mut outs = Vec::new();
        up.applier_has_more = up.engine.applier.turn(up.applier.drain(..), &mut outs)?;
        for out in outs {
            match out {
                ApplierOut::Applied(applied) => {
                    made.applied.push(applied);
                    self.inbox.push_back(Job::Applied(applied));
                }
                ApplierOut::Imported(imported) => {
                    self.installs += 1;
                    self.imported = imported.position.offset;
                    self.inbox.push_back(Job::Imported(imported));
                }
                ApplierOut::Checkpoint(checkpoint) => self.inbox.push_back(Job::Checkpoint(checkpoint)),
                ApplierOut::Replaced(imported) => self.inbox.push_back(Job::Replaced(imported)),
                ApplierOut::Answer { ticket, reply } => made.answers.push((ticket, Told::Applied(reply))),
                ApplierOut::AuditAt { id, position, .. } => {
                    let state = self.table.read(state::read).unwrap();
                    self.audits.push((id, position, Offset(state::applied(&state).offset)));
                    up.engine.applier.resume();
                    up.applier_has_more = true;
                }
                ApplierOut::SnapshotAt { position, number } => {
                    up.held = Some((position, number));
                }
            }
        }
        if self.writes_held { Ok(()) } else { self.write_held() }
    }

    /// Writes the snapshot for which the applier stands still, if it does.
    pub fn write_held(&mut self) -> Result<(), Error> {
        let Some(up) = &mut self.up else { return Ok(()) };
        let Some((position, number)) = up.held.take() else { return Ok(()) };
        let snapshots = &up.engine.snapshots;
        let mut written = Ok(());
        self.table.read(|read| {
            written = snapshots.write(read, snapshots.vintage(), number, position);
            Ok(())
        })?;
        self.aside.push_back(match written {
            Ok(()) => {
                self.snapshots_taken += 1;
                Job::SnapshotTaken { position }
            }
            Err(error) if error.is_fatal() => return Err(error),
            Err(_) => Job::SnapshotFailed { position },
        });
        up.engine.applier.resume();
        up.applier_has_more = true;
        Ok(())
    }

    /// The applier stands still for a snapshot that is held.
    pub fn is_held(&self) -> bool {
        self.up.as_ref().is_some_and(|up| up.held.is_some())
    }

    /// Its snapshots.
    pub fn snapshots(&self) -> &Snapshots<SimDisk> {
        &self.up.as_ref().unwrap().engine.snapshots
    }

    /// Opens a snapshot to send it.
    pub fn offer(&self, at: Position) -> Option<Streaming<SimDisk>> {
        self.up.as_ref()?.engine.snapshots.open(at).unwrap()
    }

    /// Receives a whole snapshot.
    pub fn receive(&mut self, from: &Streaming<SimDisk>) -> Result<(), Error> {
        let listed = from.listed();
        let offered =
            Offered { number: listed.info.number, position: listed.info.position, bytes: listed.bytes };
        let snapshots = &self.up.as_ref().unwrap().engine.snapshots;
        let mut incoming = snapshots.receive(offered)?;
        while !incoming.complete() {
            let at = incoming.received();
            incoming.write(at, &from.raw(at, 10_000)?)?;
        }
        let (_, told) = snapshots.received(incoming)?;
        self.fetched += 1;
        self.aside.push_back(told);
        Ok(())
    }
}
