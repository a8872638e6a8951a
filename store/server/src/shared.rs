//! The knowledge that the threads, streams and services of one replica have in common.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use proto::store as wire;
use proto::store::pipeline_response::Response;
use proto::store::{Failure, FailureReason, Identity as RequestIdentity, LeaderHint, Route, Txn};
use store_client::failure::{failure, invalid};
use store_client::now_ms;
use store_core::{Epoch, Member, MemberChange, NodeId, Role, RoleView};
use store_db::{Layered, Lmdb};
use store_db::{Table as _, state};
use store_engine::front::{self, NodeResponse, Standing};
use store_engine::{Answer, Applied, ChangeRequest, Job, Reply, Status, states};
use store_keys::ClusterKey;
use store_log::{Quarantine, RealDisk};
use tokio::sync::{oneshot, watch};

use crate::config::{ADDRESS_BYTES_MAX, Config, reachable_address};
use crate::forward::{Away, Forward};
use crate::inbox::{Batch, Bell, Closed, Inbox};
use crate::peers::{Lines, Strangers};
use crate::problems::{About, Problems};
use crate::router::{Calls, ResponseRouter};
use crate::trace::Trace;
use store_cross::gate::{Gate, Who};

/// The table that a server uses.
pub(crate) type Table = Layered<Lmdb>;
/// The disk that a server uses.
pub(crate) type Disk = RealDisk;

/// This replica's identity.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The cluster's name, as in topics and in `meta`.
    pub(crate) cluster: String,
    /// Which replica group, by which consistent view of the ring.
    pub(crate) route: Route,
    /// Node and incarnation.
    pub(crate) member: Member,
}

/// See the module.
pub(crate) struct Shared {
    /// This replica's identity.
    pub(crate) me: Identity,
    /// How it was configured.
    pub(crate) config: Config,
    /// The ring, if it has other shards.
    pub(crate) forward: Option<Forward>,
    /// Who waits for keys that are locked, where the ring has other shards.
    pub(crate) gate: Gate,
    /// The cluster's id and keys, as the key file says now.
    pub(crate) keys: watch::Receiver<ClusterKey>,
    /// The node's queue of jobs.
    pub(crate) inbox: Inbox,
    /// Where answers go.
    pub(crate) router: ResponseRouter,
    /// The unary calls, and what this process itself asks.
    pub(crate) calls: Arc<Calls>,
    /// For reads.
    pub(crate) table: Table,
    /// Where the applier stands.
    pub(crate) applied: watch::Sender<Applied>,
    /// Which log the group's is; 0: not known yet. Once known it never changes.
    log_id: AtomicU64,
    /// Deliveries of the bus that were ignored: no messages, or not of this cluster.
    pub(crate) bus_ignored: Arc<AtomicU64>,
    /// The leader.
    pub(crate) role: watch::Sender<RoleView>,
    /// Why the table must not be read; `None`: it may.
    pub(crate) quarantine: watch::Sender<Option<Quarantine>>,
    /// True: the node stops, and streams end.
    pub(crate) stopping: watch::Sender<bool>,
    /// Leadership transfers that were given up, counted.
    pub(crate) transfer_failed: watch::Sender<u64>,
    /// What the node said of itself last.
    status: Mutex<Arc<Status>>,
    /// By its log this node is in no part of the group.
    non_member: AtomicBool,
    /// A member has said that this node was removed, which its own log does not have.
    told_removed: AtomicBool,
    /// The member that pushes to this node, or did last, by its introduction.
    pushing: Mutex<Option<wire::Member>>,
    /// The addresses of the members, from the membership in force and the configuration.
    members: Mutex<Arc<Members>>,
    /// Where this node itself is reached, if the membership cannot know: its port was allotted just now.
    address: Option<String>,
    /// What an operator should know.
    pub(crate) problems: Problems,
    /// The connections on which this process pushes.
    pub(crate) lines: Arc<Lines>,
    /// Callers who were refused.
    pub(crate) strangers: Strangers,
    /// The protocol as it happens, while somebody looks or rehearses.
    pub(crate) trace: Arc<Trace>,
    /// When this node began to serve.
    pub(crate) since: Instant,
}

/// The members of the group.
#[derive(Default)]
pub(crate) struct Members {
    /// As in the log.
    pub(crate) membership: wire::Membership,
    /// Each member and its address, by node.
    pub(crate) by_node: BTreeMap<u64, wire::Member>,
}

