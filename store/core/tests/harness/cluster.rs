//! The cluster: its nodes, the messages between them, and one method for each thing that a test can make happen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use store_core::{
    Ballot, Config, Epoch, Incarnation, Input, Member, MemberChange, Membership, Message, NodeId, Offset,
    ReadId, Role,
};

use super::disk::{Disk, Item, Payload, Snapshot};
use super::node::Node;
use super::oracle::Oracle;
use super::rounds::Rounds;
use super::text;

/// How a cluster is laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) voters: u64,
    /// Nodes with an empty folder, which are no members yet.
    pub(crate) spares: u64,
    pub(crate) preferred: Option<NodeId>,
    /// Entries in one append at most.
    pub(crate) append_entries: usize,
    /// Entries on their way to one replica at most; 0: the default.
    pub(crate) in_flight: u64,
    /// Ticks of heartbeat, shortest and longest election timer; the default ones if `None`.
    pub(crate) ticks: Option<(u32, u32, u32)>,
    /// Streams are sent at once; otherwise a test calls [`Cluster::replicate`].
    pub(crate) eager: bool,
}

impl Layout {
    pub(crate) fn of(voters: u64) -> Layout {
        Layout {
            voters,
            spares: 0,
            preferred: None,
            append_entries: 100,
            in_flight: 0,
            ticks: None,
            eager: true,
        }
    }
}

/// A message under way, with the entries that an append describes.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    /// The folder that said it.
    pub(crate) from: Member,
    pub(crate) message: Message,
    pub(crate) items: Vec<Item>,
}

/// One direction between two nodes.
pub(crate) type Link = (NodeId, NodeId);

/// What happened over a cluster's life; simulations assert that enough did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) truncations: u64,
    pub(crate) installs: u64,
    pub(crate) probes: u64,
    pub(crate) refused: u64,
    pub(crate) reads_failed: u64,
    pub(crate) transfers_failed: u64,
    pub(crate) trusted: u64,
    pub(crate) changes_refused: u64,
    /// Times that a leader told who waits that the outcome is unknown, since its disk hangs.
    pub(crate) disclaimed: u64,
    /// Memberships that leaders appended.
    pub(crate) memberships: u64,
    /// Joint changes in which one voter went and another came.
    pub(crate) swaps: u64,
    /// Joint changes that were finished in another epoch than they were begun in.
    pub(crate) inherited: u64,
    /// Disks that were lost for good.
    pub(crate) wiped: u64,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) layout: Layout,
    pub(crate) membership: Membership,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    /// What is under way on each link, oldest first.
    pub(crate) network: BTreeMap<Link, VecDeque<Envelope>>,
    /// Links that lose everything.
    pub(crate) cut: BTreeSet<Link>,
    pub(crate) oracle: Oracle,
    /// The rounds that changes of votes wait for.
    pub(crate) rounds: Rounds,
    pub(crate) counts: Counts,
    /// What happened since it was last taken; `None`: nobody wants to know.
    pub(crate) trace: Option<Vec<String>>,
}

impl Cluster {
    /// All nodes up, with the membership as entry 1 of epoch 1, committed.
    pub(crate) fn new(layout: Layout) -> Cluster {
        let member = |id| Member { node: NodeId(id), incarnation: Incarnation(id) };
        let membership = Membership::of((1..=layout.voters).map(member).collect());
        let log = Disk::planted(&membership, &[1]);
        let oracle = Oracle::new(log.items[0].clone());
        let disk = Disk { ballot: Ballot { epoch: Epoch(1), voted_for: None }, log, ..Disk::default() };
        let node = |member: Member, disk: Disk| {
            let mut config = Config::new(member);
            config.preferred = layout.preferred;
            if layout.in_flight > 0 {
                config.entries_in_flight_max = layout.in_flight;
            }
            if let Some((heartbeat, min, max)) = layout.ticks {
                config.ticks_heartbeat = heartbeat;
                config.ticks_election_min = min;
                config.ticks_election_max = max;
            }
            let committed = disk.log.last().offset;
            let mut node = Node::new(config, disk);
            node.restart(committed);
            (member.node, node)
        };
        let initial_members = membership.voters.iter().map(|voter| node(*voter, disk.clone()));
        let spares = (layout.voters + 1..=layout.voters + layout.spares).map(member);
        let nodes = initial_members.chain(spares.map(|spare| node(spare, Disk::default()))).collect();
        Cluster {
            layout,
            membership,
            nodes,
            network: BTreeMap::new(),
            cut: BTreeSet::new(),
            oracle,
            rounds: Rounds::default(),
            counts: Counts::default(),
            trace: None,
        }
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub(crate) fn ids_up(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|(_, node)| node.is_up()).map(|(id, _)| *id).collect()
    }

