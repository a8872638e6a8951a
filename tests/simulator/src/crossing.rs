//! The driver of transactions over several groups ([`store_cross`]) on a simulated replica: one for each life of it.
//!
//! It waits for the log by its node's queue and for the other groups by handles of its own; its tasks are its world's, and end with the
//! life that they are of.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use proto::hash::ring_hash;
use proto::store::command::Kind;
use proto::store::pipeline_response::Response;
use proto::store::{
    AskRequest, CutCommand, Failure, FailureReason, FinishRequest, Identity, LeaderHint, Owned,
    PrepareRequest, Record, Route, Txn,
};
use store_client::Sharded;
use store_client::failure::failure;
use store_core::cut::{CutId, RoundOutput};
use store_core::ring::Ring;
use store_core::{Epoch, GroupId, NodeId, Offset, Position, Role, RoleView};
use store_cross::gate::{Gate, Who};
use store_cross::{Append, Cross, Host, RING_VERSION, reads};
use store_engine::front::{NodeResponse, PendingRequest, Standing, command_of, reply_of};
use store_engine::{Applied, Clock as _, Reply, RequestId, Status};
use tokio::sync::watch;

use crate::answers::{hint, quarantined, read};
use crate::handle::{Handle, OfNode, SimStore};
use crate::life::{Life, OfLife};
use crate::network::index_of;
use crate::table::{SimTable, versions};
use crate::time::{MS, Micros, NodeClock, Now};
use crate::violation::ensure;

/// For so long a request waits at most: less than at a server, so that some end by it within a run.
const REQUEST_MS_MAX: u64 = 10_000;

/// Tasks that a life of a node has begun, and its world has not taken up.
type Begun = Arc<Mutex<Vec<BoxFuture<'static, ()>>>>;

/// Handles that were made, and are for the world of a slot.
pub(crate) type Handles = Rc<RefCell<Vec<(usize, Handle)>>>;

/// What the groups held at cuts, by the cut and the slot.
pub(crate) type Views = Arc<Mutex<BTreeMap<(Bytes, usize), Vec<(Bytes, Record)>>>>;

/// What a leader says to whoever makes a cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said {
    Frozen(u64),
    Cut(Position),
    Thawed,
    Refused,
}

/// A world's place on the ring.
pub(crate) struct Place {
    ring: Ring,
    slot: usize,
    /// Each machine has a replica of every group.
    is_shared: bool,
    handles: Handles,
    views: Views,
    now: Now,
    begun: Begun,
}

/// A handle on a whole ring: one on each group, which are for the worlds of their slots. `of`: the node that has it, if it is no client's.
pub(crate) fn store_on(
    ring: &Ring,
    handles: &Handles,
    patience: Micros,
    now: &Now,
    of: Option<&OfNode>,
) -> Sharded<SimStore> {
    let stores = ring.slots().iter().enumerate().map(|(slot, one)| {
        let handle = Handle::on_group(one.group.0, patience, now.clone(), of.cloned());
        let store = handle.store();
        handles.borrow_mut().push((slot, handle));
        store
    });
    Sharded::over(ring.clone(), stores.collect())
}

impl Place {
    pub(crate) fn new(
        (ring, slot): (&Ring, usize),
        is_shared: bool,
        handles: &Handles,
        views: &Views,
        now: &Now,
    ) -> Place {
        let (handles, views, now) = (Rc::clone(handles), Arc::clone(views), now.clone());
        Place { ring: ring.clone(), slot, is_shared, handles, views, now, begun: Begun::default() }
    }

    /// Takes up what lives of nodes have begun.
    pub(crate) fn take_begun(&self) -> Vec<BoxFuture<'static, ()>> {
        std::mem::take(&mut *self.begun.lock())
    }

    pub(crate) fn group(&self) -> GroupId {
        self.ring.slots()[self.slot].group
    }

    /// What the group owns.
    pub(crate) fn owned(&self) -> Owned {
        let arc = self.ring.arc(self.slot);
        Owned { after: arc.after, up_to: arc.up_to, ring_version: RING_VERSION }
    }
}

/// This replica, as the driver sees it.
pub(crate) struct SimHost {
    ring: Ring,
    slot: usize,
    node: NodeId,
    table: SimTable,
    clock: NodeClock,
    pub(crate) gate: Gate,
    role: watch::Sender<RoleView>,
    applied: watch::Sender<Applied>,
    stopping: watch::Sender<bool>,
    /// By its log it is in no part of the group.
    non_member: AtomicBool,
    /// Its table must not be read.
    quarantined: AtomicBool,
    /// For the node.
    appends: Mutex<Vec<(Append, oneshot::Sender<NodeResponse>)>>,
    /// Answers to requests, for whoever sent them.
    made: Mutex<Vec<(RequestId, Response)>>,
    views: Views,
    begun: Begun,
    life: Arc<Life>,
}

