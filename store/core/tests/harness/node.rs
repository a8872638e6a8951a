//! One node: a bare core, its disk, and what a crash loses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use store_core::{Config, Epoch, Incarnation, Member, Membership, NodeId, Offset, Position, Replica};

use super::disk::{Disk, Item, Log, Snapshot, Write, memberships};

/// Folders that a node may have had; the incarnation of the first is the node's number.
pub(crate) const FOLDERS: u64 = 100;

/// What is still to be streamed to one replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stream {
    pub(crate) epoch: Epoch,
    /// The last position that was sent.
    pub(crate) previous: Position,
    pub(crate) up_to: Offset,
    /// An empty append is due.
    pub(crate) probe: bool,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: Config,
    /// The core; `None` while the node is down.
    pub(crate) replica: Option<Replica>,
    pub(crate) disk: Disk,
    /// The log with what is still being written.
    pub(crate) memory: Log,
    /// Writes under way, in order.
    pub(crate) writing: VecDeque<Write>,
    /// Writes wait for a test's word.
    pub(crate) slow: bool,
    /// Its database takes nothing.
    pub(crate) stalled: bool,
    /// What the state machine has taken, from offset 1 on.
    pub(crate) applied: Vec<Item>,
    pub(crate) streams: BTreeMap<NodeId, Stream>,
    /// Where the last push to each replica ended, while it may be continued.
    pub(crate) pushed: BTreeMap<NodeId, Offset>,
    /// The snapshot asked for.
    pub(crate) wanted: Option<(NodeId, Position)>,
    /// The snapshot fetched.
    pub(crate) fetched: Option<Snapshot>,
    /// It is to be installed.
    pub(crate) installing: bool,
    /// The last read request id given.
    pub(crate) request_ids: u64,
    /// What its disk has lost although it may have been acknowledged.
    pub(crate) lost: BTreeSet<Position>,
    /// What its former folders held when they were lost, for it was acknowledged.
    former: BTreeMap<Member, Log>,
    /// It stopped for good.
    pub(crate) fatal: bool,
}

impl Node {
    pub(crate) fn new(config: Config, disk: Disk) -> Node {
        Node {
            config,
            replica: None,
            memory: Log::default(),
            writing: VecDeque::new(),
            slow: false,
            stalled: false,
            applied: disk.log.items.iter().take(1).cloned().collect(),
            disk,
            streams: BTreeMap::new(),
            pushed: BTreeMap::new(),
            wanted: None,
            fetched: None,
            installing: false,
            request_ids: 0,
            lost: BTreeSet::new(),
            former: BTreeMap::new(),
            fatal: false,
        }
    }

    pub(crate) fn up(&self) -> &Replica {
        self.replica.as_ref().expect("the node is up")
    }

    pub(crate) fn is_up(&self) -> bool {
        self.replica.is_some()
    }

    /// What is not on disk is gone; the state machine's pages survive, as those of a process do.
    pub(crate) fn crash(&mut self) {
        self.replica = None;
        self.memory = Log::default();
        self.writing.clear();
        self.streams.clear();
        self.pushed.clear();
        self.wanted = None;
        self.fetched = None;
        self.installing = false;
    }

    /// Starts from the disk, with the state machine as of `committed`.
    pub(crate) fn restart(&mut self, committed: Offset) {
        assert!(self.replica.is_none() && !self.fatal, "only a node that is down is started");
        assert!(committed >= self.disk.snapshot.position().offset, "the state is never behind its snapshot");
        self.applied.truncate(usize::try_from(committed.0).unwrap());
        self.memory = self.disk.log.clone();
        self.replica = Some(Replica::new(self.config.clone(), self.disk.restored(committed)));
    }

    /// The end of the disk's log after `committed` is lost, `count` entries of it at most.
    pub(crate) fn lose_tail(&mut self, count: usize, committed: Offset) -> usize {
        let mut lost = 0;
        while lost < count && self.disk.log.last().offset > committed {
            let item = self.disk.log.items.pop().expect("its end is after the commit offset");
            self.lost.insert(item.position);
            lost += 1;
        }
        self.disk.maybe_lost_tail |= lost > 0;
        lost
    }

    /// The folder is gone; an empty one, with another identity, is there in its place.
    pub(crate) fn wipe(&mut self) {
        assert!(self.replica.is_none(), "a disk is wiped while its node is down");
        let old = self.config.member;
        self.config.member = Member { incarnation: Incarnation(old.incarnation.0 + FOLDERS), ..old };
        let mut former = std::mem::take(&mut self.former);
        former.insert(old, std::mem::take(&mut self.disk.log));
        let (config, slow) = (self.config.clone(), self.slow);
        *self = Node { slow, former, ..Node::new(config, Disk::default()) };
    }

    /// The membership in force by this log.
    pub(crate) fn membership_in(&self, log: &Log) -> Option<Membership> {
        let before = usize::try_from(log.base.offset.0).unwrap();
        let mut all = memberships(&self.disk.snapshot.state[..before]);
        all.extend(memberships(&log.items));
        all.pop().map(|(_, membership)| membership)
    }

    /// Whether this entry was durable in that folder once, as far as acknowledgements go.
    pub(crate) fn held(&self, member: Member, position: Position) -> bool {
        if self.config.member != member {
            return self.former.get(&member).is_some_and(|log| log.holds(position));
        }
        self.disk.log.holds(position) || self.lost.contains(&position)
    }
}
