//! One `Pipeline`: a task that takes requests in, batch by batch, and the stream of answers ([`Outbox`] is between
//! them). No task, channel or wake is spent on a single operation when more of them wait.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use admission::Place;
use admission::place::Charge;
use bytes::Bytes;
use futures::{FutureExt, Stream};
use parking_lot::Mutex;
use proto::store::pipeline_request::Request;
use proto::store::pipeline_response::Response;
use proto::store::{Failure, Freshness, Identity, PipelineRequest, PipelineResponse, PrepareRequest, Txn};
use store_client::failure::{invalid, status_from};
use store_client::now_ms;
use store_core::Offset;
use store_cross::gate::{self, is_locked};
use store_engine::front::{Admitted, NodeResponse, PendingRequest, Waiting};
use store_engine::{Answer, Job, RequestId};
use tokio::task::JoinHandle;
use tonic::{Status, Streaming};

use super::outbox::{Outbox, Picked, bytes_of, rounded};
use super::validation;
use crate::cross::Cross;
use crate::inbox::Batch;
use crate::reads;
use crate::router::{Responder, ResponseRouter};
use crate::shared::Shared;
use crate::too_large::not_taken;

/// Requests taken in at once.
const BATCH_MAX: usize = 512;
/// And their bytes, about.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Of so many answers the reads are run on one consistent view.
const READS_MAX: usize = 512;
/// Bytes of answers that are made at a time: what the caller has not taken stays unread in the database.
const READY_BYTES: usize = 64 << 10;

/// Named writes under way of a ring of several groups.
type Named = Arc<Mutex<gate::Named>>;

/// The first request of a stream, or how it ended before it.
pub(crate) type First = Result<Option<PipelineRequest>, Status>;

/// Opens a stream; of some the first request was taken to know whose they are.
pub(super) fn open(
    (shared, cross): (Arc<Shared>, Option<Arc<Cross>>),
    place: Option<Place>,
    first: Option<First>,
    requests: Streaming<PipelineRequest>,
) -> Answers {
    let outbox = shared.router.register(|id| Outbox::new(id, place));
    let named = Named::default();
    let intake = Intake {
        shared: Arc::clone(&shared),
        cross,
        named: Arc::clone(&named),
        outbox: Arc::clone(&outbox),
        jobs: Vec::new(),
        bytes: 0,
        refusal: None,
    };
    let taking = tokio::spawn(intake.run(first, requests));
    Answers {
        shared,
        named,
        outbox,
        taking,
        answered: VecDeque::new(),
        charge: None,
        answer_bytes: 0,
        ready: VecDeque::new(),
    }
}

/// The next request of a stream, of which the first may have been taken already.
async fn next(taken: &mut Option<First>, requests: &mut Streaming<PipelineRequest>) -> First {
    match taken.take() {
        Some(first) => first,
        None => requests.message().await,
    }
}

/// The side that takes requests in.
struct Intake {
    shared: Arc<Shared>,
    /// What drives transactions over several groups, where there are several.
    cross: Option<Arc<Cross>>,
    named: Named,
    outbox: Arc<Outbox>,
    /// For the node, in order.
    jobs: Vec<Job>,
    bytes: usize,
    /// Why the stream cannot go on, if a request had no number to answer it by.
    refusal: Option<Failure>,
}

impl Intake {
    async fn run(mut self, mut taken: Option<First>, mut requests: Streaming<PipelineRequest>) {
        loop {
            let first = tokio::select! {
                biased;
                // Only a broken stream matters here; after a wake for room the requests are looked at again.
                () = self.outbox.changed.notified() => {
                    if self.outbox.is_broken() {
                        break;
                    }
                    continue;
                }
                first = next(&mut taken, &mut requests) => first,
            };
            // Not before: a message that has begun to come is waited for, and its sender is not to be blamed for what the
            // store lets wait.
            while !self.outbox.has_headroom() {
                self.outbox.changed.notified().await;
            }
            let more = self.gather(first, &mut requests);
            if self.bring().await.is_err() || !more {
                break;
            }
        }
        self.outbox.end(self.refusal);
    }

    /// Takes what has come, a batch at most; whether more may come.
    fn gather(
        &mut self,
        first: Result<Option<PipelineRequest>, Status>,
        requests: &mut Streaming<PipelineRequest>,
    ) -> bool {
        let (mut next, mut count) = (Some(first), 0);
        while let Some(arrived) = next.take() {
            count += 1;
            match arrived {
                Ok(Some(request)) => self.take(request),
                Ok(None) => return false,
                Err(status) => {
                    self.refusal = not_taken(&status);
                    return false;
                }
            }
            if count < BATCH_MAX && self.bytes < BATCH_BYTES_MAX {
                next = requests.message().now_or_never();
            }
        }
        true
    }