impl SimHost {
    pub(crate) fn leads(&self, view: RoleView) {
        self.role.send_replace(view);
    }

    pub(crate) fn has_applied(&self, applied: Applied) {
        self.applied.send_replace(applied);
    }

    pub(crate) fn set_quarantined(&self, is: bool) {
        self.quarantined.store(is, Ordering::Relaxed);
    }

    pub(crate) fn set_non_member(&self, is: bool) {
        self.non_member.store(is, Ordering::Relaxed);
    }

    /// The replica stands at a cut.
    pub(crate) fn view(&self, cut: Bytes) {
        let prefixes: [&[u8]; 4] = [b"a/", b"o/", b"s/", b"x/"];
        let view: Vec<_> = prefixes.into_iter().flat_map(|prefix| versions(&self.table, prefix)).collect();
        let mut views = self.views.lock();
        let first = views.entry((cut, self.slot)).or_insert_with(|| view.clone());
        ensure(*first == view, "state-machine safety", || {
            format!("two replicas of group {} hold different things at a cut", self.group())
        });
    }

    pub(crate) fn has_appends(&self) -> bool {
        !self.appends.lock().is_empty()
    }

    pub(crate) fn take_appends(
        &self,
    ) -> impl Iterator<Item = (Append, oneshot::Sender<NodeResponse>)> + use<> {
        std::mem::take(&mut *self.appends.lock()).into_iter()
    }

    fn put(&self, append: Append) -> oneshot::Receiver<NodeResponse> {
        let (sender, answer) = oneshot::channel();
        self.appends.lock().push((append, sender));
        answer
    }

    pub(crate) fn take_made(&self) -> Vec<(RequestId, Response)> {
        std::mem::take(&mut *self.made.lock())
    }

    fn made(&self, request_id: RequestId, response: Response) {
        self.made.lock().push((request_id, response));
    }
}

impl Standing for SimHost {
    fn check_route(&self, route: Option<&Route>) -> Result<(), Failure> {
        let mine = self.group();
        if route.is_some_and(|route| route.group != mine) {
            return Err(failure(FailureReason::WrongRoute, format!("this node serves group {mine}")));
        }
        if !self.non_member.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(failure(FailureReason::NotServing, "this node is not a member of its group"))
    }

    fn is_one_of_several(&self) -> bool {
        true
    }

    fn check_key(&self, key: &[u8]) -> Result<(), Failure> {
        if self.ring.owner(ring_hash(key)) == self.slot {
            return Ok(());
        }
        Err(failure(FailureReason::WrongRoute, "a key is of another group"))
    }

    fn check_still(&self) -> Result<(), Failure> {
        if self.gate.is_still() {
            return Err(failure(FailureReason::Frozen, "the group stands still"));
        }
        Ok(())
    }

    fn check_waiting(&self, txn: &Txn, identity: Option<&Identity>) -> Result<(), Failure> {
        self.check_still()?;
        let who = identity.and_then(|identity| Who::named(identity, self.wall_ms()));
        if self.gate.admits(who.as_ref(), txn) {
            return Ok(());
        }
        Err(failure(FailureReason::Locked, "an older request waits for one of these keys"))
    }

    fn leads(&self) -> bool {
        self.role.borrow().role == Role::Leader
    }

    fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    fn state_machine_version(&self) -> u32 {
        self.applied.borrow().version
    }
}

impl Host for SimHost {
    type Table = SimTable;

    fn group(&self) -> u64 {
        self.ring.slots()[self.slot].group.0
    }

    fn node(&self) -> NodeId {
        self.node
    }

    fn request_ms_max(&self) -> u64 {
        REQUEST_MS_MAX
    }

    fn table(&self) -> &SimTable {
        &self.table
    }

    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn role(&self) -> watch::Receiver<RoleView> {
        self.role.subscribe()
    }

    fn applied(&self) -> watch::Receiver<Applied> {
        self.applied.subscribe()
    }

    fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    fn leader_hint(&self, leader: Option<NodeId>, epoch: Epoch) -> Option<LeaderHint> {
        hint(leader, epoch)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let life = Arc::clone(&self.life);
        self.begun.lock().push(Box::pin(OfLife { life, task }));
    }

    async fn append(&self, append: Append) -> Result<NodeResponse, Failure> {
        let answer = self.put(append);
        let limit = Duration::from_millis(REQUEST_MS_MAX);
        let unknown = || failure(FailureReason::UnknownOutcome, "no majority answered in time");
        tokio::time::timeout(limit, answer).await.map_err(|_| unknown())?.map_err(|_| unknown())
    }

    async fn append_for_ever(&self, append: Append) -> Result<NodeResponse, Failure> {
        let ended = |_| failure(FailureReason::UnknownOutcome, "the node has ended");
        self.put(append).await.map_err(ended)
    }
}