/// What a shared state begins with.
pub(crate) struct Start {
    pub(crate) me: Identity,
    pub(crate) config: Config,
    pub(crate) keys: watch::Receiver<ClusterKey>,
    pub(crate) table: Table,
    pub(crate) address: Option<String>,
    pub(crate) status: Status,
    pub(crate) membership: wire::Membership,
    pub(crate) of_process: OfProcess,
}

/// What the replicas of a process have in common.
#[derive(Clone, Default)]
pub(crate) struct OfProcess {
    /// Wakes the thread that turns the nodes.
    pub(crate) bell: Arc<Bell>,
    /// The connections on which it pushes.
    pub(crate) lines: Arc<Lines>,
}

impl Shared {
    pub(crate) fn new(start: Start) -> Shared {
        let router = ResponseRouter::default();
        let calls = router.register(Calls::new);
        let Start { me, config, keys, table, address, status, membership, of_process } = start;
        let OfProcess { bell, lines } = of_process;
        let view = RoleView { role: status.role, epoch: status.epoch, leader: status.leader };
        let rehearsal = config.rehearsal;
        let shared = Shared {
            me,
            forward: Forward::of(&config),
            gate: Gate::default(),
            config,
            keys,
            inbox: Inbox::new(bell),
            router,
            calls,
            table,
            applied: watch::Sender::new(status.applied),
            log_id: AtomicU64::new(0),
            bus_ignored: Arc::default(),
            role: watch::Sender::new(view),
            quarantine: watch::Sender::new(None),
            stopping: watch::Sender::new(false),
            transfer_failed: watch::Sender::new(0),
            status: Mutex::new(Arc::new(status)),
            non_member: AtomicBool::new(false),
            told_removed: AtomicBool::new(false),
            pushing: Mutex::default(),
            members: Mutex::default(),
            address,
            problems: Problems::default(),
            trace: Arc::new(Trace::new(rehearsal)),
            lines,
            strangers: Strangers::default(),
            since: Instant::now(),
        };
        shared.set_members(membership);
        if let Some(quarantine) = shared.status().quarantine {
            shared.problems.raise(About::Quarantine, states::quarantine_text(&quarantine));
            shared.quarantine.send_replace(Some(quarantine));
        }
        shared
    }

    /// No more answers: streams end, calls that wait are told.
    pub(crate) fn close(&self) {
        self.stopping.send_replace(true);
        self.inbox.close();
        self.router.close();
    }