    /// Brings what was taken to the node.
    async fn bring(&mut self) -> Result<(), crate::inbox::Closed> {
        if self.jobs.is_empty() {
            return Ok(());
        }
        let from = Arc::clone(&self.outbox) as Arc<dyn Responder>;
        let batch =
            Batch { from, jobs: std::mem::take(&mut self.jobs), bytes: std::mem::take(&mut self.bytes) };
        self.shared.inbox.submit(batch).await
    }

    /// Checks a request, and makes it a job if the node has a say in it.
    fn take(&mut self, request: PipelineRequest) {
        let number = request.number;
        if let Err(failure) = self.try_take(request) {
            self.named.lock().forget(number);
            let response = Some(Response::Failure(failure));
            self.outbox.answer(PipelineResponse { number, response });
        }
    }

    fn try_take(&mut self, request: PipelineRequest) -> Result<(), Failure> {
        let number = request.number;
        if let (Some(cross), Some(Request::Finish(finish))) = (&self.cross, &request.request) {
            cross.ending(finish);
        }
        self.note_waiting(&request);
        match validation::admit(&self.shared, request)? {
            Admitted::Write(command) => {
                self.write(number, command, |request_id, command| Job::Write { request_id, command });
            }
            Admitted::End(command) => {
                self.write(number, command, |request_id, command| Job::WriteAnyway { request_id, command });
            }
            Admitted::Read(asked) => self.read(number, asked),
            Admitted::Cross(txn, identity) => self.cross(number, txn, identity)?,
            Admitted::Prepare(request) => self.prepare(number, request)?,
            Admitted::Ask(asked) => {
                let response = Some(Response::Ask(self.several()?.answer(&asked)?));
                self.outbox.answer(PipelineResponse { number, response });
            }
        }
        Ok(())
    }

    fn write(&mut self, number: u64, command: Bytes, job: impl FnOnce(RequestId, Bytes) -> Job) {
        if let Some(place) = self.outbox.enter(Waiting { number, asked: PendingRequest::Write }) {
            self.bytes += command.len();
            self.jobs.push(job(ResponseRouter::request_id(self.outbox.id, place), command));
        }
    }

    /// Remembers what a named write of a ring of several groups does, in case it finds its keys locked.
    fn note_waiting(&self, request: &PipelineRequest) {
        if self.cross.is_some() {
            self.named.lock().note(request, now_ms());
        }
    }

    fn several(&self) -> Result<&Arc<Cross>, Failure> {
        self.cross
            .as_ref()
            .ok_or_else(|| invalid("request", "is for a ring of several groups, and this one has one"))
    }

    /// A transaction over several groups has no place in the order of the stream's writes: it takes it when it is decided.
    fn cross(&mut self, number: u64, txn: Txn, identity: Option<Identity>) -> Result<(), Failure> {
        let cross = Arc::clone(self.several()?);
        let Some(place) = self.outbox.enter(Waiting { number, asked: PendingRequest::Write }) else {
            return Ok(());
        };
        let outbox = Arc::clone(&self.outbox);
        tokio::spawn(async move {
            let response = match cross.txn(txn, identity).await {
                Ok(answer) => Response::Txn(answer),
                Err(failure) => Response::Failure(failure),
            };
            outbox.deliver(&mut vec![(place, NodeResponse::Made(Box::new(response)))]);
        });
        Ok(())
    }

    fn prepare(&mut self, number: u64, request: PrepareRequest) -> Result<(), Failure> {
        let cross = Arc::clone(self.several()?);
        let Some(place) = self.outbox.enter(Waiting { number, asked: PendingRequest::Write }) else {
            return Ok(());
        };
        let outbox = Arc::clone(&self.outbox);
        tokio::spawn(async move {
            let response = cross.prepare(request).await;
            outbox.deliver(&mut vec![(place, NodeResponse::Made(Box::new(response)))]);
        });
        Ok(())
    }

    fn read(&mut self, number: u64, asked: PendingRequest) {
        let freshness = asked.freshness();
        let Some(place) = self.outbox.enter(Waiting { number, asked }) else { return };
        if !freshness.as_ref().is_some_and(Freshness::is_stale) {
            self.jobs.push(Job::Read { request_id: ResponseRouter::request_id(self.outbox.id, place) });
        } else if reads::must_wait(&self.shared, freshness.as_ref()) {
            // Rare: a replica that lags behind what the caller has seen.
            let (shared, outbox) = (Arc::clone(&self.shared), Arc::clone(&self.outbox));
            tokio::spawn(async move {
                reads::wait_applied(&shared, freshness.map_or(0, |f| f.min_offset)).await;
                outbox.deliver(&mut vec![(place, ready())]);
            });
        } else {
            self.outbox.deliver(&mut vec![(place, ready())]);
        }
    }
}