/// The driver of one life of a replica.
pub(crate) struct CrossSide {
    pub(crate) host: Arc<SimHost>,
    pub(crate) life: Arc<Life>,
    cross: Arc<Cross<SimHost, Sharded<SimStore>>>,
}

impl Drop for CrossSide {
    fn drop(&mut self) {
        self.life.end();
    }
}

impl CrossSide {
    /// Starts it. `status` is of a node that has just started. To be called where there is a clock for tasks.
    pub(crate) fn start(
        place: &Place,
        node: NodeId,
        table: &SimTable,
        clock: &NodeClock,
        status: &Status,
    ) -> CrossSide {
        let life = Arc::<Life>::default();
        let view = RoleView { role: status.role, epoch: status.epoch, leader: status.leader };
        let host = Arc::new(SimHost {
            ring: place.ring.clone(),
            slot: place.slot,
            node,
            table: table.clone(),
            clock: clock.clone(),
            gate: Gate::default(),
            role: watch::Sender::new(view),
            applied: watch::Sender::new(status.applied),
            stopping: watch::Sender::new(false),
            non_member: AtomicBool::new(false),
            quarantined: AtomicBool::new(status.quarantine.is_some()),
            appends: Mutex::default(),
            made: Mutex::default(),
            views: Arc::clone(&place.views),
            begun: Arc::clone(&place.begun),
            life: Arc::clone(&life),
        });
        let patience = Cross::<SimHost, Sharded<SimStore>>::PARTICIPANT_MS_MAX * MS;
        let machine = place.is_shared.then(|| index_of(node));
        let of = OfNode { life: Arc::clone(&life), machine };
        let leaders = store_on(&place.ring, &place.handles, patience, &place.now, Some(&of));
        let cross = Cross::start(&host, leaders).expect("the group is on the ring");
        CrossSide { host, life, cross }
    }

    pub(crate) fn ending(&self, request: &FinishRequest) {
        self.cross.ending(request);
    }

    pub(crate) fn answer(&self, asked: &AskRequest) -> Response {
        self.cross.answer(asked).map_or_else(Response::Failure, Response::Ask)
    }

    /// Runs a transaction over several groups: what came of it is among what was made.
    pub(crate) fn txn(&self, request_id: RequestId, txn: Txn, identity: Option<Identity>) {
        let (host, cross) = (Arc::clone(&self.host), Arc::clone(&self.cross));
        self.host.spawn(Box::pin(async move {
            let response = cross.txn(txn, identity).await.map_or_else(Response::Failure, Response::Txn);
            host.made(request_id, response);
        }));
    }

    /// Has branches prepared, likewise.
    pub(crate) fn prepare(&self, request_id: RequestId, request: PrepareRequest) {
        let (host, cross) = (Arc::clone(&self.host), Arc::clone(&self.cross));
        self.host.spawn(Box::pin(async move {
            let response = cross.prepare(request).await;
            host.made(request_id, response);
        }));
    }

    /// Does what whoever makes a cut wants.
    pub(crate) fn call(&self, wanted: RoundOutput, id: CutId, answer: oneshot::Sender<Said>) {
        let (host, cross) = (Arc::clone(&self.host), Arc::clone(&self.cross));
        self.host.spawn(Box::pin(async move {
            let said = match wanted {
                RoundOutput::Freeze(_) => cross.freeze(id).await.map(Said::Frozen),
                RoundOutput::Cut(_, frozen_at) => cut(&host, id, frozen_at).await,
                RoundOutput::Thaw(_) => cross.thaw(id).await.map(|()| Said::Thawed),
                RoundOutput::Taken | RoundOutput::Void => Ok(Said::Refused),
            };
            // Whoever asked may have gone.
            let _ = answer.send(said.unwrap_or(Said::Refused));
        }));
    }

    /// Runs a read until nothing is in its way, likewise.
    pub(crate) fn patient(&self, request_id: RequestId, asked: PendingRequest, at: Offset) {
        let host = Arc::clone(&self.host);
        self.host.spawn(Box::pin(async move {
            let once = |host: &SimHost| match host.quarantined.load(Ordering::Relaxed) {
                true => quarantined(),
                false => read(&host.table, &asked, at),
            };
            let response = reads::patient(&*host, once).await;
            host.made(request_id, response);
        }));
    }
}

/// Appends the entry of a cut, as the service for operators does.
async fn cut(host: &SimHost, id: CutId, frozen_at: u64) -> Result<Said, Failure> {
    let id = Bytes::copy_from_slice(&id.to_be_bytes());
    let command = command_of(Kind::Cut(CutCommand { id, frozen_at, prefixes: Vec::new() }));
    let told = host.append(Append::WriteAnyway(command)).await?;
    match reply_of(told, hint)? {
        Reply::Done { position } => Ok(Said::Cut(position)),
        _ => Ok(Said::Refused),
    }
}