    /// What the node said of itself last.
    pub(crate) fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.lock())
    }

    pub(crate) fn set_status(&self, status: Status) {
        *self.status.lock() = Arc::new(status);
    }

    /// The members in force.
    pub(crate) fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members.lock())
    }

    /// Another membership is in force. An initial member is where the configuration says; who came by a change is where the change
    /// said, since a configuration may be older than the change.
    pub(crate) fn set_members(&self, membership: wire::Membership) {
        let mut by_node: BTreeMap<u64, wire::Member> =
            everybody(&membership).map(|member| (member.node, member.clone())).collect();
        for peer in &self.config.peers {
            if let Some(member) = by_node.get_mut(&peer.node)
                && !member.joined
            {
                member.address.clone_from(&peer.address);
            }
        }
        if let (Some(me), Some(address)) = (by_node.get_mut(&self.me.member.node.0), &self.address) {
            me.address.clone_from(address);
        }
        self.problems.keep_peers(|node| by_node.contains_key(&node));
        self.note_membership(&membership);
        *self.members.lock() = Arc::new(Members { membership, by_node });
    }

    fn note_membership(&self, membership: &wire::Membership) {
        let non_member = !contains(membership, self.me.member);
        self.non_member.store(non_member, Ordering::Relaxed);
        self.told_removed.store(false, Ordering::Relaxed);
        if !non_member {
            self.problems.clear(About::Membership);
            return;
        }
        let node = self.me.member.node.0;
        let text = if membership.voters.is_empty() {
            format!(
                "this folder is empty and waits to be let in: feira member add {node}, or feira member replace {node} \
                 if it takes the place of a lost one"
            )
        } else {
            format!(
                "node {node} (incarnation {:x}) is not a member of its group, as far as its log reaches; feira member \
                 list shows who is; a node that was removed can be stopped",
                self.me.member.incarnation.0
            )
        };
        if self.problems.raise(About::Membership, text.clone()) {
            tracing::warn!(why = text, "this node is no member and serves nobody");
        }
    }

    /// A member says that this node was removed. It can know: what it committed reaches beyond this node's log.
    pub(crate) fn told_removed(&self, by: NodeId, why: &str) {
        self.told_removed.store(true, Ordering::Relaxed);
        let text = format!("{by} says: {why}; this node can be stopped");
        if self.problems.raise(About::Membership, text.clone()) {
            tracing::warn!(why = text, "this node is no member and serves nobody");
        }
    }

    /// The member that pushes to this node, or did last.
    pub(crate) fn pushing(&self) -> Option<wire::Member> {
        self.pushing.lock().clone()
    }

    /// A member pushes to this node as to another, and says where it is reached: what was said of a removal is not so, or
    /// no longer.
    pub(crate) fn spoken_to(&self, by: Member, address: &str) {
        if address.len() <= ADDRESS_BYTES_MAX && reachable_address(address).is_some() {
            let (node, incarnation, address) = (by.node.0, by.incarnation.0, address.to_owned());
            *self.pushing.lock() = Some(wire::Member { node, incarnation, address, joined: false });
        }
        if self.told_removed.swap(false, Ordering::Relaxed) && !self.non_member.load(Ordering::Relaxed) {
            self.problems.clear(About::Membership);
        }
    }

    /// Whether this node is in no part of the group, as far as it knows. A leader that removes itself leads until that is
    /// committed.
    pub(crate) fn is_non_member(&self) -> bool {
        let non_member = self.non_member.load(Ordering::Relaxed) || self.told_removed.load(Ordering::Relaxed);
        non_member && self.role.borrow().role != Role::Leader
    }

    /// Refuses to speak for a group that this node is not in: what it holds may be of any time.
    pub(crate) fn check_member(&self) -> Result<(), Failure> {
        if !self.is_non_member() {
            return Ok(());
        }
        let message = format!(
            "node {} is not a member of its group (removed, or not let in yet): ask another node",
            self.me.member.node.0
        );
        Err(failure(FailureReason::NotServing, message))
    }

    /// The leader, in the form for callers.
    pub(crate) fn leader_hint(&self, leader: Option<NodeId>, epoch: Epoch) -> Option<LeaderHint> {
        let node = leader?.0;
        let members = self.members();
        let address = members.by_node.get(&node).map(|member| member.address.clone()).unwrap_or_default();
        Some(LeaderHint { node, address, epoch: epoch.0 })
    }

    /// The way to the shard that owns a key, if that is another one; or to the leader here, if this node is not that and the
    /// route names no group: such a request may come to any node of the ring. It has come so many hops already.
    ///
    /// # Errors
    /// Another cluster or ring is meant, or another group than the one that owns the key; or the request goes round.
    pub(crate) fn away(
        &self,
        route: Option<&Route>,
        key: &[u8],
        hops: usize,
    ) -> Result<Option<Away<'_>>, Failure> {
        let Some(forward) = &self.forward else { return Ok(None) };
        let Some(route) = route else { return Err(invalid("route", "is missing")) };
        let cluster = self.keys.borrow().id();
        let away = match forward.away(key, cluster, hops)? {
            Some(away) => away,
            None if route.group == 0 && !self.leads() => forward.to_leader(cluster, hops),
            None => return Ok(None),
        };
        let owner = forward.group_of(key);
        if route.group != 0 && route.group != owner {
            let message = format!("the key is of group {owner}, not {}", route.group);
            return Err(failure(FailureReason::WrongRoute, message));
        }
        // Which log the owner has is the owner's to know.
        self.check_cluster(&Route { log_id: 0, ..*route })?;
        self.check_ring(route)?;
        Ok(Some(away))
    }

    fn check_ring(&self, route: &Route) -> Result<(), Failure> {
        let mine = self.me.route.ring_version;
        if route.ring_version == 0 || route.ring_version == mine {
            return Ok(());
        }
        let message = format!("this node has ring version {mine}, not {}", route.ring_version);
        Err(failure(FailureReason::WrongRoute, message))
    }

    /// Refuses what means another cluster, or was routed by another consistent view. A route that names no group means this one.
    pub(crate) fn check_group(&self, route: Option<&Route>) -> Result<(), Failure> {
        let mine = self.me.route;
        let Some(route) = route else { return Err(invalid("route", "is missing")) };
        let log_id = if route.group == 0 { 0 } else { route.log_id };
        self.check_cluster(&Route { log_id, ..*route })?;
        self.check_ring(route)?;
        if route.group == 0 || route.group == mine.group {
            return Ok(());
        }
        Err(failure(
            FailureReason::WrongRoute,
            format!("this node serves group {}, not {}", mine.group, route.group),
        ))
    }

    /// Refuses what means another cluster or another log, and says whose port it came to. A request that names none is
    /// served.
    fn check_cluster(&self, route: &Route) -> Result<(), Failure> {
        let ours = self.cluster_id();
        if route.cluster_id != 0 && route.cluster_id != ours {
            let message = format!("{}, not of cluster {:016x}", self.whose_port(), route.cluster_id);
            return Err(failure(FailureReason::WrongCluster, message));
        }
        match self.log_id() {
            log if route.log_id == 0 || route.log_id == log => Ok(()),
            0 => {
                let message = "this node does not know yet which log its group has: ask another node";
                Err(failure(FailureReason::NotServing, message))
            }
            log => {
                let message =
                    format!("{}, which has log {log:016x}, not {:016x}", self.whose_port(), route.log_id);
                Err(failure(FailureReason::WrongCluster, message))
            }
        }
    }

    /// The random id of the cluster.
    pub(crate) fn cluster_id(&self) -> u64 {
        self.keys.borrow().id().get()
    }

    fn whose_port(&self) -> String {
        let (me, id) = (&self.me, self.cluster_id());
        format!("this is the port of node {} of cluster {} ({id:016x})", me.member.node.0, me.cluster)
    }

    /// Which log the group's is; 0: not known yet. A table that is being replaced does not say it.
    pub(crate) fn log_id(&self) -> u64 {
        let known = self.log_id.load(Ordering::Relaxed);
        // Nothing applied, nothing known.
        if known != 0 || self.applied.borrow().position.offset.0 == 0 {
            return known;
        }
        let read = self.table.read(|read| state::read(read)).map_or(0, |state| state::log_id(&state));
        self.log_id.store(read, Ordering::Relaxed);
        read
    }

    /// Puts one request to the node and waits for what it is told.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<NodeResponse, Failure> {
        let (answer, changes) = self.put(ask).await?;
        let limit = Duration::from_millis(self.config.request_ms_max);
        let began = Instant::now();
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(response)) => Ok(response),
            ended => Err(unanswered(changes, ended.is_err(), began.elapsed())),
        }
    }

    /// The same, until it is told something or the node stops.
    pub(crate) async fn ask_for_ever(&self, ask: Ask) -> Result<NodeResponse, Failure> {
        let began = Instant::now();
        let (answer, changes) = self.put(ask).await?;
        answer.await.map_err(|_| unanswered(changes, false, began.elapsed()))
    }

    /// Puts one request to the node: where its answer will come, and whether it changes something.
    async fn put(&self, ask: Ask) -> Result<(oneshot::Receiver<NodeResponse>, bool), Failure> {
        let (request_id, answer) = self.calls.open();
        let (job, bytes, changes) = match ask {
            Ask::Write(command) => {
                let bytes = command.len();
                (Job::Write { request_id, command }, bytes, true)
            }
            Ask::WriteAnyway(command) => {
                let bytes = command.len();
                (Job::WriteAnyway { request_id, command }, bytes, true)
            }
            Ask::Resync => (Job::Resync { request_id }, 0, false),
            Ask::Read => (Job::Read { request_id }, 0, false),
            Ask::ChangeMembers(change, address) => {
                (Job::ChangeMembers(ChangeRequest { request_id, change, address }), 0, true)
            }
        };
        let from = Arc::clone(&self.calls) as Arc<dyn crate::router::Responder>;
        self.inbox.submit(Batch { from, jobs: vec![job], bytes }).await.map_err(|Closed| stopping())?;
        Ok((answer, changes))
    }

    /// What the node's refusal of a request means to a caller.
    pub(crate) fn failure_of(&self, answer: &Answer) -> Failure {
        front::failure_of(answer, |leader, epoch| self.leader_hint(leader, epoch))
    }

    /// What the state machine's refusal means to a caller; `Ok` is the reply itself.
    pub(crate) fn reply_of(&self, response: NodeResponse) -> Result<Reply, Failure> {
        front::reply_of(response, |leader, epoch| self.leader_hint(leader, epoch))
    }

    /// The same as the answer of a stream.
    pub(crate) fn response_of(&self, response: NodeResponse) -> Response {
        front::response_of(response, |leader, epoch| self.leader_hint(leader, epoch))
    }
}