    pub(crate) fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of this cluster")
    }

    /// The nodes that think they lead.
    pub(crate) fn leaders(&self) -> Vec<NodeId> {
        let leads = |node: &Node| node.replica.as_ref().is_some_and(|r| r.view().role == Role::Leader);
        self.nodes.iter().filter(|(_, node)| leads(node)).map(|(id, _)| *id).collect()
    }

    /// Replaces the disk of a node that is down.
    pub(crate) fn plant(&mut self, id: NodeId, epochs: &[u64], ballot: Ballot, committed: usize) {
        let log = Disk::planted(&self.membership, epochs);
        self.oracle.assumes_committed(&log.items[..committed]);
        let node = self.node(id);
        assert!(!node.is_up(), "a log is planted while its node is down");
        node.applied = log.items[..committed].to_vec();
        node.disk = Disk { ballot, log, ..Disk::default() };
    }

    pub(crate) fn tick(&mut self, id: NodeId, random: u64) {
        self.rounds.ticks(id);
        self.step(id, Input::Tick { random }, Vec::new());
    }

    pub(crate) fn propose(&mut self, id: NodeId, labels: &[String]) {
        let items = labels.iter().map(|label| Payload::Command(label.as_str().into())).collect();
        self.step(id, Input::Propose { count: labels.len() as u64 }, items);
    }

    pub(crate) fn read(&mut self, id: NodeId) -> ReadId {
        let node = self.node(id);
        node.request_ids += 1;
        let request_id = ReadId(node.request_ids);
        self.oracle.read_arrives(id, request_id);
        self.step(id, Input::Read { request_id }, Vec::new());
        request_id
    }

    pub(crate) fn change_members(&mut self, id: NodeId, change: MemberChange) {
        let before = self.rounds.asks(id);
        self.step(id, Input::ChangeMembers { change }, Vec::new());
        self.rounds.asked(id, before);
    }

    /// The folder that a node has now.
    pub(crate) fn member(&self, id: NodeId) -> Member {
        self.nodes[&id].config.member
    }

    /// Queues a message; a cut link loses it.
    pub(crate) fn post(&mut self, link: Link, envelope: Envelope) {
        if self.cut.contains(&link) {
            self.note(|| format!("  lost {}→{}: {}", link.0, link.1, text::message(&envelope.message)));
        } else {
            self.network.entry(link).or_default().push_back(envelope);
        }
    }

    /// Delivers the message at `index` of a link's queue. False if there is none.
    pub(crate) fn deliver(&mut self, link: Link, index: usize) -> bool {
        let Some(envelope) = self.network.get_mut(&link).and_then(|queue| queue.remove(index)) else {
            return false;
        };
        let (from, to) = link;
        let described = text::message(&envelope.message);
        if self.cut.contains(&link) || !self.nodes[&to].is_up() {
            self.note(|| format!("lost {from}→{to}: {described}"));
            return true;
        }
        self.note(|| format!("{from}→{to}: {described}"));
        let items = envelope.items.into_iter().map(|item| item.payload).collect();
        let from = envelope.from;
        self.rounds.hears(to, from, &envelope.message);
        self.step(to, Input::Receive { from, message: envelope.message }, items);
        true
    }

    /// The links on which something is under way.
    pub(crate) fn busy_links(&self) -> Vec<Link> {
        self.network.iter().filter(|(_, queue)| !queue.is_empty()).map(|(link, _)| *link).collect()
    }

    /// Finishes the oldest write of a node; `reported`: and tells it so. False if there is none.
    pub(crate) fn persist(&mut self, id: NodeId, reported: bool) -> bool {
        let node = self.node(id);
        let Some(write) = node.writing.pop_front() else { return false };
        node.disk.write(&write);
        if let super::disk::Write::Append(write, _) = write
            && reported
        {
            self.note(|| format!("{id} persisted w{}", write.0));
            self.step(id, Input::Persisted { write }, Vec::new());
        }
        true
    }

    pub(crate) fn crash(&mut self, id: NodeId) {
        self.node(id).crash();
        self.oracle.goes_down(id);
        self.rounds.ends(id);
    }

    /// A node that is down loses its folder for good.
    pub(crate) fn wipe(&mut self, id: NodeId) {
        self.node(id).wipe();
        self.counts.wiped += 1;
    }

    pub(crate) fn reconnect(&mut self, id: NodeId, peer: NodeId) {
        self.network.remove(&(id, peer));
        self.network.remove(&(peer, id));
        self.step(id, Input::Reconnected { peer }, Vec::new());
    }

    /// Takes a snapshot at `snapshot` and purges the log up to `up_to`.
    pub(crate) fn purge(&mut self, id: NodeId, up_to: Offset, snapshot: Offset) {
        let node = self.node(id);
        let state = node.applied[..usize::try_from(snapshot.0).unwrap()].to_vec();
        node.disk.snapshot = Snapshot { state };
        node.disk.log.purge(up_to);
        node.memory.purge(up_to);
        let snapshot = node.disk.snapshot.position();
        self.step(id, Input::Purged { up_to, snapshot }, Vec::new());
    }

    /// Carries the snapshot that a node wants to it. False if it wants none or the source cannot give it.
    pub(crate) fn fetch(&mut self, id: NodeId) -> bool {
        let Some((from, at)) = self.node(id).wanted.take() else { return false };
        let source = &self.nodes[&from];
        if !source.is_up() || source.disk.snapshot.position() < at {
            return false;
        }
        let snapshot = source.disk.snapshot.clone();
        let position = snapshot.position();
        self.node(id).fetched = Some(snapshot);
        self.note(|| format!("{id} fetched {position} from {from}"));
        self.step(id, Input::Fetched { position }, Vec::new());
        true
    }

    /// Finishes an installation. False if none is due.
    pub(crate) fn install(&mut self, id: NodeId) -> bool {
        if !self.node(id).installing {
            return false;
        }
        while self.persist(id, true) {}
        let node = self.node(id);
        node.installing = false;
        let snapshot = node.fetched.take().expect("what is installed was fetched");
        let (position, membership) = (snapshot.position(), snapshot.membership());
        node.applied.clone_from(&snapshot.state);
        node.disk.log = super::disk::Log { base: position, items: Vec::new() };
        node.memory = node.disk.log.clone();
        node.disk.snapshot = snapshot;
        self.counts.installs += 1;
        self.note(|| format!("{id} installed {position}"));
        self.oracle.installs(id, &self.nodes[&id].applied);
        self.step(id, Input::Installed { position, membership }, Vec::new());
        true
    }
}

/// Trace lines that a failing test shows.
const SHOWN_MAX: usize = 300;

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(trace) = self.trace.as_ref().filter(|_| std::thread::panicking()) {
            let shown = &trace[trace.len().saturating_sub(SHOWN_MAX)..];
            std::io::Write::write_all(&mut std::io::stderr(), shown.join("\n").as_bytes())
                .unwrap_or_default();
        }
    }
}