/// A stale read may run at once.
fn ready() -> NodeResponse {
    NodeResponse::Answer(Answer::ReadReady { at: Offset::ZERO })
}

/// The side that answers.
pub(crate) struct Answers {
    shared: Arc<Shared>,
    named: Named,
    outbox: Arc<Outbox>,
    taking: JoinHandle<()>,
    /// What was picked up and is not answered: its reads are not run before the caller has taken what is ready.
    answered: VecDeque<(Waiting, NodeResponse)>,
    /// For the answers in it.
    charge: Option<Charge>,
    /// Bytes of those.
    answer_bytes: usize,
    /// What the caller gets next, and what is given back when it is taken.
    ready: VecDeque<(PipelineResponse, usize)>,
}

impl Answers {
    /// Turns the first of what was picked up into answers, about [`READY_BYTES`]; the reads among them are run on one
    /// consistent view.
    fn poll(&mut self) {
        let may_run = |answered: &NodeResponse| match answered {
            NodeResponse::Answer(Answer::ReadReady { at }) => Some(*at),
            _ => None,
        };
        let reads: Vec<(&PendingRequest, Offset)> = (self.answered.iter().take(READS_MAX))
            .filter_map(|(waiting, answered)| Some((&waiting.asked, may_run(answered)?)))
            .collect();
        let mut ran = reads::run(&self.shared, &reads, READY_BYTES).into_iter();
        let (mut bytes, mut made) = (0, 0);
        while bytes < READY_BYTES
            && let Some((waiting, answered)) = self.answered.pop_front()
        {
            let response = if may_run(&answered).is_some() {
                let Some(answer) = ran.next() else {
                    self.answered.push_front((waiting, answered));
                    break;
                };
                if is_locked(&answer) {
                    made += waiting.cost();
                    self.wait(waiting, may_run(&answered).unwrap_or_default());
                    continue;
                }
                answer
            } else {
                self.answer_bytes = self.answer_bytes.saturating_sub(bytes_of(&answered));
                self.shared.response_of(answered)
            };
            self.tried(waiting.number, &response);
            bytes += response.encoded_len();
            made += waiting.cost();
            let response = PipelineResponse { number: waiting.number, response: Some(response) };
            self.ready.push_back((response, 0));
        }
        self.outbox.made(made);
        // What was made is charged for on its way; what is kept here must leave room for that.
        match (rounded(self.answer_bytes), &mut self.charge) {
            (0, _) => self.charge = None,
            (needed, Some(charge)) => {
                charge.resize(needed.min(charge.bytes()));
                charge.caller_does();
            }
            (_, None) => {}
        }
    }
}

impl Answers {
    /// A named write found its keys locked, or is through.
    fn tried(&self, number: u64, response: &Response) {
        self.named.lock().tried(number, response, &self.shared.gate);
    }

    /// Lets a read wait for the transactions over several groups that are in its way.
    fn wait(&self, waiting: Waiting, ready: Offset) {
        let asked = waiting.asked.clone();
        let Some(place) = self.outbox.reenter(waiting) else { return };
        let (shared, outbox) = (Arc::clone(&self.shared), Arc::clone(&self.outbox));
        tokio::spawn(async move {
            let response = reads::patient(&shared, &asked, ready).await;
            outbox.deliver(&mut vec![(place, NodeResponse::Made(Box::new(response)))]);
        });
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.taking.abort();
        self.shared.router.leave(self.outbox.id);
    }
}

impl Stream for Answers {
    type Item = Result<PipelineResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some((response, cost)) = self.ready.pop_front() {
                if cost > 0 {
                    self.outbox.made(cost);
                }
                return Poll::Ready(Some(Ok(response)));
            }
            if !self.answered.is_empty() {
                self.poll();
                continue;
            }
            let mut picked = Picked::default();
            match self.outbox.poll(&mut picked, context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(false) => {
                    let refusal = self.outbox.take_refusal();
                    return Poll::Ready(refusal.map(|failure| Err(status_from(&failure))));
                }
                Poll::Ready(true) => {
                    self.ready.extend(picked.ready);
                    self.answered.extend(picked.answered);
                    (self.charge, self.answer_bytes) = (picked.charge, picked.answer_bytes);
                }
            }
        }
    }
}