impl Standing for Shared {
    fn check_route(&self, route: Option<&Route>) -> Result<(), Failure> {
        self.check_group(route)?;
        self.check_member()
    }

    fn is_one_of_several(&self) -> bool {
        self.forward.as_ref().is_some_and(|forward| !forward.is_whole())
    }

    fn check_key(&self, key: &[u8]) -> Result<(), Failure> {
        match &self.forward {
            Some(forward) if !forward.owns(key) => {
                let (owner, mine) = (forward.group_of(key), self.me.route.group);
                let message = format!("a key is of group {owner}, and this node serves group {mine}");
                Err(failure(FailureReason::WrongRoute, message))
            }
            _ => Ok(()),
        }
    }

    fn check_still(&self) -> Result<(), Failure> {
        if self.gate.is_still() {
            let message =
                "the group stands still for a consistent view of all groups: a moment later it goes on";
            return Err(failure(FailureReason::Frozen, message));
        }
        Ok(())
    }

    fn check_waiting(&self, txn: &Txn, identity: Option<&RequestIdentity>) -> Result<(), Failure> {
        self.check_still()?;
        let who = || identity.and_then(|identity| Who::named(identity, now_ms()));
        if self.gate.is_open() || self.gate.admits(who().as_ref(), txn) {
            return Ok(());
        }
        Err(failure(
            FailureReason::Locked,
            "an older request waits for one of these keys: it is before this one",
        ))
    }

