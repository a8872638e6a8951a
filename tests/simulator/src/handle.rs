//! A client's handle of the store, simulated: the same trait that portals hold, over streams to nodes that break. It
//! keeps to the rules of `store_client::Replicated` (see there): operations keep their place until they are answered,
//! a broken stream sends what is unanswered again in the first order, a write without identity is never sent twice,
//! and of a named write whose copy got lost only the log can say that it did not happen.
//!
//! Leaves out the stream of changes: caches stay cold in here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::channel::oneshot;
use futures::stream::BoxStream;
use proto::store::pipeline_request::Request;
use proto::store::pipeline_response::Response;
use proto::store::{
    ChangesResponse, FailureReason, Freshness, Identity, OutcomeResponse, PipelineRequest, PipelineResponse,
    Route, Txn, TxnResponse,
};
use store_client::failure::error_from;
use store_client::pipeline::{Kind, Pipelined};
use store_client::{Error, Got, Group, Page, Range, Refusal, Store, pipeline};

use crate::kv_service::StreamId;
use crate::time::{MS, Micros, SECOND};

/// How long an operation waits for its answer.
pub(crate) const DEADLINE_US: Micros = 5 * SECOND;
/// How long one waits whose client has little patience: less than an election takes.
pub(crate) const DEADLINE_US_SHORT: Micros = 700 * MS;
/// A stream that answers nothing for so long is given up.
const STALL_US: Micros = SECOND;
/// The same, of a client that stays: longer than it takes to elect another leader.
const STALL_US_STAYING: Micros = 4 * SECOND;
const BACKOFF_FIRST_US: Micros = 20 * MS;
const BACKOFF_MAX_US: Micros = SECOND;

const ROUTE: Route = Route::to(1, 1);

type Answer = Result<Response, Error>;

/// An operation that a task has asked and the world has not taken yet.
#[derive(Debug)]
struct PendingOperation {
    kind: Kind,
    request: Request,
    answer: oneshot::Sender<Answer>,
}

/// A client's [`Store`].
#[derive(Clone, Debug)]
pub(crate) struct SimStore {
    asked: Arc<Mutex<Vec<PendingOperation>>>,
}

impl SimStore {
    fn lock(&self) -> MutexGuard<'_, Vec<PendingOperation>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipelined for SimStore {
    fn route(&self) -> Route {
        ROUTE
    }

    async fn ask(&self, kind: Kind, request: Request) -> Answer {
        let (answer, answered) = oneshot::channel();
        // No await before this: the first poll of an operation takes its place in the order.
        self.lock().push(PendingOperation { kind, request, answer });
        answered.await.unwrap_or_else(|_| Err(Error::Unknown { message: "the run has ended".to_owned() }))
    }
}

#[async_trait::async_trait]
impl Store for SimStore {
    fn group_of(&self, _key: &[u8]) -> Group {
        ROUTE.group
    }

    fn groups(&self) -> Vec<Group> {
        vec![ROUTE.group]
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

#[derive(Debug)]
struct Slot {
    kind: Kind,
    request: PipelineRequest,
    /// It is on the open stream, and no node said that it was not executed.
    sent: bool,
    /// An earlier stream broke with it on its way.
    lost: bool,
    deadline: Micros,
    answer: oneshot::Sender<Answer>,
}

impl Slot {
    fn give_up(self, message: &str) {
        let message = message.to_owned();
        let unsettled = self.kind != Kind::Read && (self.sent || self.lost);
        let error = if unsettled { Error::Unknown { message } } else { Error::away(message) };
        // A task that was dropped needs no answer.
        let _ = self.answer.send(Err(error));
    }

    fn conclude(self, answer: Answer) {
        let by_the_door =
            matches!(answer, Err(Error::Retry { .. } | Error::Refused { reason: Refusal::Invalid, .. }));
        if self.lost && by_the_door {
            self.give_up("refused at a door, and an earlier copy is somewhere");
        } else {
            let _ = self.answer.send(answer);
        }
    }
}

/// The open stream.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) stream: StreamId,
    pub(crate) node: usize,
    /// The last answer, or the first send after idling.
    progress: Micros,
    /// When what was sent last arrives, and the last answer: a stream keeps its order.
    pub(crate) last_there: Micros,
    pub(crate) last_back: Micros,
    /// Something on it was lost, and so is all that comes after: the client has not noticed yet.
    pub(crate) is_cut: bool,
}

/// What the world is to do for a handle.
#[derive(Debug)]
pub(crate) enum Act {
    /// Put this on the open stream.
    Send(PipelineRequest),
    /// Open a stream at this time.
    OpenAt(Micros),
}

/// The world's side of one [`SimStore`].
#[derive(Debug)]
pub(crate) struct Handle {
    store: SimStore,
    patience: Micros,
    /// A stream that answers nothing for so long is given up.
    stall: Micros,
    slots: BTreeMap<u64, Slot>,
    numbers: u64,
    pub(crate) open: Option<Open>,
    /// A stream is about to be opened.
    opening: bool,
    /// The leader that was named last.
    pub(crate) hint: Option<usize>,
    failures: u32,
}

impl Handle {
    /// Its operations wait for their answers for `patience`.
    pub(crate) fn new(patience: Micros) -> Handle {
        let store = SimStore { asked: Arc::default() };
        Handle {
            store,
            patience,
            stall: STALL_US,
            slots: BTreeMap::new(),
            numbers: 0,
            open: None,
            opening: false,
            hint: None,
            failures: 0,
        }
    }

