//! A client's handle of the store: the trait that portals hold, over the link of the real handle ([`store_client::link`]),
//! whose streams here go over a network that breaks them.
//!
//! Leaves out the stream of changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use parking_lot::{Mutex, MutexGuard};
use prost::Message as _;
use proto::store::pipeline_request::Request;
use proto::store::pipeline_response::Response;
use proto::store::{
    ChangesResponse, Freshness, Identity, LeaderHint, OutcomeResponse, PipelineRequest, PipelineResponse,
    Route, Txn, TxnResponse,
};
use store_client::link::{self, Act, Body, Link, Next, Options};
use store_client::pipeline::{Kind, Pipelined};
use store_client::{Error, Got, Group, Page, Range, Refusal, Store, pipeline};

use crate::answers::StreamId;
use crate::life::Life;
use crate::time::{MS, Micros, Now, SECOND};

/// How long an operation waits for its answer.
pub(crate) const DEADLINE_US: Micros = 5 * SECOND;
/// How long one waits whose client has little patience: less than an election takes.
pub(crate) const DEADLINE_US_SHORT: Micros = 700 * MS;
/// After so long without an answer another leader is looked for.
const STALL_US: Micros = SECOND;
/// The same, of a client that stays: longer than it takes to elect another leader.
const STALL_US_STAYING: Micros = 4 * SECOND;

/// The only group, where there is no ring.
const ROUTE: Route = Route::to(1, 1);

/// What a client and the world share of a handle.
struct Side {
    link: Mutex<Link>,
    /// Something was asked that the link has not turned to yet.
    is_asked: AtomicBool,
    now: Now,
    route: Route,
}

impl Side {
    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock()
    }

    fn moment(&self) -> link::Moment {
        Duration::from_micros(self.now.us())
    }
}

/// A client's [`Store`].
#[derive(Clone)]
pub(crate) struct SimStore {
    side: Arc<Side>,
}

impl Pipelined for SimStore {
    fn route(&self) -> Route {
        self.side.route
    }

    async fn ask(&self, kind: Kind, request: Request) -> Result<Response, Error> {
        // No await before this: the first poll of an operation takes its place in the order.
        let answer = self.side.lock().ask(kind, Body::of(request, &self.side.route), self.side.moment())?;
        self.side.is_asked.store(true, Ordering::Relaxed);
        answer.await.unwrap_or_else(|_| Err(Error::Unknown { message: "the run has ended".to_owned() }))
    }
}

#[async_trait::async_trait]
impl Store for SimStore {
    fn group_of(&self, _key: &[u8]) -> Group {
        self.side.route.group
    }

    fn groups(&self) -> Vec<Group> {
        vec![self.side.route.group]
    }

    async fn get(&self, key: Bytes, freshness: Freshness) -> Result<Got, Error> {
        pipeline::get(self, pipeline::get_request(self, key, freshness)).await
    }

    async fn scan(
        &self,
        range: Range,
        limit: u32,
        after: Option<Bytes>,
        freshness: Freshness,
    ) -> Result<Page, Error> {
        pipeline::scan(self, range, limit, after, freshness).await
    }

    async fn txn(&self, txn: Txn, identity: Option<Identity>) -> Result<TxnResponse, Error> {
        pipeline::txn(self, txn, identity).await
    }

    async fn outcome(&self, tag: Bytes, identity: Identity) -> Result<OutcomeResponse, Error> {
        pipeline::outcome(self, tag, identity).await
    }

    async fn changes(
        &self,
        _group: Group,
        _from: u64,
    ) -> Result<BoxStream<'static, Result<ChangesResponse, Error>>, Error> {
        let message = "the stream of changes is not simulated".to_owned();
        Err(Error::Refused { reason: Refusal::Gone, message })
    }
}

/// The open stream.
#[derive(Debug)]
pub(crate) struct Open {
    /// Unique over a run.
    pub(crate) stream: StreamId,
    /// The link's number for it.
    number: link::StreamId,
    pub(crate) node: usize,
    /// When what was sent last arrives, and the last answer: a stream keeps its order.
    pub(crate) last_there: Micros,
    pub(crate) last_back: Micros,
    /// Something on it was lost, and so is all that comes after: the client has not noticed yet.
    pub(crate) is_cut: bool,
}

/// The world's side of one [`SimStore`].
pub(crate) struct Handle {
    side: Arc<Side>,
    pub(crate) open: Option<Open>,
    /// Its answers come over a long way.
    pub(crate) is_far: bool,
    /// When its next turn is due.
    pub(crate) alarm: Micros,
    /// Which node has it; `None`: a client.
    pub(crate) of: Option<OfNode>,
}