    fn leads(&self) -> bool {
        self.role.borrow().role == Role::Leader
    }

    fn wall_ms(&self) -> i64 {
        now_ms()
    }

    fn state_machine_version(&self) -> u32 {
        self.applied.borrow().version
    }
}

/// What can be asked of the node.
pub(crate) enum Ask {
    /// An encoded command.
    Write(bytes::Bytes),
    /// The encoded command of an audit or of a cut, or one that ends transactions over several groups: taken also where clients'
    /// writes are refused because replicas differ.
    WriteAnyway(bytes::Bytes),
    /// That this replica's table is replaced.
    Resync,
    /// A read barrier.
    Read,
    /// A change of members, and the address of the one that it adds.
    ChangeMembers(MemberChange, String),
}

/// All members. Where a new folder takes the place of a lost one of its node, the new one comes later.
fn everybody(membership: &wire::Membership) -> impl Iterator<Item = &wire::Member> {
    membership.outgoing.iter().chain(&membership.voters).chain(&membership.learners)
}

/// Whether this very folder is in the group, in any part.
pub(crate) fn contains(membership: &wire::Membership, member: Member) -> bool {
    everybody(membership).any(|one| one.node == member.node.0 && one.incarnation == member.incarnation.0)
}

/// What came of a request that the node had and did not answer: it waited so long, or the node stopped meanwhile. Once it is with
/// the node, an end without an answer leaves a write's fate open.
fn unanswered(changes: bool, expired: bool, waited: Duration) -> Failure {
    let ms = waited.as_millis();
    match (changes, expired) {
        (true, true) => {
            failure(FailureReason::UnknownOutcome, format!("no majority answered within {ms} ms"))
        }
        (true, false) => failure(
            FailureReason::UnknownOutcome,
            format!("this node stopped while the write waited, for {ms} ms"),
        ),
        (false, true) => {
            failure(FailureReason::NotServing, format!("no majority confirmed the leader within {ms} ms"))
        }
        (false, false) => failure(
            FailureReason::NotServing,
            format!("this node stopped while the read waited, for {ms} ms"),
        ),
    }
}

/// The node ends.
pub(crate) fn stopping() -> Failure {
    failure(FailureReason::NotServing, "this node is stopping")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message named the limit, also where the node had stopped long before.
    #[test]
    fn a_wait_that_ended_says_how_long_it_was_and_why() {
        let waited = Duration::from_millis(1_234);
        let message = |changes, expired| unanswered(changes, expired, waited).message;
        assert_eq!(message(true, true), "no majority answered within 1234 ms");
        assert_eq!(message(false, true), "no majority confirmed the leader within 1234 ms");
        assert_eq!(message(true, false), "this node stopped while the write waited, for 1234 ms");
        assert_eq!(message(false, false), "this node stopped while the read waited, for 1234 ms");
    }
}