    /// One that stays where it is for longer, whatever happens to the node there.
    pub(crate) fn staying(patience: Micros) -> Handle {
        Handle { stall: STALL_US_STAYING, ..Handle::new(patience) }
    }

    /// The side that clients hold.
    pub(crate) fn store(&self) -> SimStore {
        self.store.clone()
    }

    /// Takes what tasks have asked.
    pub(crate) fn take_asked(&mut self, now: Micros, acts: &mut Vec<Act>) {
        let asked = std::mem::take(&mut *self.store.lock());
        for PendingOperation { kind, request, answer } in asked {
            self.numbers += 1;
            let request = PipelineRequest { number: self.numbers, request: Some(request) };
            let mut slot =
                Slot { kind, request, sent: false, lost: false, deadline: now + self.patience, answer };
            if let Some(open) = &mut self.open {
                if !self.slots.values().any(|slot| slot.sent) {
                    open.progress = now;
                }
                slot.sent = true;
                acts.push(Act::Send(slot.request.clone()));
            }
            self.slots.insert(self.numbers, slot);
        }
        self.want_stream(now, acts);
    }

    fn want_stream(&mut self, now: Micros, acts: &mut Vec<Act>) {
        if self.open.is_none() && !self.opening && !self.slots.is_empty() {
            self.opening = true;
            let longest = BACKOFF_MAX_US.min(BACKOFF_FIRST_US << self.failures.min(16));
            let wait = if self.failures == 0 { 0 } else { longest };
            acts.push(Act::OpenAt(now + wait));
        }
    }

    /// A stream is open: everything unanswered goes out in its first order.
    pub(crate) fn opened(&mut self, stream: StreamId, node: usize, now: Micros, acts: &mut Vec<Act>) {
        self.opening = false;
        self.failures += 1;
        self.open =
            Some(Open { stream, node, progress: now, last_there: now, last_back: now, is_cut: false });
        for slot in self.slots.values_mut() {
            slot.sent = true;
            acts.push(Act::Send(slot.request.clone()));
        }
    }

    /// The stream is gone.
    pub(crate) fn lost(&mut self, stream: StreamId, now: Micros, acts: &mut Vec<Act>) {
        if self.open.as_ref().is_none_or(|open| open.stream != stream) {
            return;
        }
        self.open = None;
        let sent: Vec<u64> =
            self.slots.iter().filter(|(_, slot)| slot.sent).map(|(number, _)| *number).collect();
        for number in sent {
            let slot = self.slots.get_mut(&number).expect("it was just seen");
            slot.lost |= slot.kind == Kind::Named;
            if slot.kind == Kind::Unnamed {
                self.slots.remove(&number).expect("it was just seen").give_up("the stream broke");
            } else {
                slot.sent = false;
            }
        }
        self.want_stream(now, acts);
    }

    /// An answer has come.
    pub(crate) fn answered(
        &mut self,
        stream: StreamId,
        response: PipelineResponse,
        now: Micros,
        acts: &mut Vec<Act>,
    ) {
        let Some(open) = self.open.as_mut().filter(|open| open.stream == stream) else { return };
        open.progress = now;
        let (number, node) = (response.number, open.node);
        let answer = match response.response {
            Some(Response::Failure(failure)) => match failure.reason() {
                FailureReason::NotLeader | FailureReason::NotServing => {
                    if let Some(slot) = self.slots.get_mut(&number) {
                        slot.sent = false;
                    }
                    let hinted =
                        failure.leader.and_then(|hint| usize::try_from(hint.node).ok()?.checked_sub(1));
                    self.hint = hinted.filter(|hinted| *hinted != node);
                    if self.hint.is_some() {
                        self.failures = 0;
                    }
                    return self.lost(stream, now, acts);
                }
                FailureReason::UnknownOutcome => return self.lost(stream, now, acts),
                _ => Err(error_from(&failure)),
            },
            Some(response) => Ok(response),
            None => Err(Error::Unknown { message: "an empty answer".to_owned() }),
        };
        self.failures = 0;
        self.hint = Some(node);
        if let Some(slot) = self.slots.remove(&number) {
            slot.conclude(answer);
        }
    }

    /// Time passes: what waited too long is given up, and a stream that stands still too.
    pub(crate) fn sweep(&mut self, now: Micros, acts: &mut Vec<Act>) {
        while let Some(first) = self.slots.first_entry().filter(|slot| slot.get().deadline <= now) {
            first.remove().give_up("no answer in time");
        }
        let in_flight = self.slots.values().any(|slot| slot.sent);
        if let Some(open) = &self.open
            && in_flight
            && now > open.progress + self.stall
        {
            let stream = open.stream;
            self.hint = None;
            self.lost(stream, now, acts);
        }
        self.want_stream(now, acts);
    }
}