/// The node that has a handle.
#[derive(Clone)]
pub(crate) struct OfNode {
    /// The life that it is of.
    pub(crate) life: Arc<Life>,
    /// Its machine, if that has a replica of every group.
    pub(crate) machine: Option<usize>,
}

impl Handle {
    /// Its operations wait for their answers for `patience`.
    pub(crate) fn new(patience: Micros, now: Now) -> Handle {
        Handle::with(patience, STALL_US, now, ROUTE)
    }

    /// The same, on a group of a ring; of a node, or of a client.
    pub(crate) fn on_group(group: Group, patience: Micros, now: Now, of: Option<OfNode>) -> Handle {
        Handle { of, ..Handle::with(patience, STALL_US, now, Route::to(group, 1)) }
    }

    /// One that stays where it is for longer, whatever happens to the node there.
    pub(crate) fn staying(patience: Micros, now: Now) -> Handle {
        Handle::with(patience, STALL_US_STAYING, now, ROUTE)
    }

    fn with(patience: Micros, stall: Micros, now: Now, route: Route) -> Handle {
        let options =
            Options { deadline: Duration::from_micros(patience), stall: Duration::from_micros(stall) };
        let side =
            Side { link: Mutex::new(Link::new(options)), is_asked: AtomicBool::new(false), now, route };
        Handle { side: Arc::new(side), open: None, is_far: false, alarm: 0, of: None }
    }

    /// The side that clients hold.
    pub(crate) fn store(&self) -> SimStore {
        SimStore { side: Arc::clone(&self.side) }
    }

    /// Whether its node's process has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.of.as_ref().is_some_and(|of| of.life.has_ended())
    }

    /// Whether its node's process stands still: then what was asked waits.
    pub(crate) fn waits(&self) -> bool {
        let waits = self.of.as_ref().is_some_and(|of| of.life.stands_still());
        self.side.is_asked.fetch_or(waits, Ordering::Relaxed);
        waits
    }

    /// Whether clients have asked something since the last turn.
    pub(crate) fn is_asked(&self) -> bool {
        self.side.is_asked.swap(false, Ordering::Relaxed)
    }

    /// What the world is to do now. The next turn is due at [`Handle::alarm`].
    pub(crate) fn turn(&mut self) -> Vec<Act> {
        let (mut link, now) = (self.side.lock(), self.side.moment());
        let acts = link.turn(|| self.side.route, now);
        self.alarm = u64::try_from(link.wakes_at(now).as_micros()).unwrap_or(Micros::MAX);
        acts
    }

    /// A stream is opened: the link's `number` is the run's `stream`.
    pub(crate) fn opens(&mut self, number: link::StreamId, stream: StreamId, node: usize) {
        let now = self.side.now.us();
        self.open = Some(Open { stream, number, node, last_there: now, last_back: now, is_cut: false });
    }

    /// What goes out on the open stream next.
    pub(crate) fn next(&self) -> Option<PipelineRequest> {
        let number = self.open.as_ref()?.number;
        match self.side.lock().next(number, self.side.moment(), Waker::noop()) {
            Next::Send(number, body) => {
                let request = PipelineRequest::decode(body).expect("it was encoded by the link");
                Some(PipelineRequest { number, ..request })
            }
            Next::Wait | Next::End => None,
        }
    }

    /// Who leads.
    pub(crate) fn found(&self, found: Result<LeaderHint, String>) {
        self.side.lock().found(found, self.side.moment());
    }

    /// Who leads, as others know while a stream stalls.
    pub(crate) fn looked(&self, stream: link::StreamId, found: Option<LeaderHint>) {
        self.side.lock().looked(stream, found, self.side.moment());
    }

    /// The link's number of a stream, unless it was given up.
    fn number(&self, stream: StreamId) -> Option<link::StreamId> {
        self.open.as_ref().filter(|open| open.stream == stream).map(|open| open.number)
    }

    /// The node has opened the stream.
    pub(crate) fn opened(&self, stream: StreamId) {
        if let Some(number) = self.number(stream) {
            self.side.lock().opened(number);
        }
    }

    /// The stream is gone.
    pub(crate) fn lost(&self, stream: StreamId) {
        if let Some(number) = self.number(stream) {
            self.side.lock().ended(number, "the stream broke", None, self.side.moment());
        }
    }

    /// An answer has come.
    pub(crate) fn answered(&self, stream: StreamId, response: PipelineResponse) {
        if let Some(number) = self.number(stream) {
            self.side.lock().heard(number, response, self.side.moment());
        }
    }
}
